//! The store that needs nothing: one SQLite file, written by one thread.
//!
//! `journal_mode=WAL` and `synchronous=FULL`: what was applied survives a power cut. A transaction
//! begins as a writer (`BEGIN IMMEDIATE`), so that several processes may use one file.

mod apply;
mod claim;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::metrics::{Query, QueryTimes, TimesByQuery};
use crate::store::{
    Applied, Batch, ClaimedAction, ClaimedInstance, GateInbox, InstanceId, InstanceStatus,
    NewInstance, Outcome, Renewed, SessionId, Stamp, Store, StoreCounts, StoreError, StoreResult,
    WorkflowId,
};
use crate::value::Json;

/// How long a transaction waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Pages of the write-ahead log, 4 KiB each, before it is copied into the file.
const CHECKPOINT_PAGES: u32 = 4_000;

/// Due, and nobody's.
const FREE: i64 = 0;
/// Nobody's before its time.
const WAITING: i64 = -1;

/// Something for the writing thread to do.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: Option<mpsc::Sender<Job>>,
    times: Arc<TimesByQuery>,
    path: PathBuf,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when it is no database, another program's, or one of a newer version of
    /// this one; [`StoreError::Unavailable`] when it can't be opened or is locked.
    pub fn open(path: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_with(path, |_| Ok(()))
    }

    /// The same, with something done to the writing connection first, such as attaching a counter.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`], and what `prepare` says.
    pub fn open_with(
        path: impl AsRef<Path>,
        prepare: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> StoreResult<Self> {
        let path = path.as_ref().to_owned();
        let mut connection = Connection::open(&path).map_err(|error| at_path(&path, error))?;
        schema::bring_up_to_date(&mut connection).map_err(|error| match error {
            schema::SchemaError::Sqlite(error) => at_path(&path, error),
            other => StoreError::Refused {
                message: format!("{}: {other}", path.display()),
            },
        })?;
        prepare(&mut connection).map_err(failed)?;
        let (jobs, todo) = mpsc::channel::<Job>();
        let writer = thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || {
                for job in todo {
                    job(&mut connection);
                }
            })
            .map_err(|error| StoreError::Unavailable {
                message: format!("no thread for the writer: {error}"),
            })?;
        Ok(Self {
            jobs: Some(jobs),
            times: Arc::default(),
            path,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn run<T: Send + 'static>(
        &self,
        query: Option<Query>,
        job: impl FnOnce(&mut Connection, &TimesByQuery) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        let times = Arc::clone(&self.times);
        let timed: Job = Box::new(move |connection| {
            let begin = Instant::now();
            let outcome = job(connection, &times);
            if let Some(query) = query {
                times.add(query, begin.elapsed(), 1);
            }
            // Nobody waits any more: the work is done all the same.
            _ = reply.send(outcome);
        });
        let gone = || StoreError::Refused {
            message: "its writing thread has ended".to_owned(),
        };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(timed).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the writer was said by its own message.
            _ = writer.join();
        }
    }
}

fn begin(connection: &mut Connection) -> StoreResult<Transaction<'_>> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, in_ms)
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

fn at_path(path: &Path, error: rusqlite::Error) -> StoreError {
    let with_path = |message: String| format!("{}: {message}", path.display());
    match failed(error) {
        StoreError::Unavailable { message } => StoreError::Unavailable {
            message: with_path(message),
        },
        StoreError::Refused { message } => StoreError::Refused {
            message: with_path(message),
        },
        other => other,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unavailable { message },
        _ => StoreError::Refused { message },
    }
}

impl Store for SqliteStore {
    async fn workflow(&self, name: &str, definition: &str) -> StoreResult<WorkflowId> {
        let (name, definition) = (name.to_owned(), definition.to_owned());
        self.run(None, move |connection, _| {
            let transaction = begin(connection)?;
            let id = schema::workflow(&transaction, &name, &definition).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            Ok(WorkflowId(id))
        })
        .await
    }

