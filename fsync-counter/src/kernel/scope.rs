//! The kernel scope as users see it.

use std::panic::resume_unwind;

use super::{KernelScopeUnavailable, Options, Told};
use crate::counts::SyncCounts;
use crate::event::{Event, Events};
use crate::incomplete::Incomplete;
use crate::scope::Observed;

/// Events kept of a scope; more are counted, not kept.
const EVENTS_MAX: usize = 65_536;

/// Counts every sync of a closure, of the threads and of the child processes that it starts: also
/// raw system calls, static binaries, and programs that are not written in Rust.
///
/// The closure runs on a fresh thread with a seccomp filter, which whatever it starts inherits; the
/// calling thread answers the kernel's notifications until the closure has returned. No privilege
/// is needed. What is counted are attempts that reached the kernel: a sync that a
/// [`stub`](crate::stub) answered did not.
///
/// ```
/// # #[cfg(all(target_os = "linux", not(miri)))] {
/// use std::process::Command;
/// use fsync_counter::{KernelScope, SyncCounts};
///
/// let file = tempfile::NamedTempFile::new().unwrap();
/// let scope = match KernelScope::open() {
///     Ok(scope) => scope,
///     Err(refused) => return eprintln!("{refused}"), // never a count of zero
/// };
/// let synced = scope.observe(|| Command::new("sync").arg(file.path()).status().unwrap());
/// assert!(synced.value.success());
/// assert_eq!(synced.counts(), SyncCounts::new().files(1), "{}", synced.events());
/// # }
/// ```
///
/// # What it does not see
///
/// Threads that exist already: a runtime that was built before has its own. Where one of them syncs
/// while the scope is open, and the hook is linked, [`incomplete`](Observed::incomplete) says so.
/// An io_uring's syncs are no system calls: setting one up is noted there, too, as is opening a file
/// with `O_SYNC` or `O_DSYNC`.
///
/// # What it changes
///
/// The closure runs on another thread: thread-local state is that thread's. A process without
/// `CAP_SYS_ADMIN` gives up, on that thread and in what it starts, the right to gain privileges
/// through `exec` (`no_new_privs`): `sudo` does not work there. Syncs by whatever outlives the scope
/// go on working while this process lives; when it ends, they fail with `ENOSYS`.
#[derive(Clone, Debug)]
#[must_use = "a scope counts only in `observe`"]
pub struct KernelScope {
    options: Options,
}

impl KernelScope {
    /// Tries the filter on a thread of its own: a refusal appears here.
    ///
    /// # Errors
    /// When the kernel or a policy refuses, with the advice what to do instead.
    pub fn open() -> Result<Self, KernelScopeUnavailable> {
        let offer = super::try_filter()?;
        Ok(Self {
            options: Options {
                offer,
                classify: true,
                trace: false,
                timed: false,
                to_the_last: false,
            },
        })
    }

    /// Has the syncs issued by this process on behalf of the watched ones, for child processes
    /// through a copy of their descriptor, so that [`Event::outcome`] and [`Event::duration`] are known. `msync`, which is
    /// about another process's memory, is left to its caller, as is a sync whose descriptor may
    /// not be copied.
    ///
    /// Each sync then takes some microseconds longer than its duration says.
    pub fn timed(mut self) -> Self {
        self.options.timed = true;
        self
    }

    /// Goes on counting until every thread and process that the closure started has ended, not only
    /// until it returns.
    pub fn to_the_last(mut self) -> Self {
        self.options.to_the_last = true;
        self
    }

    /// Runs `f` and counts. A panic of `f` goes on in the caller.
    ///
    /// # Panics
    /// When `f` does, and when there is no thread or no descriptor left for the scope.
    #[track_caller]
    pub fn observe<F, T>(&self, f: F) -> Observed<T>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        self.observe_each(f, |_| ())
    }

    /// As [`observe`](Self::observe), with each event: for programs that sync more often than the
    /// 65,536 times that are kept.
    ///
    /// `each` runs on the calling thread, between the syncs: keep it short, the next sync waits for
    /// it. With [`timed`](Self::timed) an event comes when the next call is told, or at the end.
    ///
    /// # Panics
    /// As `observe`; and a panic of `each` goes on in the caller when `f` has returned.
    #[track_caller]
    pub fn observe_each<F, T>(&self, f: F, each: impl FnMut(&Event)) -> Observed<T>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        or_panic(self.try_observe(f, each, |_| ()))
    }

    /// As [`observe_each`](Self::observe_each), with each reason why the counts may be too low, once
    /// and as soon as it is met, and without a panic of its own: for programs that report before the
    /// scope has ended.
    ///
    /// # Errors
    /// When there is no thread or no descriptor left for the scope: `f` has not run.
    ///
    /// # Panics
    /// When `f` does; and a panic of `each` or `reason` goes on in the caller when `f` has returned.
    pub fn try_observe<F, T>(
        &self,
        f: F,
        mut each: impl FnMut(&Event),
        mut reason: impl FnMut(&Incomplete),
    ) -> Result<Observed<T>, KernelScopeUnavailable>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let mut counts = SyncCounts::new();
        let mut events = Events::default();
        let mut incomplete = Vec::new();
        let outcome = super::watch(self.options, f, &mut |told| match told {
            Told::Sync(seen) => {
                counts.add(&seen.event);
                each(&seen.event);
                if events.list.len() < EVENTS_MAX {
                    events.list.push(seen.event);
                } else {
                    events.overflowed += 1;
                }
            }
            Told::Incomplete(met) => {
                if !incomplete.contains(&met) {
                    reason(&met);
                    incomplete.push(met);
                }
            }
        })?;
        let value = outcome.unwrap_or_else(|panic| resume_unwind(panic));
        // Those that were timed came when they were done.
        events.list.sort_by_key(|event| event.sequence);
        Ok(Observed {
            value,
            counts,
            events,
            incomplete,
        })
    }

    /// Runs `f` and counts its sync calls of all kinds, the weak included, without finding out what
    /// they were asked of: half the cost of a sync that is [observed](Self::observe).
    ///
    /// # Panics
    /// As `observe`.
    #[track_caller]
    pub fn calls<F, T>(&self, f: F) -> (T, u64)
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let mut calls = 0;
        let options = Options {
            classify: false,
            timed: false,
            ..self.options
        };
        let value = watched(options, f, &mut |told| {
            calls += u64::from(matches!(told, Told::Sync(_)));
        });
        (value, calls)
    }

    pub(crate) fn traced(&self) -> Options {
        Options {
            trace: true,
            ..self.options
        }
    }
}

/// Runs `f` and goes on with its panic.
#[track_caller]
pub(crate) fn watched<T: Send>(
    options: Options,
    f: impl FnOnce() -> T + Send,
    tell: &mut dyn FnMut(Told),
) -> T {
    or_panic(super::watch(options, f, tell)).unwrap_or_else(|panic| resume_unwind(panic))
}

#[track_caller]
fn or_panic<T>(outcome: Result<T, KernelScopeUnavailable>) -> T {
    match outcome {
        Ok(value) => value,
        Err(refused) => panic!("{refused}"),
    }
}

/// Keeps a reason once.
pub(crate) fn note(reasons: &mut Vec<Incomplete>, reason: Incomplete) {
    if !reasons.contains(&reason) {
        reasons.push(reason);
    }
}
