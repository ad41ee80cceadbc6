//! A batch, in one transaction.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::{FREE, WAITING, begin, failed, in_ms, now_ms};
use crate::metrics::{Query, TimesByQuery};
use crate::store::{
    Applied, Batch, NewAction, Outcome, SessionId, Stale, Stamp, StoreError, StoreResult,
    carried_text,
};

pub(super) fn apply(
    connection: &mut Connection,
    stamp: Stamp,
    batch: &Batch,
    times: &TimesByQuery,
) -> StoreResult<Applied> {
    let transaction = begin(connection)?;
    match sign(&transaction, stamp).map_err(failed)? {
        Signature::New => {}
        Signature::AlreadyApplied => return Ok(Applied::default()),
        Signature::SessionLost => return Err(StoreError::SessionLost),
    }
    let stale = take_away(&transaction, batch, times).map_err(failed)?;
    if !stale.is_empty() {
        transaction.rollback().map_err(failed)?;
        return Err(StoreError::Stale(Box::new(stale)));
    }
    let applied = add(&transaction, stamp.session, batch, times).map_err(failed)?;
    let begun = Instant::now();
    transaction.commit().map_err(failed)?;
    times.add(Query::Commit, begun.elapsed(), 1);
    Ok(applied)
}

enum Signature {
    New,
    AlreadyApplied,
    SessionLost,
}

/// Notes in the lane that this batch is applied.
fn sign(transaction: &Transaction<'_>, stamp: Stamp) -> rusqlite::Result<Signature> {
    let lane = (stamp.session.0, stamp.lane, stamp.number);
    let changed = transaction
        .prepare_cached(
            "UPDATE lane SET number = ?3 WHERE session = ?1 AND lane = ?2 AND number < ?3",
        )?
        .execute(lane)?;
    if changed == 1 {
        return Ok(Signature::New);
    }
    let number: Option<i64> = transaction
        .query_row(
            "SELECT number FROM lane WHERE session = ?1 AND lane = ?2",
            (stamp.session.0, stamp.lane),
            |row| row.get(0),
        )
        .optional()?;
    Ok(match number {
        Some(_) => Signature::AlreadyApplied,
        None => Signature::SessionLost,
    })
}

/// Times a part of the work, unless there is nothing to it.
fn timed<T>(
    times: &TimesByQuery,
    query: Query,
    rows: usize,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    if rows == 0 {
        return Ok(None);
    }
    let begun = Instant::now();
    let done = work()?;
    times.add(query, begun.elapsed(), rows);
    Ok(Some(done))
}

/// What has to be as the batch says.
fn take_away(
    transaction: &Transaction<'_>,
    batch: &Batch,
    times: &TimesByQuery,
) -> rusqlite::Result<Stale> {
    let mut stale = Stale::default();
    timed(times, Query::DeleteActions, batch.completed.len(), || {
        let mut delete =
            transaction.prepare_cached("DELETE FROM action WHERE id = ?1 AND delivery = ?2")?;
        for delivery in &batch.completed {
            if delete.execute((delivery.action.0, delivery.delivery))? == 0 {
                stale.deliveries.push(*delivery);
            }
        }
        Ok(())
    })?;
    timed(
        times,
        Query::GiveBackActions,
        batch.given_back.len(),
        || {
            let mut give_back = transaction.prepare_cached(
                "UPDATE action SET owner = ?3, due_at = ?4, delivery = delivery - ?5
             WHERE id = ?1 AND delivery = ?2",
            )?;
            for it in &batch.given_back {
                let owner = if it.wait == Duration::ZERO {
                    FREE
                } else {
                    WAITING
                };
                let due_at = now_ms() + in_ms(it.wait);
                let delivery = it.delivery;
                let changed = give_back.execute((
                    delivery.action.0,
                    delivery.delivery,
                    owner,
                    due_at,
                    it.is_untouched,
                ))?;
                if changed == 0 {
                    stale.deliveries.push(delivery);
                }
            }
            Ok(())
        },
    )?;
    timed(times, Query::PassGates, batch.passed.len(), || {
        let mut pass = transaction.prepare_cached(
            "DELETE FROM gate WHERE instance = ?1 AND gate = ?2 AND missing = ?3",
        )?;
        let mut empty =
            transaction.prepare_cached("DELETE FROM inbox WHERE instance = ?1 AND gate = ?2")?;
        for passed in &batch.passed {
            let key = (passed.instance.0, passed.gate.0);
            if pass.execute((key.0, key.1, passed.missing))? == 0 {
                stale.passed.push(*passed);
            }
            empty.execute(key)?;
        }
        Ok(())
    })?;
    timed(times, Query::UpdateInstances, batch.started.len(), || {
        let mut start = transaction.prepare_cached(
            "UPDATE instance SET owner = NULL, started_at = ?3
             WHERE id = ?1 AND claim = ?2 AND started_at IS NULL",
        )?;
        let now = now_ms();
        for started in &batch.started {
            if start.execute((started.instance.0, started.claim, now))? == 0 {
                stale.started.push(*started);
            }
        }
        Ok(())
    })?;
    Ok(stale)
}

