//! Which events are the same turn, which ids the same parent, and how long that lasts.

use std::collections::HashSet;

use outbox::{Error, Event, Outbox, Reason};

use crate::support::{DAY, Fixture, names};

#[test]
fn the_last_event_of_a_child_wins_and_children_come_in_first_seen_order() {
    let fixture = Fixture::new();
    for (child, signal) in [("b", "1"), ("a", "1"), ("b", "2"), ("c", "1")] {
        fixture.commit(child, signal);
    }
    let expected = ["b=2", "a=1", "c=1"];
    assert_eq!(names(&fixture.outbox.pending().unwrap()), expected);
    assert_eq!(names(&fixture.outbox.drain().unwrap()), expected);
    assert!(fixture.outbox.pending().unwrap().is_empty());
    assert!(fixture.outbox.drain().unwrap().is_empty());
}

#[test]
fn a_turn_is_delivered_with_all_it_was_committed_with() {
    let fixture = Fixture::new();
    let event = Event::new("child \"7\"\n", "signal\u{0}é").with_summary("two\nlines \u{1F980}");
    fixture.outbox.commit(event.clone()).unwrap();
    let drained = fixture.outbox.drain().unwrap();
    let turn = &drained[0];
    assert_eq!(turn.child, event.child());
    assert_eq!(turn.signal, event.signal());
    assert_eq!(turn.summary, event.summary());
    assert_eq!(turn.fingerprint, event.fingerprint());
    assert_eq!(turn.committed_at, outbox::Clock::now(&fixture.clock));
}

#[test]
fn a_consumed_turn_that_is_sent_again_is_not_delivered_again_for_fourteen_days() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    assert_eq!(fixture.outbox.drain().unwrap().len(), 1);
    fixture.clock.forward(14 * DAY);
    fixture.commit("a", "1");
    let drained = fixture.outbox.drain().unwrap();
    assert!(drained.is_empty());
    assert_eq!(drained.already_consumed(), 1);
    assert!(fixture.outbox.pending().unwrap().is_empty());

    fixture.clock.forward(DAY);
    fixture.commit("a", "1");
    assert_eq!(fixture.outbox.drain().unwrap().len(), 1);
}

/// What is pending is what a drain would deliver: a repetition is not, and a turn that was
/// marked by a drain that nobody received anything from is.
#[test]
fn a_consumed_turn_that_is_sent_again_is_not_pending() {
    let fixture = Fixture::new();
    let pending = || names(&fixture.outbox.pending().unwrap());
    fixture.commit("a", "1");
    fixture.outbox.drain().unwrap();
    fixture.commit("a", "1");
    fixture.commit("b", "1");
    assert_eq!(pending(), ["b=1"]);
    for before in [
        "rename wal.jsonl",
        "remove inbox.jsonl",
        "rename ledger.json",
        "remove wal.jsonl",
    ] {
        fixture.die_in_drain(before);
        assert_eq!(pending(), ["b=1"], "a drain died before {before}");
    }
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["b=1"]);
    assert_eq!(pending(), [""; 0]);

    fixture.commit("a", "1");
    fixture.clock.forward(15 * DAY);
    fixture.commit("a", "1");
    assert_eq!(pending(), ["a=1"], "it is forgotten");
}

/// The turns are the consumer's only when it has returned.
#[test]
fn turns_that_are_being_delivered_are_pending_and_can_be_looked_at() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    let seen = fixture.outbox.drain_with(|_| {
        fixture.commit("b", "1");
        fixture.outbox.pending()
    });
    assert_eq!(names(&seen.unwrap()), ["a=1", "b=1"]);
    assert_eq!(names(&fixture.outbox.pending().unwrap()), ["b=1"]);
}

#[test]
fn a_record_waits_seven_days_and_then_goes_to_the_dead_letters() {
    let fixture = Fixture::new();
    fixture.commit("old", "1");
    fixture.clock.forward(DAY);
    fixture.commit("young", "1");
    fixture.clock.forward(7 * DAY);
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), ["young=1"]);
    assert_eq!(drained.dead_letters(), 1);
    let letters = fixture.outbox.dead_letters().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, Reason::Expired);
    assert!(String::from_utf8_lossy(&letters[0].line).contains("\"old\""));
    assert_eq!(letters[0].at, Some(outbox::Clock::now(&fixture.clock)));
}

