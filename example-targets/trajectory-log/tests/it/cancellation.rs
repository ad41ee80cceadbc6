//! Futures that are dropped before they are done leave nothing half done.

use crate::storage::{Scripted, no_timer, poll_once, turn};

#[test]
fn a_log_that_waits_for_room_and_is_dropped_has_logged_nothing() {
    let scripted = Scripted::new(no_timer(1, 1));
    scripted.script.hold();
    scripted.log(0..2);
    for _ in 0..10 {
        assert!(poll_once(scripted.logger.log_turn(turn(98))).is_pending());
        assert!(poll_once(scripted.logger.log_turn_durable(turn(99))).is_pending());
    }
    scripted.script.let_go();
    scripted.runtime.block_on(async {
        // The room that they waited for is there for others.
        for number in 2..10 {
            scripted.logger.log_turn(turn(number)).await.unwrap();
        }
        scripted.logger.flush().await.unwrap();
    });
    assert_eq!(scripted.script.written(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_durable_log_that_was_accepted_and_is_dropped_is_written() {
    let scripted = Scripted::new(no_timer(10, 10));
    scripted.script.hold();
    assert!(poll_once(scripted.logger.log_turn_durable(turn(0))).is_pending());
    assert_eq!(scripted.logger.status().accepted, 1);
    scripted.script.let_go();
    scripted.script.wait_until(|state| state.writes.len() == 1);
    let write = &scripted.script.writes()[0];
    assert_eq!((write.turns.as_slice(), write.to_disk), (&[0][..], true));
}

#[test]
fn a_flush_that_is_dropped_has_had_it_written() {
    let scripted = Scripted::new(no_timer(10, 10));
    scripted.script.hold();
    scripted.log(0..3);
    assert!(poll_once(scripted.logger.flush()).is_pending());
    scripted.script.let_go();
    scripted.script.wait_until(|state| !state.writes.is_empty());
    assert_eq!(scripted.script.written(), [0, 1, 2]);
    // And who asks after it is answered.
    scripted.runtime.block_on(scripted.logger.flush()).unwrap();
}

#[test]
fn a_close_that_is_dropped_has_closed() {
    let scripted = Scripted::new(no_timer(10, 10));
    scripted.script.hold();
    scripted.log(0..3);
    assert!(poll_once(scripted.logger.close()).is_pending());
    assert!(matches!(
        poll_once(scripted.logger.log_turn(turn(3))),
        std::task::Poll::Ready(Err(trajectory_log::Error::Closed))
    ));
    scripted.script.let_go();
    scripted.runtime.block_on(scripted.logger.close()).unwrap();
    assert_eq!(scripted.script.written(), [0, 1, 2]);
}
