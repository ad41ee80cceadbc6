//! Any bytes as an inbox, a write-ahead file and a dead-letter file: nothing panics, what is
//! committed to them is delivered, and each line that is no JSON is set aside as it was.
//!
//! The input is the three files, separated by the byte 0xFF, which no text has.
#![no_main]

mod support;

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use outbox::{Error, Event};
use serde::de::IgnoredAny;

use crate::support::Fixture;

fuzz_target!(|data: &[u8]| {
    let fixture = Fixture::new();
    let outbox = &fixture.outbox;
    let mut files = data.splitn(3, |byte| *byte == 0xFF);
    let mut written = Vec::new();
    for name in ["inbox.jsonl", "wal.jsonl", "dead-letters.jsonl"] {
        if let Some(bytes) = files.next().filter(|bytes| !bytes.is_empty()) {
            fixture.write(name, bytes);
            written.push((name, bytes));
        }
    }
    let is_newer = |error: &Error| matches!(error, Error::NewerVersion { .. });
    let letters_before = outbox.dead_letters().unwrap();
    let pending = match outbox.pending() {
        Ok(pending) => pending,
        Err(error) => {
            assert!(is_newer(&error), "{error:?}");
            // It is left alone.
            assert!(outbox.drain().is_err_and(|error| is_newer(&error)));
            assert!(outbox.sweep().is_err_and(|error| is_newer(&error)));
            for (name, bytes) in written {
                assert_eq!(std::fs::read(fixture.path(name)).unwrap(), bytes);
            }
            return;
        }
    };
    outbox.commit(Event::new("late", "the last turn")).unwrap();
    let drained = outbox.drain().unwrap();
    let mut by_child = HashMap::new();
    for turn in &drained {
        let other = by_child.insert(turn.child.clone(), turn.clone());
        assert!(other.is_none(), "{other:?} and {turn:?}");
    }
    assert_eq!(by_child["late"].signal, "the last turn");
    let letters = outbox.dead_letters().unwrap();
    let is_set_aside = |line: &[u8]| letters.iter().any(|letter| letter.line == line);
    for turn in pending.iter().filter(|turn| turn.child != "late") {
        let is_delivered = by_child.get(&turn.child) == Some(turn);
        assert!(is_delivered || drained.dead_letters() > 0, "{turn:?}");
    }
    for (name, bytes) in &written[..] {
        for line in bytes.split(|byte| *byte == b'\n') {
            if *name != "dead-letters.jsonl" && !line.is_empty() && !is_json(line) {
                assert!(is_set_aside(line), "{:?}", String::from_utf8_lossy(line));
            }
        }
    }
    assert!(letters.len() >= letters_before.len());
    assert!(letters.starts_with(&letters_before[..letters_before.len().saturating_sub(1)]));
    // Once is enough.
    let again = outbox.drain().unwrap();
    assert!(again.is_empty() && again.dead_letters() == 0, "{again:?}");
    assert_eq!(outbox.sweep().unwrap(), outbox::Swept::default());
    assert_eq!(outbox.pending().unwrap(), []);
});

/// As a reader that looks at some fields takes it: what is in the others need not be text.
fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}
