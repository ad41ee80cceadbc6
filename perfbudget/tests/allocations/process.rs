//! Scopes of the whole process.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::thread;

use perfbudget::{AllocationCounts, AllocationScope};

use crate::alone::alone;

fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

#[test]
fn every_thread_counts_and_memory_may_be_freed_by_another() {
    alone(
        "process::every_thread_counts_and_memory_may_be_freed_by_another",
        || {
            let barrier = Barrier::new(2);
            let (made, freed) = thread::scope(|threads| {
                let other = threads.spawn(|| {
                    barrier.wait(); // this thread has started, which allocates
                    barrier.wait(); // the scope is open
                    let made = block(1_000);
                    barrier.wait(); // what there is to count is done
                    barrier.wait(); // the scope is closed
                    made
                });
                barrier.wait();
                let observed = AllocationScope::process().observe(|| {
                    barrier.wait();
                    barrier.wait();
                });
                barrier.wait();
                let made = other.join().expect("it ends");
                let freed = AllocationScope::process().observe(|| drop(made));
                (observed.counts(), freed.counts())
            });
            let expected = AllocationCounts::new()
                .allocations(1)
                .bytes(1_000)
                .peak_bytes(1_000);
            assert_eq!(made, expected);
            assert_eq!(freed, AllocationCounts::new().deallocations(1));
        },
    );
}

#[test]
fn sixteen_threads_at_once_are_exact() {
    const THREADS: u64 = 16;
    const ROUNDS: u64 = 100_000;
    alone("process::sixteen_threads_at_once_are_exact", || {
        let barrier = Barrier::new(17);
        let counts = thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    barrier.wait(); // all have started, which allocates
                    barrier.wait();
                    let mut kept = block(64);
                    for _ in 0..ROUNDS {
                        drop(block(16));
                    }
                    kept.reserve_exact(128);
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let observed = AllocationScope::process().observe(|| {
                barrier.wait();
                barrier.wait();
            });
            barrier.wait();
            observed.counts()
        });
        assert_eq!(
            counts.peak_bytes(0),
            AllocationCounts::new()
                .allocations(THREADS * (ROUNDS + 2))
                .reallocations(THREADS)
                .deallocations(THREADS * (ROUNDS + 1))
                .bytes(THREADS * (64 + ROUNDS * 16 + 128))
        );
        // All kept blocks, and at most what one thread has beside them at a time.
        let kept = THREADS * 128;
        assert!(
            (kept..=kept + THREADS * 16).contains(&counts.peak_bytes),
            "{counts:?}"
        );
    });
}

#[test]
fn scopes_overlap_in_any_order_and_each_counts_for_itself() {
    alone(
        "process::scopes_overlap_in_any_order_and_each_counts_for_itself",
        || {
            let barrier = Barrier::new(2);
            thread::scope(|threads| {
                // First opens, second opens, first closes, second closes.
                let second = threads.spawn(|| {
                    barrier.wait(); // this thread has started, which allocates
                    barrier.wait();
                    let observed = AllocationScope::process().observe(|| {
                        barrier.wait();
                        barrier.wait();
                        drop(block(4_000));
                    });
                    observed.counts()
                });
                barrier.wait();
                let first = AllocationScope::process().observe(|| {
                    drop(block(1_000));
                    barrier.wait();
                    barrier.wait();
                    drop(block(200));
                });
                barrier.wait();
                let second = second.join().expect("it ends");
                let count = AllocationCounts::new();
                let both = count.allocations(2).deallocations(2);
                assert_eq!(first.counts(), both.bytes(1_200).peak_bytes(1_000));
                assert_eq!(second, both.bytes(4_200).peak_bytes(4_000));
            });
        },
    );
}

#[test]
fn scopes_of_thread_and_process_nest_in_each_other_and_allocate_nothing() {
    alone(
        "process::scopes_of_thread_and_process_nest_in_each_other_and_allocate_nothing",
        || {
            let (thread, process) = (AllocationScope::thread(), AllocationScope::process());
            let outer = process.observe(|| {
                let middle = thread.observe(|| {
                    for _ in 0..200 {
                        process.observe(|| thread.observe(|| ())).value.value
                    }
                    block(10)
                });
                (middle.counts(), block(5))
            });
            let ten = AllocationCounts::new().allocations(1).bytes(10);
            assert_eq!(outer.value.0, ten.peak_bytes(10));
            // The ten were freed when the middle scope's value was.
            assert_eq!(
                outer.counts(),
                AllocationCounts::new()
                    .allocations(2)
                    .deallocations(1)
                    .bytes(15)
                    .peak_bytes(15)
            );
        },
    );
}

/// One more would have no bit to say that it is open.
#[test]
fn there_is_room_for_sixty_four_and_the_next_says_so() {
    fn nested<T>(depth: usize, innermost: &dyn Fn() -> T) -> T {
        if depth == 0 {
            return innermost();
        }
        AllocationScope::process()
            .observe(|| nested(depth - 1, innermost))
            .value
    }
    alone(
        "process::there_is_room_for_sixty_four_and_the_next_says_so",
        || {
            nested(64, &|| ());
            let panic = catch_unwind(|| nested(65, &|| ())).expect_err("it panics");
            let text = panic.downcast::<String>().expect("a text");
            assert!(
                text.starts_with("64 scopes of the process are open"),
                "{text}"
            );
            // That panic closed the 64.
            nested(64, &|| ());
        },
    );
}

#[test]
fn a_panic_closes_the_scope() {
    alone("process::a_panic_closes_the_scope", || {
        for _ in 0..1_000 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                AllocationScope::process().observe(|| resume_unwind(Box::new(())))
            }));
            assert!(outcome.is_err());
        }
        // Every place for a scope has been used many times: none is left of an earlier one's.
        for _ in 0..100 {
            let observed = AllocationScope::process().observe(|| block(10));
            let expected = AllocationCounts::new().allocations(1).bytes(10);
            assert_eq!(observed.counts(), expected.peak_bytes(10));
        }
    });
}
