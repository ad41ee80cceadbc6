//! Any bytes as a ledger of consumed turns: it is understood, or refused with everything left as
//! it was.
#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use outbox::{Error, Event};

use crate::support::Fixture;

fuzz_target!(|data: &[u8]| {
    let fixture = Fixture::new();
    let outbox = &fixture.outbox;
    fixture.write("ledger.json", data);
    outbox.commit(Event::new("a", "1")).unwrap();
    outbox.commit(Event::new("b", "1")).unwrap();
    let inbox = std::fs::read(fixture.path("inbox.jsonl")).unwrap();
    let pending = match outbox.pending() {
        Ok(pending) => pending,
        Err(error) => {
            let refuses = |error: &Error| {
                matches!(
                    error,
                    Error::LedgerUnreadable { .. } | Error::NewerVersion { .. }
                )
            };
            assert!(refuses(&error), "{error:?}");
            assert!(outbox.drain().is_err_and(|error| refuses(&error)));
            assert!(outbox.sweep().is_err_and(|error| refuses(&error)));
            let now = |name| std::fs::read(fixture.path(name)).unwrap();
            assert_eq!(now("ledger.json"), data);
            assert_eq!(now("inbox.jsonl"), inbox);
            // The cure.
            std::fs::remove_file(fixture.path("ledger.json")).unwrap();
            assert_eq!(outbox.drain().unwrap().len(), 2);
            return;
        }
    };
    let last_batch = || {
        let bytes = std::fs::read(fixture.path("ledger.json")).unwrap();
        let ledger: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        ledger["last_batch"].as_u64()
    };
    let drained = outbox.drain().unwrap();
    assert_eq!(drained[..], pending);
    assert_eq!(drained.len() + drained.already_consumed(), 2);
    if last_batch() == Some(u64::MAX) {
        // No outbox counts that far, and none can count on: it says so, as above.
        outbox.commit(Event::new("a", "2")).unwrap();
        assert!(outbox.pending().is_err());
        return;
    }
    // It is remembered, whatever else was in the ledger.
    outbox.commit(Event::new("a", "1")).unwrap();
    outbox.commit(Event::new("b", "1")).unwrap();
    assert_eq!(outbox.pending().unwrap(), []);
    let again = outbox.drain().unwrap();
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(again.already_consumed(), 2);
    outbox.sweep().unwrap();
    assert_eq!(outbox.drain().unwrap().len(), 0);
});
