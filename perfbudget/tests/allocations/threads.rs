//! Whose allocations a scope of the thread counts.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::mpsc;
use std::thread;

use perfbudget::{AllocationCounts, AllocationScope};

use crate::alone::alone;

#[test]
fn other_threads_are_left_out() {
    let (jobs, work) = mpsc::sync_channel::<()>(0);
    let (done, finished) = mpsc::sync_channel::<()>(0);
    thread::scope(|threads| {
        threads.spawn(move || {
            for () in work {
                drop(black_box(vec![0_u8; 5_000]));
                done.send(()).expect("it waits");
            }
        });
        // Once before: a channel's first meeting allocates on this thread.
        let meet = || {
            jobs.send(()).expect("it waits");
            finished.recv().expect("it answers");
        };
        meet();
        let observed = AllocationScope::thread().observe(meet);
        assert!(observed.counts().bytes < 5_000, "{:?}", observed.counts());
        drop(jobs);
    });
}

#[test]
fn memory_freed_on_another_thread_is_that_threads_deallocation() {
    let made = AllocationScope::thread().observe(|| black_box(Vec::<u8>::with_capacity(1_000)));
    assert_eq!(
        made.counts(),
        AllocationCounts::new()
            .allocations(1)
            .bytes(1_000)
            .peak_bytes(1_000)
    );
    let block = made.value;
    let (freed, refilled) = thread::spawn(move || {
        let mut block = Some(block);
        let freed = AllocationScope::thread().observe(|| drop(block.take()));
        // Live bytes of this thread are below where they began, also for what comes after.
        let refilled = AllocationScope::thread().observe(|| black_box(vec![1_u8; 10]));
        (freed.counts(), refilled.counts())
    })
    .join()
    .expect("it ends");
    assert_eq!(freed, AllocationCounts::new().deallocations(1));
    assert_eq!(
        refilled,
        AllocationCounts::new()
            .allocations(1)
            .bytes(10)
            .peak_bytes(10)
    );
}

#[test]
fn sixteen_threads_each_count_their_own() {
    const THREADS: usize = 16;
    let start = Barrier::new(THREADS);
    thread::scope(|threads| {
        for thread in 1..=THREADS {
            let start = &start;
            threads.spawn(move || {
                start.wait();
                for round in 1..=2_000_u64 {
                    let n = round % 7;
                    let observed = AllocationScope::thread().observe(|| {
                        for _ in 0..n {
                            drop(black_box(Vec::<u8>::with_capacity(thread)));
                        }
                        black_box(Vec::<u8>::with_capacity(2 * thread))
                    });
                    let bytes = thread as u64;
                    assert_eq!(
                        observed.counts(),
                        AllocationCounts::new()
                            .allocations(n + 1)
                            .deallocations(n)
                            .bytes((n + 2) * bytes)
                            .peak_bytes(2 * bytes)
                    );
                }
            });
        }
    });
}

/// Allocates and frees in the thread's last moments, when other thread-locals are gone.
struct LastMoments;

impl Drop for LastMoments {
    fn drop(&mut self) {
        drop(black_box(Vec::<u8>::with_capacity(77)));
        let observed = AllocationScope::thread().observe(|| black_box(vec![1_u8; 33]));
        let expected = AllocationCounts::new()
            .allocations(1)
            .bytes(33)
            .peak_bytes(33);
        // A panic here ends the process, which its parent sees.
        assert_eq!(observed.counts(), expected);
    }
}

thread_local! {
    static FIRST: RefCell<Vec<LastMoments>> = const { RefCell::new(Vec::new()) };
    static SECOND: RefCell<Vec<LastMoments>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_thread_is_counted_to_its_last_moment() {
    alone("threads::a_thread_is_counted_to_its_last_moment", || {
        // Once before: a process's first thread allocates what later ones don't.
        let spawn = |last_moments: usize| {
            let thread = thread::spawn(move || {
                for _ in 0..last_moments {
                    FIRST.with_borrow_mut(|all| all.push(LastMoments));
                    SECOND.with_borrow_mut(|all| all.push(LastMoments));
                }
            });
            thread.join().expect("it ends");
        };
        let of_the_process = |last_moments| {
            let observed = AllocationScope::process().observe(|| spawn(last_moments));
            let counts = observed.counts();
            assert_eq!(counts.allocations, counts.deallocations, "{counts:?}");
            counts.allocations
        };
        spawn(1);
        let (none, one) = (of_the_process(0), of_the_process(1));
        // Two that allocate twice each, and two vectors of no size.
        assert_eq!(one, none + 4);
    });
}
