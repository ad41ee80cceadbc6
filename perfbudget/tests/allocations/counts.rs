//! What is counted, and as what, on one thread.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use perfbudget::{AllocationCounts, AllocationScope, Gate, Verdict};

/// What `f` asks of the allocator; what it returns is dropped after.
fn counts<T>(f: impl FnOnce() -> T) -> AllocationCounts {
    AllocationScope::thread().observe(f).counts()
}

/// A block of its own, which the optimiser leaves where it is.
fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

/// `n` blocks of `bytes` each that are allocated and not freed.
fn allocated(n: u64, bytes: u64) -> AllocationCounts {
    AllocationCounts::new()
        .allocations(n)
        .bytes(n * bytes)
        .peak_bytes(n * bytes)
}

#[test]
fn what_is_kept_is_allocated_and_what_is_dropped_is_deallocated_too() {
    assert_eq!(counts(|| block(100)), allocated(1, 100));
    assert_eq!(
        counts(|| drop(block(100))),
        allocated(1, 100).deallocations(1)
    );
    assert_eq!(counts(|| black_box(Box::new([0_u64; 4]))), allocated(1, 32));
    assert_eq!(counts(|| (block(50), block(50))), allocated(2, 50));
}

#[test]
fn code_that_allocates_nothing_counts_as_nothing() {
    let observed = AllocationScope::thread().observe(|| (black_box(Vec::<u8>::new()), 7));
    assert_eq!(observed.value.1, 7);
    assert_eq!(observed.counts(), AllocationCounts::new());
}

#[test]
fn zeroed_memory_is_an_allocation() {
    assert_eq!(counts(|| black_box(vec![0_u8; 64])), allocated(1, 64));
}

#[test]
fn a_reallocation_is_an_allocation_of_the_whole_new_size() {
    let grown = counts(|| {
        let mut bytes = block(10);
        bytes.reserve_exact(30);
        black_box(bytes)
    });
    assert_eq!(
        grown,
        AllocationCounts::new()
            .allocations(2)
            .reallocations(1)
            .deallocations(1)
            .bytes(10 + 30)
            .peak_bytes(30)
    );

    let shrunk = counts(|| {
        let mut bytes = block(1_000);
        bytes.push(1);
        bytes.shrink_to_fit();
        let others = block(500);
        (black_box(bytes), others)
    });
    assert_eq!(
        shrunk,
        AllocationCounts::new()
            .allocations(3)
            .reallocations(1)
            .deallocations(1)
            .bytes(1_000 + 1 + 500)
            .peak_bytes(1_000)
    );
}

#[test]
fn a_vec_without_a_capacity_shows_by_its_reallocations() {
    let fill = |mut numbers: Vec<u64>| {
        for n in 0..64 {
            numbers.push(black_box(n));
        }
        numbers
    };
    let known = counts(|| fill(Vec::with_capacity(64)));
    assert_eq!(known, allocated(1, 64 * 8));
    let unknown = counts(|| fill(Vec::new()));
    assert!(unknown.reallocations > 0, "{unknown:?}");
    assert_eq!(unknown.allocations, 1 + unknown.reallocations);
    assert_eq!(unknown.peak_bytes, 64 * 8);
}

#[test]
fn the_peak_is_the_most_that_was_live_at_once() {
    let one_after_the_other = counts(|| {
        drop(block(300));
        drop(block(200));
    });
    assert_eq!(
        one_after_the_other,
        AllocationCounts::new()
            .allocations(2)
            .deallocations(2)
            .bytes(500)
            .peak_bytes(300)
    );
    let at_once = counts(|| drop((block(300), block(200))));
    assert_eq!(at_once.peak_bytes, 500);
}

#[test]
fn giving_back_what_is_older_makes_room_below_the_peak() {
    let old = block(400);
    let replaced = counts(|| {
        drop(old);
        block(300)
    });
    assert_eq!(
        replaced,
        AllocationCounts::new()
            .allocations(1)
            .deallocations(1)
            .bytes(300)
    );
    let old = block(400);
    let beside = counts(|| {
        let new = block(300);
        drop(old);
        new
    });
    assert_eq!(beside.peak_bytes, 300);
}

#[test]
fn what_is_refused_counts_as_nothing() {
    let huge = isize::MAX as usize;
    let refused = counts(|| {
        let mut bytes = Vec::<u8>::new();
        assert!(bytes.try_reserve_exact(huge).is_err());
    });
    assert_eq!(refused, AllocationCounts::new());
    let not_grown = counts(|| {
        let mut bytes = block(10);
        bytes.push(1);
        assert!(bytes.try_reserve_exact(huge - 1).is_err());
        bytes
    });
    assert_eq!(not_grown, allocated(1, 10));
}

#[test]
fn scopes_nest_and_each_counts_for_itself() {
    let outer = AllocationScope::thread().observe(|| {
        drop(block(1_000));
        let inner = AllocationScope::thread().observe(|| block(10));
        let kept = block(100);
        (inner.counts(), inner.value, kept)
    });
    assert_eq!(outer.value.0, allocated(1, 10));
    assert_eq!(
        outer.counts(),
        AllocationCounts::new()
            .allocations(3)
            .deallocations(1)
            .bytes(1_110)
            .peak_bytes(1_000)
    );
}

#[test]
fn an_inner_scope_that_rises_higher_is_the_outer_ones_peak_too() {
    let outer = AllocationScope::thread().observe(|| {
        let kept = block(100);
        let inner = counts(|| drop(block(1_000)));
        assert_eq!(inner.peak_bytes, 1_000);
        kept
    });
    assert_eq!(outer.counts().peak_bytes, 1_100);
}

#[test]
fn opening_and_closing_a_scope_of_the_thread_allocates_nothing() {
    counts(|| ()); // the proof of the allocator, once a process
    let outer = counts(|| {
        for _ in 0..100 {
            counts(|| ());
        }
    });
    assert_eq!(outer, AllocationCounts::new());
}

#[test]
fn a_panic_closes_the_scope_and_the_outer_one_counts_on() {
    let outer = AllocationScope::thread().observe(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            counts(|| {
                let _dropped = block(64);
                // Not `panic!`, whose hook prints and allocates.
                std::panic::resume_unwind(Box::new(()));
            })
        }));
        assert!(outcome.is_err());
        drop(outcome);
        let before = counts(|| ());
        (before, block(10))
    });
    assert_eq!(outer.value.0, AllocationCounts::new());
    let peak = outer.counts().peak_bytes;
    assert!((64..64 + 200).contains(&peak), "{peak}");
    assert_eq!(
        outer.counts().allocations,
        outer.counts().deallocations + 1,
        "{:?}",
        outer.counts()
    );
}

#[test]
fn a_gate_compares_all_counts_or_those_that_it_names() {
    let observed = AllocationScope::thread().observe(|| drop(block(100)));
    Gate::counts("tests/all-allocation-counts").exactly(
        [
            ("allocations", 1),
            ("deallocations", 1),
            ("bytes", 100),
            ("peak_bytes", 100),
        ],
        observed.counts(),
    );
    Gate::counts("tests/number-of-allocations").exactly(
        AllocationCounts::new().allocations(1),
        observed.counts().only(["allocations"]),
    );
    let record = Gate::counts("tests/differing-allocations").check(
        AllocationCounts::new().allocations(2),
        observed.counts().only(["allocations", "reallocations"]),
    );
    assert_eq!(record.verdict, Verdict::Differs);
}
