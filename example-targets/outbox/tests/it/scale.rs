//! An inbox and a ledger of 100,000 entries beside ones of 10,000: what is allocated, read and
//! written grows tenfold where all of it has to be looked at, and not at all where it need not.
//!
//! Counted and not timed, so that it is the same on every machine. How long it takes, and that
//! no work which allocates nothing is quadratic either: `benches/scale.rs`.

use std::fs;

use outbox::Event;
use perfbudget::{AllocationCounts, AllocationScope};

use crate::support::{DAY, Fault, Fixture};

/// What an operation asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    allocated: AllocationCounts,
    read_bytes: u64,
    written_bytes: u64,
}

/// The bytes that this thread has read from files.
fn read_bytes() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

fn cost_of<T>(fixture: &Fixture, operation: impl FnOnce() -> T) -> (T, Cost) {
    fixture.disk.set(Fault::None);
    // Reading the counter is itself a read: the same each time.
    let (read, written) = (read_bytes(), fixture.disk.bytes_written());
    let observed = AllocationScope::thread().observe(operation);
    let cost = Cost {
        allocated: observed.counts(),
        read_bytes: read_bytes() - read,
        written_bytes: fixture.disk.bytes_written() - written,
    };
    (observed.value, cost)
}

/// Fills the inbox as `turns` commits of as many children would, faster.
fn fill(fixture: &Fixture, turns: usize) {
    let name = |turn: usize| format!("child-{turn:06}");
    fixture.commit(&name(0), "turn 1");
    let inbox = fixture.file("inbox.jsonl");
    let text = fs::read_to_string(&inbox).unwrap();
    let record = text.lines().nth(1).unwrap();
    let mut text = text.clone();
    for turn in 1..turns {
        text.push_str(&record.replace(&name(0), &name(turn)));
        text.push('\n');
    }
    fs::write(&inbox, text).unwrap();
}

const OPERATIONS: usize = 6;

/// The costs of the operations on an outbox of so many turns, by name.
fn costs(turns: usize) -> [(&'static str, Cost); OPERATIONS] {
    let fixture = Fixture::new();
    let outbox = &fixture.outbox;
    fill(&fixture, turns);
    // The first commit finds an inbox that was never rewritten, and rewrites it.
    let ((), compact) = cost_of(&fixture, || {
        outbox.commit(Event::new("late-0", "1")).unwrap()
    });
    let ((), commit) = cost_of(&fixture, || {
        outbox.commit(Event::new("late-1", "1")).unwrap()
    });
    let (pending, look) = cost_of(&fixture, || outbox.pending().unwrap());
    assert_eq!(pending.len(), turns + 2);
    let (drained, drain) = cost_of(&fixture, || outbox.drain().unwrap());
    assert_eq!(drained.len(), turns + 2);

    // Now all of it is in the ledger.
    fixture.commit("late-1", "2");
    let (drained, drain_one) = cost_of(&fixture, || outbox.drain().unwrap());
    assert_eq!(drained.len(), 1);
    fixture.clock.forward(15 * DAY);
    let (swept, sweep) = cost_of(&fixture, || outbox.sweep().unwrap());
    assert_eq!(swept.ledger_entries, turns + 3);
    [
        ("a commit that compacts", compact),
        ("a commit", commit),
        ("pending", look),
        ("a drain of all", drain),
        ("a drain of one, all in the ledger", drain_one),
        ("a sweep of all", sweep),
    ]
}

#[test]
fn a_hundred_thousand_entries_cost_ten_times_what_ten_thousand_do() {
    let small = costs(10_000);
    let large = costs(100_000);
    for ((name, small), (_, large)) in small.into_iter().zip(large) {
        // Tables double as they grow, so a tenth of the entries may have less than a tenth of
        // the room: 12 and not 10. Where every entry counts, quadratic would be 100.
        let grows = |what: &str, small: u64, large: u64| {
            let at_most = small * 12 + 4_096;
            assert!(large <= at_most, "{name}, {what}: {small}, then {large}");
        };
        grows(
            "allocations",
            small.allocated.allocations,
            large.allocated.allocations,
        );
        grows("bytes", small.allocated.bytes, large.allocated.bytes);
        grows(
            "the peak",
            small.allocated.peak_bytes,
            large.allocated.peak_bytes,
        );
        grows("bytes read", small.read_bytes, large.read_bytes);
        grows("bytes written", small.written_bytes, large.written_bytes);
    }
    let cost = |costs: &[(&str, Cost)], name| costs.iter().find(|cost| cost.0 == name).unwrap().1;
    assert_eq!(
        cost(&small, "a commit").written_bytes,
        cost(&large, "a commit").written_bytes
    );
    for costs in [small, large] {
        let commit = cost(&costs, "a commit");
        assert!(commit.allocated.bytes < 4_096, "{commit:?}");
        assert!(commit.read_bytes < 1_024, "{commit:?}");
        // The ledger is passed over once: nothing is allocated for an entry of it.
        let drain = cost(&costs, "a drain of one, all in the ledger");
        assert!(drain.allocated.allocations < 64, "{drain:?}");
    }
}
