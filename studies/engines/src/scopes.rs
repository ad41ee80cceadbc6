//! The two layers of fsync-counter around one run: the hook, which sees calls of the C library,
//! and the kernel scope, which sees every system call of the closure, its threads and children.

use std::path::Path;

use fsync_counter::{Events, KernelScope, Scope};

use crate::{Result, SyncCall};

/// What both layers saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub hook: Vec<SyncCall>,
    /// `None` where there was no kernel scope.
    pub kernel: Option<Vec<SyncCall>>,
    /// Why a count may be too low, in the words of the scopes.
    pub incomplete: Vec<String>,
}

/// Runs `f` under both layers, or under the hook alone. `root` must be a canonical path.
///
/// # Errors
/// That of `f`; when the kernel refuses its scope; when a scope did not have room for every event.
pub fn observe(
    root: &Path,
    with_kernel: bool,
    f: impl FnOnce() -> Result<()> + Send,
) -> Result<Seen> {
    let hook = Scope::under(root);
    if !with_kernel {
        let seen = hook.observe(f);
        let hook = all(&seen.events(), root, false)?;
        let incomplete = words(seen.incomplete(), root);
        seen.value?;
        return Ok(Seen {
            hook,
            kernel: None,
            incomplete,
        });
    }
    let kernel = KernelScope::open()?;
    let outer = hook.observe(|| kernel.observe(f));
    let hook = all(&outer.events(), root, false)?;
    let inner = outer.value;
    let kernel = all(&inner.events(), root, false)?;
    let incomplete = words(inner.incomplete(), root);
    inner.value?;
    Ok(Seen {
        hook,
        kernel: Some(kernel),
        incomplete,
    })
}

/// Runs `f`, which starts processes, under a kernel scope and tells the processes apart.
///
/// # Errors
/// As [`observe`].
pub fn observe_processes<T: Send>(
    root: &Path,
    f: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Vec<SyncCall>, Vec<String>)> {
    let seen = KernelScope::open()?.observe(f);
    let calls = all(&seen.events(), root, true)?;
    let incomplete = words(seen.incomplete(), root);
    Ok((seen.value?, calls, incomplete))
}

/// Whether the kernel grants a scope here.
///
/// # Errors
/// Why it does not.
pub fn kernel_scope_works() -> Result<()> {
    KernelScope::open().map(drop)?;
    Ok(())
}

fn all(events: &Events, root: &Path, with_process: bool) -> Result<Vec<SyncCall>> {
    if events.overflowed() > 0 {
        return Err(format!("{} events did not fit into a scope", events.overflowed()).into());
    }
    Ok(events
        .iter()
        .map(|event| SyncCall {
            process: with_process.then_some(event.process),
            ..SyncCall::new(event, root)
        })
        .collect())
}

/// Reasons without the path of the machine that they were seen on, each once.
fn words(reasons: &[impl ToString], root: &Path) -> Vec<String> {
    let mut words: Vec<String> = reasons
        .iter()
        .map(|reason| {
            reason
                .to_string()
                .replace(&format!("{}/", root.display()), "")
        })
        .collect();
    words.dedup();
    words
}
