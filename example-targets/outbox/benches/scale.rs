//! What an outbox of 100,000 entries costs: time and memory, beside smaller ones.
//!
//! `cargo bench -p outbox --profile perf --bench scale -- [--check]`
//!
//! In memory, with stubbed syncs: the figures are the code's, not the disk's. Times are medians
//! over the rounds; memory is the peak of what the calling thread has allocated meanwhile, the
//! result included, and the same in every round.
//!
//! `--check` makes a missed goal the exit code 1: ten times the entries may take up to 20 times
//! as long (they no longer fit into the processor's caches; quadratic work would take 100 times),
//! and a commit looks at none of them.

use std::alloc::System;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use outbox::{Clock, Event, Outbox, SystemDisk};
use perfbudget::{AllocationScope, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(System);

const ROUNDS: usize = 9;
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// The operations, in the order in which an outbox goes through them.
const OPERATIONS: [&str; 6] = [
    "commit among that many pending",
    "the commit that compacts them",
    "`pending`",
    "drain of all",
    "drain of one, with that many in the ledger",
    "sweep that forgets all",
];

/// The goals: how much longer 100,000 entries may take than 10,000.
const RATIOS_MAX: [f64; 6] = [2.0, 20.0, 20.0, 20.0, 20.0, 20.0];

#[derive(Clone, Copy, Default)]
struct Cost {
    time: Duration,
    peak_bytes: u64,
}

/// Runs `operation` and drops its result outside the clock.
fn cost_of<T>(operation: impl FnOnce() -> T) -> Cost {
    let observed = AllocationScope::thread().observe(|| {
        let start = Instant::now();
        let value = operation();
        (start.elapsed(), value)
    });
    Cost {
        time: observed.value.0,
        peak_bytes: observed.counts().peak_bytes,
    }
}

/// A day of which the later handles say that it is three weeks later.
struct Later;

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_hours(3 * 7 * 24)
    }
}

fn round(turns: usize) -> [Cost; 6] {
    let memory = perfbudget::tmpfs_dir();
    assert!(memory.is_in_memory(), "there is no tmpfs to measure on");
    let outbox = Outbox::open(memory.path(), "parent").expect("an outbox");
    let name = |turn: usize| format!("child-{turn:06}");
    let commit = |child: &str, signal: &str| {
        let event = Event::new(child, signal).with_summary("tests pass; two files changed");
        outbox.commit(event).expect("committed");
    };
    // One commit, and its line with other children's names: as many commits would leave the same.
    commit(&name(0), "turn 1");
    let inbox = outbox.path().join("inbox.jsonl");
    let mut text = fs::read_to_string(&inbox).expect("it was committed");
    let record = text.lines().nth(1).expect("after the header").to_owned();
    for turn in 1..turns {
        text.push_str(&record.replace(&name(0), &name(turn)));
        text.push('\n');
    }
    // As large as the inbox was when it was last rewritten: the next commit appends.
    let header = text.lines().next().expect("a header").len();
    let body = text.split_off(header + 1);
    let header =
        |live_bytes: usize| format!("{{\"outbox\":\"inbox.v1\",\"live_bytes\":{live_bytes}}}\n");
    fs::write(&inbox, header(body.len()) + &body).expect("written");

    let among = cost_of(|| commit("late", "1"));
    let text = fs::read_to_string(&inbox).expect("it is there");
    let body = &text[text.find('\n').expect("a header") + 1..];
    // And as if it had doubled since.
    let padding = " ".repeat((64 * 1024_usize).saturating_sub(body.len())) + "\n";
    fs::write(&inbox, header(body.len() / 2) + body + &padding).expect("written");
    let compacting = cost_of(|| commit("late", "2"));
    let length = fs::metadata(&inbox).expect("it is there").len();
    assert!(
        length < text.len() as u64 + 1_024,
        "it was not rewritten: {length}"
    );

    let pending = cost_of(|| outbox.pending().expect("read"));
    let drain = cost_of(|| outbox.drain().expect("drained"));
    commit("late", "3");
    let one = cost_of(|| assert_eq!(outbox.drain().expect("drained").len(), 1));
    drop(outbox);
    let later = Outbox::with_seams(memory.path(), "parent", SystemDisk, Later).expect("an outbox");
    let sweep = cost_of(|| {
        let swept = later.sweep().expect("swept");
        assert_eq!(swept.ledger_entries, turns + 2);
    });
    [among, compacting, pending, drain, one, sweep]
}

fn main() -> ExitCode {
    let _syncs = fsync_counter::stub();
    let costs = SIZES.map(|turns| {
        let rounds: Vec<[Cost; 6]> = (0..=ROUNDS).map(|_| round(turns)).skip(1).collect();
        std::array::from_fn::<Cost, 6, _>(|operation| {
            let mut times: Vec<Duration> = rounds.iter().map(|r| r[operation].time).collect();
            times.sort_unstable();
            Cost {
                time: times[ROUNDS / 2],
                peak_bytes: rounds[0][operation].peak_bytes,
            }
        })
    });
    println!("medians of {ROUNDS} rounds, in memory, syncs stubbed\n");
    println!(
        "| entries | 1,000 | 10,000 | 100,000 | 100,000 ÷ 10,000 | goal | | memory, 100,000 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut has_missed = false;
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let [small, medium, large] = costs.map(|costs| costs[operation]);
        let ratio = large.time.as_secs_f64() / medium.time.as_secs_f64();
        let goal = RATIOS_MAX[operation];
        let verdict = if ratio <= goal { "reached" } else { "MISSED" };
        has_missed |= ratio > goal;
        println!(
            "| {name} | {} | {} | {} | {ratio:.1} × | ≤ {goal:.0} × | {verdict} | {} |",
            show(small.time),
            show(medium.time),
            show(large.time),
            show_bytes(large.peak_bytes),
        );
    }
    if has_missed && std::env::args().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Three significant digits.
fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (value, unit) = if micros >= 1_000.0 {
        (micros / 1_000.0, "ms")
    } else {
        (micros, "µs")
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

fn show_bytes(bytes: u64) -> String {
    if bytes >= 100_000 {
        // The nearest tenth, in whole numbers.
        let tenths = (bytes + 50_000) / 100_000;
        format!("{}.{} MB", tenths / 10, tenths % 10)
    } else {
        format!("{bytes} B")
    }
}
