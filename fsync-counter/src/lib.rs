//! Counts, stubs and interrupts `fsync` and its relatives in tests.
//!
//! Nothing is preloaded and no production code changes. A test binary that names this crate
//! defines the C library's sync functions itself, and the linker resolves the calls of the standard
//! library, of tokio and of bundled C code (SQLite, LMDB) to them.
//!
//! ```
//! # #[cfg(all(target_os = "linux", not(miri)))] {
//! use std::fs::{self, File};
//! use std::path::Path;
//! use fsync_counter::{Scope, SyncCounts};
//!
//! /// Replaces a file so that it survives a crash: old or new, never in between.
//! fn save(dir: &Path, text: &str) -> std::io::Result<()> {
//!     let new = File::create(dir.join("new"))?;
//!     fs::write(dir.join("new"), text)?;
//!     new.sync_all()?;
//!     fs::rename(dir.join("new"), dir.join("current"))?;
//!     File::open(dir)?.sync_all() // forgotten more often than not
//! }
//!
//! let dir = tempfile::tempdir().unwrap();
//! let saved = Scope::under(dir.path()).observe(|| save(dir.path(), "hello").unwrap());
//! assert_eq!(saved.counts(), SyncCounts::new().files(1).dirs(1), "{}", saved.events());
//! # }
//! ```
//!
//! # Whose syncs
//!
//! | scope | sees | use it when |
//! |---|---|---|
//! | [`Scope::under`] a path | any thread's syncs of that path and below | tests run in parallel, the code has a thread pool or a runtime |
//! | [`Scope::thread`] | the calling thread's | the code syncs on its own thread |
//! | [`Scope::process`] | every thread's | the test is alone in its process (cargo-nextest) |
//! | [`KernelScope`] | whatever a closure starts, threads and child processes, by whatever means | the code has raw system calls, children, other languages |
//!
//! [`FsyncCounter`] is the same as a guard, and acts [at the n-th sync](FsyncCounter::at_sync):
//! kill the process there, fail it, delay it. [`stub`], [`stub_thread`] and [`stub_under`] answer
//! syncs without the disk.
//!
//! # Never a silent zero
//!
//! The first use in a process proves that the program's calls reach the hook, without issuing a
//! sync, and panics with the cure otherwise ([`check_linkage`]). What the crate can't prove is that
//! a test binary which never names it has it: such a binary has nothing to count with either.
//!
//! # In which order
//!
//! [`Events::assert_order`] asserts that one file was synced before another, and, in a scope [with
//! entries](Scope::with_entries), before a name was changed or removed. Its message is the events,
//! each with the [`Step`] that it is.
//!
//! # What it does not see
//!
//! The hook: system calls that don't go through the C library (rustix in its default mode, inline
//! assembly) and child processes. The page `docs/fsync-counting.md` lists callers one by one, made
//! by a test; [`audit`] says of your own code whom it misses. A [`KernelScope`] sees them. Neither
//! sees a sync through an io_uring.
//!
//! What is durable without a sync has no count, but is told ([`Observed::incomplete`]): files
//! opened with `O_SYNC` or `O_DSYNC`, writes with `RWF_SYNC` or `RWF_DSYNC`, an io_uring that was
//! set up.
//!
//! # What it changes in your process
//!
//! In a test binary that names it, these are this crate's: `fsync`, `fdatasync`, `msync`,
//! `sync_file_range`, `syncfs`, `sync`, `syscall`; `open`, `openat` and `pwritev2`, each with its
//! relatives of other names; `rename`, `renameat`, `renameat2`, `unlink`, `unlinkat`, `rmdir` and
//! `remove`. With no scope or stub open each costs at most 10 to 20 ns more than the C library's
//! (`docs/benchmarks.md`) and does the same, except that it is no point of thread cancellation and
//! that a library of `LD_PRELOAD` is not asked. A hook preserves `errno`, takes no lock and
//! allocates nothing. The first scope opens one descriptor, of `/proc/self/fd` (500 or higher, closed on
//! `exec`), which stays open. A release build of your program does not contain any of it: this is
//! a dev-dependency.
//!
//! # Platforms
//!
//! Linux (gnu and musl) on x86_64 and aarch64. macOS and FreeBSD have a hook that is written from
//! their documentation and **has never run there**: without [`KernelScope`], without
//! [renames and removals](Scope::with_entries), without what is durable by other means
//! ([`Observed::incomplete`] stays empty), and on macOS for calls in the test binary itself only.
//! Elsewhere, and under Miri, the crate compiles and its first use panics with
//! [`HookError::Unsupported`]; [`check_linkage`] returns it. `docs/platforms.md` says what was tried.

#![cfg_attr(
    not(linux_hook),
    expect(dead_code, reason = "what a hook does not see nobody calls")
)]

mod action;
mod audit;
mod counts;
mod event;
mod hook;
mod incomplete;
mod kernel;
mod linkage;
mod notices;
mod order;
mod paths;
mod registry;
mod scope;
mod stub;
mod watch;

pub use action::Action;
pub use audit::{Audit, AuditLine, Caller, audit};
pub use counts::{SyncCounts, SyncCountsIter};
pub use event::{Event, Events, FileClass, Operation, Outcome};
pub use incomplete::Incomplete;
pub use kernel::{KernelScope, KernelScopeUnavailable};
pub use linkage::{HookError, check_linkage};
pub use order::{OutOfOrder, Step};
pub use scope::{FsyncCounter, Observed, Scope};
pub use stub::{PathStubGuard, StubGuard, ThreadStubGuard, stub, stub_thread, stub_under};

/// How many sync calls the calling thread has made since it started, of any kind, whether a scope
/// was open or not. It classifies nothing, and adds nothing to what the hook costs anyway (10 to
/// 20 ns a sync): for a loop that must not be slowed by an open scope.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// let file = tempfile::tempfile().unwrap();
/// let _disk = fsync_counter::stub();
/// let before = fsync_counter::calls_on_this_thread();
/// file.sync_data().unwrap();
/// assert_eq!(fsync_counter::calls_on_this_thread() - before, 1);
/// # }
/// ```
///
/// # Panics
/// When the hook is not linked or the platform has none.
#[must_use]
#[track_caller]
pub fn calls_on_this_thread() -> u64 {
    linkage::require_linkage();
    hook::calls_on_this_thread()
}
