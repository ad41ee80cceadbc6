//! From events to batches that are durable.
//!
//! With nothing on its way, whatever has happened is written at once; with one batch on its way,
//! the next waits until it is worth it, or until the first is done. So batches grow with the load,
//! and an idle queue does not wait for company.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc;

use super::claims::{Trouble, read_gates};
use super::{Shared, Stop};
use crate::inbox_cache::InboxCache;
use crate::progress::{Consequences, Event, Numbers, consequences};
use crate::store::{
    Applied, InstanceId, LANES, Outcome, SessionId, Stamp, Store, StoreError, StoreResult,
};

/// How many numbers are reserved at once.
const NUMBERS: u32 = 1 << 20;
/// Failed instances that are remembered, so that nothing more of theirs is begun here.
const FAILED_MAX: usize = 10_000;

/// A batch that is back from the store.
struct Back {
    lane: u32,
    events: Vec<Event>,
    consequences: Consequences,
    batch: Arc<crate::store::Batch>,
    outcome: StoreResult<Applied>,
}

struct Batcher<S> {
    shared: Arc<Shared<S>>,
    cache: InboxCache,
    numbers: Numbers,
    free: Vec<u32>,
    numbered: [i64; LANES as usize],
    /// Instances at whose gates a lane's batch lets values arrive.
    arriving: [Vec<InstanceId>; LANES as usize],
    failed: HashSet<InstanceId>,
    started: FxHashMap<InstanceId, Instant>,
    done: mpsc::UnboundedSender<Back>,
}

pub(super) async fn run<S: Store>(shared: Arc<Shared<S>>) {
    let (done, mut back) = mpsc::unbounded_channel();
    let mut batcher = Batcher {
        shared: Arc::clone(&shared),
        cache: InboxCache::default(),
        numbers: Numbers::default(),
        free: (0..LANES).collect(),
        numbered: [0; LANES as usize],
        arriving: Default::default(),
        failed: HashSet::new(),
        started: FxHashMap::default(),
        done,
    };
    loop {
        while let Ok(back) = back.try_recv() {
            batcher.take_back(back);
        }
        let on_the_way = LANES as usize - batcher.free.len();
        let stop = *shared.stop.borrow();
        let waiting = shared.events.lock().len();
        if waiting == 0 && on_the_way == 0 && stop == Stop::Flush {
            return;
        }
        let enough = match on_the_way {
            0 => 1,
            _ => shared.options.batch_enough,
        };
        if !batcher.free.is_empty() && waiting >= enough {
            batcher.send().await;
            continue;
        }
        tokio::select! {
            () = shared.has_events.notified() => {}
            Some(back) = back.recv() => batcher.take_back(back),
        }
    }
}

impl<S: Store> Batcher<S> {
    /// Sends off what has happened.
    async fn send(&mut self) {
        let events = self.take();
        let events = if self.failed.is_empty() {
            events
        } else {
            let events = events.into_iter();
            events.map(|event| self.without_the_failed(event)).collect()
        };
        let room = self
            .shared
            .options
            .actions_max
            .saturating_sub(self.shared.in_flight());
        let mut consequences = loop {
            let now = Instant::now();
            match consequences(&events, &self.cache, &mut self.numbers, room, now) {
                Ok(consequences) => break consequences,
                Err(_) => {
                    if !self.reserve().await {
                        self.shared.push(events);
                        return;
                    }
                }
            }
        };
        let batch = Arc::new(std::mem::take(&mut consequences.batch));
        if batch.is_empty() {
            return;
        }
        self.shared
            .coming
            .fetch_add(consequences.leased.len(), Ordering::Relaxed);
        self.learn_width(&consequences, &batch);
        let lane = self.free.pop().expect("asked for before");
        self.numbered[lane as usize] += 1;
        let number = self.numbered[lane as usize];
        let arriving = &mut self.arriving[lane as usize];
        arriving.extend(batch.arrivals.iter().map(|it| it.instance));
        let shared = Arc::clone(&self.shared);
        let done = self.done.clone();
        tokio::spawn(async move {
            let outcome = apply(&shared, lane, number, &batch).await;
            // Nobody takes it back when the engine was dropped.
            _ = done.send(Back {
                lane,
                events,
                consequences,
                batch,
                outcome,
            });
        });
    }

