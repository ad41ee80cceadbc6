//! apalis, whose SQLite and Postgres storages share one design: a worker fetches a batch of jobs
//! and writes what became of them in one statement a wake-up.
//!
//! Its set-up of SQLite turns syncs off (`synchronous = OFF`); here its migrations run alone, on
//! connections with `synchronous = FULL`.
//!
//! Between enqueueing and draining, outside the clock, SQLite gets statistics of a queue in which
//! one worker has every job. Without them it looks for a finished job by its worker instead of by
//! its id, and draining takes time by the square of the number of jobs.

use std::future::ready;
use std::path::Path;

use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use crate::{Arguments, Counter, Failure, Run, chunks, timed};

/// The fastest of 10, 100 and 1,000.
const BATCH: usize = 1_000;

/// As many as SQLite has writers.
const SQLITE_CONNECTIONS: u32 = 1;

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

/// Enqueues, does what is to be done in between, and drains.
macro_rules! measure {
    ($storage:expr, $between:expr, $arguments:expr) => {{
        let mut enqueuing = $storage.clone();
        let (enqueue, ()) = timed(async {
            for chunk in chunks($arguments) {
                enqueuing.push_bulk(chunk).await?;
            }
            Ok(())
        })
        .await?;
        $between.await?;
        let worker = WorkerBuilder::new("worker")
            .backend($storage)
            .data(Work {
                counter: Counter::default(),
                of: $arguments.jobs,
            })
            .parallelize(tokio::spawn)
            .build(no_op);
        // A worker that stops writes what it still knows first.
        let (drain, ()) = timed(async { Ok(worker.run().await?) }).await?;
        (enqueue, drain)
    }};
}

/// Statistics without samples: those would say that no worker has a job, as it is now.
async fn analyse(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    for statement in [
        "ANALYZE",
        "DELETE FROM sqlite_stat4",
        "ANALYZE sqlite_schema",
    ] {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
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
    let storage = SqliteStorage::<u64>::new(&pool).with_config(config);
    let (enqueue, drain) = measure!(storage, analyse(&pool), arguments);
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
    let storage = PostgresStorage::<u64>::new(&pool).with_config(config);
    let (enqueue, drain) = measure!(storage, ready(Ok::<_, Failure>(())), arguments);
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
