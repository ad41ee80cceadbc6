//! How many fsyncs an operation costs, counted at the seam.

use std::sync::Arc;

use outbox::{Event, Outbox};

use crate::support::{DAY, Fault, FaultyDisk, Fixture, HandClock};

/// File and directory fsyncs of `operation`.
fn syncs(fixture: &Fixture, operation: impl FnOnce(&Outbox)) -> (usize, usize) {
    fixture.disk.set(Fault::None);
    operation(&fixture.outbox);
    (
        fixture.disk.count("sync_file"),
        fixture.disk.count("sync_directory"),
    )
}

fn drain(outbox: &Outbox) {
    outbox.drain().unwrap();
}

#[test]
fn a_drain_of_new_records_costs_two_and_two_for_any_number() {
    for n in [1, 25, 400] {
        let fixture = Fixture::new();
        for round in ["first", "second"] {
            for child in 0..n {
                fixture.commit(&format!("child-{child}"), round);
            }
            assert_eq!(syncs(&fixture, drain), (2, 2), "{n} records, {round} drain");
        }
    }
}

#[test]
fn a_drain_that_takes_over_from_a_dead_one_costs_the_same() {
    for before in [
        "remove inbox.jsonl",
        "rename ledger.json",
        "remove wal.jsonl",
    ] {
        for newer in [false, true] {
            let fixture = Fixture::new();
            fixture.commit("a", "1");
            fixture.die_in_drain(before);
            if newer {
                fixture.commit("b", "1");
            }
            assert_eq!(syncs(&fixture, drain), (2, 2), "died before {before}");
        }
    }
}

#[test]
fn what_finds_nothing_to_do_costs_nothing() {
    let fixture = Fixture::new();
    assert_eq!(syncs(&fixture, drain), (0, 0));
    fixture.commit("a", "1");
    let look = |outbox: &Outbox| {
        outbox.pending().unwrap();
        outbox.dead_letters().unwrap();
        outbox.sweep().unwrap();
    };
    assert_eq!(syncs(&fixture, look), (0, 0));
    assert!(fixture.disk.effects().is_empty());
    drain(&fixture.outbox);
    assert_eq!(syncs(&fixture, drain), (0, 0));
    assert!(fixture.disk.effects().is_empty());
}

#[test]
fn a_commit_costs_one_and_one_also_when_it_compacts() {
    let fixture = Fixture::new();
    let mut has_compacted = false;
    for turn in 0..10 {
        let event = Event::new("a", turn.to_string()).with_summary("x".repeat(30_000));
        assert_eq!(
            syncs(&fixture, |outbox| outbox.commit(event).unwrap()),
            (1, 1)
        );
        has_compacted |= fixture.disk.count("rename") == 1;
    }
    assert!(has_compacted);
}

#[test]
fn dead_letters_cost_one_and_one_more() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.append("inbox.jsonl", b"damaged\n");
    assert_eq!(syncs(&fixture, drain), (3, 3));
    fixture.append("inbox.jsonl", b"damaged too\n");
    assert_eq!(syncs(&fixture, drain), (1, 1));
}

/// The drain that wrote it may have died before its fsync.
#[test]
fn a_dead_letter_that_is_there_already_is_synced_all_the_same() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.append("inbox.jsonl", b"damaged\n");
    fixture.die_in_drain("sync_file ");
    let length = || {
        std::fs::metadata(fixture.file("dead-letters.jsonl"))
            .unwrap()
            .len()
    };
    let written = length();
    assert!(written > 0);
    assert_eq!(syncs(&fixture, drain), (3, 3));
    assert_eq!(length(), written);
}

#[test]
fn a_batch_of_repetitions_does_not_write_the_ledger() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        fixture.commit("a", "1");
        fixture.outbox.drain().unwrap();
    }
    fixture.commit("a", "1");
    assert_eq!(syncs(&fixture, drain), (1, 1));
}

#[test]
fn a_sweep_syncs_what_it_rewrites() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    drain(&fixture.outbox);
    fixture.clock.forward(15 * DAY);
    let sweep = |outbox: &Outbox| {
        outbox.sweep().unwrap();
    };
    assert_eq!(syncs(&fixture, sweep), (1, 1));
    fixture.commit("a", "1");
    fixture.append("inbox.jsonl", b"damaged\n");
    assert_eq!(syncs(&fixture, sweep), (2, 2));
}

/// The creator may die at any effect: the next process syncs the root unless the lock file
/// proves that somebody did.
#[test]
fn a_parent_directory_is_durable_before_anything_is_in_it() {
    let root = tempfile::tempdir().unwrap();
    let open = |fault| {
        let disk = FaultyDisk::new(fault);
        let opened = Outbox::with_seams(root.path(), "p", Arc::clone(&disk), HandClock::new());
        (opened.is_ok(), disk.effects())
    };
    let created = ["create_directory p", "sync_directory "];
    let dead = |at, after| Fault::Death { at, after };
    assert_eq!(open(dead(1, false)).1, created[..1]);
    assert_eq!(open(dead(1, true)).1, created[..1]);
    assert_eq!(open(dead(2, false)).1, created);
    assert!(!open(dead(2, true)).0);
    let is_empty = || {
        std::fs::read_dir(root.path().join("p"))
            .unwrap()
            .next()
            .is_none()
    };
    assert!(is_empty());
    assert_eq!(open(Fault::None).1, created);
    assert!(!is_empty());
    assert_eq!(open(Fault::None), (true, Vec::new()));
}
