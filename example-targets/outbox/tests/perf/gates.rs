//! The gates. Each asserts that the work was done: code that does nothing is fast and syncs
//! nothing.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fsync_counter::{Observed, Scope, SyncCounts};
use outbox::Drained;
use perfbudget::{
    AllocationCounts, AllocationScope, Budget, Gate, TmpfsDir, command_output, constant_across,
};

use crate::fixture::{Fixture, PARENT, event};

// Medians of the medians of 6 processes, an operation: AMD EPYC, 2 cores, Linux 6.18, 2026-11-21.
const DRAIN_25: Budget = Budget::warm(Duration::from_nanos(85_200)); // 85.2 µs (79.1 … 119)
const COMMIT: Budget = Budget::warm(Duration::from_nanos(9_900)); // 9.9 µs (9.4 … 13.2)
const CLI_DRAIN: Budget = Budget::cold(Duration::from_micros(1_480)); // 1.48 ms (1.45 … 1.68)

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
        .setup(|| Arc::new(Fixture::in_memory(25)))
        .run(|fixture| {
            fixture.outbox.commit(event(25)).expect("committed");
            Committed(Arc::clone(fixture))
        });
}

/// Outside the clock, where outputs are dropped: the event is among the others.
struct Committed(Arc<Fixture<TmpfsDir>>);

impl Drop for Committed {
    fn drop(&mut self) {
        let pending = self.0.outbox.pending().expect("read");
        assert_eq!(pending.len(), 26);
    }
}

#[test]
fn perf_outbox_cli_drain() {
    Gate::new("outbox/cli-drain", CLI_DRAIN)
        .setup(|| Fixture::in_memory(25))
        .run(|fixture| {
            let mut drain = Command::new(env!("CARGO_BIN_EXE_outbox"));
            drain.args(["drain", PARENT, "--root"]);
            // What the command waits for a CPU on a busy machine is then known.
            let output = command_output(drain.arg(fixture.dir.path())).expect("the binary starts");
            assert!(output.status.success(), "{output:?}");
            assert_eq!(output.stdout.split(|b| *b == b'\n').count(), 25 + 1);
            output
        });
}

#[test]
fn perf_outbox_drain_syncs() {
    constant_across([1, 25, 400], |n| {
        let drain = observed_drain(&Fixture::on_disk(n), n, Recovers::Nothing);
        Gate::counts("outbox/drain-syncs")
            .evidence(drain.events())
            .exactly(TWO_AND_TWO, drain.counts());
        drain.counts()
    });
}

/// Four strings a turn, which the caller gets, and nothing else for each. What holds the records
/// meanwhile doubles as it grows: their list is reallocated, and their table by child made anew.
#[test]
fn perf_outbox_drain_allocations() {
    let _disk = fsync_counter::stub();
    for (n, once_for_all, reallocations) in [(1, 10, 1), (25, 16, 4), (400, 24, 8)] {
        let fixture = Fixture::in_memory(n);
        let drain = AllocationScope::thread().observe(|| fixture.outbox.drain().expect("drained"));
        assert_eq!(drain.value.len(), n);
        Gate::counts("outbox/drain-allocations").exactly(
            AllocationCounts::new()
                .allocations(4 * n as u64 + once_for_all)
                .reallocations(reallocations),
            drain.counts().only(["allocations", "reallocations"]),
        );
    }
}

#[test]
fn perf_outbox_recovery_syncs() {
    constant_across([1, 25, 400], |n| {
        let fixture = Fixture::with_a_crashed_drain(n);
        let drain = observed_drain(&fixture, n, Recovers::ACrashedDrain);
        Gate::counts("outbox/recovery-syncs")
            .evidence(drain.events())
            .exactly(TWO_AND_TWO, drain.counts());
        drain.counts()
    });
}

/// The write-ahead file and the ledger, each with its directory.
const TWO_AND_TWO: SyncCounts = SyncCounts::new().files(2).dirs(2);

#[derive(Clone, Copy, PartialEq)]
enum Recovers {
    Nothing,
    ACrashedDrain,
}

/// Drains `n` records under a scope, and sees that they came.
fn observed_drain<D>(fixture: &Fixture<D>, n: usize, recovers: Recovers) -> Observed<Drained> {
    let outbox = &fixture.outbox;
    let drain = Scope::under(outbox.path()).observe(|| outbox.drain().expect("drained"));
    assert_eq!(drain.value.len(), n);
    assert_eq!(drain.value.recovered(), recovers == Recovers::ACrashedDrain);
    drain
}
