//! The gates. Each asserts that the work was done: a log that drops turns is fast and syncs
//! nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use fsync_counter::{Scope, SyncCounts};
use perfbudget::{Budget, Gate, SqliteCounts, constant_across};
use trajectory_log::Config;

use crate::fixture::{Fixture, batches_of, is_accepted, turn};
use crate::gap;
use crate::planted::{Defect, spin};

// Medians of the medians of 6 processes, an operation: AMD EPYC, 2 cores, Linux 6.18, rustc 1.95,
// 2026-11-21.
const LOG_TURN: Budget = Budget::warm(Duration::from_nanos(282)); // 282 ns (262 … 325)
const FLUSH_10: Budget = Budget::warm(Duration::from_micros(104)); // 104 µs (41 … 160): the writer is woken on the other CPU or not
const LONGEST_GAP: Budget = Budget::warm(Duration::from_micros(214)); // 214 µs (189 … 279)

/// What a caller waits whose turn finds room: no batch becomes full here, so that nobody else has a
/// CPU, and a turn that wakes the writer without need costs ten times as much.
#[test]
fn perf_trajectory_log_turn() {
    let _disk = fsync_counter::stub();
    let fixture = Rc::new(Fixture::in_memory(Config {
        channel_capacity: 1_000_000,
        ..batches_of(1_000_000, "wal/full")
    }));
    let is_slow = Defect::from_env() == Defect::SlowCaller;
    let logged = Cell::new(0);
    Gate::new("trajectory/log-turn", LOG_TURN)
        .batch(2_000)
        .setup(|| {
            logged.set(logged.get() + 1);
            (Rc::clone(&fixture), Some(turn(logged.get())))
        })
        .run(|(fixture, turn)| {
            let turn = turn.take().expect("one");
            if is_slow {
                spin(Duration::from_micros(20));
            }
            assert!(is_accepted(fixture.logger.log_turn(turn)));
        });
    let flushed = fixture.runtime.block_on(fixture.logger.flush());
    flushed.expect("written");
    let written = fixture.logger.status().written;
    assert_eq!(written, u64::from(logged.get()) + 1);
}

/// Ten turns and the wait until they are written: a batch, there and back.
#[test]
fn perf_trajectory_flush_10() {
    let _disk = fsync_counter::stub();
    let fixture = Rc::new(Fixture::in_memory(batches_of(10, "wal/full")));
    Gate::new("trajectory/flush-10", FLUSH_10)
        .batch(8)
        .setup(|| {
            let turns: Vec<_> = (0..10).map(turn).collect();
            (Rc::clone(&fixture), turns)
        })
        .run(|(fixture, turns)| {
            let before = fixture.logger.status().on_disk;
            fixture.runtime.block_on(async {
                for turn in turns.drain(..) {
                    fixture.logger.log_turn(turn).await.expect("accepted");
                }
                fixture.logger.flush().await.expect("on disk");
            });
            assert_eq!(fixture.logger.status().on_disk, before + 10);
        });
}

/// The runtime is never blocked, also not by a disk that takes 20 ms for a sync. A gate times what
/// runs in its clock; the gap is the longest of many, with something taken out: so it is measured
/// first, and the clock runs while it is waited for once more, spinning.
#[test]
fn perf_trajectory_longest_gap() {
    Gate::new("trajectory/longest-gap", LONGEST_GAP)
        .served_elsewhere()
        .setup(gap::longest_while_logging)
        .run(|gap| spin(*gap));
}

/// The syncs of a full batch of 10 and of 1,000 turns.
fn batch_syncs(name: &str, durability: &str, expected: SyncCounts) {
    constant_across([10, 1_000], |turns| {
        let fixture = Fixture::on_disk(batches_of(turns, durability));
        let batch = Scope::under(&fixture.dir).observe(|| fixture.log_and_wait(turns));
        Gate::counts(name)
            .evidence(batch.events())
            .exactly(expected, batch.counts());
        batch.counts()
    });
}

#[test]
fn perf_trajectory_batch_syncs() {
    batch_syncs(
        "trajectory/batch-syncs",
        "wal/full",
        SyncCounts::new().files(1),
    );
}

#[test]
fn perf_trajectory_batch_syncs_normal() {
    batch_syncs(
        "trajectory/batch-syncs-normal",
        "wal/normal",
        SyncCounts::new(),
    );
}

#[test]
fn perf_trajectory_batch_syncs_delete() {
    let three_and_one = SyncCounts::new().files(3).dirs(1);
    batch_syncs(
        "trajectory/batch-syncs-delete",
        "delete/full",
        three_and_one,
    );
}

/// A full batch is a transaction, and the statements of one: each turn's, `BEGIN` and `COMMIT`, and
/// that the run has come to another block of 256 ids (the batch begins with the second).
#[test]
fn perf_trajectory_batch_transactions() {
    constant_across([10, 1_000], |turns| {
        let fixture = Fixture::on_disk(batches_of(turns, "wal/full"));
        let batch = fixture.connection.observe(|| fixture.log_and_wait(turns));
        let n = (turns + (turns + 1) / 256) as u64;
        Gate::counts("trajectory/batch-transactions").exactly(
            SqliteCounts::new()
                .commits(1)
                .rows_changed(n)
                .statements(n + 2),
            batch.counts(),
        );
        batch.counts().only(["commits", "rollbacks"])
    });
}

/// A durable turn is on disk at every level, and costs no more than that.
#[test]
fn perf_trajectory_durable_turn_syncs() {
    constant_across(["wal/full", "wal/normal"], |durability| {
        let fixture = Fixture::on_disk(batches_of(10, durability));
        let logged = Scope::under(&fixture.dir).observe(|| {
            let durable = fixture.logger.log_turn_durable(turn(1));
            fixture.runtime.block_on(durable).expect("on disk");
        });
        Gate::counts("trajectory/durable-turn-syncs")
            .evidence(logged.events())
            .exactly(SyncCounts::new().files(1), logged.counts());
        logged.counts()
    });
}

#[test]
fn perf_trajectory_idle_syncs() {
    let fixture = Fixture::on_disk(Config {
        flush_interval_ms: 5,
        ..batches_of(10, "wal/full")
    });
    let idle = Scope::under(&fixture.dir).observe(|| {
        thread::sleep(Duration::from_millis(50)); // ten intervals of being idle
        fixture
            .runtime
            .block_on(fixture.logger.flush())
            .expect("nothing to do");
    });
    Gate::counts("trajectory/idle-syncs")
        .evidence(idle.events())
        .exactly(SyncCounts::new(), idle.counts());
}
