//! What the engine asks of a database: a few methods, all of them in bulk.
//!
//! The engine computes what changes; a store applies it, all or nothing, and is the only authority
//! on who may change what. Nothing that the engine remembers is needed to go on after a crash.
//!
//! # Rows
//!
//! | row | lives | says |
//! |---|---|---|
//! | workflow | for ever | a definition; the same one is stored once |
//! | instance | for ever | its input, who claimed it, when it started and finished, with what |
//! | action | from ready to completed | instance, node, input; which session has it, its delivery |
//! | gate | while some but not all have arrived | how many are missing |
//! | inbox | as its gate | values that have arrived |
//! | session | while an engine lives | until when its lease runs |
//! | log | for ever, or as long as its reader wants | a batch of completed actions |
//!
//! # Leases and tokens
//!
//! An action that is claimed belongs to a session. A session has a lease, which its engine renews;
//! when it has run out, any other gives back what the session had. Each delivery of an action has a
//! number, which is its token: a completion names it, and counts only while it is the latest. A
//! change that names a delivery, a gate or a claim which is not so any more is [`Stale`], and
//! nothing of its batch is applied.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::graph::Gate;
use crate::metrics::QueryTimes;
use crate::value::Json;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A stored workflow definition.
    WorkflowId
);
id!(
    /// An execution of a workflow.
    InstanceId
);
id!(
    /// A ready action.
    ActionId
);
id!(
    /// An engine's session.
    SessionId
);

/// An instance to be created.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// What its first nodes get.
    pub input: Json,
    /// Higher comes first.
    pub priority: i16,
    /// Not before this much time has passed.
    pub wait: Duration,
}

/// An instance that was claimed, to be started.
#[derive(Clone, Debug)]
pub struct ClaimedInstance {
    /// Its id.
    pub id: InstanceId,
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// What its first nodes get.
    pub input: Json,
    /// Its actions' priority.
    pub priority: i16,
    /// How often it was claimed, this time included.
    pub claim: u32,
}

/// Which element of a fan-out, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub of: u32,
}

/// An action that was claimed, to be run.
#[derive(Clone, Debug)]
pub struct ClaimedAction {
    /// Its id.
    pub id: ActionId,
    /// Of which instance.
    pub instance: InstanceId,
    /// Of which workflow that is.
    pub workflow: WorkflowId,
    /// The node's index in its graph.
    pub node: u32,
    /// Which element of the node's fan-out.
    pub element: Option<Element>,
    /// How often it was delivered, this time included.
    pub delivery: u32,
    /// Higher comes first.
    pub priority: i16,
    /// The handler's argument.
    pub input: Json,
    /// Gates that it also settles, without values.
    pub carried: Vec<(Gate, u32)>,
    /// Its instance has finished without it.
    pub is_orphan: bool,
}

/// An action that became ready.
#[derive(Clone, Debug)]
pub struct NewAction {
    /// Its id, a reserved number.
    pub id: ActionId,
    /// Of which instance.
    pub instance: InstanceId,
    /// The node's index in its graph.
    pub node: u32,
    /// Which element of the node's fan-out.
    pub element: Option<Element>,
    /// Higher comes first.
    pub priority: i16,
    /// The handler's argument.
    pub input: Json,
    /// Gates that its completion also settles, without values: how many edges of each.
    pub carried: Vec<(Gate, u32)>,
    /// It is this session's from the beginning; otherwise anyone's.
    pub is_leased: bool,
}

/// A delivery of an action that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Of which action.
    pub action: ActionId,
    /// Which one: its token.
    pub delivery: u32,
}

/// An action that goes back, to be delivered again.
#[derive(Clone, Copy, Debug)]
pub struct GivenBack {
    /// The latest delivery.
    pub delivery: Delivery,
    /// Not before this much time has passed.
    pub wait: Duration,
    /// The delivery did not begin, and does not count.
    pub is_untouched: bool,
}

/// What has arrived at a gate where more is to come.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Of which instance.
    pub instance: InstanceId,
    /// Where.
    pub gate: Gate,
    /// How many it waits for in all.
    pub expected: u32,
    /// How many have arrived now, values or not.
    pub arrived: u32,
    /// A JSON array of pairs of position and value.
    pub values: Option<Json>,
    /// Numbers the inbox row.
    pub part: i64,
}

