//! Stubs: syncs that succeed without reaching the disk.
//!
//! For walltime gates, which must not measure a disk, and for suites that spend their time in it.

use std::marker::PhantomData;
use std::path::Path;

use crate::hook;
use crate::linkage::require_linkage;
use crate::registry::Registration;
use crate::scope::resolve;
use crate::watch::Watch;

/// Answers every sync of the process with success, without reaching the disk, until the guard is
/// dropped. Scopes count them all the same. Guards nest.
///
/// The descriptor is not looked at: a sync of a closed one succeeds too.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// use std::fs::File;
/// use fsync_counter::{Scope, stub};
///
/// let file = tempfile::tempfile().unwrap();
/// let _disk = stub();
/// let synced = Scope::thread().observe(|| file.sync_all().unwrap());
/// assert_eq!(synced.counts().files, 1);
/// # }
/// ```
///
/// # Panics
/// When the hook is not linked or the platform has none.
#[track_caller]
pub fn stub() -> StubGuard {
    require_linkage();
    hook::stub_process();
    StubGuard(())
}

/// Stubs the syncs of the calling thread. Otherwise as [`stub`]; the guard stays on its thread.
///
/// ```compile_fail
/// let guard = fsync_counter::stub_thread();
/// std::thread::spawn(move || drop(guard)); // would leave this thread stubbed
/// ```
///
/// # Panics
/// When the hook is not linked or the platform has none.
#[track_caller]
pub fn stub_thread() -> ThreadStubGuard {
    require_linkage();
    hook::stub_thread();
    ThreadStubGuard(PhantomData)
}

/// Stubs the syncs of `path` and of everything below it, by whichever thread. Otherwise as
/// [`stub`].
///
/// What can't be placed (`sync`, `syncfs`, `msync` of an unknown mapping) goes to the disk.
///
/// # Panics
/// When the hook is not linked or the platform has none, and when the path can't be resolved.
#[track_caller]
pub fn stub_under(path: impl AsRef<Path>) -> PathStubGuard {
    require_linkage();
    hook::prepare();
    PathStubGuard(Registration::open(Watch::stubbing(resolve(path.as_ref()))))
}

/// Keeps the process stubbed. From [`stub`].
#[derive(Debug)]
#[must_use = "syncs are stubbed only while it lives"]
pub struct StubGuard(());

impl Drop for StubGuard {
    fn drop(&mut self) {
        hook::unstub_process();
    }
}

/// Keeps its thread stubbed. From [`stub_thread`].
#[derive(Debug)]
#[must_use = "syncs are stubbed only while it lives"]
pub struct ThreadStubGuard(PhantomData<*const ()>);

impl Drop for ThreadStubGuard {
    fn drop(&mut self) {
        hook::unstub_thread();
    }
}

/// Keeps a path stubbed. From [`stub_under`].
#[derive(Debug)]
#[must_use = "syncs are stubbed only while it lives"]
pub struct PathStubGuard(#[expect(dead_code, reason = "held for its drop")] Registration);
