//! Files stay as small as what is in them, and work in proportion to it.

use std::fs;

use crate::support::{Fault, Fixture};

#[test]
fn a_child_that_never_stops_does_not_fill_the_disk() {
    let fixture = Fixture::new();
    fixture.commit("quiet", "1");
    for turn in 0..2_000 {
        fixture.commit("busy", &format!("{turn:0200}"));
        let length = fs::metadata(fixture.file("inbox.jsonl")).unwrap().len();
        assert!(
            length <= 64 * 1024 + 512,
            "{length} bytes after turn {turn}"
        );
    }
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(drained.len(), 2);
    assert_eq!(drained[1].signal, format!("{:0200}", 1_999));
}

#[test]
fn compaction_keeps_order_and_damaged_lines() {
    let fixture = Fixture::new();
    fixture.append("inbox.jsonl", b"damaged\n");
    for turn in 0..1_000 {
        fixture.commit(&format!("child-{}", turn % 10), &format!("{turn:0200}"));
    }
    fixture.append("inbox.jsonl", b"torn");
    for turn in 1_000..1_400 {
        fixture.commit(&format!("child-{}", turn % 10), &format!("{turn:0200}"));
    }
    let drained = fixture.outbox.drain().unwrap();
    let children: Vec<&str> = drained.iter().map(|turn| turn.child.as_str()).collect();
    let expected: Vec<String> = (0..10).map(|child| format!("child-{child}")).collect();
    assert_eq!(children, expected);
    assert_eq!(drained[9].signal, format!("{:0200}", 1_399));
    assert_eq!(drained.dead_letters(), 2);
}

/// Bytes written stay within a constant factor of bytes committed: a rewrite on every
/// commit would be a factor of thousands.
#[test]
fn commits_to_a_full_inbox_are_linear() {
    let fixture = Fixture::new();
    let before = fixture.disk.bytes_written();
    for child in 0..4_000 {
        fixture.commit(&format!("child-{child}"), "1");
        if child % 100 == 0 {
            fixture.disk.set(Fault::None);
        }
    }
    let written = fixture.disk.bytes_written() - before;
    let length = fs::metadata(fixture.file("inbox.jsonl")).unwrap().len();
    assert!(written < 4 * length, "{written} bytes for {length}");
    assert_eq!(fixture.outbox.drain().unwrap().len(), 4_000);
}

#[test]
fn what_a_crash_leaves_is_overwritten_and_never_piles_up() {
    let fixture = Fixture::new();
    for round in 0..20 {
        for before in ["rename wal.jsonl", "rename ledger.json"] {
            fixture.commit("a", &format!("{round} {before}"));
            fixture.die_in_drain(before);
        }
    }
    assert_eq!(fixture.outbox.drain().unwrap().len(), 1);
    let mut names: Vec<String> = fs::read_dir(fixture.outbox.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["inbox.lock", "ledger.json", "ledger.lock"]);
}
