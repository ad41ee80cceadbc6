//! Running handlers.
//!
//! A handler is polled once where it was taken from the queue; most need no more. One that waits
//! goes on as a task of its own, which may take as long as its node allows.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Shared, Stop};
use crate::handler::{Context, Failure, Running};
use crate::progress::{Action, Event};
use crate::store::Store;
use crate::value::Json;

/// How often it is looked for handlers that block.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// What a worker has. Another takes it over when a handler blocks the worker's thread.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The action whose handler is being polled for the first time, and since when.
    current: Option<(Action, Instant)>,
    rest: VecDeque<Action>,
    done: Vec<Event>,
}

pub(super) async fn work<S: Store>(shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.subscribe();
    let mut waiting = JoinSet::new();
    let slot = Arc::new(Slot::default());
    shared.slots.lock().push(Arc::clone(&slot));
    let workers = shared.options.workers.max(1);
    let mut taken = VecDeque::new();
    let mut is_taken_over = false;
    while !is_taken_over && *stop.borrow_and_update() == Stop::No {
        shared.ready.take(workers, &mut taken);
        if taken.is_empty() {
            tokio::select! {
                () = shared.ready.wait() => {}
                _ = stop.changed() => {}
                Some(_) = waiting.join_next() => {}
            }
            continue;
        }
        shared.running.fetch_add(taken.len(), Ordering::Relaxed);
        std::mem::swap(&mut slot.0.lock().rest, &mut taken);
        is_taken_over = run_all(&shared, &slot, &mut waiting).await;
        while waiting.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
    while waiting.join_next().await.is_some() {}
}

/// Runs what the slot holds; whether it was taken over meanwhile.
async fn run_all<S: Store>(
    shared: &Arc<Shared<S>>,
    slot: &Slot,
    waiting: &mut JoinSet<()>,
) -> bool {
    loop {
        let begun = Instant::now();
        let Some(begin) = slot.begin(shared, begun) else {
            let done = std::mem::take(&mut slot.0.lock().done);
            shared.running.fetch_sub(done.len(), Ordering::Relaxed);
            if !done.is_empty() {
                shared.push(done);
            }
            return false;
        };
        let mut running = begin();
        let polled = poll_once(&mut running).await;
        let Some(action) = slot.end() else {
            // Too late: somebody else has the action.
            return true;
        };
        match polled {
            Poll::Ready(outcome) => {
                let event = event(shared, action, outcome, begun.elapsed());
                slot.0.lock().done.push(event);
            }
            Poll::Pending => {
                waiting.spawn(go_on(Arc::clone(shared), action, running, begun));
            }
        }
    }
}

impl Slot {
    /// The next action is being run: what begins to.
    fn begin<S>(
        &self,
        shared: &Shared<S>,
        begun: Instant,
    ) -> Option<impl FnOnce() -> Running + use<S>> {
        let mut held = self.0.lock();
        let action = held.rest.pop_front()?;
        let begin = prepare(shared, &action);
        held.current = Some((action, begun));
        Some(begin)
    }

    /// The action that was being run; `None` when it was taken over.
    fn end(&self) -> Option<Action> {
        let mut held = self.0.lock();
        held.current.take().map(|(action, _)| action)
    }
}

/// Looks for handlers that block their thread for longer than they may: their actions have failed,
/// and another worker takes over what waits behind them. The thread itself is lost until they end.
pub(super) async fn watch<S: Store>(shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.subscribe();
    let mut replacements = JoinSet::new();
    while *stop.borrow_and_update() == Stop::No {
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = stop.changed() => {}
        }
        let slots = shared.slots.lock().clone();
        for slot in slots {
            let blocked = {
                let mut held = slot.0.lock();
                let is_late = held.current.as_ref().is_some_and(|(action, begun)| {
                    begun.elapsed() > allowed(&shared, action) + WATCH_EVERY
                });
                if !is_late {
                    continue;
                }
                std::mem::take(&mut *held)
            };
            shared
                .slots
                .lock()
                .retain(|other| !Arc::ptr_eq(other, &slot));
            take_over(&shared, blocked);
            replacements.spawn(work(Arc::clone(&shared)));
        }
        while replacements.try_join_next().is_some() {}
    }
    while replacements.join_next().await.is_some() {}
}

