//! Executes workflows: claims instances, runs their actions, completes them in batches.
//!
//! # Who does what
//!
//! | task | does |
//! |---|---|
//! | start loop | claims instances while the engine has few actions |
//! | claim loop | claims actions that nobody has: retries, scheduled ones, those of the dead |
//! | workers | run handlers; what they return becomes an event |
//! | batcher | turns events into batches of changes, two on their way at once |
//! | keeper | renews the lease; looks for what was left behind |
//!
//! An action is run when the batch that made it ready is durable, never earlier.

mod batcher;
mod claims;
mod ready;
mod workers;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::counters::{Counters, Metrics};
use crate::graph::{Graph, GraphError};
use crate::handler::Handlers;
use crate::options::Options;
use crate::progress::Event;
use crate::store::{
    InstanceId, InstanceStatus, NewInstance, SessionId, Store, StoreError, WorkflowId,
};
use crate::value::Json;
use crate::workflow::Workflow;
use ready::ReadyQueue;

/// Why an engine can't do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The workflow can't be executed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node's action has no handler.
    #[error("node {node:?} of workflow {workflow:?} runs {action:?}, which has no handler\nthere are: {}", .known.join(", "))]
    UnknownAction {
        /// The workflow's name.
        workflow: String,
        /// The node.
        node: String,
        /// The action.
        action: String,
        /// The actions that have one.
        known: Vec<String>,
    },
    /// No workflow of this name was given to the engine.
    #[error("workflow {0:?} is not known to this engine")]
    UnknownWorkflow(String),
    /// An input is too large.
    #[error(
        "an input of {bytes} bytes is too large (at most {max} are allowed)\nstore it elsewhere and pass where"
    )]
    InputTooLarge {
        /// Its size.
        bytes: usize,
        /// `Options::value_bytes_max`.
        max: usize,
    },
    /// The instance does not exist.
    #[error("there is no instance {0}")]
    UnknownInstance(InstanceId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What all tasks of an engine share.
struct Shared<S> {
    store: Arc<S>,
    options: Options,
    handlers: Handlers,
    graphs: HashMap<WorkflowId, Arc<Graph>>,
    workflows: Arc<[WorkflowId]>,
    /// What has happened and is not on its way to the database.
    events: Mutex<Vec<Event>>,
    has_events: Notify,
    ready: ReadyQueue,
    /// What each worker has.
    slots: Mutex<Vec<Arc<workers::Slot>>>,
    /// Actions whose handler is running.
    running: AtomicUsize,
    /// Actions in batches on their way that will be run here.
    coming: AtomicUsize,
    /// There is room for more, or there are more to be had.
    wake_claims: Notify,
    wake_starts: Notify,
    /// When the next that this engine has made wait is due.
    due: Mutex<BTreeSet<Instant>>,
    session: AtomicI64,
    stop: watch::Sender<Stop>,
    counters: Counters,
    /// How many actions an instance begins with, × 16; 0: not known yet.
    width: AtomicUsize,
    /// Who waits for which instance.
    finished: Mutex<HashMap<InstanceId, Vec<tokio::sync::oneshot::Sender<()>>>>,
}

/// How many due times are remembered.
const DUE_MAX: usize = 10_000;
/// How long after its time a due time is of no use any more.
const DUE_KEPT: Duration = Duration::from_millis(1);

/// How far an engine is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    No,
    /// Nothing new is begun.
    Begin,
    /// What is known is written, and no more.
    Flush,
}

impl<S> Shared<S> {
    /// Actions that the engine has or will have in a moment.
    fn in_flight(&self) -> usize {
        self.ready.len()
            + self.running.load(Ordering::Relaxed)
            + self.coming.load(Ordering::Relaxed)
            + self.actions_to_come()
    }

    /// What waits to be written: an instance that is to start counts as the actions that it
    /// begins with.
    fn actions_to_come(&self) -> usize {
        let starts = self.starts_to_come();
        let actions = (starts * self.width().unwrap_or(16)).div_ceil(16);
        self.events.lock().len().saturating_sub(starts) + actions
    }

    /// Instances whose start waits to be written.
    fn starts_to_come(&self) -> usize {
        let events = self.events.lock();
        let starts = events.iter().filter(|it| matches!(it, Event::Claimed(..)));
        starts.count()
    }

    /// How many actions an instance begins with, roughly, × 16; nothing before the first.
    fn width(&self) -> Option<usize> {
        match self.width.load(Ordering::Relaxed) {
            0 => None,
            width => Some(width.max(16)),
        }
    }

    /// Something waits until then.
    fn wait_until(&self, due: Instant) {
        let mut all = self.due.lock();
        let first = all.first().copied();
        all.insert(due);
        // Those that wait longer are met by the poll.
        if all.len() > DUE_MAX {
            all.pop_last();
        }
        drop(all);
        if first.is_none_or(|first| due < first) {
            self.wake_claims.notify_one();
            self.wake_starts.notify_one();
        }
    }

