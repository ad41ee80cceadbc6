//! A queue in front of which a gate stands: its instances are where the gate wants them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perfbudget::{SqliteCounter, TmpfsDir, tmpfs_dir};
use serde_json::json;
use tempfile::TempDir;
use temporary_postgres::{Database, TemporaryPostgres};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use tokio_postgres::types::FromSqlOwned;
use work_queue::{
    ClaimedInstance, Json, Node, PostgresOptions, PostgresStore, Ready, SqliteStore, Steps,
    StoreResult, Workflow, queue_noop,
};

use crate::planted::{Defect, Planted};

/// The elements come to the clock as they are, so that the runtime is the gate's thread.
pub(crate) struct Fixture<D> {
    pub(crate) directory: D,
    pub(crate) sqlite: SqliteCounter,
    runtime: Runtime,
    steps: Steps<Planted>,
}

/// One action for each element of a list, then one for all.
fn fan() -> Workflow {
    Workflow::new("fan")
        .node(Node::new("each", "noop").over_input(""))
        .node(Node::new("all", "noop").after("each"))
}

impl Fixture<TmpfsDir> {
    pub(crate) fn in_memory(workflow: &Workflow) -> Self {
        Self::new(tmpfs_dir(), workflow)
    }

    /// So many instances of `queue-noop` that nobody has.
    pub(crate) fn with_created(n: usize) -> Self {
        let fixture = Self::in_memory(&queue_noop::workflow(16));
        let input = queue_noop::input(16);
        let create = fixture.steps.create(n, &input);
        let created = fixture.runtime.block_on(create).expect("created");
        assert_eq!(created.len(), n);
        fixture
    }

    /// The same, claimed.
    pub(crate) fn with_claimed(n: usize) -> (Self, Vec<ClaimedInstance>) {
        let fixture = Self::with_created(n);
        let claimed = fixture.claim(n);
        assert_eq!(claimed.len(), n);
        (fixture, claimed)
    }

    pub(crate) fn with_ready_in_memory(n: usize) -> (Self, Vec<(Ready, Json)>) {
        Self::in_memory(&fan()).ready(n)
    }
}

impl Fixture<TempDir> {
    pub(crate) fn with_ready_on_disk(n: usize) -> (Self, Vec<(Ready, Json)>) {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Self::new(directory, &fan()).ready(n)
    }
}

impl<D: AsRef<Path>> Fixture<D> {
    fn new(directory: D, workflow: &Workflow) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let mut counter = None;
        let path = directory.as_ref().join("queue.db");
        let store = SqliteStore::open_with(path, |connection| {
            counter = Some(SqliteCounter::attach(connection));
            Ok(())
        });
        let planted = Planted {
            store: store.expect("a store"),
            defect: Defect::from_env(),
        };
        let steps = runtime.block_on(Steps::new(Arc::new(planted), workflow));
        Self {
            directory,
            sqlite: counter.expect("the store has prepared its connection"),
            runtime,
            steps: steps.expect("a session"),
        }
    }

    /// So many actions that are ready, each with the value that it is completed with.
    fn ready(mut self, n: usize) -> (Self, Vec<(Ready, Json)>) {
        let elements: Vec<usize> = (0..n).collect();
        let input = Json::of(&elements).expect("JSON");
        let create = self.steps.create(1, &input);
        self.runtime.block_on(create).expect("created");
        let claimed = self.claim(1);
        let ready = self.start(claimed).expect("started");
        assert_eq!(ready.len(), n);
        let value = Json::of(&json!({ "value": 7, "parity": "odd" })).expect("JSON");
        let done = ready.into_iter().map(|ready| (ready, value.clone()));
        let done = done.collect();
        (self, done)
    }

    pub(crate) fn claim(&self, max: usize) -> Vec<ClaimedInstance> {
        let max = u32::try_from(max).expect("few");
        let claim = self.steps.claim(max);
        self.runtime.block_on(claim).expect("claimed")
    }

    pub(crate) fn start(&mut self, claimed: Vec<ClaimedInstance>) -> StoreResult<Vec<Ready>> {
        self.runtime.block_on(self.steps.start(claimed))
    }

    pub(crate) fn complete(&mut self, done: Vec<(Ready, Json)>) -> StoreResult<Vec<Ready>> {
        self.runtime.block_on(self.steps.complete(done))
    }
}

