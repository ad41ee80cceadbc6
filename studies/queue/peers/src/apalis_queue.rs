//! apalis, whose SQLite and Postgres storages share one design: a worker fetches a batch of jobs
//! and writes what became of them in one statement a wake-up.
//!
//! Its set-up of SQLite turns syncs off (`synchronous = OFF`); here its migrations run alone, on
//! connections with `synchronous = FULL`.

use std::path::Path;

use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteStorage};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use crate::{Arguments, Counter, Failure, Run, chunks, timed};

/// As in the crate's example of a busy worker.
const BATCH: usize = 100;

/// One writer, as SQLite has it, and readers.
const SQLITE_CONNECTIONS: u32 = 2;

const POSTGRES_CONNECTIONS: u32 = 10;

/// What a handler needs to know.
#[derive(Clone)]
struct Work {
    counter: Counter,
    of: u64,
}

async fn no_op(_job: u64, work: Data<Work>, worker: WorkerContext) -> Result<(), BoxDynError> {
    if work.counter.add() == work.of {
        worker.stop()?;
    }
    Ok(())
}

macro_rules! measure {
    ($storage:expr, $config:expr, $arguments:expr) => {{
        let storage = $storage.with_config($config);
        let mut enqueuing = storage.clone();
        let (enqueue, ()) = timed(async {
            for chunk in chunks($arguments) {
                enqueuing.push_bulk(chunk).await?;
            }
            Ok(())
        })
        .await?;
        let work = Work {
            counter: Counter::default(),
            of: $arguments.jobs,
        };
        let worker = WorkerBuilder::new("worker")
            .backend(storage)
            .data(work)
            .parallelize(tokio::spawn)
            .build(no_op);
        // A worker that stops writes what it still knows first.
        let (drain, ()) = timed(async { Ok(worker.run().await?) }).await?;
        (enqueue, drain)
    }};
}

pub(crate) async fn on_sqlite(arguments: &Arguments, file: &Path) -> Result<Run, Failure> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "64000");
    let pool = SqlitePoolOptions::new()
        .max_connections(SQLITE_CONNECTIONS)
        .connect_with(options)
        .await?;
    SqliteStorage::migrations().run(&pool).await?;
    let batch = arguments.batch.unwrap_or(BATCH);
    let config = apalis_sqlite::Config::default()
        .queue("no-op")
        .batch_size(batch)
        .lock_tasks(false);
    let (enqueue, drain) = measure!(SqliteStorage::<u64>::new(&pool), config, arguments);
    let completed: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'")
        .fetch_one(&pool)
        .await?;
    pool.close().await;
    Ok(Run {
        crates: &["apalis", "apalis-sqlite"],
        settings: settings(arguments, batch),
        enqueue,
        drain,
        completed: completed.try_into()?,
    })
}

pub(crate) async fn on_postgres(arguments: &Arguments, url: &str) -> Result<Run, Failure> {
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .connect(url)
        .await?;
    PostgresStorage::setup(&pool).await?;
    let batch = arguments.batch.unwrap_or(BATCH);
    let config = apalis_postgres::Config::default()
        .queue("no-op")
        .batch_size(batch)
        .lock_tasks(false);
    let (enqueue, drain) = measure!(PostgresStorage::<u64>::new(&pool), config, arguments);
    let completed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status = 'Done'")
            .fetch_one(&pool)
            .await?;
    pool.close().await;
    Ok(Run {
        crates: &["apalis", "apalis-postgres"],
        settings: settings(arguments, batch),
        enqueue,
        drain,
        completed: completed.try_into()?,
    })
}

fn settings(arguments: &Arguments, batch: usize) -> String {
    format!(
        "`push_bulk` of {}, `batch_size({batch})`, `lock_tasks(false)`, `parallelize(tokio::spawn)`",
        arguments.enqueue
    )
}
