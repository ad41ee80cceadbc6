//! A place for a store, the makings of batches, and waiting for what must happen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use temporary_postgres::{Database, TemporaryPostgres};
use tokio_postgres::{Client, NoTls};

use work_queue::{
    ActionId, Applied, Arrival, Batch, ClaimedAction, ClaimedInstance, Delivery, Gate, InstanceId,
    Json, NewAction, NewInstance, PostgresOptions, PostgresStore, SessionId, SqliteStore, Stale,
    Stamp, Started, Store, StoreError, StoreResult, WorkflowId,
};

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(3_600);
/// Over when the next statement runs.
pub(super) const SHORT: Duration = Duration::from_millis(1);

/// A place where a store can be opened, several times at once.
pub(super) trait Fixture: Sync {
    type Store: Store;

    fn open(&self) -> impl Future<Output = StoreResult<Self::Store>> + Send;

    /// What was logged of actions: id and outcome, in order.
    fn logged(&self) -> impl Future<Output = Vec<(i64, String)>> + Send;
}

pub(super) struct SqliteFile {
    directory: tempfile::TempDir,
}

impl SqliteFile {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("queue.db")
    }

    pub(super) fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("a file")
    }
}

impl Fixture for SqliteFile {
    type Store = SqliteStore;

    async fn open(&self) -> StoreResult<SqliteStore> {
        SqliteStore::open(self.path())
    }

    async fn logged(&self) -> Vec<(i64, String)> {
        let connection = self.connection();
        let mut read = connection
            .prepare("SELECT action, outcome FROM action_log ORDER BY action")
            .expect("the view");
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).expect("rows")
    }
}

pub(super) struct PostgresDatabase {
    pub(super) database: Database,
    pub(super) timed_every: u32,
}

impl PostgresDatabase {
    pub(super) fn new() -> Self {
        Self::of(temporary_postgres::shared().expect("a cluster"))
    }

    pub(super) fn of(cluster: &TemporaryPostgres) -> Self {
        Self {
            database: cluster.fresh_database().expect("a database"),
            timed_every: 0,
        }
    }

    /// The parts of every batch are timed.
    pub(super) fn timed() -> Self {
        Self {
            timed_every: 1,
            ..Self::new()
        }
    }

    /// A connection beside the store's, which sees its tables.
    pub(super) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.database.url(), NoTls)
            .await
            .expect("the server");
        tokio::spawn(connection);
        client
            .batch_execute("SET search_path = work_queue")
            .await
            .expect("a setting");
        client
    }
}

impl Fixture for PostgresDatabase {
    type Store = PostgresStore;

    async fn open(&self) -> StoreResult<PostgresStore> {
        let mut options = PostgresOptions::default();
        options.timed_every = self.timed_every;
        let config = self.database.url().parse().expect("a URL");
        PostgresStore::connect_with(config, NoTls, options).await
    }