    /// How long to wait for what is due next, at most so long.
    fn until_due(&self, max: Duration) -> Duration {
        let now = Instant::now();
        let mut all = self.due.lock();
        while all.first().is_some_and(|due| *due + DUE_KEPT < now) {
            all.pop_first();
        }
        let next = all.iter().find(|due| **due > now);
        next.map_or(max, |due| (*due - now + Duration::from_millis(1)).min(max))
    }

    fn session(&self) -> SessionId {
        SessionId(self.session.load(Ordering::Acquire))
    }

    fn push(&self, events: impl IntoIterator<Item = Event>) {
        self.events.lock().extend(events);
        self.has_events.notify_one();
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() != Stop::No
    }
}

/// Says what an engine is to execute.
pub struct EngineBuilder<S> {
    store: Arc<S>,
    handlers: Handlers,
    options: Options,
    workflows: Vec<Workflow>,
}

impl<S: Store> EngineBuilder<S> {
    /// With these handlers.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Working like this.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// With one more workflow.
    #[must_use]
    pub fn workflow(mut self, workflow: Workflow) -> Self {
        self.workflows.push(workflow);
        self
    }

    /// Checks the workflows, stores their definitions and begins to work, on the runtime that this
    /// is called on.
    ///
    /// # Errors
    ///
    /// A workflow that can't be executed, an action without a handler, or what the database says.
    pub async fn start(self) -> Result<Engine<S>, EngineError> {
        let mut graphs = HashMap::new();
        let mut names = HashMap::new();
        let mut checked = Vec::new();
        for workflow in &self.workflows {
            let graph = Graph::new(workflow)?;
            for (node, action) in graph.nodes_and_actions() {
                if self.handlers.get(action).is_none() {
                    let known = self.handlers.names();
                    return Err(EngineError::UnknownAction {
                        workflow: workflow.name.clone(),
                        node: node.to_owned(),
                        action: action.to_owned(),
                        known: known.into_iter().map(str::to_owned).collect(),
                    });
                }
            }
            checked.push((workflow, Arc::new(graph)));
        }
        for (workflow, graph) in checked {
            let definition =
                serde_json::to_string(workflow).map_err(|error| StoreError::Refused {
                    message: error.to_string(),
                })?;
            let id = self.store.workflow(&workflow.name, &definition).await?;
            names.insert(workflow.name.clone(), id);
            graphs.insert(id, graph);
        }
        let session = self.store.open_session(self.options.lease).await?;
        let workflows: Vec<WorkflowId> = graphs.keys().copied().collect();
        let shared = Arc::new(Shared {
            store: self.store,
            handlers: self.handlers,
            graphs,
            workflows: workflows.into(),
            events: Mutex::default(),
            has_events: Notify::new(),
            ready: ReadyQueue::default(),
            slots: Mutex::default(),
            running: AtomicUsize::new(0),
            coming: AtomicUsize::new(0),
            wake_claims: Notify::new(),
            wake_starts: Notify::new(),
            due: Mutex::default(),
            session: AtomicI64::new(session.0),
            stop: watch::Sender::new(Stop::No),
            counters: Counters::default(),
            width: AtomicUsize::new(0),
            finished: Mutex::default(),
            options: self.options,
        });
        let mut tasks = JoinSet::new();
        for _ in 0..shared.options.workers.max(1) {
            tasks.spawn(workers::work(Arc::clone(&shared)));
        }
        tasks.spawn(workers::watch(Arc::clone(&shared)));
        tasks.spawn(claims::start_loop(Arc::clone(&shared)));
        tasks.spawn(claims::claim_loop(Arc::clone(&shared)));
        tasks.spawn(claims::keep(Arc::clone(&shared)));
        let batcher = tokio::spawn(batcher::run(Arc::clone(&shared)));
        Ok(Engine {
            shared,
            names,
            tasks,
            batcher: Some(batcher),
        })
    }
}

/// Executes workflows. Ends with [`Engine::shutdown`]; one that is only dropped leaves what it has
/// to others when its lease runs out.
#[derive(Debug)]
pub struct Engine<S: Store> {
    shared: Arc<Shared<S>>,
    names: HashMap<String, WorkflowId>,
    tasks: JoinSet<()>,
    batcher: Option<tokio::task::JoinHandle<()>>,
}

impl<S> std::fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Handlers that were still running and were stopped; their actions are delivered again.
    pub stopped: usize,
    /// Completions that could not be written in time; their actions are delivered again.
    pub unwritten: usize,
}

impl<S: Store> Engine<S> {
    /// One that works on this store.
    pub fn builder(store: Arc<S>) -> EngineBuilder<S> {
        EngineBuilder {
            store,
            handlers: Handlers::new(),
            options: Options::default(),
            workflows: Vec::new(),
        }
    }

    /// Creates an instance, durably.
    ///
    /// # Errors
    ///
    /// An unknown workflow, an input that is too large, or what the database says.
    pub async fn create(&self, workflow: &str, input: Json) -> Result<InstanceId, EngineError> {
        let ids = self
            .create_many(workflow, vec![(input, 0, Duration::ZERO)])
            .await?;
        Ok(ids[0])
    }