/// A server that does nothing by itself, and tells what it has done.
pub(crate) struct QuietServer {
    server: TemporaryPostgres,
    runtime: Runtime,
}

pub(crate) fn quiet_server() -> QuietServer {
    // What would write at times of its own choosing is put off.
    let server = TemporaryPostgres::builder()
        .setting("autovacuum", "off")
        .setting("checkpoint_timeout", "1d")
        .setting("wal_writer_delay", "10s")
        .inside("/dev/shm")
        .start();
    QuietServer {
        server: server.expect("a server"),
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime"),
    }
}

impl QuietServer {
    /// A database; making one syncs the log more or less often. The log goes on in a new segment
    /// then: at the end of one there is a sync that nobody asked for.
    pub(crate) fn database(&self) -> Database {
        let database = self.server.fresh_database().expect("a database");
        assert!(self.ask::<bool>("SELECT pg_switch_wal() IS NOT NULL"));
        database
    }

    /// A session in a fresh database that completes `n` actions, and maybe `n` more. Its one
    /// connection has its statements prepared then, has ended, and told the statistics what it did
    /// when this returns.
    pub(crate) fn session(&self, database: &Database, n: usize, completes: bool) {
        self.runtime.block_on(async {
            let config = database.url().parse().expect("a URL");
            let mut options = PostgresOptions::default();
            options.connections = 1;
            let store = PostgresStore::connect_with(config, NoTls, options).await;
            let store = Arc::new(store.expect("a store"));
            let mut steps = Steps::new(store, &fan()).await.expect("a session");
            let elements: Vec<usize> = (0..n).collect();
            let input = Json::of(&elements).expect("JSON");
            steps.create(2, &input).await.expect("created");
            for is_done in [true, completes] {
                let claimed = steps.claim(1).await.expect("claimed");
                let ready = steps.start(claimed).await.expect("started");
                assert_eq!(ready.len(), n);
                if is_done {
                    let done = ready.into_iter().map(|ready| (ready, Json::null()));
                    let next = steps.complete(done.collect()).await.expect("completed");
                    assert_eq!(next.len(), 1);
                }
            }
        });
        // A connection's statistics are in before its process is gone.
        let until = Instant::now() + Duration::from_secs(60);
        let others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'work-queue'";
        while self.ask::<i64>(others) > 0 {
            assert!(Instant::now() < until, "its connections end");
            std::thread::yield_now();
        }
    }

    /// Transactions of databases that sessions had, and syncs of the write-ahead log.
    pub(crate) fn statistics(&self) -> [u64; 2] {
        let own = "current_database()";
        let transactions = format!(
            "SELECT coalesce(sum(xact_commit + xact_rollback), 0)::bigint FROM pg_stat_database
             WHERE datname <> {own} AND datname NOT LIKE 'template%'"
        );
        [transactions.as_str(), WAL_SYNCS].map(|query| self.ask::<i64>(query).unsigned_abs())
    }

    fn ask<T: FromSqlOwned>(&self, query: &str) -> T {
        self.runtime.block_on(async {
            let url = self.server.url();
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .expect("connects");
            let connection = tokio::spawn(connection);
            let row = client.query_one(query, &[]).await.expect("an answer");
            drop(client);
            connection.await.expect("ends").expect("ends well");
            row.get(0)
        })
    }
}

/// PostgreSQL 14 to 17.
const WAL_SYNCS: &str = "SELECT wal_sync FROM pg_stat_wal";
