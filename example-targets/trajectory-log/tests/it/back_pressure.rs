//! A full channel makes the caller wait, and drops nothing.

use std::pin::pin;

use crate::storage::{Scripted, no_timer, poll_once, turn};

#[test]
fn callers_wait_when_capacity_and_buffer_are_full() {
    let scripted = Scripted::new(no_timer(2, 3));
    scripted.script.hold();
    scripted.log(0..5);
    assert!(poll_once(scripted.logger.log_turn(turn(99))).is_pending());
    assert_eq!(scripted.logger.status().accepted, 5);
    scripted.runtime.block_on(async {
        let mut waiting = pin!(scripted.logger.log_turn(turn(5)));
        assert!(futures_are_pending(waiting.as_mut()).await);
        scripted.script.let_go();
        waiting.await.unwrap();
        scripted.logger.flush().await.unwrap();
    });
    assert_eq!(scripted.script.written(), [0, 1, 2, 3, 4, 5]);
}

/// Room is given back in lumps; none of it gets lost, in whatever order turns and writes come.
#[test]
fn all_room_comes_back() {
    for (buffer_size, capacity) in [(1, 1), (2, 3), (10, 100), (7, 1), (1, 50)] {
        let scripted = Scripted::new(no_timer(buffer_size, capacity));
        let full = u32::try_from(buffer_size + capacity).unwrap();
        for round in 0..5 {
            scripted.runtime.block_on(async {
                for number in 0..3 * full + round {
                    scripted.logger.log_turn(turn(number)).await.unwrap();
                }
                scripted.logger.flush().await.unwrap();
            });
            scripted.script.hold();
            scripted.log(0..full);
            assert!(poll_once(scripted.logger.log_turn(turn(99))).is_pending());
            scripted.script.let_go();
            scripted.runtime.block_on(scripted.logger.flush()).unwrap();
        }
    }
}

/// Polls a future once and keeps it.
async fn futures_are_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
    })
    .await
}