    /// Creates instances, all or none, durably: each an input, a priority (higher comes first), and
    /// how long it waits.
    ///
    /// # Errors
    ///
    /// As [`Engine::create`].
    pub async fn create_many(
        &self,
        workflow: &str,
        inputs: Vec<(Json, i16, Duration)>,
    ) -> Result<Vec<InstanceId>, EngineError> {
        let id = self.workflow_id(workflow)?;
        let max = self.shared.options.value_bytes_max;
        let new: Result<Vec<NewInstance>, EngineError> = inputs
            .into_iter()
            .map(|(input, priority, wait)| {
                let bytes = input.as_str().len();
                if bytes > max {
                    return Err(EngineError::InputTooLarge { bytes, max });
                }
                Ok(NewInstance {
                    workflow: id,
                    input,
                    priority,
                    wait,
                })
            })
            .collect();
        let new = new?;
        let waits: Vec<Duration> = new.iter().map(|new| new.wait).collect();
        let ids = self.shared.store.create(new.into()).await?;
        for wait in waits.into_iter().filter(|wait| *wait > Duration::ZERO) {
            self.shared.wait_until(Instant::now() + wait);
        }
        self.shared.wake_starts.notify_one();
        Ok(ids)
    }

    /// The id under which a workflow is stored.
    ///
    /// # Errors
    ///
    /// One that the engine does not know.
    pub fn workflow_id(&self, name: &str) -> Result<WorkflowId, EngineError> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| EngineError::UnknownWorkflow(name.to_owned()))
    }

    /// Waits until an instance has ended: how, and with what. Goes on waiting while the database
    /// can't be asked.
    ///
    /// # Errors
    ///
    /// An instance that does not exist, or what the database says.
    pub async fn wait(
        &self,
        instance: InstanceId,
    ) -> Result<(crate::store::Outcome, Json), EngineError> {
        loop {
            let (tell, told) = tokio::sync::oneshot::channel();
            self.shared
                .finished
                .lock()
                .entry(instance)
                .or_default()
                .push(tell);
            match self.shared.store.status(instance).await {
                Ok(None) => return Err(EngineError::UnknownInstance(instance)),
                Ok(Some(InstanceStatus {
                    outcome: Some(outcome),
                    ..
                })) => return Ok(outcome),
                Ok(Some(_)) | Err(StoreError::Unavailable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            // Another process may finish it.
            _ = tokio::time::timeout(self.shared.options.poll, told).await;
        }
    }

    /// What it has done.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.shared.counters.snapshot();
        metrics.queries = self.shared.store.query_times();
        metrics
    }

    /// How many instances it has seen end.
    #[must_use]
    pub fn ended(&self) -> u64 {
        let counters = &self.shared.counters;
        counters.instances_completed.get() + counters.instances_failed.get()
    }

    /// The store that it works on.
    #[must_use]
    pub fn store(&self) -> &Arc<S> {
        &self.shared.store
    }

    /// Ends: begins nothing new, lets handlers that run end within `grace`, writes what was
    /// completed, and gives the rest back. Takes at most `grace` and as long again, also when the
    /// database does not answer.
    pub async fn shutdown(mut self, grace: Duration) -> ShutdownReport {
        let begun = Instant::now();
        self.shared.stop.send_replace(Stop::Begin);
        let left = |until: Duration| until.saturating_sub(begun.elapsed());
        let shared = Arc::clone(&self.shared);
        let ended = tokio::time::timeout(left(grace), async {
            while self.tasks.join_next().await.is_some() {}
        });
        _ = ended.await;
        self.tasks.abort_all();
        // One whose thread is blocked can't be stopped.
        let stopped = tokio::time::timeout(Duration::from_millis(50), async {
            while self.tasks.join_next().await.is_some() {}
        });
        _ = stopped.await;
        let stopped = shared.running.load(Ordering::Relaxed);
        let waiting = shared.ready.take_all();
        shared.push(waiting.into_iter().map(Event::Released));
        self.shared.stop.send_replace(Stop::Flush);
        self.shared.has_events.notify_one();
        if let Some(mut batcher) = self.batcher.take() {
            let flushed = tokio::time::timeout(left(2 * grace), &mut batcher).await;
            if flushed.is_err() {
                batcher.abort();
            }
        }
        let unwritten = self.shared.events.lock().len();
        let close = self.shared.store.close_session(self.shared.session());
        // Otherwise its lease runs out.
        _ = tokio::time::timeout(left(2 * grace).max(Duration::from_millis(100)), close).await;
        ShutdownReport { stopped, unwritten }
    }
}

impl<S: Store> Drop for Engine<S> {
    fn drop(&mut self) {
        self.shared.stop.send_replace(Stop::Flush);
        if let Some(batcher) = self.batcher.take() {
            batcher.abort();
        }
    }
}
