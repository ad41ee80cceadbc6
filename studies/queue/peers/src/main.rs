//! Other queues, measured beside work-queue: jobs that do nothing are enqueued, then drained.
//!
//! One run, one queue, one JSON object on standard output. The database is as durable as
//! work-queue's: SQLite in WAL with `synchronous=FULL`, PostgreSQL with its defaults. Each queue
//! is used in the way that its own documentation or benchmark recommends for throughput. A queue
//! that hangs is stopped by the study, not here.

mod apalis_queue;
mod graphile_queue;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde_json::json;
use temporary_postgres::TemporaryPostgres;

/// Measures another queue than work-queue: enqueues jobs that do nothing, then drains them.
#[derive(Parser)]
#[command(name = "queue-peers")]
struct Arguments {
    /// Which queue
    #[arg(long, value_enum)]
    queue: Queue,
    /// What holds it
    #[arg(long, value_enum)]
    store: Store,
    /// How many jobs
    #[arg(long, default_value_t = 10_000)]
    jobs: u64,
    /// Jobs that are enqueued at once
    #[arg(long, default_value_t = 1_000)]
    enqueue: usize,
    /// Jobs that are fetched at once
    #[arg(long)]
    batch: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Queue {
    Apalis,
    GraphileWorker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

type Failure = Box<dyn Error + Send + Sync>;

/// What a queue did.
struct Run {
    /// Its crates.
    crates: &'static [&'static str],
    /// How it was set up, for the reader of the report.
    settings: String,
    enqueue: Duration,
    drain: Duration,
    /// Jobs that the database says are done.
    completed: u64,
}

/// How often a handler ran.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more; how many there are.
    fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queue-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let run = match (arguments.queue, arguments.store) {
        (Queue::Apalis, Store::Sqlite) => {
            let directory = tempfile::tempdir()?;
            runtime.block_on(apalis_queue::on_sqlite(
                arguments,
                &directory.path().join("queue.db"),
            ))?
        }
        (Queue::Apalis, Store::Postgres) => {
            let server = server()?;
            runtime.block_on(apalis_queue::on_postgres(arguments, &server.url()))?
        }
        (Queue::GraphileWorker, Store::Sqlite) => {
            return Err("graphile-worker is for --store postgres".into());
        }
        (Queue::GraphileWorker, Store::Postgres) => {
            let server = server()?;
            runtime.block_on(graphile_queue::on_postgres(arguments, &server.url()))?
        }
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    let versions: Vec<String> = run.crates.iter().map(|name| with_version(name)).collect();
    let seconds = (run.enqueue + run.drain).as_secs_f64();
    let object = json!({
        "jobs": arguments.jobs,
        "completed": run.completed,
        "versions": versions,
        "settings": run.settings,
        "enqueue_seconds": run.enqueue.as_secs_f64(),
        "drain_seconds": run.drain.as_secs_f64(),
        "jobs_per_second": run.completed as f64 / seconds,
        "drained_per_second": run.completed as f64 / run.drain.as_secs_f64(),
    });
    println!("{object}");
    Ok(())
}

/// A server of its own, on a disk, with the defaults.
fn server() -> Result<TemporaryPostgres, Failure> {
    Ok(TemporaryPostgres::builder().on_disk().settled().start()?)
}

/// How long `work` takes.
async fn timed<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<(Duration, T), Failure> {
    let begun = Instant::now();
    let done = work.await?;
    Ok((begun.elapsed(), done))
}

/// The jobs' numbers, so many at once.
fn chunks(arguments: &Arguments) -> impl Iterator<Item = Vec<u64>> {
    let at_once = arguments.enqueue.max(1);
    let jobs = arguments.jobs;
    (0..jobs)
        .step_by(at_once)
        .map(move |first| (first..jobs.min(first + at_once as u64)).collect())
}

/// A crate and the version of it that was built.
fn with_version(name: &str) -> String {
    let entry = format!("name = \"{name}\"");
    let version = include_str!("../Cargo.lock")
        .lines()
        .skip_while(|line| *line != entry)
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.strip_suffix('"'));
    format!("{name} {}", version.unwrap_or("of an unknown version"))
}
