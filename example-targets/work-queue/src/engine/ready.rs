//! Actions that wait for a worker: the most urgent first, then in the order in which they came.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::progress::Action;

/// How many actions a worker takes at once, at most: others may take the rest.
const TAKEN_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    actions: Mutex<BTreeMap<Reverse<i16>, VecDeque<Action>>>,
    len: AtomicUsize,
    is_there: Notify,
}

impl ReadyQueue {
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, actions: impl IntoIterator<Item = Action>) {
        let mut queue = self.actions.lock();
        let mut n = 0;
        for action in actions {
            n += 1;
            queue
                .entry(Reverse(action.priority))
                .or_default()
                .push_back(action);
        }
        self.len.fetch_add(n, Ordering::Relaxed);
        drop(queue);
        if n > 0 {
            self.is_there.notify_one();
        }
    }

    /// Some, for one of so many workers; none when there are none.
    pub(super) fn take(&self, workers: usize, into: &mut VecDeque<Action>) {
        let mut queue = self.actions.lock();
        let wanted = self.len().div_ceil(workers).min(TAKEN_MAX);
        while into.len() < wanted {
            let Some(mut first) = queue.first_entry() else {
                break;
            };
            into.extend(first.get_mut().pop_front());
            if first.get().is_empty() {
                first.remove();
            }
        }
        let left = self.len.fetch_sub(into.len(), Ordering::Relaxed) - into.len();
        drop(queue);
        if left > 0 && !into.is_empty() {
            self.is_there.notify_one();
        }
    }

    pub(super) fn take_all(&self) -> Vec<Action> {
        let mut queue = self.actions.lock();
        let all = std::mem::take(&mut *queue);
        self.len.store(0, Ordering::Relaxed);
        all.into_values().flatten().collect()
    }

    pub(super) async fn wait(&self) {
        self.is_there.notified().await;
    }
}
