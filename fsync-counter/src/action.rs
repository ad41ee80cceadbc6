//! What happens at the n-th sync: crash it, fail it, delay it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What [`at_sync`](crate::FsyncCounter::at_sync) does before a sync is forwarded.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Calls the function on the syncing thread, then forwards the sync. A crash test aborts or
    /// kills the process here.
    ///
    /// The function runs below C code: it must not unwind (a panic aborts the process).
    Call(fn()),
    /// Fails the sync with this `errno` without forwarding it. `sync` has no way to fail: it is
    /// left out.
    Errno(i32),
    /// Delays the sync by at least this long, then forwards it.
    Wait(Duration),
}

/// The number of the latest action that was armed, in any scope.
static ARMED: AtomicU64 = AtomicU64::new(0);

/// An action that is due, and its number in the order of arming.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) armed: u64,
    pub(crate) action: Action,
}

/// Actions by the number of their sync. Grows at its end only, so that a hook may read it while
/// another thread adds to it, without a lock.
#[derive(Debug, Default)]
pub(crate) struct ArmedActions {
    first: OnceLock<Box<Armed>>,
}

#[derive(Debug)]
struct Armed {
    at: u64,
    due: Due,
    next: OnceLock<Box<Armed>>,
}

impl ArmedActions {
    pub(crate) fn arm(&self, at: u64, action: Action) {
        let mut armed = Box::new(Armed {
            at,
            due: Due {
                armed: ARMED.fetch_add(1, Ordering::Relaxed),
                action,
            },
            next: OnceLock::new(),
        });
        let mut end = &self.first;
        loop {
            match end.set(armed) {
                Ok(()) => return,
                Err(not_stored) => armed = not_stored,
            }
            match end.get() {
                Some(taken) => end = &taken.next,
                None => unreachable!("a cell that refuses a value holds one"),
            }
        }
    }

    /// Calls `run` with each action armed for this number, in the order of arming.
    pub(crate) fn for_each_at(&self, at: u64, mut run: impl FnMut(Due)) {
        let mut end = &self.first;
        while let Some(armed) = end.get() {
            if armed.at == at {
                run(armed.due);
            }
            end = &armed.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_fire_at_their_number_in_the_order_of_arming() {
        let actions = ArmedActions::default();
        actions.arm(2, Action::Errno(5));
        actions.arm(1, Action::Errno(7));
        actions.arm(2, Action::Errno(6));
        let mut fired = Vec::new();
        actions.for_each_at(2, |due| fired.push(format!("{:?}", due.action)));
        assert_eq!(fired, ["Errno(5)", "Errno(6)"]);
        actions.for_each_at(3, |due| panic!("nothing is armed there: {due:?}"));
    }
}