    /// What goes into the next batch. What is for the gates of an instance at which a batch on its
    /// way lets something arrive stays for the one after: it would wait in the database for that
    /// one's row, and could not know yet whether the gate is complete. Unless that is most of what
    /// there is.
    fn take(&self) -> Vec<Event> {
        let arriving: FxHashSet<InstanceId> = self.arriving.iter().flatten().copied().collect();
        let max = self.shared.options.batch_max;
        let mut events = self.shared.events.lock();
        let is_later = |event: &Event| matches!(event, Event::Completed { action, .. } if arriving.contains(&action.instance));
        let n_later = match arriving.is_empty() {
            true => 0,
            false => events.iter().filter(|event| is_later(event)).count(),
        };
        if n_later == 0 || 2 * n_later > events.len() {
            let n = events.len().min(max);
            let rest = events.split_off(n);
            return std::mem::replace(&mut *events, rest);
        }
        let (mut later, mut now): (Vec<_>, Vec<_>) = events.drain(..).partition(is_later);
        later.extend(now.split_off(now.len().min(max)));
        *events = later;
        now
    }

    /// How many actions an instance begins with, roughly.
    fn learn_width(&self, consequences: &Consequences, batch: &crate::store::Batch) {
        if !batch.started.is_empty() {
            let seen = 16 * consequences.first_actions / batch.started.len();
            let before = self.shared.width().unwrap_or(seen);
            let width = (3 * before + seen).div_ceil(4).max(16);
            self.shared.width.store(width, Ordering::Relaxed);
        }
    }

    fn without_the_failed(&self, event: Event) -> Event {
        match &event {
            Event::Completed { action, .. }
            | Event::Failed { action, .. }
            | Event::Released(action)
                if self.failed.contains(&action.instance) =>
            {
                Event::Orphaned(action.token())
            }
            _ => event,
        }
    }

