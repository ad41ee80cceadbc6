//! The gates. Each asserts that the work was done: code that does nothing is fast and syncs
//! nothing.

use std::time::Duration;

use fsync_counter::{Scope, SyncCounts};
use perfbudget::{Budget, Gate, SqliteCounts, constant_across};

use crate::fixture::Fixture;

// Medians of the medians of 6 processes: AMD EPYC, 2 cores, Linux 6.18, 2026-11-21.
const COMPLETE_100: Budget = Budget::warm(Duration::from_micros(300)); // 300 µs (256 … 376)
const START_100: Budget = Budget::warm(Duration::from_micros(3_850)); // 3.85 ms (2.71 … 4.54)
const CLAIM_100: Budget = Budget::warm(Duration::from_micros(515)); // 515 µs (440 … 573)

#[test]
fn perf_queue_complete_100() {
    let _disk = fsync_counter::stub();
    Gate::new("queue/complete-100", COMPLETE_100)
        .setup(|| {
            let (fixture, done) = Fixture::with_ready_in_memory(100);
            (fixture, Some(done))
        })
        .run(|(fixture, done)| {
            let done = done.take().expect("once");
            let next = fixture.complete(done).expect("completed");
            assert_eq!(next.len(), 1);
            next
        });
}

#[test]
fn perf_queue_start_100() {
    let _disk = fsync_counter::stub();
    Gate::new("queue/start-100", START_100)
        .setup(|| {
            let (fixture, claimed) = Fixture::with_claimed(100);
            (fixture, Some(claimed))
        })
        .run(|(fixture, claimed)| {
            let claimed = claimed.take().expect("once");
            let ready = fixture.start(claimed).expect("started");
            assert_eq!(ready.len(), 100 * 16);
            ready
        });
}

#[test]
fn perf_queue_claim_100() {
    let _disk = fsync_counter::stub();
    Gate::new("queue/claim-100", CLAIM_100)
        .setup(|| Fixture::with_created(200))
        .run(|fixture| {
            let claimed = fixture.claim(100);
            assert_eq!(claimed.len(), 100);
            claimed
        });
}

/// A batch is one transaction and one sync of the write-ahead log, whatever its size.
#[test]
fn perf_queue_complete_syncs() {
    constant_across([1, 25, 400], |n| {
        let (mut fixture, done) = Fixture::with_ready_on_disk(n);
        let before = fixture.sqlite.counts();
        let directory = fixture.directory.path().to_owned();
        let observed = Scope::under(&directory).observe(|| fixture.complete(done));
        assert_eq!(observed.value.as_ref().expect("completed").len(), 1);
        Gate::counts("queue/complete-syncs")
            .evidence(observed.events())
            .exactly(SyncCounts::new().files(1), observed.counts());
        let after = fixture.sqlite.counts();
        let transactions = after.commits - before.commits;
        Gate::counts("queue/complete-transactions").exactly(
            SqliteCounts::new().commits(1),
            SqliteCounts::new()
                .commits(transactions)
                .rollbacks(after.rollbacks - before.rollbacks),
        );
        (observed.counts(), transactions)
    });
}

/// Two statements an action more than none: none is read. Its row goes, and one for all is written.
#[test]
fn perf_queue_complete_statements() {
    for n in [1, 25, 400] {
        let (mut fixture, done) = Fixture::with_ready_on_disk(n);
        let before = fixture.sqlite.counts();
        assert_eq!(fixture.complete(done).expect("completed").len(), 1);
        let after = fixture.sqlite.counts();
        Gate::counts("queue/complete-statements").exactly(
            // Deleted actions; lane, the next action, log; begin and commit.
            SqliteCounts::new()
                .commits(1)
                .rows_changed(n as u64 + 3)
                .statements(n as u64 + 5),
            SqliteCounts::new()
                .commits(after.commits - before.commits)
                .rollbacks(after.rollbacks - before.rollbacks)
                .rows_changed(after.rows_changed - before.rows_changed)
                .statements(after.statements - before.statements),
        );
    }
}

/// By the server's own statistics: the difference between a session that completes a batch and one
/// that does all else.
#[test]
fn perf_queue_postgres_complete() {
    if temporary_postgres::left_out() {
        return Gate::counts("queue/postgres-complete").not_measured("PostgreSQL is not installed");
    }
    let server = crate::fixture::quiet_server();
    constant_across([1, 25, 400], |n| {
        let [without, with] = [false, true].map(|completes| {
            let database = server.database();
            let before = server.statistics();
            server.session(&database, n, completes);
            let after = server.statistics();
            [after[0] - before[0], after[1] - before[1]]
        });
        let observed = [("transactions", 0), ("wal_syncs", 1)].map(|(key, at)| {
            let more = with[at].checked_sub(without[at]);
            let more = more.unwrap_or_else(|| panic!("{key}: {with:?} with, {without:?} without"));
            (key, more)
        });
        Gate::counts("queue/postgres-complete")
            .exactly([("transactions", 1), ("wal_syncs", 1)], observed);
        observed
    });
}
