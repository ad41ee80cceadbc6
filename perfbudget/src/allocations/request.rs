//! What can be asked of an allocator, and what it adds up to.

use super::AllocationCounts;

/// A request that was answered.
#[derive(Clone, Copy)]
pub(super) enum Request {
    Allocate { bytes: usize },
    Reallocate { from: usize, to: usize },
    Deallocate { bytes: usize },
}

/// What a request adds to the counts, 0 or 1 each, and to the bytes that are live.
#[derive(Clone, Copy)]
pub(super) struct Effect {
    pub(super) allocations: u64,
    pub(super) reallocations: u64,
    pub(super) deallocations: u64,
    pub(super) bytes: u64,
    pub(super) live: i64,
}

impl Request {
    pub(super) fn effect(self) -> Effect {
        let (allocated, deallocated) = match self {
            Self::Allocate { bytes } => (Some(bytes), None),
            Self::Reallocate { from, to } => (Some(to), Some(from)),
            Self::Deallocate { bytes } => (None, Some(bytes)),
        };
        let bytes = allocated.unwrap_or(0) as u64;
        let freed = deallocated.unwrap_or(0) as u64;
        Effect {
            allocations: u64::from(allocated.is_some()),
            reallocations: u64::from(allocated.is_some() && deallocated.is_some()),
            deallocations: u64::from(deallocated.is_some()),
            bytes,
            // No `Layout` is larger than `isize::MAX`: neither conversion wraps.
            live: bytes as i64 - freed as i64,
        }
    }
}

/// The sum of requests, in order. An allocator must not unwind, so that nothing here can panic:
/// sums wrap, which takes centuries.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    allocations: u64,
    reallocations: u64,
    deallocations: u64,
    bytes: u64,
    live: i64,
    /// The largest `live` since it was last set to `live`.
    peak: i64,
}

impl Sum {
    pub(super) const fn new() -> Self {
        Self {
            allocations: 0,
            reallocations: 0,
            deallocations: 0,
            bytes: 0,
            live: 0,
            peak: 0,
        }
    }

    pub(super) fn with(self, request: Request) -> Self {
        let effect = request.effect();
        let live = self.live.wrapping_add(effect.live);
        Self {
            allocations: self.allocations.wrapping_add(effect.allocations),
            reallocations: self.reallocations.wrapping_add(effect.reallocations),
            deallocations: self.deallocations.wrapping_add(effect.deallocations),
            bytes: self.bytes.wrapping_add(effect.bytes),
            live,
            peak: self.peak.max(live),
        }
    }

    /// The same, its peak to be found from here on.
    pub(super) fn with_peak_from_here(self) -> Self {
        Self {
            peak: self.live,
            ..self
        }
    }

    /// The same, its peak also that of an earlier time.
    pub(super) fn with_peak_of(self, earlier: Self) -> Self {
        Self {
            peak: self.peak.max(earlier.peak),
            ..self
        }
    }

    /// What came since `earlier`, at which the peak was set to `live`.
    pub(super) fn since(self, earlier: Self) -> AllocationCounts {
        AllocationCounts {
            allocations: self.allocations.wrapping_sub(earlier.allocations),
            reallocations: self.reallocations.wrapping_sub(earlier.reallocations),
            deallocations: self.deallocations.wrapping_sub(earlier.deallocations),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            peak_bytes: self.peak.abs_diff(earlier.live),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reallocation_is_an_allocation_and_a_deallocation() {
        let sum = Sum::new()
            .with(Request::Allocate { bytes: 8 })
            .with(Request::Reallocate { from: 8, to: 32 })
            .with(Request::Reallocate { from: 32, to: 4 })
            .with(Request::Deallocate { bytes: 4 });
        let expected = AllocationCounts::new()
            .allocations(3)
            .reallocations(2)
            .deallocations(3)
            .bytes(8 + 32 + 4)
            .peak_bytes(32);
        assert_eq!(sum.since(Sum::new()), expected);
        assert_eq!(sum.live, 0);
    }

    #[test]
    fn what_is_freed_for_others_makes_room_below_the_peak() {
        let sum = Sum::new()
            .with(Request::Deallocate { bytes: 100 })
            .with(Request::Allocate { bytes: 60 })
            .with(Request::Allocate { bytes: 50 });
        assert_eq!(sum.since(Sum::new()).peak_bytes, 10);
    }
}
