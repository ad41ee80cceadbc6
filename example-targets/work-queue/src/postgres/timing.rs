//! What the parts of a batch take, as the server measures it.
//!
//! A batch is one statement, of which a client sees the whole only. So one of many is executed
//! under `EXPLAIN ANALYZE`, which applies it as ever and says what each of its parts took: on the
//! server, with the clock read twice a row. What makes it durable is timed apart, as its commit.
//! The others are timed as a whole, by the client.

use std::time::{Duration, Instant};

use deadpool_postgres::tokio_postgres::Row;
use deadpool_postgres::tokio_postgres::types::{FromSql, Type};
use deadpool_postgres::{GenericClient as _, Object};
use serde_json::Value;

use super::apply::forget;
use super::failure::Failure;
use super::statement::{Statement, int};
use crate::metrics::{Query, TimesByQuery};
use crate::store::Batch;

/// Applies a batch, and records what its parts take.
pub(super) async fn apply(
    client: &mut Object,
    statement: &Statement<'_>,
    batch: &Batch,
    failed: &[i64],
    times: &TimesByQuery,
) -> Result<Vec<Row>, Failure> {
    let transaction = client.transaction().await?;
    let plan = statement.run_explained(&transaction).await?;
    // The explanation is all that comes back: which gates are complete has to be asked for.
    let arrivals = batch.arrivals.iter();
    let (instances, gates): (Vec<i64>, Vec<i32>) =
        arrivals.map(|it| (it.instance.0, int(it.gate.0))).unzip();
    let complete = transaction
        .prepare_cached(
            "SELECT instance, gate FROM gate
                 JOIN unnest($1::bigint[], $2::integer[]) AS it (instance, gate)
                     USING (instance, gate)
             WHERE missing <= 0",
        )
        .await?;
    let complete = transaction.query(&complete, &[&instances, &gates]).await?;
    if !failed.is_empty() {
        forget(&transaction, failed).await?;
    }
    let begun = Instant::now();
    transaction.commit().await?;
    times.add(Query::Commit, begun.elapsed(), 1);
    let plan: JsonText<'_> = plan.get(0);
    record(
        &serde_json::from_str(plan.0).unwrap_or_default(),
        batch,
        times,
    );
    Ok(complete)
}

/// Adds up what belongs to a query, and records it.
fn record(plan: &Value, batch: &Batch, times: &TimesByQuery) {
    let parts: [(Query, &[&str], usize); 7] = [
        (
            Query::DeleteActions,
            &["deleted", "deleted_again"],
            batch.completed.len(),
        ),
        (
            Query::GiveBackActions,
            &["given_back"],
            batch.given_back.len(),
        ),
        (
            Query::PassGates,
            &["leaving", "passed", "emptied"],
            batch.passed.len(),
        ),
        (
            Query::UpdateInstances,
            &["changed"],
            batch.started.len() + batch.finished.len(),
        ),
        (Query::EnqueueActions, &["enqueued"], batch.actions.len()),
        (
            Query::Arrivals,
            &["arrived", "delivered"],
            batch.arrivals.len(),
        ),
        (Query::Log, &["logged"], usize::from(batch.log.is_some())),
    ];
    let mut took = Vec::new();
    parts_of(&plan[0]["Plan"], &mut took);
    for (query, names, rows) in parts {
        let of_query = took.iter().filter(|(name, _)| names.contains(name));
        let sum: f64 = of_query.map(|(_, ms)| ms).sum();
        if rows > 0 {
            times.add(query, Duration::from_secs_f64(sum.max(0.0) / 1e3), rows);
        }
    }
}

/// The CTEs of a plan and their milliseconds.
fn parts_of<'a>(node: &'a Value, into: &mut Vec<(&'a str, f64)>) {
    let name = node["Subplan Name"].as_str();
    if let Some(name) = name.and_then(|name| name.strip_prefix("CTE ")) {
        let ms = node["Actual Total Time"].as_f64().unwrap_or(0.0);
        let loops = node["Actual Loops"].as_f64().unwrap_or(1.0);
        into.push((name, ms * loops));
    }
    for part in node["Plans"].as_array().into_iter().flatten() {
        parts_of(part, into);
    }
}

/// The text of a value of type `json`.
struct JsonText<'a>(&'a str);

impl<'a> FromSql<'a> for JsonText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    fn accepts(sql_type: &Type) -> bool {
        *sql_type == Type::JSON
    }
}
