//! `bench queue-noop`: one run of the queue, and what the same rows take without it.

pub(crate) mod place;
mod progress_line;
mod raw_postgres;
mod raw_sqlite;
mod report;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use work_queue::{Engine, Metrics, Options, SqliteStore, Store, queue_noop};

use crate::{Kind, QueueNoop};
use progress_line::ProgressLine;
use report::Report;

/// Instances that are created in a transaction.
const CREATED_AT_ONCE: u64 = 1_000;

/// How long the end may take, beyond the time that was asked for.
const GRACE: Duration = Duration::from_millis(800);

/// What the raw limit may take.
const RAW_TIME: Duration = Duration::from_secs(3);

/// One run of the queue.
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    pub(crate) metrics: Metrics,
    /// From the deadline, or the last completion, to the end of the engine.
    pub(crate) shutdown: Duration,
    pub(crate) hit_the_deadline: bool,
}

pub(crate) fn run(options: &QueueNoop) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = match options.store {
        Kind::Sqlite => {
            if options.url.is_some() {
                return Err("--url is for --store postgres".into());
            }
            let place = place::sqlite(options.db.as_deref())?;
            let store = Arc::new(SqliteStore::open(place.path())?);
            let run = runtime.block_on(queue(options, store))?;
            let raw = (!options.no_raw_limit)
                .then(|| raw_sqlite::rate(options, &run.metrics, RAW_TIME))
                .transpose()?;
            Report::new(options, run, raw)
        }
        Kind::Postgres => {
            if options.db.is_some() {
                return Err("--db is for --store sqlite".into());
            }
            let place = place::postgres(options.url.as_deref())?;
            let store = runtime.block_on(place::connect(place.url()))?;
            let run = runtime.block_on(queue(options, Arc::new(store)))?;
            let raw = (!options.no_raw_limit)
                .then(|| runtime.block_on(raw_postgres::rate(options, &run.metrics, RAW_TIME)))
                .transpose()?;
            Report::new(options, run, raw)
        }
    };
    // A blocked handler must not hold the program.
    runtime.shutdown_timeout(Duration::from_millis(100));
    report.print(options.json)
}

pub(crate) async fn queue<S: Store>(
    options: &QueueNoop,
    store: Arc<S>,
) -> Result<Run, Box<dyn Error>> {
    let loop_size = usize::from(options.loop_size);
    let workflow = queue_noop::workflow(loop_size);
    let name = workflow.name.clone();
    let mut how = Options::default();
    how.workers = usize::from(options.workers);
    if let Some(batch) = options.batch {
        how.batch_max = batch as usize;
    }
    if let Some(ready) = options.ready {
        how.actions_enough = ready as usize;
        how.actions_max = how.actions_max.max(4 * ready as usize);
    }
    let engine = Engine::builder(store)
        .handlers(queue_noop::handlers())
        .options(how)
        .workflow(workflow)
        .start()
        .await?;
    let mut line = ProgressLine::new(options.instances);
    let begun = Instant::now();
    let deadline = Duration::from_secs_f64(options.seconds);
    let input = queue_noop::input(loop_size);
    let mut created = 0;
    let mut hit_the_deadline = false;
    loop {
        if created < options.instances {
            let n = CREATED_AT_ONCE.min(options.instances - created);
            let inputs = (0..n).map(|_| (input.clone(), 0, Duration::ZERO)).collect();
            engine.create_many(&name, inputs).await?;
            created += n;
        } else {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let done = engine.ended();
        line.show(done, begun.elapsed());
        if done >= options.instances {
            break;
        }
        if begun.elapsed() >= deadline {
            hit_the_deadline = true;
            break;
        }
    }
    let elapsed = begun.elapsed();
    let metrics = engine.metrics();
    line.end();
    let ending = Instant::now();
    engine.shutdown(GRACE).await;
    Ok(Run {
        elapsed,
        metrics,
        shutdown: ending.elapsed(),
        hit_the_deadline,
    })
}
