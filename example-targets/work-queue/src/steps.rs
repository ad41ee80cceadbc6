//! What an engine does, one step at a time and when it is told to: for gates, which want to know
//! what one batch costs, and for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::graph::Graph;
use crate::inbox_cache::InboxCache;
use crate::progress::{Action, Event, Numbers, consequences};
use crate::store::{
    ClaimedInstance, InstanceId, NewInstance, SessionId, Stamp, Store, StoreError, StoreResult,
    WorkflowId,
};
use crate::value::Json;
use crate::workflow::Workflow;

/// How many numbers are reserved at the begin, for all of its batches.
const NUMBERS: u32 = 1 << 20;

/// An action that could be run now.
#[derive(Clone, Debug)]
pub struct Ready(Action);

impl Ready {
    /// The handler's argument.
    #[must_use]
    pub fn input(&self) -> &Json {
        &self.0.input
    }

    /// The node that it runs.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.graph.nodes[self.0.node].name
    }
}

/// A session with one workflow that does nothing by itself.
#[derive(Debug)]
pub struct Steps<S> {
    store: Arc<S>,
    graph: Arc<Graph>,
    workflow: WorkflowId,
    session: SessionId,
    numbers: Numbers,
    cache: InboxCache,
    batch: i64,
}

impl<S: Store> Steps<S> {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// A workflow that is no graph, or what the database says.
    pub async fn new(store: Arc<S>, workflow: &Workflow) -> StoreResult<Self> {
        let refused = |message: String| StoreError::Refused { message };
        let graph = Graph::new(workflow).map_err(|error| refused(error.to_string()))?;
        let definition =
            serde_json::to_string(workflow).map_err(|error| refused(error.to_string()))?;
        let id = store.workflow(&workflow.name, &definition).await?;
        let session = store.open_session(Duration::from_secs(3_600)).await?;
        let first = store.reserve(NUMBERS).await?;
        Ok(Self {
            store,
            graph: Arc::new(graph),
            workflow: id,
            session,
            numbers: Numbers {
                next: first,
                end: first + i64::from(NUMBERS),
            },
            cache: InboxCache::default(),
            batch: 0,
        })
    }

    /// Creates so many instances with one input.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn create(&self, n: usize, input: &Json) -> StoreResult<Vec<InstanceId>> {
        let new = NewInstance {
            workflow: self.workflow,
            input: input.clone(),
            priority: 0,
            wait: Duration::ZERO,
        };
        self.store.create(vec![new; n].into()).await
    }

    /// Claims at most so many.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn claim(&self, max: u32) -> StoreResult<Vec<ClaimedInstance>> {
        let workflows = [self.workflow].into();
        self.store
            .claim_instances(self.session, workflows, max)
            .await
    }

    /// Starts claimed instances in one batch: their first actions.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn start(&mut self, claimed: Vec<ClaimedInstance>) -> StoreResult<Vec<Ready>> {
        let graph = &self.graph;
        let events = claimed
            .into_iter()
            .map(|claimed| Event::Claimed(claimed, Arc::clone(graph)));
        let events = events.collect();
        self.apply(events).await
    }

    /// Completes actions in one batch: those that became ready by it.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn complete(&mut self, done: Vec<(Ready, Json)>) -> StoreResult<Vec<Ready>> {
        let events = done
            .into_iter()
            .map(|(ready, value)| Event::Completed {
                action: ready.0,
                value,
                ran: Duration::ZERO,
            })
            .collect();
        self.apply(events).await
    }

    async fn apply(&mut self, events: Vec<Event>) -> StoreResult<Vec<Ready>> {
        let now = Instant::now();
        let done = consequences(&events, &self.cache, &mut self.numbers, usize::MAX, now);
        let done = done.map_err(|_| StoreError::Refused {
            message: format!("a session of steps has {NUMBERS} numbers, and used them up"),
        })?;
        self.batch += 1;
        let stamp = Stamp {
            session: self.session,
            lane: 0,
            number: self.batch,
        };
        let batch = Arc::new(done.batch);
        self.store.apply(stamp, Arc::clone(&batch)).await?;
        for passed in &batch.passed {
            self.cache.forget((passed.instance, passed.gate));
        }
        for (arrival, values) in batch.arrivals.iter().zip(done.arrived) {
            self.cache.add(arrival, values);
        }
        Ok(done.leased.into_iter().map(Ready).collect())
    }
}
