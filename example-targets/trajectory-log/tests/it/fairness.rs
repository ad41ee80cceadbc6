//! A task that logs without end gives way to others.

use std::cell::Cell;

use crate::storage::{Scripted, no_timer, turn};

/// There is always room, so that nothing but tokio's own count makes the task give way.
#[test]
fn a_task_that_logs_without_end_gives_way() {
    let scripted = Scripted::new(no_timer(100_000, 100_000));
    let ticks = Cell::new(0);
    let is_done = Cell::new(false);
    scripted.runtime.block_on(async {
        let logging = async {
            for number in 0..10_000 {
                scripted.logger.log_turn(turn(number)).await.unwrap();
            }
            is_done.set(true);
        };
        let ticking = async {
            while !is_done.get() {
                ticks.set(ticks.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(logging, ticking);
    });
    assert!(ticks.get() > 50, "{} ticks in 10,000 turns", ticks.get());
}
