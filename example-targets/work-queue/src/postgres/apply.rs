//! A batch, in one statement and one round trip: one transaction, one flush of the log.
//!
//! What was out of date is asked for only after the statement was undone.
//!
//! # Order of locks
//!
//! A session's lane, then its actions, gates by instance and number, instances: a batch waits only
//! for gates, and for the one that gives back what its session had, which takes the lane first.

use deadpool_postgres::tokio_postgres::{IsolationLevel, Row};
use deadpool_postgres::{GenericClient as _, Object};

use super::failure::Failure;
use super::statement::{Statement, int};
use super::timing;
use crate::graph::Gate;
use crate::metrics::TimesByQuery;
use crate::store::{Applied, Batch, Delivery, InstanceId, Outcome, Stale, Stamp, StoreError};

/// Applies a batch; with `times`, in a way that says what its parts take, which takes longer.
pub(super) async fn apply(
    client: &mut Object,
    stamp: Stamp,
    batch: &Batch,
    times: Option<&TimesByQuery>,
) -> Result<Applied, StoreError> {
    let failed: Vec<i64> = batch
        .finished
        .iter()
        .filter(|finished| finished.outcome == Outcome::Failed)
        .map(|finished| finished.instance.0)
        .collect();
    let statement = Statement::of(stamp, batch);
    let outcome = match times {
        Some(times) => timing::apply(client, &statement, batch, &failed, times).await,
        None if failed.is_empty() => statement.run(&*client).await,
        None => apply_and_forget(client, &statement, &failed).await,
    };
    match outcome {
        Ok(complete) => Ok(Applied {
            complete: complete.iter().map(gate_of).collect(),
        }),
        Err(failure) if failure.is_out_of_date() => {
            match what_is_stale(client, stamp, batch).await? {
                OutOfDate::AlreadyApplied => Ok(Applied::default()),
                OutOfDate::SessionLost => Err(StoreError::SessionLost),
                OutOfDate::Stale(stale) if !stale.is_empty() => {
                    Err(StoreError::Stale(Box::new(stale)))
                }
                OutOfDate::Stale(_) => Err(failure.when_nothing_is_stale()),
            }
        }
        Err(failure) => Err(failure.into()),
    }
}

/// The same for a batch in which instances fail: what waits at their gates goes, too. That takes
/// more statements, which see what the first one did.
async fn apply_and_forget(
    client: &mut Object,
    statement: &Statement<'_>,
    failed: &[i64],
) -> Result<Vec<Row>, Failure> {
    let transaction = client.transaction().await?;
    let complete = statement.run(&transaction).await?;
    forget(&transaction, failed).await?;
    transaction.commit().await?;
    Ok(complete)
}

pub(super) async fn forget(
    transaction: &deadpool_postgres::Transaction<'_>,
    failed: &[i64],
) -> Result<(), Failure> {
    for forget in [
        "DELETE FROM gate WHERE instance = ANY($1)",
        "DELETE FROM inbox WHERE instance = ANY($1)",
    ] {
        let forget = transaction.prepare_cached(forget).await?;
        transaction.execute(&forget, &[&failed]).await?;
    }
    Ok(())
}

fn gate_of(row: &Row) -> (InstanceId, Gate) {
    let gate: i32 = row.get(1);
    (InstanceId(row.get(0)), Gate(gate.unsigned_abs()))
}

enum OutOfDate {
    AlreadyApplied,
    SessionLost,
    Stale(Stale),
}

/// Finds out what of a batch that was undone is not so any more.
async fn what_is_stale(
    client: &mut Object,
    stamp: Stamp,
    batch: &Batch,
) -> Result<OutOfDate, Failure> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let lane = i32::try_from(stamp.lane).unwrap_or(i32::MAX);
    let number = transaction
        .query_opt(
            "SELECT number FROM lane WHERE session = $1 AND lane = $2",
            &[&stamp.session.0, &lane],
        )
        .await?;
    match number.map(|row| row.get::<_, i64>(0)) {
        None => return Ok(OutOfDate::SessionLost),
        Some(number) if number >= stamp.number => return Ok(OutOfDate::AlreadyApplied),
        Some(_) => {}
    }
    let mut stale = Stale::default();
    let given_back = batch.given_back.iter().map(|it| it.delivery);
    let deliveries: Vec<Delivery> = batch.completed.iter().copied().chain(given_back).collect();
    let ids: Vec<i64> = deliveries.iter().map(|it| it.action.0).collect();
    let tokens: Vec<i32> = deliveries.iter().map(|it| int(it.delivery)).collect();
    let rows = transaction
        .query(
            "SELECT it.at FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY
                 AS it (id, delivery, at)
             WHERE NOT EXISTS (SELECT FROM action
                 WHERE action.id = it.id AND action.delivery = it.delivery)",
            &[&ids, &tokens],
        )
        .await?;
    stale
        .deliveries
        .extend(rows.iter().map(|row| deliveries[place(row)]));
    repeated(&deliveries, &mut stale.deliveries);

    let instances: Vec<i64> = batch.passed.iter().map(|it| it.instance.0).collect();
    let gates: Vec<i32> = batch.passed.iter().map(|it| int(it.gate.0)).collect();
    let missing: Vec<i32> = batch.passed.iter().map(|it| int(it.missing)).collect();
    let rows = transaction
        .query(
            "SELECT it.at FROM unnest($1::bigint[], $2::integer[], $3::integer[]) WITH ORDINALITY
                 AS it (instance, gate, missing, at)
             WHERE NOT EXISTS (SELECT FROM gate WHERE gate.instance = it.instance
                 AND gate.gate = it.gate AND gate.missing = it.missing)",
            &[&instances, &gates, &missing],
        )
        .await?;
    stale
        .passed
        .extend(rows.iter().map(|row| batch.passed[place(row)]));
    repeated(&batch.passed, &mut stale.passed);

    let instances: Vec<i64> = batch.started.iter().map(|it| it.instance.0).collect();
    let claims: Vec<i32> = batch.started.iter().map(|it| int(it.claim)).collect();
    let rows = transaction
        .query(
            "SELECT it.at FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY
                 AS it (id, claim, at)
             WHERE NOT EXISTS (SELECT FROM instance WHERE instance.id = it.id
                 AND instance.claim = it.claim AND started_at IS NULL)",
            &[&instances, &claims],
        )
        .await?;
    stale
        .started
        .extend(rows.iter().map(|row| batch.started[place(row)]));
    repeated(&batch.started, &mut stale.started);
    transaction.commit().await?;
    Ok(OutOfDate::Stale(stale))
}

/// The place in the array that `WITH ORDINALITY` counted from 1.
fn place(row: &Row) -> usize {
    usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(0)
}

/// What a batch names twice is out of date the second time.
fn repeated<T: Copy + Eq + std::hash::Hash>(all: &[T], stale: &mut Vec<T>) {
    let mut seen = std::collections::HashSet::with_capacity(all.len());
    for it in all {
        if !seen.insert(*it) && !stale.contains(it) {
            stale.push(*it);
        }
    }
}
