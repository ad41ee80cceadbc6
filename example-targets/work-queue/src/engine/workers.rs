//! Running handlers.
//!
//! A handler is polled once where it was taken from the queue; most need no more. One that waits
//! goes on as a task of its own, which may take as long as its node allows.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Shared, Stop};
use crate::handler::{Context, Failure, Running};
use crate::progress::{Action, Event};
use crate::store::Store;
use crate::value::Json;

pub(super) async fn work<S: Store>(shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.subscribe();
    let mut waiting = JoinSet::new();
    let mut taken = Vec::new();
    let mut done = Vec::new();
    let workers = shared.options.workers.max(1);
    loop {
        if *stop.borrow_and_update() != Stop::No {
            break;
        }
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
        for action in taken.drain(..) {
            let begun = Instant::now();
            let mut running = begin(&shared, &action);
            match poll_once(&mut running).await {
                Poll::Ready(outcome) => done.push(event(&shared, action, outcome, begun.elapsed())),
                Poll::Pending => {
                    waiting.spawn(go_on(Arc::clone(&shared), action, running, begun));
                }
            }
        }
        shared.running.fetch_sub(done.len(), Ordering::Relaxed);
        if !done.is_empty() {
            shared.push(done.drain(..));
        }
        while waiting.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
    while waiting.join_next().await.is_some() {}
}

fn begin<S>(shared: &Shared<S>, action: &Action) -> Running {
    let node = &action.graph.nodes[action.node];
    let context = Context {
        action: action.id,
        instance: action.instance,
        node: Arc::clone(&node.name),
        element: action.element.map(|element| element.index),
        delivery: action.delivery,
    };
    let Some(handler) = shared.handlers.get(&node.action) else {
        let missing = Failure::fatal(format!("action {:?} has no handler", node.action));
        return Box::pin(std::future::ready(Err(missing)));
    };
    let begun = catch_unwind(AssertUnwindSafe(|| handler(context, action.input.clone())));
    begun.unwrap_or_else(|panic| Box::pin(std::future::ready(Err(panicked(&*panic)))))
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
    let node = &action.graph.nodes[action.node];
    let allowed = node.timeout.unwrap_or(shared.options.timeout);
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