fn take_over<S: Store>(shared: &Shared<S>, blocked: Held) {
    let Held {
        current,
        rest,
        mut done,
        ..
    } = blocked;
    shared.running.fetch_sub(rest.len(), Ordering::Relaxed);
    shared.ready.push(rest);
    if let Some((action, begun)) = current {
        let why = format!(
            "its handler has blocked its thread for longer than {} ms",
            allowed(shared, &action).as_millis()
        );
        shared.counters.say(format!(
            "action {:?}: {why}; the thread is lost until it returns",
            action.graph.nodes[action.node].action
        ));
        done.push(event(
            shared,
            action,
            Err(Failure::retry(why)),
            begun.elapsed(),
        ));
    }
    shared.running.fetch_sub(done.len(), Ordering::Relaxed);
    shared.push(done);
}

fn allowed<S>(shared: &Shared<S>, action: &Action) -> Duration {
    let node = &action.graph.nodes[action.node];
    node.timeout.unwrap_or(shared.options.timeout)
}

/// What begins to run an action's handler.
fn prepare<S>(shared: &Shared<S>, action: &Action) -> impl FnOnce() -> Running + use<S> {
    let node = &action.graph.nodes[action.node];
    let context = Context {
        action: action.id,
        instance: action.instance,
        node: Arc::clone(&node.name),
        element: action.element.map(|element| element.index),
        delivery: action.delivery,
    };
    let handler = shared.handlers.get(&node.action).cloned();
    let input = action.input.clone();
    let graph = Arc::clone(&action.graph);
    let node = action.node;
    move || {
        let Some(handler) = handler else {
            let name = &graph.nodes[node].action;
            let missing = Failure::fatal(format!("action {name:?} has no handler"));
            return Box::pin(std::future::ready(Err(missing)));
        };
        let begun = catch_unwind(AssertUnwindSafe(|| handler(context, input)));
        begun.unwrap_or_else(|panic| Box::pin(std::future::ready(Err(panicked(&*panic)))))
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is no text");
    Failure::retry(format!("its handler panicked: {message}"))
}

/// Polls what may panic.
fn poll(
    running: &mut Running,
    context: &mut std::task::Context<'_>,
) -> Poll<Result<Json, Failure>> {
    let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
    polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
}

async fn poll_once(running: &mut Running) -> Poll<Result<Json, Failure>> {
    poll_fn(|context| Poll::Ready(poll(running, context))).await
}

async fn go_on<S: Store>(
    shared: Arc<Shared<S>>,
    action: Action,
    mut running: Running,
    begun: Instant,
) {
    let allowed = allowed(&shared, &action);
    let left = allowed.saturating_sub(begun.elapsed());
    let outcome = tokio::time::timeout(left, poll_fn(|context| poll(&mut running, context))).await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Failure::retry(format!(
            "its handler did not end within {} ms",
            allowed.as_millis()
        )))
    });
    let event = event(&shared, action, outcome, begun.elapsed());
    shared.running.fetch_sub(1, Ordering::Relaxed);
    shared.push([event]);
}

fn event<S>(
    shared: &Shared<S>,
    action: Action,
    outcome: Result<Json, Failure>,
    ran: Duration,
) -> Event {
    let max = shared.options.value_bytes_max;
    match outcome {
        Ok(value) if value.as_str().len() <= max => Event::Completed { action, value, ran },
        Ok(value) => Event::Failed {
            action,
            error: format!(
                "its value has {} bytes (at most {max} are allowed)",
                value.as_str().len()
            ),
            is_final: true,
            ran,
        },
        Err(Failure { message, is_final }) => Event::Failed {
            action,
            error: message,
            is_final,
            ran,
        },
    }
}
