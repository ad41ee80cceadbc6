//! Getting work: instances to start, actions that nobody has, and the lease that allows it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Shared, Stop};
use crate::graph::{Gate, Graph};
use crate::progress::{Action, Event};
use crate::store::{
    ClaimedAction, ClaimedInstance, Delivery, GateInbox, InstanceId, Store, StoreError,
};
use crate::value::Json;

/// Instances that are claimed at once, unless more are to be started at once.
const INSTANCES_MAX: usize = 256;
/// For how long they should last.
const CLAIMED_FOR: Duration = Duration::from_millis(50);
/// Actions that are claimed at once.
const ACTIONS_MAX: usize = 1_000;
/// Instances that are started before it is known how many actions one begins with.
const FIRST_INSTANCES: usize = 16;

/// Waits for a wake-up, the time, or the end.
async fn pause<S>(shared: &Shared<S>, wake: &tokio::sync::Notify, time: Duration) {
    let mut stop = shared.stop.subscribe();
    if *stop.borrow_and_update() != Stop::No {
        return;
    }
    tokio::select! {
        () = wake.notified() => {}
        _ = stop.changed() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// Starts instances while the engine has few actions. As many are claimed at once as are started in
/// [`CLAIMED_FOR`]: what is claimed too early is kept from others, and from what is more urgent.
pub(super) async fn start_loop<S: Store>(shared: Arc<Shared<S>>) {
    let mut trouble = Trouble::new("claiming instances");
    let mut claimed: VecDeque<ClaimedInstance> = VecDeque::new();
    let (mut last_time, mut last) = (Instant::now(), 0);
    while !shared.is_stopping() {
        let room = shared
            .options
            .actions_enough
            .saturating_sub(shared.in_flight());
        let wanted = match shared.width() {
            // With nothing to do even a wide one is begun.
            Some(width) => (16 * room / width).max(usize::from(shared.in_flight() == 0)),
            None => room.min(FIRST_INSTANCES.saturating_sub(shared.starts_to_come())),
        };
        if wanted == 0 {
            pause(&shared, &shared.wake_starts, shared.options.poll).await;
            continue;
        }
        if claimed.is_empty() {
            let lasted = last_time.elapsed().max(Duration::from_millis(1));
            let started = last as u128 * CLAIMED_FOR.as_micros() / lasted.as_micros();
            let started = usize::try_from(started).unwrap_or(INSTANCES_MAX);
            let max = started.clamp(wanted, INSTANCES_MAX.max(wanted));
            let workflows = Arc::clone(&shared.workflows);
            let session = shared.session();
            let max = u32::try_from(max).unwrap_or(u32::MAX);
            match shared.store.claim_instances(session, workflows, max).await {
                Ok(found) => {
                    trouble.over(&shared);
                    (last_time, last) = (Instant::now(), found.len());
                    if found.is_empty() {
                        let time = shared.until_due(shared.options.poll);
                        pause(&shared, &shared.wake_starts, time).await;
                    }
                    claimed = found.into();
                }
                Err(error) => trouble.pause(&shared, &shared.wake_starts, error).await,
            }
            continue;
        }
        let now = claimed.drain(..wanted.min(claimed.len()));
        let known: Vec<Event> = now
            .filter_map(|claimed| {
                let graph = shared.graphs.get(&claimed.workflow)?;
                Some(Event::Claimed(claimed, Arc::clone(graph)))
            })
            .collect();
        shared.push(known);
        // Their first actions come with the next batch.
        pause(&shared, &shared.wake_starts, Duration::from_millis(20)).await;
    }
}

/// Claims actions that nobody has.
pub(super) async fn claim_loop<S: Store>(shared: Arc<Shared<S>>) {
    let mut trouble = Trouble::new("claiming actions");
    while !shared.is_stopping() {
        let half = shared.options.actions_max / 2;
        let room = half.saturating_sub(shared.in_flight()).min(ACTIONS_MAX);
        if room == 0 {
            pause(&shared, &shared.wake_claims, Duration::from_millis(20)).await;
            continue;
        }
        let workflows = Arc::clone(&shared.workflows);
        let max = u32::try_from(room).unwrap_or(u32::MAX);
        match shared
            .store
            .claim_actions(shared.session(), workflows, max)
            .await
        {
            Ok(claimed) => {
                trouble.over(&shared);
                let found = claimed.len();
                take(&shared, claimed);
                if found < room {
                    let time = shared.until_due(shared.options.poll);
                    pause(&shared, &shared.wake_claims, time).await;
                }
            }
            Err(error) => trouble.pause(&shared, &shared.wake_claims, error).await,
        }
    }
}

fn take<S: Store>(shared: &Shared<S>, claimed: Vec<ClaimedAction>) {
    let mut ready = Vec::with_capacity(claimed.len());
    let mut events = Vec::new();
    for claimed in claimed {
        let graph = shared.graphs.get(&claimed.workflow);
        match graph {
            Some(graph) if !claimed.is_orphan => {
                let action = action_of(claimed, Arc::clone(graph));
                let deliveries_max = action.graph.nodes[action.node].retry.deliveries_max;
                if action.delivery > deliveries_max {
                    events.push(Event::Failed {
                        error: format!(
                            "it was delivered {deliveries_max} times, and its worker died the last time"
                        ),
                        is_final: true,
                        ran: Duration::ZERO,
                        action,
                    });
                } else {
                    ready.push(action);
                }
            }
            _ => events.push(Event::Orphaned(Delivery {
                action: claimed.id,
                delivery: claimed.delivery,
            })),
        }
    }
    shared.ready.push(ready);
    if !events.is_empty() {
        shared.push(events);
    }
}

fn action_of(claimed: ClaimedAction, graph: Arc<Graph>) -> Action {
    Action {
        id: claimed.id,
        instance: claimed.instance,
        graph,
        node: claimed.node as usize,
        element: claimed.element,
        delivery: claimed.delivery,
        priority: claimed.priority,
        input: claimed.input,
        carried: claimed.carried,
        ready: Instant::now(),
    }
}

/// Renews the lease, three times as often as it must be, and sees to what was left behind.
pub(super) async fn keep<S: Store>(shared: Arc<Shared<S>>) {
    let mut trouble = Trouble::new("renewing the lease");
    let mut seen: HashSet<(InstanceId, u32)> = HashSet::new();
    let never = tokio::sync::Notify::new();
    let every = shared.options.lease / 3;
    while !shared.is_stopping() {
        let session = shared.session();
        match shared.store.renew(session, shared.options.lease).await {
            Ok(renewed) => {
                trouble.over(&shared);
                if renewed.sessions_expired > 0 {
                    shared.wake_starts.notify_one();
                    shared.wake_claims.notify_one();
                }
                // Most are being passed at this moment; those of the last time are not.
                let now: HashSet<_> = renewed.left_behind.into_iter().collect();
                let left: Vec<_> = now.intersection(&seen).copied().collect();
                seen = now;
                if !left.is_empty() {
                    read_gates(&shared, left).await;
                }
                pause(&shared, &never, every).await;
            }
            Err(StoreError::SessionLost) => reopen(&shared, &mut trouble).await,
            Err(error) => trouble.pause(&shared, &never, error).await,
        }
    }
}

/// What the engine had was given to others. It goes on with a new session; what its handlers still
/// return counts if nobody else has claimed it.
async fn reopen<S: Store>(shared: &Arc<Shared<S>>, trouble: &mut Trouble) {
    shared.counters.sessions_lost.add(1);
    drop(shared.ready.take_all());
    match shared.store.open_session(shared.options.lease).await {
        Ok(session) => shared.session.store(session.0, Ordering::Release),
        Err(error) => {
            let never = tokio::sync::Notify::new();
            trouble.pause(shared, &never, error).await;
        }
    }
}

/// Reads what has arrived at complete gates, so that they can be passed.
pub(super) async fn read_gates<S: Store>(shared: &Arc<Shared<S>>, gates: Vec<(InstanceId, u32)>) {
    // What can't be read now is found again when the lease is renewed.
    let Ok(inboxes) = shared.store.inbox(gates).await else {
        return;
    };
    shared.counters.gates_read.add(inboxes.len() as u64);
    let events: Vec<Event> = inboxes
        .into_iter()
        .filter_map(|inbox| complete(shared, inbox))
        .collect();
    shared.push(events);
}

fn complete<S>(shared: &Shared<S>, inbox: GateInbox) -> Option<Event> {
    let graph = shared.graphs.get(&inbox.workflow)?;
    let mut values = Vec::new();
    for part in &inbox.parts {
        let entries: Vec<(u32, Box<serde_json::value::RawValue>)> = part.to().ok()?;
        let entries = entries.into_iter();
        values.extend(entries.map(|(at, value)| (at, Json::trusted(value.get()))));
    }
    Some(Event::GateComplete {
        instance: inbox.instance,
        graph: Arc::clone(graph),
        gate: Gate(inbox.gate),
        priority: inbox.priority,
        values,
    })
}

/// A database that can't: said once, tried again with growing pauses.
#[derive(Debug)]
pub(super) struct Trouble {
    what: &'static str,
    failures: u32,
}

impl Trouble {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, failures: 0 }
    }

    pub(super) fn over<S>(&mut self, shared: &Shared<S>) {
        if self.failures > 0 {
            self.failures = 0;
            shared.counters.say(format!("{}: works again", self.what));
        }
    }

    pub(super) fn said<S>(&mut self, shared: &Shared<S>, error: &StoreError) -> Duration {
        if self.failures == 0 {
            shared
                .counters
                .say(format!("{}: {error}; trying again", self.what));
        }
        self.failures = self.failures.saturating_add(1);
        shared.counters.store_errors.add(1);
        Duration::from_millis(10) * 2_u32.pow(self.failures.min(7))
    }

    async fn pause<S>(
        &mut self,
        shared: &Shared<S>,
        wake: &tokio::sync::Notify,
        error: StoreError,
    ) {
        // The keeper opens another session.
        let wait = match &error {
            StoreError::SessionLost => Duration::from_millis(20),
            error => self.said(shared, error),
        };
        pause(shared, wake, wait).await;
    }
}