    /// More numbers; whether there are some.
    async fn reserve(&mut self) -> bool {
        let mut trouble = Trouble::new("reserving numbers");
        let needed = u32::try_from(2 * self.numbers.left()).unwrap_or(NUMBERS);
        let n = needed.max(NUMBERS);
        loop {
            match self.shared.store.reserve(n).await {
                Ok(first) => {
                    trouble.over(&self.shared);
                    self.numbers = Numbers {
                        next: first,
                        end: first + i64::from(n),
                    };
                    return true;
                }
                Err(error) => {
                    let wait = trouble.said(&self.shared, &error);
                    if is_hopeless(&self.shared, &error) {
                        return false;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn take_back(&mut self, back: Back) {
        self.free.push(back.lane);
        self.arriving[back.lane as usize].clear();
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let leased = back.consequences.leased.len();
        match back.outcome {
            Ok(applied) => {
                let now = Instant::now();
                for passed in &back.batch.passed {
                    self.cache.forget((passed.instance, passed.gate));
                    counters.gates_remembered.add(u64::from(passed.missing > 0));
                }
                for (arrival, values) in back.batch.arrivals.iter().zip(back.consequences.arrived) {
                    self.cache.add(arrival, values);
                }
                for (instance, gate) in &applied.complete {
                    self.cache.forget((*instance, *gate));
                }
                let mut ready = back.consequences.leased;
                for action in &mut ready {
                    action.ready = now;
                }
                for it in &back.batch.given_back {
                    self.shared.wait_until(now + it.wait);
                }
                if ready.len() < back.batch.actions.len() || !back.batch.given_back.is_empty() {
                    self.shared.wake_claims.notify_one();
                }
                self.shared.ready.push(ready);
                self.count(&back.events, &back.consequences.finished, now);
                counters.batches.add(1);
                if !applied.complete.is_empty() {
                    let shared = Arc::clone(&self.shared);
                    let gates = applied.complete.iter();
                    let gates = gates.map(|(instance, gate)| (*instance, gate.0)).collect();
                    tokio::spawn(async move { read_gates(&shared, gates).await });
                }
            }
            Err(StoreError::Stale(stale)) => {
                for passed in &stale.passed {
                    self.cache.forget((passed.instance, passed.gate));
                }
                let (out_of_date, rest): (Vec<_>, Vec<_>) = back
                    .events
                    .into_iter()
                    .partition(|event| event.is_stale(&stale));
                counters.stale.add(out_of_date.len() as u64);
                self.shared.push(rest);
            }
            Err(error) => {
                // What it completed is delivered again when the lease has run out.
                counters.lost_events.add(back.events.len() as u64);
                counters.say(format!("writing a batch: {error}; given up"));
            }
        }
        self.shared.coming.fetch_sub(leased, Ordering::Relaxed);
        self.shared.wake_starts.notify_one();
    }

    fn count(&mut self, events: &[Event], finished: &[(InstanceId, Outcome)], now: Instant) {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let mut waits = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Claimed(claimed, _) => {
                    self.started.insert(claimed.id, now);
                }
                Event::Completed { action, .. } => {
                    waits.push(now.saturating_duration_since(action.ready));
                }
                Event::Failed { .. } => counters.failed.add(1),
                Event::Released(_) | Event::Orphaned(_) | Event::GateComplete { .. } => {}
            }
        }
        counters.completed.add(waits.len() as u64);
        counters.ready_to_completed.add_many(waits.into_iter(), 0);
        if finished.is_empty() {
            return;
        }
        let mut tell = self.shared.finished.lock();
        for (instance, outcome) in finished {
            if let Some(started) = self.started.remove(instance) {
                let took = now.saturating_duration_since(started);
                counters.round_trip.add(took, 1);
            }
            match outcome {
                Outcome::Completed => counters.instances_completed.add(1),
                Outcome::Failed => {
                    counters.instances_failed.add(1);
                    if self.failed.len() >= FAILED_MAX {
                        self.failed.clear();
                    }
                    self.failed.insert(*instance);
                }
            }
            for waiting in tell.remove(instance).into_iter().flatten() {
                _ = waiting.send(());
            }
        }
    }
}

fn is_hopeless<S>(shared: &Shared<S>, error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { .. }) || *shared.stop.borrow() == Stop::Flush
}

/// Applies a batch, however often it takes. A lost session is replaced by the keeper.
async fn apply<S: Store>(
    shared: &Arc<Shared<S>>,
    lane: u32,
    number: i64,
    batch: &Arc<crate::store::Batch>,
) -> StoreResult<Applied> {
    let mut trouble = Trouble::new("writing a batch");
    let begun = Instant::now();
    loop {
        let session: SessionId = shared.session();
        let stamp = Stamp {
            session,
            lane,
            number,
        };
        match shared.store.apply(stamp, Arc::clone(batch)).await {
            Ok(applied) => {
                trouble.over(shared);
                let counters = &shared.counters;
                counters.batch.add(begun.elapsed(), batch.completed.len());
                return Ok(applied);
            }
            Err(StoreError::SessionLost) if *shared.stop.borrow() != Stop::Flush => {
                while shared.session() == session && *shared.stop.borrow() != Stop::Flush {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Err(error @ StoreError::Unavailable { .. }) => {
                let wait = trouble.said(shared, &error);
                if *shared.stop.borrow() == Stop::Flush && trouble_is_long(begun) {
                    return Err(error);
                }
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn trouble_is_long(begun: Instant) -> bool {
    begun.elapsed() > Duration::from_secs(1)
}
