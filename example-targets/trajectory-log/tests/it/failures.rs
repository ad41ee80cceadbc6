//! A write that fails loses nothing and is told to whoever asks.

use std::time::{Duration, Instant};

use trajectory_log::{Error, Report};

use crate::storage::{Fails, Scripted, no_timer, turn};

#[test]
fn a_failed_flush_keeps_its_turns_and_says_so() {
    let scripted = Scripted::new(no_timer(10, 100));
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..3);
    scripted.runtime.block_on(async {
        for _ in 0..3 {
            let error = scripted.logger.flush().await.unwrap_err();
            assert!(
                matches!(error, Error::NotWritten { kept: 3, .. }),
                "{error:?}"
            );
        }
        assert!(scripted.logger.status().failure.is_some());
        let error = scripted.logger.log_turn_durable(turn(3)).await.unwrap_err();
        assert!(
            matches!(error, Error::NotWritten { kept: 4, .. }),
            "{error:?}"
        );
        scripted.script.fail(Fails::No);
        scripted.logger.flush().await.unwrap();
        assert!(scripted.logger.status().failure.is_none());
    });
    assert_eq!(scripted.script.written(), [0, 1, 2, 3]);
}

#[test]
fn it_is_tried_again_without_being_asked_after_longer_and_longer_pauses() {
    let scripted = Scripted::new(no_timer(2, 100));
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..2);
    scripted.script.wait_until(|state| state.attempts == 5);
    scripted.script.fail(Fails::No);
    scripted.script.wait_until(|state| state.writes.len() == 1);
    assert_eq!(scripted.script.written(), [0, 1]);
    let pauses: Vec<Duration> = (scripted.reports.all().iter())
        .filter_map(|report| match report {
            Report::WriteFailed { retry_in, .. } => Some(*retry_in),
            _ => None,
        })
        .collect();
    let milliseconds = [10, 20, 40, 80, 160].map(Duration::from_millis);
    assert!(pauses.len() >= 4, "{pauses:?}");
    assert_eq!(pauses, milliseconds[..pauses.len()]);
    scripted.runtime.block_on(scripted.logger.close()).unwrap();
    let reports = scripted.reports.all();
    assert!(
        matches!(reports.last(), Some(Report::Recovered { .. })),
        "{reports:?}"
    );
    assert_eq!(
        reports[0].to_string(),
        "failed to write turns: as the test told it: 2 turns are kept, attempt 2 follows in 10ms"
    );
}

/// Turns that come meanwhile wait for room and are not dropped.
#[test]
fn a_full_channel_waits_for_a_disk_that_refuses() {
    let scripted = Scripted::new(no_timer(2, 2));
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..4);
    scripted.runtime.block_on(async {
        let logging = async {
            for number in 4..20 {
                scripted.logger.log_turn(turn(number)).await.unwrap();
            }
        };
        let recovering = async {
            scripted.logger.flush().await.unwrap_err();
            assert_eq!(scripted.logger.status().accepted, 4);
            scripted.script.fail(Fails::No);
        };
        tokio::join!(logging, recovering);
        scripted.logger.flush().await.unwrap();
    });
    assert_eq!(scripted.script.written(), (0..20).collect::<Vec<_>>());
}

fn everybody_is_told_of_a_death(fails: Fails, death: &str) {
    let scripted = Scripted::new(no_timer(2, 2));
    scripted.script.hold();
    scripted.log(0..4);
    scripted.script.fail(fails);
    let logger = &scripted.logger;
    let died = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::WriterDied { kept: 4, .. }),
            "{error:?}"
        );
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), death);
    };
    scripted.runtime.block_on(async {
        let (waiting_for_room, flushing, ()) =
            tokio::join!(logger.log_turn(turn(4)), logger.flush(), async {
                scripted.script.let_go()
            });
        died(waiting_for_room);
        died(flushing);
        died(logger.log_turn(turn(5)).await);
        died(logger.log_turn_durable(turn(6)).await);
        died(logger.flush().await);
        let error = logger.close().await.unwrap_err();
        let Error::Unwritten { turns, .. } = error else {
            panic!("{error:?}");
        };
        let numbers: Vec<u32> = turns.iter().map(|turn| turn.turn).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    });
    let reports = scripted.reports.all();
    let [Report::WriterDied { kept: 4, .. }] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(
        reports[0].to_string(),
        format!("the writer has died with 4 turns unwritten: {death}")
            + if fails == Fails::ForGood {
                ": as the test told it"
            } else {
                ""
            }
    );
}

#[test]
fn a_writer_that_dies_of_its_storage_is_told_to_everybody() {
    everybody_is_told_of_a_death(Fails::ForGood, "write turns");
}

#[test]
fn a_writer_that_panics_is_told_to_everybody() {
    everybody_is_told_of_a_death(Fails::ByAPanic, "a panic: as the test told it");
}

/// A flush in the pause between two attempts does not wait for its end: here the pauses, had they
/// been waited for, add up to most of a minute.
#[test]
fn a_flush_makes_the_next_attempt_come_at_once() {
    let scripted = Scripted::new(no_timer(2, 100));
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..2);
    let start = Instant::now();
    scripted.runtime.block_on(async {
        for _ in 0..50 {
            scripted.logger.flush().await.unwrap_err();
        }
    });
    let took = start.elapsed();
    let pauses: Duration = (scripted.reports.all().iter())
        .map(|report| match report {
            Report::WriteFailed { retry_in, .. } => *retry_in,
            _ => Duration::ZERO,
        })
        .sum();
    assert!(took < pauses / 2, "{took:?} of {pauses:?}");
    scripted.script.fail(Fails::No);
    scripted.runtime.block_on(scripted.logger.close()).unwrap();
    assert_eq!(scripted.script.written(), [0, 1]);
}