    async fn create(&self, instances: Arc<[NewInstance]>) -> StoreResult<Vec<InstanceId>> {
        self.run(None, move |connection, times| {
            let begun = Instant::now();
            let transaction = begin(connection)?;
            let ids = claim::create(&transaction, &instances).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            times.add(Query::CreateInstances, begun.elapsed(), ids.len());
            Ok(ids)
        })
        .await
    }

    async fn open_session(&self, lease: Duration) -> StoreResult<SessionId> {
        self.run(None, move |connection, _| {
            let transaction = begin(connection)?;
            let id = claim::open_session(&transaction, lease).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            Ok(id)
        })
        .await
    }

    async fn renew(&self, session: SessionId, lease: Duration) -> StoreResult<Renewed> {
        self.run(Some(Query::Renew), move |connection, _| {
            let transaction = begin(connection)?;
            let renewed = claim::renew(&transaction, session, lease)?;
            transaction.commit().map_err(failed)?;
            Ok(renewed)
        })
        .await
    }

    async fn close_session(&self, session: SessionId) -> StoreResult<()> {
        self.run(None, move |connection, _| {
            let transaction = begin(connection)?;
            claim::end_session(&transaction, session.0).map_err(failed)?;
            transaction.commit().map_err(failed)
        })
        .await
    }

    async fn reserve(&self, n: u32) -> StoreResult<i64> {
        self.run(None, move |connection, _| {
            let transaction = begin(connection)?;
            let first = schema::reserve(&transaction, "number", n).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            Ok(first)
        })
        .await
    }

    async fn claim_instances(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedInstance>> {
        self.run(None, move |connection, times| {
            let begun = Instant::now();
            if !claim::has_free(connection, "instance").map_err(failed)? {
                return Ok(Vec::new());
            }
            let transaction = begin(connection)?;
            let claimed = claim::instances(&transaction, session, &workflows, max)?;
            transaction.commit().map_err(failed)?;
            times.add(Query::ClaimInstances, begun.elapsed(), claimed.len());
            Ok(claimed)
        })
        .await
    }

    async fn claim_actions(
        &self,
        session: SessionId,
        workflows: Arc<[WorkflowId]>,
        max: u32,
    ) -> StoreResult<Vec<ClaimedAction>> {
        self.run(None, move |connection, times| {
            let begun = Instant::now();
            if !claim::has_free(connection, "action").map_err(failed)? {
                return Ok(Vec::new());
            }
            let transaction = begin(connection)?;
            let claimed = claim::actions(&transaction, session, &workflows, max)?;
            transaction.commit().map_err(failed)?;
            times.add(Query::ClaimActions, begun.elapsed(), claimed.len());
            Ok(claimed)
        })
        .await
    }

    async fn apply(&self, stamp: Stamp, batch: Arc<Batch>) -> StoreResult<Applied> {
        self.run(None, move |connection, times| {
            let begun = Instant::now();
            let applied = apply::apply(connection, stamp, &batch, times)?;
            times.add(Query::Apply, begun.elapsed(), batch.completed.len());
            Ok(applied)
        })
        .await
    }

    async fn inbox(&self, gates: Vec<(InstanceId, u32)>) -> StoreResult<Vec<GateInbox>> {
        self.run(Some(Query::ReadInbox), move |connection, _| {
            claim::inbox(connection, &gates).map_err(failed)
        })
        .await
    }

    async fn status(&self, instance: InstanceId) -> StoreResult<Option<InstanceStatus>> {
        self.run(None, move |connection, _| {
            connection
                .query_row(
                    "SELECT started_at IS NOT NULL, outcome, result FROM instance WHERE id = ?1",
                    [instance.0],
                    |row| {
                        let outcome: Option<String> = row.get(1)?;
                        let result: Option<String> = row.get(2)?;
                        Ok(InstanceStatus {
                            has_started: row.get(0)?,
                            outcome: Outcome::parse(outcome.as_deref())
                                .zip(result.map(Json::trusted)),
                        })
                    },
                )
                .optional()
                .map_err(failed)
        })
        .await
    }

    async fn counts(&self) -> StoreResult<StoreCounts> {
        self.run(None, |connection, _| {
            claim::counts(connection).map_err(failed)
        })
        .await
    }

    fn query_times(&self) -> QueryTimes {
        self.times.summary()
    }
}
