//! The proof that the hook is what the program calls.
//!
//! A hook that is not linked sees nothing, and a count of nothing looks like a passed test. So the
//! first use in a process calls every hooked function in a way that the hook recognises and answers
//! itself, without a system call; whatever else answers is not the hook.

use std::fmt;

use once_cell::race::OnceBool;

use crate::hook;

/// Why syncs can't be counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// The platform has no hook (yet): this crate compiles there and sees nothing.
    Unsupported {
        /// What is missing.
        why: &'static str,
    },
    /// The program's calls of `function` do not reach the hook.
    NotLinked {
        /// The function of the C library that somebody else answered.
        function: &'static str,
    },
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { why } => write!(
                f,
                "syncs can't be counted here: {why}\n\
                 leave these tests out where `fsync_counter::check_linkage()` returns an error"
            ),
            Self::NotLinked { function } => write!(
                f,
                "the fsync-counter hook is not linked: this program's `{function}` is answered by \
                 something else, so a count would be a silent zero\n\
                 link the crate into the test binary itself: a dev-dependency and \
                 `use fsync_counter as _;` in that test, not in a library that is loaded at run time"
            ),
        }
    }
}

impl std::error::Error for HookError {}

/// Proves, once a process, that the hook is the one that the program calls.
///
/// Every scope and every stub does this first and panics with the error; call it to leave tests
/// out where counting is not possible. No sync is issued.
///
/// # Errors
/// [`HookError::Unsupported`] on a platform without a hook and under Miri;
/// [`HookError::NotLinked`] where another definition of a sync function won.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))]
/// assert_eq!(fsync_counter::check_linkage(), Ok(()));
/// ```
pub fn check_linkage() -> Result<(), HookError> {
    static PROVED: OnceBool = OnceBool::new();
    PROVED.get_or_try_init(|| hook::prove().map(|()| true))?;
    Ok(())
}

/// [`check_linkage`] for those who can't go on without it.
#[track_caller]
pub(crate) fn require_linkage() {
    if let Err(error) = check_linkage() {
        panic!("{error}");
    }
}

/// `FSYNC_COUNTER_TEST_HOOK=none cargo test -p fsync-counter --lib` runs this on Linux.
#[cfg(all(test, not(supported)))]
mod tests {
    use super::*;

    #[test]
    fn without_a_hook_the_error_is_typed_and_the_first_use_panics_with_it() {
        let error = check_linkage().expect_err("there is no hook");
        assert!(matches!(error, HookError::Unsupported { .. }), "{error:?}");
        let uses: [fn(); 3] = [
            || drop(crate::FsyncCounter::thread()),
            || drop(crate::stub()),
            || drop(crate::Scope::process().observe(|| ())),
        ];
        for first_use in uses {
            let panic = std::panic::catch_unwind(first_use).expect_err("it panics");
            let text = panic.downcast::<String>().expect("a text");
            assert!(text.contains("syncs can't be counted here"), "{text}");
        }
    }
}
