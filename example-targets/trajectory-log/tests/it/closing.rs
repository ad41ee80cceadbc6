//! Closing and dropping write what is left; a drop is bounded and says what it could not.

use std::sync::Arc;

use trajectory_log::{Config, Error, Report};

use crate::storage::{Fails, Scripted, no_timer, poll_once, turn};

fn numbers(error: Error) -> Vec<u32> {
    match error {
        Error::Unwritten { turns, .. } => turns.iter().map(|turn| turn.turn).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn closing_writes_what_is_left() {
    let scripted = Scripted::new(no_timer(10, 100));
    scripted.log(0..23);
    scripted.runtime.block_on(async {
        scripted.logger.close().await.unwrap();
        scripted.logger.close().await.unwrap();
        let error = scripted.logger.log_turn(turn(23)).await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
        let error = scripted
            .logger
            .log_turn_durable(turn(23))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
        scripted.logger.flush().await.unwrap();
    });
    assert_eq!(scripted.script.written(), (0..23).collect::<Vec<_>>());
    assert!(scripted.script.writes().last().unwrap().to_disk);
}

#[test]
fn dropping_writes_what_is_left() {
    let scripted = Scripted::new(no_timer(10, 100));
    scripted.log(0..23);
    let (script, reports) = (scripted.script.clone(), scripted.reports.clone());
    drop(scripted);
    assert_eq!(script.written(), (0..23).collect::<Vec<_>>());
    assert!(reports.all().is_empty());
}

#[test]
fn callers_who_wait_for_room_are_told_that_it_is_closed() {
    let scripted = Scripted::new(no_timer(1, 1));
    scripted.script.hold();
    scripted.log(0..2);
    let logger = Arc::new(scripted.logger);
    scripted.runtime.block_on(async {
        let waiting = async {
            let error = logger.log_turn(turn(2)).await.unwrap_err();
            assert!(matches!(error, Error::Closed), "{error:?}");
            scripted.script.let_go();
        };
        let (closed, ()) = tokio::join!(logger.close(), waiting);
        closed.unwrap();
    });
    assert_eq!(scripted.script.written(), [0, 1]);
}

#[test]
fn closing_on_a_disk_that_refuses_hands_the_turns_over() {
    let scripted = Scripted::new(Config {
        close_timeout_ms: 30,
        ..no_timer(3, 10)
    });
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..8);
    scripted.runtime.block_on(async {
        let error = scripted.logger.close().await.unwrap_err();
        assert_eq!(numbers(error), (0..8).collect::<Vec<_>>());
        scripted.logger.close().await.unwrap();
    });
    assert_eq!(scripted.script.writes(), []);
}

/// Tried again while it closes: the disk comes back before the time is up.
#[test]
fn closing_waits_for_a_disk_that_comes_back() {
    let scripted = Scripted::new(no_timer(3, 10));
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..8);
    assert!(poll_once(scripted.logger.close()).is_pending());
    scripted.script.wait_until(|state| state.attempts >= 3);
    scripted.script.fail(Fails::No);
    scripted.runtime.block_on(scripted.logger.close()).unwrap();
    assert_eq!(scripted.script.written(), (0..8).collect::<Vec<_>>());
}

#[test]
fn dropping_on_a_disk_that_hangs_is_bounded_and_reported() {
    let scripted = Scripted::new(Config {
        close_timeout_ms: 20,
        ..no_timer(3, 10)
    });
    scripted.script.hold();
    scripted.log(0..8);
    scripted.script.wait_until(|state| state.attempts == 1);
    let (script, reports) = (scripted.script.clone(), scripted.reports.clone());
    drop(scripted);
    // It came back although nobody has let go of the write.
    let reports = reports.all();
    let [Report::Unwritten { turns: 8, source }] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert!(source.is_none(), "{source:?}");
    assert_eq!(
        reports[0].to_string(),
        "dropped with 8 turns unwritten: the disk did not answer in time"
    );
    script.let_go();
}

#[test]
fn dropping_on_a_disk_that_refuses_is_bounded_and_reported() {
    let scripted = Scripted::new(Config {
        close_timeout_ms: 20,
        ..no_timer(3, 10)
    });
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..8);
    let reports = scripted.reports.clone();
    drop(scripted);
    let reports = reports.all();
    let unwritten: Vec<_> = reports
        .iter()
        .filter(|report| matches!(report, Report::Unwritten { .. }))
        .collect();
    assert_eq!(unwritten.len(), 1, "{reports:?}");
    assert_eq!(
        unwritten[0].to_string(),
        "dropped with 8 turns unwritten: write turns: as the test told it"
    );
}

#[test]
fn a_drop_without_time_does_not_wait() {
    let scripted = Scripted::new(Config {
        close_timeout_ms: 0,
        ..no_timer(3, 10)
    });
    scripted.script.hold();
    scripted.log(0..2);
    let (script, reports) = (scripted.script.clone(), scripted.reports.clone());
    drop(scripted);
    let reports = reports.all();
    assert!(
        matches!(reports.as_slice(), [Report::Unwritten { turns: 2, .. }]),
        "{reports:?}"
    );
    script.let_go();
}

/// Nothing is said of turns that `close` has handed over.
#[test]
fn a_drop_after_a_close_says_nothing() {
    let scripted = Scripted::new(Config {
        close_timeout_ms: 1,
        ..no_timer(3, 10)
    });
    scripted.script.fail(Fails::ForNow);
    scripted.log(0..2);
    let error = scripted.runtime.block_on(scripted.logger.close());
    assert_eq!(numbers(error.unwrap_err()), [0, 1]);
    let reports = scripted.reports.clone();
    drop(scripted);
    let all = reports.all();
    assert!(
        !all.iter().any(|r| matches!(r, Report::Unwritten { .. })),
        "{all:?}"
    );
}