fn add(
    transaction: &Transaction<'_>,
    session: SessionId,
    batch: &Batch,
    times: &TimesByQuery,
) -> rusqlite::Result<Applied> {
    let mut applied = Applied::default();
    timed(times, Query::EnqueueActions, batch.actions.len(), || {
        enqueue(transaction, session, &batch.actions)
    })?;
    timed(times, Query::Arrivals, batch.arrivals.len(), || {
        let mut arrive = transaction.prepare_cached(
            "INSERT INTO gate (instance, gate, missing) VALUES (?1, ?2, ?3 - ?4)
             ON CONFLICT (instance, gate) DO UPDATE SET missing = missing - ?4
             RETURNING missing",
        )?;
        let mut deliver = transaction.prepare_cached(
            "INSERT INTO inbox (instance, gate, part, entries) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for arrival in &batch.arrivals {
            let key = (arrival.instance.0, arrival.gate.0);
            let counts = (key.0, key.1, arrival.expected, arrival.arrived);
            let missing: i64 = arrive.query_row(counts, |row| row.get(0))?;
            if let Some(values) = &arrival.values {
                deliver.execute((key.0, key.1, arrival.part, values.as_str()))?;
            }
            if missing == 0 {
                applied.complete.push((arrival.instance, arrival.gate));
            }
        }
        Ok(())
    })?;
    timed(times, Query::UpdateInstances, batch.finished.len(), || {
        let mut finish = transaction.prepare_cached(
            "UPDATE instance SET finished_at = ?2, outcome = ?3, result = ?4
             WHERE id = ?1 AND finished_at IS NULL",
        )?;
        let now = now_ms();
        for finished in &batch.finished {
            let instance = finished.instance.0;
            let outcome = finished.outcome.as_str();
            finish.execute((instance, now, outcome, finished.result.as_str()))?;
            if finished.outcome == Outcome::Failed {
                for table in ["gate", "inbox"] {
                    let forget = format!("DELETE FROM {table} WHERE instance = ?1");
                    transaction.prepare_cached(&forget)?.execute([instance])?;
                }
            }
        }
        Ok(())
    })?;
    timed(times, Query::Log, usize::from(batch.log.is_some()), || {
        let entries = batch.log.as_ref().map(crate::value::Json::as_str);
        transaction
            .prepare_cached("INSERT INTO log (at, entries) VALUES (?1, ?2)")?
            .execute((now_ms(), entries))
    })?;
    Ok(applied)
}

fn enqueue(
    transaction: &Transaction<'_>,
    session: SessionId,
    actions: &[NewAction],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO action
            (id, instance, node, element, elements, delivery, owner, priority, input, carried)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for new in actions {
        // What is this session's from the beginning is its first delivery.
        let owner = if new.is_leased { session.0 } else { FREE };
        let carried = (!new.carried.is_empty()).then(|| carried_text(&new.carried));
        insert.execute((
            new.id.0,
            new.instance.0,
            new.node,
            new.element.map(|element| element.index),
            new.element.map(|element| element.of),
            u32::from(new.is_leased),
            owner,
            new.priority,
            new.input.as_str(),
            carried,
        ))?;
    }
    Ok(())
}
