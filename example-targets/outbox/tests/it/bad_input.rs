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
        assert!(matches!(
            fixture.outbox.pending(),
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
        assert!(is_newer(&fixture.outbox.pending().unwrap_err()), "{name}");
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

/// Commits a turn of `child` in its own drain, which must deliver just that.
fn assert_delivers_next(fixture: &Fixture, child: &str) {
    fixture.commit(child, "1");
    let expected = [format!("{child}=1")];
    assert_eq!(names(&fixture.outbox.drain().unwrap()), expected);
}

fn assert_drops_again(fixture: &Fixture, children: &[&str]) {
    for child in children {
        fixture.commit(child, "1");
    }
    let drained = fixture.outbox.drain().unwrap();
    assert_eq!(names(&drained), [""; 0], "delivered twice");
    assert_eq!(drained.already_consumed(), children.len());
}

/// A batch that cannot be is no batch: taken at its word, a great one would leave none to
/// follow it, and a small one would make the dead drain's marks those of an earlier drain.
#[test]
fn a_write_ahead_file_with_an_impossible_batch_loses_no_turn_and_repeats_none() {
    for has_ledger in [true, false] {
        for batch in [u64::MAX, u64::MAX - 1, 1_000, 5, 1, 0] {
            let fixture = Fixture::new();
            assert_delivers_next(&fixture, "a");
            assert_delivers_next(&fixture, "b");
            fixture.commit("c", "1");
            fixture.die_in_drain("remove wal.jsonl");
            let path = fixture.file("wal.jsonl");
            let content = fs::read_to_string(&path).unwrap();
            let changed = content.replacen("\"batch\":3}", &format!("\"batch\":{batch}}}"), 1);
            assert_ne!(changed, content);
            fs::write(&path, changed).unwrap();
            if !has_ledger {
                fs::remove_file(fixture.file("ledger.json")).unwrap();
            }
            let drained = fixture.outbox.drain().unwrap();
            assert_eq!(names(&drained), ["c=1"], "batch {batch}");
            for child in ["d", "e"] {
                assert_delivers_next(&fixture, child);
            }
            assert_drops_again(&fixture, &["c", "d", "e"]);
            if has_ledger {
                assert_drops_again(&fixture, &["a", "b"]);
            }
        }
    }
}

/// A ledger in which no batch can follow is refused like one that is no JSON.
#[test]
fn a_ledger_whose_last_batch_is_the_greatest_number_is_refused() {
    let fixture = Fixture::new();
    assert_delivers_next(&fixture, "a");
    let path = fixture.file("ledger.json");
    let content = fs::read_to_string(&path).unwrap();
    let last = format!("\"last_batch\":{},", u64::MAX);
    fs::write(&path, content.replacen("\"last_batch\":1,", &last, 1)).unwrap();
    fixture.commit("b", "1");
    for error in [
        fixture.outbox.drain().unwrap_err(),
        fixture.outbox.sweep().unwrap_err(),
    ] {
        assert!(matches!(error, Error::LedgerUnreadable { .. }));
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(names(&fixture.outbox.drain().unwrap()), ["b=1"]);
    assert_drops_again(&fixture, &["b"]);
}