#[test]
fn a_clock_that_steps_back_expires_nothing() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.clock.back(100 * DAY);
    assert_eq!(fixture.outbox.sweep().unwrap(), outbox::Swept::default());
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1"]);
    fixture.clock.back(100 * DAY);
    fixture.commit("a", "1");
    assert_eq!(fixture.outbox.drain().unwrap().already_consumed(), 1);
}

#[test]
fn a_sweep_moves_out_what_is_old_and_keeps_the_rest() {
    let fixture = Fixture::new();
    fixture.commit("consumed", "1");
    fixture.outbox.drain().unwrap();
    fixture.clock.forward(8 * DAY);
    fixture.commit("old", "1");
    fixture.append("inbox.jsonl", b"{\"torn");
    fixture.clock.forward(7 * DAY);
    fixture.commit("young", "1");
    let swept = fixture.outbox.sweep().unwrap();
    assert_eq!((swept.dead_letters, swept.ledger_entries), (1, 1));
    fixture.clock.forward(DAY);
    assert_eq!(fixture.outbox.sweep().unwrap().dead_letters, 1);
    assert_eq!(names(&fixture.outbox.pending().unwrap()), ["young=1"]);
    assert_eq!(fixture.outbox.dead_letters().unwrap().len(), 2);
    assert_eq!(fixture.outbox.sweep().unwrap(), outbox::Swept::default());
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["young=1"]);
}

#[test]
fn a_sweep_keeps_what_a_dead_drain_had_marked() {
    let fixture = Fixture::new();
    fixture.commit("marked", "1");
    fixture.die_in_drain("remove wal.jsonl");
    fixture.commit("later", "1");
    fixture.append("inbox.jsonl", b"damaged\n");
    fixture.append("wal.jsonl", b"damaged too\n");
    assert_eq!(fixture.outbox.sweep().unwrap().dead_letters, 2);
    assert_eq!(fixture.outbox.sweep().unwrap().dead_letters, 0);
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), ["marked=1", "later=1"]);
    assert!(drained.recovered());
}

/// Each of these ids has an outbox of its own, and nothing appears beside the root.
#[test]
fn any_parent_id_has_its_own_outbox_inside_the_root() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    let long = "x".repeat(300);
    let long_other = format!("{long}y");
    let ids = [
        "a",
        "A",
        ".",
        "..",
        "../a",
        "../../etc",
        "/",
        "/etc/passwd",
        "a/b",
        "a\\b",
        " ",
        "a b",
        "a%20b",
        "%61",
        "~",
        "é",
        "e\u{301}",
        "\u{0}",
        "-",
        "con",
        "inbox.lock",
        &long,
        &long_other,
    ];
    let mut paths = HashSet::new();
    for id in ids {
        let outbox = Outbox::open(&root, id).unwrap();
        outbox.commit(Event::new("child", id)).unwrap();
        assert_eq!(outbox.path().parent(), Some(root.as_path()));
        paths.insert(outbox.path().canonicalize().unwrap());
    }
    assert_eq!(paths.len(), ids.len());
    for id in ids {
        let drained = Outbox::open(&root, id).unwrap().drain().unwrap();
        assert_eq!(names(&drained), [format!("child={id}")]);
    }
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), ids.len());
}

#[test]
fn empty_ids_are_refused_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(
        Outbox::open(root.path(), ""),
        Err(Error::EmptyParent)
    ));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    let fixture = Fixture::new();
    assert!(matches!(
        fixture.outbox.commit(Event::new("", "1")),
        Err(Error::EmptyChild)
    ));
    assert!(matches!(
        fixture.outbox.commit(Event::new("a", "")),
        Err(Error::EmptySignal)
    ));
    assert!(!fixture.file("inbox.jsonl").exists());
}
