//! What a warm measurement asks of the allocator: no deferred work inside the clock.
//!
//! An allocator puts work off. Freed blocks wait to be joined, and whole regions to be given back to
//! the kernel; which call pays is chance. So while measuring, giving back is off; before each
//! sample what is put off is settled, outside the clock; and one purge before the warm-up makes the
//! gates of a process begin alike, after which the warm-up touches everything again.
//!
//! It does *not* give memory back before each sample: the timed run would then pay a page fault for
//! every page that it touches, which no steady state has.
//!
//! | allocator | known by | while measuring | afterwards |
//! |---|---|---|---|
//! | glibc's | itself | thresholds raised, `malloc_trim` before the warm-up | the thresholds stay: glibc has no way back |
//! | jemalloc | feature `jemalloc` | decay off in every arena, background threads stopped | as it was |
//! | mimalloc | feature `mimalloc` | purging off | as it was |
//! | any other | [`use_discipline`] | what its [`Discipline`] does | what its `Discipline` does |
//!
//! Which of them serves the program is asked of the allocators themselves. Where none says yes,
//! nothing is done, and the record says `none`; on musl, whose malloc has no controls, `none (musl)`.
//!
//! `PART=figures make platforms` shows what becomes of page faults, give-backs and spread.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;
#[cfg(feature = "jemalloc")]
mod jemalloc;
#[cfg(feature = "mimalloc")]
mod mimalloc;

use std::sync::{Mutex, OnceLock, PoisonError};

/// How to keep one allocator's put-off work out of the clock.
///
/// [`begin`](Discipline::begin) and [`end`](Discipline::end) come in pairs, never one inside
/// another: when two threads of a process measure at once, the first to begin calls the one and the
/// last to end the other. `end` is called also when the measured code panics.
///
/// For a program with an allocator of its own, here one that keeps what is freed for as long as it
/// is told to:
///
/// ```rust,standalone_crate
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use perfbudget::allocator::{Discipline, use_discipline};
///
/// mod pool {
///     # use super::*;
///     pub static KEEPS: AtomicBool = AtomicBool::new(false);
///     // … the allocator, which gives memory back only where `KEEPS` is false
///     pub fn give_back() {}
///     pub fn join_free_blocks() {}
/// }
///
/// struct Pool;
///
/// impl Discipline for Pool {
///     fn name(&self) -> &'static str {
///         "pool"
///     }
///
///     fn begin(&self) {
///         pool::give_back();
///         pool::KEEPS.store(true, Ordering::Relaxed);
///     }
///
///     fn settle(&self) {
///         pool::join_free_blocks();
///     }
///
///     fn end(&self) {
///         pool::KEEPS.store(false, Ordering::Relaxed);
///     }
/// }
///
/// fn main() {
///     use_discipline(&Pool);
///     perfbudget::trimmed_mean_warm(|| assert!(pool::KEEPS.load(Ordering::Relaxed)));
///     assert!(!pool::KEEPS.load(Ordering::Relaxed));
/// }
/// ```
pub trait Discipline: Sync {
    /// Its name in the record.
    fn name(&self) -> &'static str;

    /// Gives everything back that is free, and turns giving back off; before a warm-up.
    fn begin(&self);

    /// Does what the calling thread's frees have put off, and gives nothing back; before each
    /// sample, outside the clock, on the thread that measures.
    fn settle(&self);

    /// Puts back what `begin` changed; after the last sample.
    fn end(&self);
}

/// An allocator of which nothing is known: it is left alone.
struct Unknown;

impl Discipline for Unknown {
    fn name(&self) -> &'static str {
        if cfg!(target_env = "musl") {
            "none (musl)"
        } else {
            "none"
        }
    }

    fn begin(&self) {}

    fn settle(&self) {}

    fn end(&self) {}
}

/// The user's own.
static OWN: OnceLock<&'static dyn Discipline> = OnceLock::new();

