//! What a run came to: a table, or one JSON object.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;
use work_queue::Metrics;

use super::Run;
use crate::{Kind, QueueNoop};

#[derive(Serialize)]
pub(crate) struct Report {
    store: &'static str,
    instances: u64,
    loop_size: u16,
    workers: u16,
    seconds: f64,
    instances_completed: u64,
    instances_failed: u64,
    actions: u64,
    actions_per_second: f64,
    round_trip_average_ms: f64,
    round_trip_p95_ms: f64,
    action_average_ms: f64,
    action_p95_ms: f64,
    batches: u64,
    actions_per_batch: f64,
    batch_p99_ms: f64,
    raw_limit_actions_per_second: Option<f64>,
    raw_limit_ratio: Option<f64>,
    hit_the_deadline: bool,
    shutdown_ms: f64,
    queries: serde_json::Value,
    messages: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &QueueNoop, run: Run, raw: Option<f64>) -> Self {
        let Metrics {
            actions_completed,
            instances_completed,
            instances_failed,
            batches,
            round_trip,
            ready_to_completed,
            batch,
            queries,
            messages,
            ..
        } = run.metrics;
        let seconds = run.elapsed.as_secs_f64();
        let rate = actions_completed as f64 / seconds;
        let queries = queries.into_iter().map(|(query, times)| {
            json!({
                "query": query.as_str(),
                "n": times.n,
                "rows": times.rows,
                "average_ms": in_ms(times.mean_us),
                "p95_ms": in_ms(times.p95_us),
                "max_ms": in_ms(times.max_us),
                "total_ms": times.total_ms,
            })
        });
        Self {
            store: match options.store {
                Kind::Sqlite => "sqlite",
                Kind::Postgres => "postgres",
            },
            instances: options.instances,
            loop_size: options.loop_size,
            workers: options.workers,
            seconds,
            instances_completed,
            instances_failed,
            actions: actions_completed,
            actions_per_second: rate,
            round_trip_average_ms: in_ms(round_trip.mean_us),
            round_trip_p95_ms: in_ms(round_trip.p95_us),
            action_average_ms: in_ms(ready_to_completed.mean_us),
            action_p95_ms: in_ms(ready_to_completed.p95_us),
            batches,
            actions_per_batch: actions_completed as f64 / batches.max(1) as f64,
            batch_p99_ms: in_ms(batch.p99_us),
            raw_limit_actions_per_second: raw,
            raw_limit_ratio: raw.map(|raw| rate / raw),
            hit_the_deadline: run.hit_the_deadline,
            shutdown_ms: run.shutdown.as_secs_f64() * 1e3,
            queries: queries.collect(),
            messages,
        }
    }

    pub(crate) fn print(&self, json: bool) -> Result<(), Box<dyn Error>> {
        let text = if json {
            format!("{}\n", serde_json::to_string(self)?)
        } else {
            self.table()?
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let out = &mut text;
        writeln!(
            out,
            "queue-noop on {}: {} of {} instances, {} actions in {:.2} s{}",
            self.store,
            self.instances_completed,
            self.instances,
            self.actions,
            self.seconds,
            if self.hit_the_deadline {
                ", stopped by the deadline"
            } else {
                ""
            },
        )?;
        writeln!(out, "  {:>12.0}  actions a second", self.actions_per_second)?;
        if let Some((raw, ratio)) = self.raw_limit_actions_per_second.zip(self.raw_limit_ratio) {
            writeln!(
                out,
                "  {:>11.0}%  of the raw limit, {raw:.0} a second for the same rows without a queue",
                100.0 * ratio
            )?;
        }
        writeln!(
            out,
            "  {:>9.2} ms  from ready to completed on average, 95 of 100 within {:.2} ms",
            self.action_average_ms, self.action_p95_ms
        )?;
        writeln!(
            out,
            "  {:>9.2} ms  an instance on average, 95 of 100 within {:.2} ms",
            self.round_trip_average_ms, self.round_trip_p95_ms
        )?;
        writeln!(
            out,
            "  {:>9.2} ms  a batch at most in 99 of 100; {:.0} actions in a batch",
            self.batch_p99_ms, self.actions_per_batch
        )?;
        writeln!(out, "  {:>9.0} ms  to shut down\n", self.shutdown_ms)?;
        writeln!(
            out,
            "  {:<18} {:>8} {:>10} {:>11} {:>9} {:>9} {:>10}",
            "query", "n", "rows", "average ms", "p95 ms", "max ms", "total ms"
        )?;
        for query in self.queries.as_array().into_iter().flatten() {
            let number = |key: &str| query[key].as_f64().unwrap_or(0.0);
            writeln!(
                out,
                "  {:<18} {:>8} {:>10} {:>11.3} {:>9.3} {:>9.3} {:>10.1}",
                query["query"].as_str().unwrap_or(""),
                number("n"),
                number("rows"),
                number("average_ms"),
                number("p95_ms"),
                number("max_ms"),
                number("total_ms")
            )?;
        }
        for message in &self.messages {
            writeln!(out, "  {message}")?;
        }
        Ok(text)
    }
}

fn in_ms(us: f64) -> f64 {
    us / 1e3
}