    async fn logged(&self) -> Vec<(i64, String)> {
        let rows = self
            .client()
            .await
            .query(
                "SELECT action, outcome FROM action_log ORDER BY action",
                &[],
            )
            .await
            .expect("the view");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// A store with a workflow and a session, whose lease is long.
pub(super) struct Scene<S> {
    pub(super) store: Arc<S>,
    pub(super) workflow: WorkflowId,
    pub(super) session: SessionId,
    pub(super) numbers: std::sync::atomic::AtomicI64,
}

impl<S: Store> Scene<S> {
    pub(super) async fn on(fixture: &impl Fixture<Store = S>) -> Self {
        let store = Arc::new(fixture.open().await.expect("a store"));
        Self {
            workflow: store.workflow("test", "{}").await.expect("a workflow"),
            session: store.open_session(LONG).await.expect("a session"),
            store,
            numbers: std::sync::atomic::AtomicI64::new(0),
        }
    }

    /// Applies a batch in the session's first lane, under the next number.
    pub(super) async fn apply(&self, batch: Batch) -> StoreResult<Applied> {
        self.store.apply(self.next_stamp(), Arc::new(batch)).await
    }

    pub(super) fn next_stamp(&self) -> Stamp {
        let number = 1 + self
            .numbers
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Stamp {
            session: self.session,
            lane: 0,
            number,
        }
    }

    /// Creates instances that are due.
    pub(super) async fn create(&self, n: usize) -> Vec<InstanceId> {
        let new = new_instance(self.workflow);
        let instances: Vec<NewInstance> = (0..n).map(|_| new.clone()).collect();
        self.store.create(instances.into()).await.expect("created")
    }

    pub(super) async fn claim(&self, max: u32) -> Vec<ClaimedInstance> {
        let workflows = Arc::new([self.workflow]);
        let claimed = self.store.claim_instances(self.session, workflows, max);
        claimed.await.expect("claimed")
    }

    pub(super) async fn claim_actions(&self, max: u32) -> Vec<ClaimedAction> {
        let workflows = Arc::new([self.workflow]);
        let claimed = self.store.claim_actions(self.session, workflows, max);
        claimed.await.expect("claimed")
    }

    /// Creates, claims and starts instances without actions.
    pub(super) async fn start(&self, n: usize) -> Vec<InstanceId> {
        let ids = self.create(n).await;
        let claimed = self.claim(u32::try_from(n).expect("few")).await;
        assert_eq!(claimed.len(), n);
        let started = claimed.iter().map(started).collect();
        self.apply(Batch {
            started,
            ..Batch::default()
        })
        .await
        .expect("started");
        ids
    }

    /// Puts actions there that are this session's, or anyone's.
    pub(super) async fn enqueue(
        &self,
        instance: InstanceId,
        n: u32,
        is_leased: bool,
    ) -> Vec<ActionId> {
        let first = self.store.reserve(n).await.expect("numbers");
        let ids: Vec<ActionId> = (first..first + i64::from(n)).map(ActionId).collect();
        let actions = ids.iter().map(|id| NewAction {
            is_leased,
            ..new_action(*id, instance)
        });
        self.apply(Batch {
            actions: actions.collect(),
            ..Batch::default()
        })
        .await
        .expect("enqueued");
        ids
    }

    pub(super) async fn actions(&self) -> u64 {
        self.store.counts().await.expect("counts").actions
    }
}

/// A value, from its text.
pub(super) fn json(text: impl AsRef<str>) -> Json {
    Json::parse(text.as_ref()).expect("JSON")
}

pub(super) fn new_instance(workflow: WorkflowId) -> NewInstance {
    NewInstance {
        workflow,
        input: Json::null(),
        priority: 0,
        wait: Duration::ZERO,
    }
}

pub(super) fn new_action(id: ActionId, instance: InstanceId) -> NewAction {
    NewAction {
        id,
        instance,
        node: 0,
        element: None,
        priority: 0,
        input: Json::null(),
        carried: Vec::new(),
        is_leased: true,
    }
}

pub(super) fn started(claimed: &ClaimedInstance) -> Started {
    Started {
        instance: claimed.id,
        claim: claimed.claim,
    }
}

/// A delivery; the first is 1.
pub(super) fn delivery(action: ActionId, delivery: u32) -> Delivery {
    Delivery { action, delivery }
}

pub(super) fn completed(deliveries: impl IntoIterator<Item = Delivery>) -> Batch {
    Batch {
        completed: deliveries.into_iter().collect(),
        ..Batch::default()
    }
}

/// One of `expected` values arrives.
pub(super) fn arrival(instance: InstanceId, gate: u32, expected: u32, part: i64) -> Arrival {
    Arrival {
        instance,
        gate: Gate(gate),
        expected,
        arrived: 1,
        values: Some(json(format!("[[{part},\"value {part}\"]]"))),
        part,
    }
}

pub(super) fn arrivals(arrivals: impl IntoIterator<Item = Arrival>) -> Batch {
    Batch {
        arrivals: arrivals.into_iter().collect(),
        ..Batch::default()
    }
}

/// What of a batch was out of date.
pub(super) fn stale(outcome: StoreResult<Applied>) -> Stale {
    match outcome {
        Err(StoreError::Stale(stale)) => *stale,
        other => panic!("out of date, but it was {other:?}"),
    }
}

/// Asks again and again until there is an answer. A guard of liveness, not a limit.
pub(super) async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never happens"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