/// From now on, warm measurements of this process use `discipline`: for a global allocator that
/// this crate does not know, or to treat a known one in another way.
///
/// Call it before measuring, in each test (a runner may give each a process of its own). The same
/// again changes nothing.
///
/// # Panics
/// When the process already uses one of another name.
#[track_caller]
pub fn use_discipline(discipline: &'static dyn Discipline) {
    let used = OWN.get_or_init(|| discipline).name();
    let asked = discipline.name();
    assert!(
        used == asked,
        "this process uses the allocator discipline `{used}` and can't use `{asked}` too: \
         a program has one global allocator"
    );
}

/// The name of the discipline that warm measurements of this process use, as their records have it.
///
/// ```
/// println!("the allocator: {}", perfbudget::allocator::in_use());
/// ```
#[must_use]
pub fn in_use() -> &'static str {
    discipline().name()
}

/// The discipline for this process's global allocator.
pub(crate) fn discipline() -> &'static dyn Discipline {
    if let Some(own) = OWN.get() {
        return *own;
    }
    #[cfg(feature = "jemalloc")]
    if jemalloc::serves_the_global_allocator() {
        return &jemalloc::Jemalloc;
    }
    #[cfg(feature = "mimalloc")]
    if mimalloc::serves_the_global_allocator() {
        return &mimalloc::Mimalloc;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if glibc::serves_the_global_allocator() {
        return &glibc::Glibc;
    }
    &Unknown
}

/// While it lives, a discipline is in force. Several may live at once: the first begins, the last
/// ends.
pub(crate) struct InForce<'a>(&'a dyn Discipline);

/// The disciplines in force, by name, and how many measurements rely on each. Locked while one
/// begins or ends, so that nobody relies on what has only half begun.
static IN_FORCE: Mutex<Vec<(&'static str, usize)>> = Mutex::new(Vec::new());

impl<'a> InForce<'a> {
    pub(crate) fn begin(discipline: &'a dyn Discipline) -> Self {
        let mut all = IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = discipline.name();
        if let Some((_, users)) = all.iter_mut().find(|(other, _)| *other == name) {
            *users += 1;
        } else {
            discipline.begin();
            all.push((name, 1));
        }
        Self(discipline)
    }

    pub(crate) fn settle(&self) {
        self.0.settle();
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        let mut all = IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.0.name();
        let Some(at) = all.iter().position(|(other, _)| *other == name) else {
            return;
        };
        all[at].1 -= 1;
        if all[at].1 == 0 {
            all.swap_remove(at);
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noting(Mutex<Vec<&'static str>>, &'static str);

    impl Noting {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Discipline for Noting {
        fn name(&self) -> &'static str {
            self.1
        }

        fn begin(&self) {
            self.note("begin");
        }

        fn settle(&self) {}

        fn end(&self) {
            self.note("end");
        }
    }

    #[test]
    fn the_first_begins_and_the_last_ends() {
        let noting = Noting(Mutex::default(), "overlapping");
        let first = InForce::begin(&noting);
        let second = InForce::begin(&noting);
        drop(first);
        assert_eq!(*noting.0.lock().unwrap(), ["begin"]);
        drop(second);
        assert_eq!(*noting.0.lock().unwrap(), ["begin", "end"]);
        drop(InForce::begin(&noting));
        assert_eq!(*noting.0.lock().unwrap(), ["begin", "end", "begin", "end"]);
    }

    #[test]
    fn one_that_fails_to_begin_does_not_end_and_is_not_in_force() {
        struct Failing;
        impl Discipline for Failing {
            fn name(&self) -> &'static str {
                "failing"
            }
            fn begin(&self) {
                panic!("no");
            }
            fn settle(&self) {}
            fn end(&self) {
                unreachable!("it has not begun");
            }
        }
        for _ in 0..2 {
            assert!(std::panic::catch_unwind(|| InForce::begin(&Failing)).is_err());
        }
    }
}
