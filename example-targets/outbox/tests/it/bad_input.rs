//! Damaged files: everything that is not damaged is delivered, the rest is kept and named.

use std::fs;

use outbox::{Error, Event, Reason, SUMMARY_BYTES_MAX};

use crate::support::{Fixture, names};

#[test]
fn a_torn_line_does_not_swallow_the_next_commit() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.append("inbox.jsonl", b"{\"child\":\"torn");
    fixture.commit("b", "1");
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), ["a=1", "b=1"]);
    assert_eq!(drained.dead_letters(), 1);
    let letters = fixture.outbox.dead_letters().unwrap();
    assert_eq!(letters[0].line, b"{\"child\":\"torn");
    assert_eq!(letters[0].reason, Reason::Corrupt);
}

#[test]
fn a_whole_line_without_its_line_break_is_a_record() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    let path = fixture.file("inbox.jsonl");
    let content = fs::read(&path).unwrap();
    fs::write(&path, content.strip_suffix(b"\n").unwrap()).unwrap();
    fixture.commit("b", "1");
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1", "b=1"]);
}

#[test]
fn a_line_over_16_mib_and_one_that_is_no_text_are_set_aside_as_they_are() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    let long = vec![b'x'; 16 * 1024 * 1024 + 1];
    fixture.append("inbox.jsonl", &long);
    fixture.append("inbox.jsonl", b"\n\xff\xfe\n");
    fixture.commit("b", "1");
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1", "b=1"]);
    let letters = fixture.outbox.dead_letters().unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].reason, Reason::TooLong);
    assert!(letters[0].line == long);
    assert_eq!(letters[1].line, b"\xff\xfe");
}

#[test]
fn a_file_of_rubbish_is_set_aside_whole() {
    let fixture = Fixture::new();
    fixture.append("inbox.jsonl", b"one\ntwo\n\n{\"three\":");
    let drained = fixture.outbox.drain().unwrap();
    assert!(drained.is_empty());
    assert_eq!(drained.dead_letters(), 3);
    assert!(!fixture.file("inbox.jsonl").exists());
    assert_eq!(fixture.outbox.dead_letters().unwrap().len(), 3);
    assert_eq!(fixture.outbox.drain().unwrap().dead_letters(), 0);
}

#[test]
fn a_torn_dead_letter_does_not_swallow_the_next_one() {
    let fixture = Fixture::new();
    fixture.append("dead-letters.jsonl", b"{\"reason\":");
    fixture.append("inbox.jsonl", b"damaged\n");
    fixture.outbox.drain().unwrap();
    let letters = fixture.outbox.dead_letters().unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].line, b"{\"reason\":");
    assert_eq!(letters[1].line, b"damaged");
}

#[test]
fn a_summary_over_32_kib_is_refused_and_nothing_is_written() {
    let fixture = Fixture::new();
    let event = |bytes| Event::new("a", "1").with_summary("x".repeat(bytes));
    let error = fixture
        .outbox
        .commit(event(SUMMARY_BYTES_MAX + 1))
        .unwrap_err();
    assert!(matches!(error, Error::SummaryTooLong { bytes: 32_769 }));
    assert!(!fixture.file("inbox.jsonl").exists());
    fixture.outbox.commit(event(SUMMARY_BYTES_MAX)).unwrap();
    assert_eq!(
        fixture.outbox.drain().unwrap()[0].summary.len(),
        SUMMARY_BYTES_MAX
    );
}

#[test]
fn a_ledger_that_is_no_json_stops_a_drain_before_it_moves_anything() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.append("inbox.jsonl", b"damaged\n");
    let inbox = fs::read(fixture.file("inbox.jsonl")).unwrap();
    fs::write(fixture.file("ledger.json"), "not json").unwrap();
    for _ in 0..2 {
        let error = fixture.outbox.drain().unwrap_err();
        assert!(matches!(error, Error::LedgerUnreadable { .. }));
        assert!(error.to_string().contains("ledger.json"));
        assert!(error.cure().unwrap().contains("move"));
        assert!(matches!(
            fixture.outbox.sweep(),
            Err(Error::LedgerUnreadable { .. })
        ));
    }
    assert_eq!(fs::read(fixture.file("inbox.jsonl")).unwrap(), inbox);
    assert!(!fixture.file("wal.jsonl").exists());
    assert!(!fixture.file("dead-letters.jsonl").exists());
    // The cure.
    fs::rename(fixture.file("ledger.json"), fixture.file("ledger.bad")).unwrap();
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["a=1"]);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    for (name, content) in [
        ("inbox.jsonl", "{\"outbox\":\"inbox.v2\",\"other\":1}\n"),
        ("wal.jsonl", "{\"outbox\":\"wal.v3\",\"other\":1}\n"),
        ("ledger.json", "{\"outbox\":\"ledger.v2\",\"other\":1}\n"),
    ] {
        let fixture = Fixture::new();
        if name != "inbox.jsonl" {
            fixture.commit("a", "1");
        }
        fixture.append(name, content.as_bytes());
        let is_newer = |error: &Error| matches!(error, Error::NewerVersion { .. });
        assert!(is_newer(&fixture.outbox.drain().unwrap_err()), "{name}");
        assert!(is_newer(&fixture.outbox.sweep().unwrap_err()), "{name}");
        if name == "inbox.jsonl" {
            assert!(is_newer(
                &fixture.outbox.commit(Event::new("a", "1")).unwrap_err()
            ));
        }
        assert_eq!(fs::read(fixture.file(name)).unwrap(), content.as_bytes());
        assert!(!fixture.file("dead-letters.jsonl").exists());
    }
}

/// With the header gone, the batch is unknown: the turns that the dead drain had marked are
/// delivered nonetheless.
#[test]
fn a_write_ahead_file_whose_header_is_damaged_loses_no_turn() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.die_in_drain("remove wal.jsonl");
    let path = fixture.file("wal.jsonl");
    let content = fs::read_to_string(&path).unwrap();
    fs::write(&path, content.replacen("{\"outbox\"", "#######", 1)).unwrap();
    fixture.commit("b", "1");
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), ["a=1", "b=1"]);
    assert_eq!(drained.dead_letters(), 1);
}
