//! When a batch is written.

use std::thread;
use std::time::{Duration, Instant};

use trajectory_log::Config;

use crate::storage::{Scripted, Write, no_timer};

fn with_interval(flush_interval_ms: u64, buffer_size: usize) -> Scripted {
    Scripted::new(Config {
        flush_interval_ms,
        ..no_timer(buffer_size, 10_000)
    })
}

#[test]
fn a_full_batch_does_not_wait_for_the_timer() {
    let scripted = Scripted::new(no_timer(10, 100));
    scripted.log(0..25);
    scripted.script.wait_until(|state| state.writes.len() == 2);
    let batch = |turns: std::ops::Range<u32>| Write {
        turns: turns.collect(),
        to_disk: false,
    };
    assert_eq!(scripted.script.writes(), [batch(0..10), batch(10..20)]);
}

/// The record's own code starts its timer anew with each turn, so that this trickle would be
/// written at its end: 10 seconds in which no two turns are further apart than the interval.
#[test]
fn the_timer_runs_from_the_first_turn_of_a_batch() {
    let interval = Duration::from_millis(100);
    let scripted = with_interval(100, 100_000);
    let start = Instant::now();
    let mut logged = 0;
    while scripted.script.writes().is_empty() {
        assert!(logged < 2_000, "none of {logged} turns is written yet");
        scripted.log([logged]);
        logged += 1;
        thread::sleep(Duration::from_millis(5)); // the trickle
    }
    assert!(start.elapsed() >= interval, "{:?}", start.elapsed());
}

/// A writer that has not been needed for an interval waits without a deadline, and is woken by the
/// first turn that comes.
#[test]
fn a_turn_after_a_silence_is_written_in_its_time() {
    let scripted = with_interval(5, 10);
    for number in 0..5 {
        let start = Instant::now();
        scripted.log([number]);
        let so_far = number as usize + 1;
        scripted
            .script
            .wait_until(|state| state.writes.len() == so_far);
        assert!(start.elapsed() >= Duration::from_millis(5));
        thread::sleep(Duration::from_millis(20)); // the silence
    }
    assert_eq!(scripted.script.written(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_rest_of_a_batch_keeps_its_own_time() {
    let scripted = with_interval(20, 10);
    scripted.log(0..13);
    scripted.script.wait_until(|state| state.writes.len() == 2);
    let turns: Vec<_> = scripted
        .script
        .writes()
        .into_iter()
        .map(|w| w.turns)
        .collect();
    assert_eq!(turns, [(0..10).collect::<Vec<_>>(), (10..13).collect()]);
}

/// A capacity below the buffer's size must not keep a batch from becoming full.
#[test]
fn a_channel_smaller_than_the_buffer_fills_it_all_the_same() {
    let scripted = Scripted::new(no_timer(100, 1));
    scripted.log(0..100);
    scripted.script.wait_until(|state| state.writes.len() == 1);
    assert_eq!(scripted.script.written().len(), 100);
}

#[test]
fn an_idle_writer_writes_nothing() {
    let scripted = with_interval(1, 10);
    scripted.runtime.block_on(scripted.logger.flush()).unwrap();
    thread::sleep(Duration::from_millis(30)); // being idle
    assert_eq!(scripted.script.writes(), []);
}
