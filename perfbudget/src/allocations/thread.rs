//! What the calling thread asks of the allocator.

use std::cell::Cell;
use std::marker::PhantomData;

use super::AllocationCounts;
use super::request::{Request, Sum};

struct Tally {
    /// Scopes of this thread that are open. Where there are none, nothing is summed.
    open: Cell<u32>,
    sum: Cell<Sum>,
}

thread_local! {
    /// `const`, and nothing in it to drop: reading it initialises nothing, registers no
    /// destructor, and so allocates nothing; and it is there until the thread's memory itself is
    /// gone, after the last destructor of another thread-local has freed something. That is why
    /// `with` can't fail here, as it does for a value that has been destroyed.
    static TALLY: Tally = const {
        Tally {
            open: Cell::new(0),
            sum: Cell::new(Sum::new()),
        }
    };
}

const _: () = assert!(!std::mem::needs_drop::<Tally>());

/// Whether a scope of this thread is open: the fast path of every request.
#[inline]
pub(super) fn is_observed() -> bool {
    TALLY.with(|tally| tally.open.get() != 0)
}

#[cold]
#[inline(never)]
pub(super) fn note(request: Request) {
    TALLY.with(|tally| tally.sum.set(tally.sum.get().with(request)));
}

/// An open scope of the thread that opened it.
///
/// The scopes of a thread close in the reverse order of their opening, which is what makes one
/// peak enough: each scope looks for its own from where it opened, and leaves the larger of its
/// own and the outer one behind.
pub(super) struct Watch {
    start: Sum,
    /// It stays with its thread.
    _thread: PhantomData<*const ()>,
}

impl Watch {
    pub(super) fn open() -> Self {
        TALLY.with(|tally| {
            let start = tally.sum.get();
            tally.sum.set(start.with_peak_from_here());
            tally.open.set(tally.open.get() + 1);
            Self {
                start,
                _thread: PhantomData,
            }
        })
    }

    pub(super) fn counts(&self) -> AllocationCounts {
        TALLY.with(|tally| tally.sum.get().since(self.start))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        TALLY.with(|tally| {
            tally.open.set(tally.open.get() - 1);
            tally.sum.set(tally.sum.get().with_peak_of(self.start));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn nothing_is_open_after_the_last_scope_also_when_it_ends_in_a_panic() {
        assert!(!is_observed());
        let panic = catch_unwind(|| {
            let _outer = Watch::open();
            let _inner = Watch::open();
            assert!(is_observed());
            panic!("on purpose");
        });
        assert!(panic.is_err());
        assert!(!is_observed());
    }

    #[test]
    fn an_inner_scope_leaves_the_outer_ones_peak_as_it_was() {
        let outer = Watch::open();
        note(Request::Allocate { bytes: 100 });
        note(Request::Deallocate { bytes: 100 });
        let inner = Watch::open();
        note(Request::Allocate { bytes: 10 });
        assert_eq!(inner.counts().peak_bytes, 10);
        drop(inner);
        assert_eq!(outer.counts().peak_bytes, 100);
        let inner = Watch::open();
        note(Request::Allocate { bytes: 500 });
        drop(inner);
        assert_eq!(outer.counts().peak_bytes, 510);
    }
}
