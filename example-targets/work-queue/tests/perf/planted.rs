//! Defects that the gates must catch, planted at the seam to the database.
//!
//! The queue itself has none of this: a gate's fixture wraps its store in one that behaves as if
//! the code above it had the defect. `red.rs` runs the gates so, in processes of their own.

use std::sync::Arc;
use std::time::Duration;

use work_queue::{
    Applied, Batch, ClaimedAction, ClaimedInstance, GateInbox, InstanceId, InstanceStatus,
    NewInstance, QueryTimes, Renewed, SessionId, SqliteStore, Stamp, Store, StoreCounts,
    StoreResult, WorkflowId,
};

/// The variable by which `red.rs` plants a defect.
pub(crate) const PLANTED_ENV: &str = "WORK_QUEUE_PLANTED_DEFECT";

/// How far apart the numbers of a batch's parts are.
const PARTS: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Every completion is a transaction of its own.
    OneByOne,
    /// An instance's row is read for every action.
    RowPerAction,
    /// A batch is written in two transactions.
    Split,
}

impl Defect {
    pub(crate) fn from_env() -> Self {
        match std::env::var(PLANTED_ENV).ok().as_deref() {
            None => Self::None,
            Some("one-by-one") => Self::OneByOne,
            Some("row-per-action") => Self::RowPerAction,
            Some("split") => Self::Split,
            Some(other) => panic!("{PLANTED_ENV}: {other:?} is no defect"),
        }
    }
}

pub(crate) struct Planted {
    pub(crate) store: SqliteStore,
    pub(crate) defect: Defect,
}

impl Planted {
    /// The batch in parts of so many completions; what else it has goes with the last.
    async fn in_parts(&self, stamp: Stamp, batch: &Batch, each: usize) -> StoreResult<Applied> {
        let mut parts = batch.completed.chunks(each.max(1)).peekable();
        let mut applied = Applied::default();
        let mut number = stamp.number * PARTS;
        while let Some(completed) = parts.next() {
            let mut part = match parts.peek() {
                Some(_) => Batch::default(),
                None => batch.clone(),
            };
            part.completed = completed.to_vec();
            number += 1;
            let stamp = Stamp { number, ..stamp };
            applied = self.store.apply(stamp, Arc::new(part)).await?;
        }
        Ok(applied)
    }
}

impl Store for Planted {
    async fn workflow(&self, name: &str, definition: &str) -> StoreResult<WorkflowId> {
        self.store.workflow(name, definition).await
    }

    async fn create(&self, instances: Arc<[NewInstance]>) -> StoreResult<Vec<InstanceId>> {
        self.store.create(instances).await
    }

    async fn open_session(&self, lease: Duration) -> StoreResult<SessionId> {
        self.store.open_session(lease).await
    }

    async fn renew(&self, session: SessionId, lease: Duration) -> StoreResult<Renewed> {
        self.store.renew(session, lease).await
    }

    async fn close_session(&self, session: SessionId) -> StoreResult<()> {
        self.store.close_session(session).await
    }

    async fn reserve(&self, n: u32) -> StoreResult<i64> {
        self.store.reserve(n).await
    }

    async fn claim_instances(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedInstance>> {
        self.store.claim_instances(session, workflows, max).await
    }

    async fn claim_actions(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedAction>> {
        self.store.claim_actions(session, workflows, max).await
    }

    async fn apply(&self, stamp: Stamp, batch: Arc<Batch>) -> StoreResult<Applied> {
        let n = batch.completed.len();
        match self.defect {
            Defect::OneByOne if n > 0 => self.in_parts(stamp, &batch, 1).await,
            Defect::Split if n > 0 => self.in_parts(stamp, &batch, n.div_ceil(2)).await,
            Defect::RowPerAction => {
                for _ in 0..n {
                    self.store.status(InstanceId(1)).await?;
                }
                self.store.apply(stamp, batch).await
            }
            _ => self.store.apply(stamp, batch).await,
        }
    }

    async fn inbox(&self, gates: Vec<(InstanceId, u32)>) -> StoreResult<Vec<GateInbox>> {
        self.store.inbox(gates).await
    }

    async fn status(&self, instance: InstanceId) -> StoreResult<Option<InstanceStatus>> {
        self.store.status(instance).await
    }

    async fn counts(&self) -> StoreResult<StoreCounts> {
        self.store.counts().await
    }

    fn query_times(&self) -> QueryTimes {
        self.store.query_times()
    }
}
