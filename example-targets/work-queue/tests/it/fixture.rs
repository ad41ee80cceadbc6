//! An engine on a SQLite file of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perfbudget::{TmpfsDir, tmpfs_dir};
use work_queue::{Engine, Handlers, InstanceId, Json, Options, Outcome, SqliteStore, Workflow};

/// How long anything in these tests may take before it counts as a hang.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) directory: TmpfsDir,
    pub(crate) engine: Engine<SqliteStore>,
}

pub(crate) fn database(directory: &TmpfsDir) -> PathBuf {
    directory.as_ref().join("queue.db")
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.poll = Duration::from_millis(5);
    options.lease = Duration::from_secs(5);
    options
}

impl Fixture {
    pub(crate) async fn new(workflow: Workflow, handlers: Handlers) -> Self {
        Self::with(options(), workflow, handlers).await
    }

    pub(crate) async fn with(options: Options, workflow: Workflow, handlers: Handlers) -> Self {
        let directory = tmpfs_dir();
        let store = SqliteStore::open(database(&directory)).expect("a store");
        let engine = Engine::builder(Arc::new(store))
            .handlers(handlers)
            .options(options)
            .workflow(workflow)
            .start()
            .await
            .expect("an engine");
        Self { directory, engine }
    }

    pub(crate) async fn create(&self, workflow: &str, input: serde_json::Value) -> InstanceId {
        let input = Json::of(&input).expect("JSON");
        self.engine.create(workflow, input).await.expect("created")
    }

    pub(crate) async fn end_of(&self, instance: InstanceId) -> (Outcome, serde_json::Value) {
        let ended = tokio::time::timeout(HANG, self.engine.wait(instance)).await;
        let (outcome, result) = ended.expect("it ends").expect("it exists");
        (outcome, result.to().expect("JSON"))
    }

    /// Runs one instance.
    pub(crate) async fn run(
        &self,
        workflow: &str,
        input: serde_json::Value,
    ) -> (Outcome, serde_json::Value) {
        let instance = self.create(workflow, input).await;
        self.end_of(instance).await
    }

    /// One number that a query of the file says.
    pub(crate) fn ask(&self, query: &str) -> i64 {
        let connection = rusqlite::Connection::open(database(&self.directory)).expect("opens");
        connection
            .query_row(query, [], |row| row.get(0))
            .expect("an answer")
    }
}
