//! What counting allocations costs: a block that is allocated and freed, with the counting
//! allocator around the system's and without.
//!
//! `cargo bench -p perfbudget --profile perf --bench allocations -- [--check]`
//!
//! Each round measures every case once, in turn, so that a change of the machine's pace meets all
//! of them; a figure is the median over the rounds. What counting adds is the median of the
//! differences within a round to the system's allocator alone. Each allocator is called through the
//! same generic function, compiled for it: as a program's own calls are, with what the compiler can
//! do across the wrapper.
//!
//! `--check` makes a missed goal the exit code 1.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use perfbudget::{AllocationCounts, AllocationScope, CountingAllocator};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator::new(System);

const ROUNDS: usize = 301;
const PAIRS: u32 = 10_000;

struct Case {
    name: &'static str,
    added: bool,
    /// At most how many nanoseconds.
    goal: Option<f64>,
    /// Nanoseconds a pair.
    measure: fn() -> f64,
}

const CASES: [Case; 7] = [
    Case {
        name: "the system's allocator",
        added: false,
        goal: None,
        measure: || time(&System),
    },
    Case {
        name: "counting allocator, no scope open",
        added: true,
        goal: Some(3.0),
        measure: || time(&COUNTING),
    },
    Case {
        name: "counting allocator, a scope of another thread open",
        added: true,
        goal: Some(3.0),
        measure: || beside_a_scope(AllocationScope::thread()),
    },
    Case {
        name: "in a scope of the thread",
        added: true,
        goal: None,
        measure: || counted(AllocationScope::thread()),
    },
    Case {
        name: "in a scope of the process",
        added: true,
        goal: None,
        measure: || counted(AllocationScope::process()),
    },
    Case {
        name: "opening and closing a scope of the thread",
        added: false,
        goal: None,
        measure: || opened(AllocationScope::thread()),
    },
    Case {
        name: "opening and closing a scope of the process",
        added: false,
        goal: None,
        measure: || opened(AllocationScope::process()),
    },
];

fn main() -> ExitCode {
    let rounds: Vec<[f64; CASES.len()]> = (0..=ROUNDS)
        .map(|_| CASES.each_ref().map(|case| (case.measure)()))
        .skip(1) // the first warms up
        .collect();
    println!("medians of {ROUNDS} rounds of {PAIRS}\n");
    println!("| a block of 64 bytes, allocated and freed | ns | goal | |");
    println!("|---|---|---|---|");
    let mut missed = false;
    for (at, case) in CASES.iter().enumerate() {
        let figure = median(rounds.iter().map(|round| {
            if case.added {
                round[at] - round[0]
            } else {
                round[at]
            }
        }));
        let sign = if case.added { "+" } else { "" };
        let ns = if case.added {
            format!("{figure:+.1}")
        } else {
            format!("{figure:.1}")
        };
        let (goal, verdict) = match case.goal {
            None => (String::new(), ""),
            Some(goal) if figure > goal => (format!("≤ {sign}{goal}"), "MISSED"),
            Some(goal) => (format!("≤ {sign}{goal}"), "reached"),
        };
        missed |= verdict == "MISSED";
        println!("| {} | {ns} | {goal} | {verdict} |", case.name);
    }
    println!("\n+: more than the system's allocator, in the same round");
    if missed && std::env::args().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds for each pair.
#[inline(never)]
fn time<A: GlobalAlloc>(allocator: &A) -> f64 {
    let layout = black_box(Layout::new::<[u64; 8]>());
    let start = Instant::now();
    for _ in 0..PAIRS {
        // SAFETY: the layout is not empty.
        let block = black_box(unsafe { allocator.alloc(layout) });
        assert!(!block.is_null());
        // SAFETY: a live block of this allocator and layout.
        unsafe { allocator.dealloc(block, layout) };
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
}

fn counted(scope: AllocationScope) -> f64 {
    let observed = scope.observe(|| time(&COUNTING));
    let pairs = u64::from(PAIRS);
    let expected = AllocationCounts::new()
        .allocations(pairs)
        .deallocations(pairs)
        .bytes(pairs * 64)
        .peak_bytes(64);
    assert_eq!(observed.counts(), expected);
    observed.value
}

/// While another thread has a scope open and sleeps in it.
fn beside_a_scope(scope: AllocationScope) -> f64 {
    let (open, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|threads| {
        let sleeper = threads.spawn(|| {
            scope.observe(|| {
                open.store(true, Ordering::Release);
                while !done.load(Ordering::Acquire) {
                    thread::park();
                }
            })
        });
        while !open.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let ns = time(&COUNTING);
        done.store(true, Ordering::Release);
        sleeper.thread().unpark();
        // Until the thread has ended: what it frees at its end would count in the next scope.
        _ = sleeper.join().expect("it sleeps");
        ns
    })
}

fn opened(scope: AllocationScope) -> f64 {
    let start = Instant::now();
    for _ in 0..PAIRS {
        black_box(scope.observe(|| ()).counts());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
}
