//! The gates. Each asserts that the work was done: code that does nothing is fast and syncs
//! nothing.

use std::process::Command;
use std::time::Duration;

use fsync_counter::{Events, Scope, SyncCounts};
use outbox::Outbox;
use perfbudget::{Budget, Gate, constant_across};

use crate::fixture::{Fixture, PARENT, event};

const DRAIN_25: Budget = Budget::warm(Duration::from_micros(120));
const COMMIT: Budget = Budget::warm(Duration::from_micros(20));
const CLI_DRAIN: Budget = Budget::cold(Duration::from_micros(1_500));

#[test]
fn perf_outbox_drain_25() {
    let _disk = fsync_counter::stub();
    Gate::new("outbox/drain-25", DRAIN_25)
        .batch(8)
        .setup(|| Fixture::in_memory(25))
        .run(|fixture| {
            let drained = fixture.outbox.drain().expect("drained");
            assert_eq!(drained.len(), 25);
            drained
        });
}

#[test]
fn perf_outbox_commit() {
    let _disk = fsync_counter::stub();
    Gate::new("outbox/commit", COMMIT)
        .batch(40)
        .setup(|| Fixture::in_memory(25))
        .run(|fixture| {
            fixture.outbox.commit(event(25)).expect("committed");
        });
    let fixture = Fixture::in_memory(25);
    fixture.outbox.commit(event(25)).expect("committed");
    assert_eq!(fixture.outbox.pending().expect("read").len(), 26);
}

#[test]
fn perf_outbox_cli_drain() {
    Gate::new("outbox/cli-drain", CLI_DRAIN)
        .setup(|| Fixture::in_memory(25))
        .run(|fixture| {
            let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
                .args(["drain", PARENT, "--root"])
                .arg(fixture.dir.path())
                .output()
                .expect("the binary starts");
            assert!(output.status.success(), "{output:?}");
            assert_eq!(output.stdout.split(|b| *b == b'\n').count(), 25 + 1);
            output
        });
}

#[test]
fn perf_outbox_drain_syncs() {
    let mut events = Events::default();
    let counts = constant_across([1, 25, 400], |n| {
        let fixture = Fixture::on_disk(n);
        let counts;
        (counts, events) = drain_syncs(&fixture.outbox, n, false);
        counts
    });
    Gate::counts("outbox/drain-syncs")
        .evidence(events)
        .exactly(SyncCounts::new().files(2).dirs(2), counts);
}

#[test]
fn perf_outbox_recovery_syncs() {
    let mut events = Events::default();
    let counts = constant_across([1, 25, 400], |n| {
        let fixture = Fixture::with_a_crashed_drain(n);
        let counts;
        (counts, events) = drain_syncs(&fixture.outbox, n, true);
        counts
    });
    Gate::counts("outbox/recovery-syncs")
        .evidence(events)
        .exactly(SyncCounts::new().files(2).dirs(2), counts);
}

/// Drains `n` records and counts. `recovers`: what a crashed drain left is among them.
fn drain_syncs(outbox: &Outbox, n: usize, recovers: bool) -> (SyncCounts, Events) {
    let drain = Scope::under(outbox.path()).observe(|| outbox.drain().expect("drained"));
    assert_eq!(drain.value.len(), n);
    assert_eq!(drain.value.recovered(), recovers);
    (drain.counts(), drain.events())
}
