//! graphile_worker, set up as in its own benchmark of throughput (`benches/perf_test.rs`): a local
//! queue that fetches 5,000 jobs at once, 500 handlers at once, completions batched for 5 ms.

use std::sync::Arc;
use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::{Arguments, Counter, Failure, Run, chunks, timed};

const FETCHED: usize = 5_000;
const HANDLERS: usize = 500;
const CONNECTIONS: u32 = 100;
const DELAY: Duration = Duration::from_millis(5);

#[derive(Deserialize, Serialize)]
struct NoOp {
    id: u64,
}

impl TaskHandler for NoOp {
    const IDENTIFIER: &'static str = "no_op";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(counter) = context.get_ext::<Counter>() {
            counter.add();
        }
        Ok::<(), String>(())
    }
}

pub(crate) async fn on_postgres(arguments: &Arguments, url: &str) -> Result<Run, Failure> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect(url)
        .await?;
    let counter = Counter::default();
    let fetched = arguments.batch.unwrap_or(FETCHED);
    let worker = WorkerOptions::default()
        .pg_pool(pool.clone())
        .concurrency(HANDLERS)
        .poll_interval(DELAY)
        .complete_job_batch_delay(DELAY)
        .listen_os_shutdown_signals(false)
        .local_queue(LocalQueueConfig::default().with_size(fetched))
        .add_extension(counter.clone())
        .define_job::<NoOp>()
        .init()
        .await?;
    let worker = Arc::new(worker);
    let utils = worker.create_utils();
    let (enqueue, ()) = timed(async {
        for chunk in chunks(arguments) {
            let jobs: Vec<_> = chunk
                .into_iter()
                .map(|id| RawJobSpec {
                    identifier: NoOp::IDENTIFIER.into(),
                    payload: serde_json::json!({ "id": id }),
                    spec: JobSpec::default(),
                })
                .collect();
            utils.add_raw_jobs(&jobs).await?;
        }
        Ok(())
    })
    .await?;
    let (drain, left) = timed(async {
        let running = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.run().await }
        });
        while counter.get() < arguments.jobs && !running.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Handlers have run; completions are still under way.
        let left = loop {
            let left: i64 =
                sqlx::query_scalar("SELECT count(*) FROM graphile_worker._private_jobs")
                    .fetch_one(&pool)
                    .await?;
            if left == 0 || running.is_finished() {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        worker.request_shutdown();
        Ok((left, running))
    })
    .await?;
    let (left, running) = left;
    running.await??;
    pool.close().await;
    Ok(Run {
        crates: &["graphile_worker"],
        settings: format!(
            "`add_raw_jobs` of {}, `local_queue` of {fetched}, `concurrency({HANDLERS})`, \
             `complete_job_batch_delay` of {} ms",
            arguments.enqueue,
            DELAY.as_millis()
        ),
        enqueue,
        drain,
        completed: arguments.jobs - u64::try_from(left)?,
    })
}
