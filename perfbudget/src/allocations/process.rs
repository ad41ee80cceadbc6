//! What all threads of the process ask of the allocator.
//!
//! Each open scope has a slot of its own with its own sums, which every thread adds to: scopes of
//! the process overlap in any order, and each has its own peak. A bit in [`OPEN`] says that a slot
//! is added to. Nothing here locks or allocates: a lock in an allocator that is held while another
//! thread forks is held in the child for ever.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::AllocationCounts;
use super::request::Request;

/// As many as [`OPEN`] has bits.
pub(super) const SLOTS: usize = u64::BITS as usize;

/// The slots that requests are added to.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// The slots that a scope owns: before it is open, and until its counts are read.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Where the next scope begins to look for a slot. One that was just given up comes last: a thread
/// that was interrupted in the midst of adding to it may add the rest to whoever has it next.
static NEXT: AtomicUsize = AtomicUsize::new(0);

static SUMS: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

struct Slot {
    allocations: AtomicU64,
    reallocations: AtomicU64,
    deallocations: AtomicU64,
    bytes: AtomicU64,
    live: AtomicI64,
    peak: AtomicI64,
}

/// Every access is relaxed. That a request is in the counts of a scope follows from the order in
/// which the program put them: a thread that was told of the scope reads the bit, and a thread
/// that told the scope's of its request has added to the slot before.
const RELAXED: Ordering = Ordering::Relaxed;

impl Slot {
    const fn new() -> Self {
        Self {
            allocations: AtomicU64::new(0),
            reallocations: AtomicU64::new(0),
            deallocations: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            live: AtomicI64::new(0),
            peak: AtomicI64::new(0),
        }
    }

    fn clear(&self) {
        self.allocations.store(0, RELAXED);
        self.reallocations.store(0, RELAXED);
        self.deallocations.store(0, RELAXED);
        self.bytes.store(0, RELAXED);
        self.live.store(0, RELAXED);
        self.peak.store(0, RELAXED);
    }

    fn note(&self, request: Request) {
        let effect = request.effect();
        self.allocations.fetch_add(effect.allocations, RELAXED);
        self.reallocations.fetch_add(effect.reallocations, RELAXED);
        self.deallocations.fetch_add(effect.deallocations, RELAXED);
        self.bytes.fetch_add(effect.bytes, RELAXED);
        // A value that `live` did have, in the one order in which all threads changed it.
        let live = self.live.fetch_add(effect.live, RELAXED);
        self.peak.fetch_max(live.wrapping_add(effect.live), RELAXED);
    }

    fn counts(&self) -> AllocationCounts {
        AllocationCounts {
            allocations: self.allocations.load(RELAXED),
            reallocations: self.reallocations.load(RELAXED),
            deallocations: self.deallocations.load(RELAXED),
            bytes: self.bytes.load(RELAXED),
            // It begins at 0 and only rises.
            peak_bytes: self.peak.load(RELAXED).unsigned_abs(),
        }
    }
}

/// Whether a scope of the process is open: the fast path of every request.
#[inline]
pub(super) fn is_observed() -> bool {
    OPEN.load(RELAXED) != 0
}

#[cold]
#[inline(never)]
pub(super) fn note(request: Request) {
    // Acquire: a slot whose bit is seen was cleared before (`Watch::open` releases).
    let mut open = OPEN.load(Ordering::Acquire);
    while open != 0 {
        let slot = open.trailing_zeros() as usize;
        open &= open - 1;
        SUMS[slot].note(request);
    }
}

/// An open scope of the process.
pub(super) struct Watch {
    slot: usize,
}

impl Watch {
    /// `None` when there are [`SLOTS`] already.
    pub(super) fn open() -> Option<Self> {
        let first = NEXT.fetch_add(1, RELAXED);
        let mut slots = (0..SLOTS).map(|offset| first.wrapping_add(offset) % SLOTS);
        // Acquire: its last owner read its counts before (`drop` releases).
        let slot =
            slots.find(|slot| TAKEN.fetch_or(1 << slot, Ordering::Acquire) & (1 << slot) == 0)?;
        SUMS[slot].clear();
        OPEN.fetch_or(1 << slot, Ordering::Release);
        Some(Self { slot })
    }

    pub(super) fn counts(&self) -> AllocationCounts {
        SUMS[self.slot].counts()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        OPEN.fetch_and(!(1 << self.slot), RELAXED);
        TAKEN.fetch_and(!(1 << self.slot), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one test here: the slots are the process's.
    #[test]
    fn requests_are_added_to_the_slots_of_open_scopes_and_to_no_others() {
        assert!(!is_observed());
        let first = Watch::open().expect("room");
        note(Request::Allocate { bytes: 10 });
        let second = Watch::open().expect("room");
        note(Request::Deallocate { bytes: 10 });
        drop(first);
        assert!(is_observed());
        let third = Watch::open().expect("room");
        note(Request::Reallocate { from: 5, to: 25 });
        let reallocated = AllocationCounts::new()
            .allocations(1)
            .reallocations(1)
            .deallocations(1)
            .bytes(25);
        assert_eq!(second.counts(), reallocated.deallocations(2).peak_bytes(10));
        assert_eq!(third.counts(), reallocated.peak_bytes(20));
        drop((second, third));
        assert!(!is_observed());
        assert_eq!(TAKEN.load(RELAXED), 0);
    }
}
