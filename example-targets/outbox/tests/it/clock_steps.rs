//! The clock steps: forwards, backwards, from the epoch, and not at all.
//!
//! Nothing is ordered by time; only what has waited too long, and what is remembered too long,
//! goes by it.

use std::time::UNIX_EPOCH;

use crate::support::{DAY, Fixture, names};

fn drained(fixture: &Fixture) -> Vec<String> {
    names(&fixture.outbox.drain().unwrap())
}

#[test]
fn records_of_the_same_moment_keep_their_order_and_the_last_wins() {
    let fixture = Fixture::new();
    for (child, signal) in [("b", "1"), ("a", "1"), ("c", "1"), ("b", "2")] {
        fixture.commit(child, signal);
    }
    assert_eq!(drained(&fixture), ["b=2", "a=1", "c=1"]);
    fixture.commit("b", "2");
    assert_eq!(drained(&fixture), [""; 0]);
}

#[test]
fn a_step_back_orders_nothing_anew_and_expires_nothing() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    fixture.clock.back(100 * DAY);
    fixture.commit("b", "1");
    fixture.commit("a", "2");
    assert_eq!(drained(&fixture), ["a=2", "b=1"]);
    // Consumed before the step, consumed after it.
    fixture.clock.back(100 * DAY);
    fixture.commit("a", "2");
    assert_eq!(drained(&fixture), [""; 0]);
    assert!(fixture.outbox.dead_letters().unwrap().is_empty());
}

/// A clock that was ahead: what was consumed then is remembered until it is 14 days older, and
/// what was committed then does not expire before.
#[test]
fn the_future_is_young() {
    let fixture = Fixture::new();
    fixture.clock.forward(1_000 * DAY);
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["a=1"]);
    fixture.commit("b", "1");
    fixture.clock.back(1_000 * DAY);
    fixture.clock.forward(500 * DAY);
    assert_eq!(fixture.outbox.sweep().unwrap(), outbox::Swept::default());
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["b=1"]);
    assert_eq!(fixture.file_length("wal.jsonl"), None);
}

/// A step forward makes old what is pending and what is remembered, but only if a drain or a
/// sweep sees it.
#[test]
fn a_step_forward_that_is_taken_back_unseen_changes_nothing() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["a=1"]);
    fixture.commit("b", "1");
    fixture.clock.forward(1_000 * DAY);
    assert_eq!(names(&fixture.outbox.pending().unwrap()), ["b=1"]);
    fixture.clock.back(1_000 * DAY);
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["b=1"]);
}

#[test]
fn a_step_forward_sets_aside_and_forgets_and_loses_nothing() {
    let fixture = Fixture::new();
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["a=1"]);
    fixture.commit("b", "1");
    fixture.clock.forward(1_000 * DAY);
    assert_eq!(drained(&fixture), [""; 0]);
    let letters = fixture.outbox.dead_letters().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].detail, "waited 1000 days for a drain");
    // Both turns are new again.
    fixture.commit("a", "1");
    fixture.commit("b", "1");
    assert_eq!(drained(&fixture), ["a=1", "b=1"]);
}

/// A machine without a clock of its own starts in 1970 and learns the time later.
#[test]
fn a_clock_that_starts_at_the_epoch() {
    for ms in [0, 1] {
        let fixture = Fixture::new();
        let now_ms = fixture.clock.now_ms();
        fixture.clock.set_ms(ms);
        fixture.commit("a", "1");
        let pending = fixture.outbox.pending().unwrap();
        assert!(pending[0].committed_at >= UNIX_EPOCH);
        assert_eq!(drained(&fixture), ["a=1"]);
        fixture.commit("a", "1");
        fixture.commit("b", "1");
        assert_eq!(names(&fixture.outbox.pending().unwrap()), ["b=1"]);
        fixture.clock.set_ms(now_ms);
        let drained = fixture.outbox.drain().unwrap();
        assert!(drained.is_empty());
        assert_eq!(drained.dead_letters(), 2);
    }
}

#[test]
fn the_last_moment_that_a_file_can_hold() {
    let fixture = Fixture::new();
    fixture.clock.set_ms(u64::MAX);
    fixture.commit("a", "1");
    assert_eq!(drained(&fixture), ["a=1"]);
    fixture.commit("a", "1");
    fixture.commit("b", "1");
    fixture.clock.set_ms(0);
    assert_eq!(drained(&fixture), ["b=1"]);
    assert!(fixture.outbox.dead_letters().unwrap().is_empty());
}