/// A gate that is complete with what arrives now. Its rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Passed {
    /// Of which instance.
    pub instance: InstanceId,
    /// Where.
    pub gate: Gate,
    /// How many were missing until now.
    pub missing: u32,
}

/// An instance that is started: its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Started {
    /// Which.
    pub instance: InstanceId,
    /// By which claim.
    pub claim: u32,
}

/// An instance that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which.
    pub instance: InstanceId,
    /// How it ended.
    pub outcome: Outcome,
    /// Its last nodes' values, or what went wrong.
    pub result: Json,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its last nodes were completed or skipped.
    Completed,
    /// An action failed for good.
    Failed,
}

impl Outcome {
    /// What [`as_str`](Outcome::as_str) gave.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        let mut all = [Self::Completed, Self::Failed].into_iter();
        all.find(|outcome| Some(outcome.as_str()) == text)
    }

    /// As it is stored and printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Which batch of a session it is. Batches of one lane are applied one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose batch.
    pub session: SessionId,
    /// From 0, below [`LANES`].
    pub lane: u32,
    /// From 1, going up within a lane.
    pub number: i64,
}

/// How many batches a session may have on the way at once.
pub const LANES: u32 = 2;

/// Changes that are applied together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Actions that go.
    pub completed: Vec<Delivery>,
    /// Actions that go back.
    pub given_back: Vec<GivenBack>,
    /// Actions that became ready.
    pub actions: Vec<NewAction>,
    /// What arrived where more is to come.
    pub arrivals: Vec<Arrival>,
    /// Gates that are complete.
    pub passed: Vec<Passed>,
    /// Instances that begin.
    pub started: Vec<Started>,
    /// Instances that end.
    pub finished: Vec<Finished>,
    /// A JSON array of what was completed.
    pub log: Option<Json>,
}

impl Batch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.completed.is_empty()
            && self.given_back.is_empty()
            && self.actions.is_empty()
            && self.arrivals.is_empty()
            && self.passed.is_empty()
            && self.started.is_empty()
            && self.finished.is_empty()
            && self.log.is_none()
    }
}

/// What of a batch is not so any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Actions that went to somebody else, or are gone.
    pub deliveries: Vec<Delivery>,
    /// Gates that others passed, or at which something else has arrived.
    pub passed: Vec<Passed>,
    /// Instances that somebody else has claimed.
    pub started: Vec<Started>,
}

impl Stale {
    /// Whether all was as the batch said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.passed.is_empty() && self.started.is_empty()
    }
}

/// What came of a batch.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Gates where nothing is missing any more. They wait to be passed.
    pub complete: Vec<(InstanceId, Gate)>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It may work the next time: locked, disk full, disconnected. Nothing was changed, or it is not
    /// known whether something was.
    #[error("the database can't do it now: {message}")]
    Unavailable {
        /// What it said.
        message: String,
    },
    /// Something in a batch was not so any more. Nothing was changed.
    #[error("{} deliveries, {} gates and {} claims of the batch were out of date", .0.deliveries.len(), .0.passed.len(), .0.started.len())]
    Stale(Box<Stale>),
    /// The session's lease had run out, and what it had was given back. Nothing was changed.
    #[error("the session's lease has run out: another engine took over what it had")]
    SessionLost,
    /// It will not work the next time either.
    #[error("the database refuses: {message}")]
    Refused {
        /// What it said, with the cure.
        message: String,
    },
}

/// How many of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreCounts {
    /// Instances that nobody has claimed.
    pub waiting: u64,
    /// Instances that are claimed or started, and not finished.
    pub running: u64,
    /// Instances that completed.
    pub completed: u64,
    /// Instances that failed.
    pub failed: u64,
    /// Actions that are ready or running.
    pub actions: u64,
}

/// How an instance is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Whether it has begun.
    pub has_started: bool,
    /// How it ended, and with what.
    pub outcome: Option<(Outcome, Json)>,
}

/// A result of a store.
pub type StoreResult<T> = Result<T, StoreError>;

