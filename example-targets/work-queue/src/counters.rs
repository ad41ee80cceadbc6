//! What an engine has done: counted as it goes, read as a snapshot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::metrics::{QueryTimes, Times, TimesSummary};

/// Messages that are kept: the last ones.
const MESSAGES_MAX: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) instances_completed: Counter,
    pub(crate) instances_failed: Counter,
    pub(crate) batches: Counter,
    pub(crate) stale: Counter,
    pub(crate) store_errors: Counter,
    pub(crate) sessions_lost: Counter,
    pub(crate) lost_events: Counter,
    pub(crate) gates_remembered: Counter,
    pub(crate) gates_read: Counter,
    pub(crate) ready_to_completed: Times,
    pub(crate) round_trip: Times,
    pub(crate) batch: Times,
    messages: Mutex<VecDeque<String>>,
}

impl Counters {
    pub(crate) fn say(&self, message: String) {
        let mut messages = self.messages.lock();
        if messages.len() >= MESSAGES_MAX {
            messages.pop_front();
        }
        messages.push_back(message);
    }

    pub(crate) fn snapshot(&self) -> Metrics {
        Metrics {
            actions_completed: self.completed.get(),
            deliveries_failed: self.failed.get(),
            instances_completed: self.instances_completed.get(),
            instances_failed: self.instances_failed.get(),
            batches: self.batches.get(),
            stale: self.stale.get(),
            store_errors: self.store_errors.get(),
            sessions_lost: self.sessions_lost.get(),
            lost_events: self.lost_events.get(),
            gates_remembered: self.gates_remembered.get(),
            gates_read: self.gates_read.get(),
            ready_to_completed: self.ready_to_completed.summary(),
            round_trip: self.round_trip.summary(),
            batch: self.batch.summary(),
            queries: Vec::new(),
            messages: self.messages.lock().iter().cloned().collect(),
        }
    }
}

/// What an engine has done since it started.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Actions whose completion is durable.
    pub actions_completed: u64,
    /// Deliveries that failed.
    pub deliveries_failed: u64,
    /// Instances that ended well.
    pub instances_completed: u64,
    /// Instances that failed.
    pub instances_failed: u64,
    /// Batches that were applied.
    pub batches: u64,
    /// Completions and claims that came too late and had no effect.
    pub stale: u64,
    /// What the database could not do at first.
    pub store_errors: u64,
    /// How often the lease had run out.
    pub sessions_lost: u64,
    /// Completions that the database refused; they are delivered again.
    pub lost_events: u64,
    /// Gates whose values were remembered.
    pub gates_remembered: u64,
    /// Gates whose values were read back.
    pub gates_read: u64,
    /// From when an action could be run to when its completion was durable.
    pub ready_to_completed: TimesSummary,
    /// From an instance's start to its end.
    pub round_trip: TimesSummary,
    /// A batch, from when it was complete to when it was durable; waiting for company is not in it.
    pub batch: TimesSummary,
    /// What the store's queries took.
    pub queries: QueryTimes,
    /// What there was to say: troubles with the database and their ends.
    pub messages: Vec<String>,
}