/// A database that workflows live in. Any number of engines may use one at once.
pub trait Store: Send + Sync + 'static {
    /// Stores a definition, or finds the same one.
    fn workflow(
        &self,
        name: &str,
        definition: &str,
    ) -> impl Future<Output = StoreResult<WorkflowId>> + Send;

    /// Stores instances, all or none, and says their ids, which go up.
    fn create(
        &self,
        instances: Arc<[NewInstance]>,
    ) -> impl Future<Output = StoreResult<Vec<InstanceId>>> + Send;

    /// Begins a session with a lease of that length.
    fn open_session(&self, lease: Duration) -> impl Future<Output = StoreResult<SessionId>> + Send;

    /// Renews the lease of a session, and gives back what sessions had whose lease has run out. Says
    /// which gates are complete that sessions have left behind.
    fn renew(
        &self,
        session: SessionId,
        lease: Duration,
    ) -> impl Future<Output = StoreResult<Renewed>> + Send;

    /// Gives back all that a session has, and ends it.
    fn close_session(&self, session: SessionId) -> impl Future<Output = StoreResult<()>> + Send;

    /// Numbers for actions and inbox rows, never given to anyone else: the first of so many.
    fn reserve(&self, n: u32) -> impl Future<Output = StoreResult<i64>> + Send;

    /// Claims due instances of these workflows that nobody has, the most urgent first.
    fn claim_instances(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> impl Future<Output = StoreResult<Vec<ClaimedInstance>>> + Send;

    /// Claims due actions of instances of these workflows that nobody has, the most urgent first.
    fn claim_actions(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> impl Future<Output = StoreResult<Vec<ClaimedAction>>> + Send;

    /// Applies changes, all or nothing, durably. Applying the batch of a stamp again, after an error
    /// that left open whether it was, changes nothing and succeeds.
    fn apply(
        &self,
        stamp: Stamp,
        batch: Arc<Batch>,
    ) -> impl Future<Output = StoreResult<Applied>> + Send;

    /// The values that have arrived at complete gates: JSON arrays of pairs of position and value.
    fn inbox(
        &self,
        gates: Vec<(InstanceId, u32)>,
    ) -> impl Future<Output = StoreResult<Vec<GateInbox>>> + Send;

    /// How an instance is doing; `None` for one that does not exist.
    fn status(
        &self,
        instance: InstanceId,
    ) -> impl Future<Output = StoreResult<Option<InstanceStatus>>> + Send;

    /// How many of what there is.
    fn counts(&self) -> impl Future<Output = StoreResult<StoreCounts>> + Send;

    /// What its queries have taken.
    fn query_times(&self) -> QueryTimes;
}

/// A complete gate.
#[derive(Clone, Debug)]
pub struct GateInbox {
    /// Of which instance.
    pub instance: InstanceId,
    /// Of which workflow that is.
    pub workflow: WorkflowId,
    /// The gate's number in the graph.
    pub gate: u32,
    /// The instance's priority.
    pub priority: i16,
    /// What has arrived.
    pub parts: Vec<Json>,
}

/// What renewing a lease has shown.
#[derive(Clone, Debug, Default)]
pub struct Renewed {
    /// Complete gates that nobody has passed for a while: instance and number.
    pub left_behind: Vec<(InstanceId, u32)>,
    /// Sessions whose lease had run out.
    pub sessions_expired: u32,
}

/// What an action carries, as both stores keep it: a JSON array of pairs of gate and number.
pub(crate) fn carried_text(carried: &[(Gate, u32)]) -> String {
    let mut digits = itoa::Buffer::new();
    let mut text = String::with_capacity(12 * carried.len() + 2);
    for (gate, n) in carried {
        text.push_str(if text.is_empty() { "[[" } else { ",[" });
        text.push_str(digits.format(gate.0));
        text.push(',');
        text.push_str(digits.format(*n));
        text.push(']');
    }
    text.push(']');
    text
}

pub(crate) fn carried_of(text: &str) -> Vec<(Gate, u32)> {
    let pairs: Vec<(u32, u32)> = serde_json::from_str(text).unwrap_or_default();
    pairs.into_iter().map(|(gate, n)| (Gate(gate), n)).collect()
}
