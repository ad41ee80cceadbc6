//! What is asked besides batches: new instances, claims, sessions, what there is.

use std::cmp::Reverse;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::{FREE, WAITING, failed, in_ms, now_ms, schema};
use crate::store::{
    ActionId, ClaimedAction, ClaimedInstance, Element, GateInbox, InstanceId, LANES, NewInstance,
    Renewed, SessionId, StoreCounts, StoreError, StoreResult, WorkflowId, carried_of,
};
use crate::value::Json;

pub(super) fn create(
    transaction: &Transaction<'_>,
    instances: &[NewInstance],
) -> rusqlite::Result<Vec<InstanceId>> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO instance (workflow, priority, owner, due_at, created_at, input)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let now = now_ms();
    instances
        .iter()
        .map(|new| {
            let owner = if new.wait == Duration::ZERO {
                FREE
            } else {
                WAITING
            };
            let due_at = now.saturating_add(in_ms(new.wait));
            let input = new.input.as_str();
            let id = insert.insert((new.workflow.0, new.priority, owner, due_at, now, input))?;
            Ok(InstanceId(id))
        })
        .collect()
}

pub(super) fn open_session(
    transaction: &Transaction<'_>,
    lease: Duration,
) -> rusqlite::Result<SessionId> {
    let id = schema::reserve(transaction, "session", 1)?;
    transaction.execute(
        "INSERT INTO session (id, lease_until) VALUES (?1, ?2)",
        (id, now_ms().saturating_add(in_ms(lease))),
    )?;
    for lane in 0..LANES {
        transaction.execute(
            "INSERT INTO lane (session, lane, number) VALUES (?1, ?2, 0)",
            (id, lane),
        )?;
    }
    Ok(SessionId(id))
}

pub(super) fn end_session(transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
    for statement in [
        "UPDATE action SET owner = 0 WHERE owner = ?1",
        "UPDATE instance SET owner = 0 WHERE owner = ?1 AND owner > 0",
        "DELETE FROM lane WHERE session = ?1",
        "DELETE FROM session WHERE id = ?1",
    ] {
        transaction.prepare_cached(statement)?.execute([session])?;
    }
    Ok(())
}

pub(super) fn renew(
    transaction: &Transaction<'_>,
    session: SessionId,
    lease: Duration,
) -> StoreResult<Renewed> {
    renewed(transaction, session, lease)
        .map_err(failed)?
        .ok_or(StoreError::SessionLost)
}

fn renewed(
    transaction: &Transaction<'_>,
    session: SessionId,
    lease: Duration,
) -> rusqlite::Result<Option<Renewed>> {
    let now = now_ms();
    let changed = transaction
        .prepare_cached("UPDATE session SET lease_until = ?2 WHERE id = ?1")?
        .execute((session.0, now.saturating_add(in_ms(lease))))?;
    if changed == 0 {
        return Ok(None);
    }
    let expired = numbers(
        transaction,
        "SELECT id FROM session WHERE lease_until < ?1",
        now,
    )?;
    for session in &expired {
        end_session(transaction, *session)?;
    }
    let mut complete = transaction
        .prepare_cached("SELECT instance, gate FROM gate WHERE missing = 0 LIMIT 10000")?;
    let left_behind = complete
        .query_map([], |row| Ok((InstanceId(row.get(0)?), row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Renewed {
        left_behind,
        sessions_expired: u32::try_from(expired.len()).unwrap_or(u32::MAX),
    }))
}

fn numbers(
    transaction: &Transaction<'_>,
    query: &str,
    argument: i64,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = transaction.prepare_cached(query)?;
    let numbers = statement.query_map([argument], |row| row.get(0))?;
    numbers.collect()
}

/// Whether it is worth a transaction to claim something: what is nobody's and due, or has waited
/// long enough.
pub(super) fn has_free(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    for condition in ["owner = 0 AND ?1 > 0", "owner = -1 AND due_at <= ?1"] {
        let query = format!("SELECT 1 FROM {table} WHERE {condition} LIMIT 1");
        let found = connection
            .prepare_cached(&query)?
            .query_row([now_ms()], |_| Ok(()))
            .optional()?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What has waited long enough is due.
fn make_due(transaction: &Transaction<'_>, table: &str) -> rusqlite::Result<()> {
    let due = format!("UPDATE {table} SET owner = 0 WHERE owner = -1 AND due_at <= ?1");
    transaction.prepare_cached(&due)?.execute([now_ms()])?;
    Ok(())
}

fn check_session(transaction: &Transaction<'_>, session: SessionId) -> StoreResult<()> {
    let found = transaction
        .prepare_cached("SELECT 1 FROM session WHERE id = ?1")
        .and_then(|mut query| query.query_row([session.0], |_| Ok(())).optional())
        .map_err(failed)?;
    found.ok_or(StoreError::SessionLost)
}

fn list_of(workflows: &[WorkflowId]) -> String {
    let ids: Vec<String> = workflows.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

pub(super) fn instances(
    transaction: &Transaction<'_>,
    session: SessionId,
    workflows: &[WorkflowId],
    max: u32,
) -> StoreResult<Vec<ClaimedInstance>> {
    check_session(transaction, session)?;
    let claim = || {
        make_due(transaction, "instance")?;
        let mut statement = transaction.prepare_cached(
            "UPDATE instance SET owner = ?1, claim = claim + 1
             WHERE id IN (
                 SELECT id FROM instance
                 WHERE owner = 0 AND workflow IN (SELECT value FROM json_each(?2))
                 ORDER BY priority DESC, id LIMIT ?3)
             RETURNING id, workflow, input, priority, claim",
        )?;
        let claimed = statement.query_map((session.0, list_of(workflows), max), |row| {
            Ok(ClaimedInstance {
                id: InstanceId(row.get(0)?),
                workflow: WorkflowId(row.get(1)?),
                input: json(row, 2)?,
                priority: row.get(3)?,
                claim: row.get(4)?,
            })
        })?;
        let mut claimed = claimed.collect::<rusqlite::Result<Vec<_>>>()?;
        // They come in the order of their ids.
        claimed.sort_by_key(|claimed| Reverse(claimed.priority));
        Ok(claimed)
    };
    let mut claimed = claim().map_err(failed)?;
    // `RETURNING` has no order.
    claimed.sort_unstable_by_key(|it| (Reverse(it.priority), it.id));
    Ok(claimed)
}

pub(super) fn actions(
    transaction: &Transaction<'_>,
    session: SessionId,
    workflows: &[WorkflowId],
    max: u32,
) -> StoreResult<Vec<ClaimedAction>> {
    check_session(transaction, session)?;
    let claim = || {
        make_due(transaction, "action")?;
        let mut find = transaction.prepare_cached(
            "SELECT action.id, action.instance, instance.workflow, node, element, elements,
                 delivery + 1, action.priority, action.input, carried,
                 instance.finished_at IS NOT NULL
             FROM action JOIN instance ON instance.id = action.instance
             WHERE action.owner = 0 AND workflow IN (SELECT value FROM json_each(?1))
             ORDER BY action.priority DESC, action.id LIMIT ?2",
        )?;
        let found = find.query_map((list_of(workflows), max), |row| {
            let element: Option<u32> = row.get(4)?;
            let of: Option<u32> = row.get(5)?;
            let carried: Option<String> = row.get(9)?;
            Ok(ClaimedAction {
                id: ActionId(row.get(0)?),
                instance: InstanceId(row.get(1)?),
                workflow: WorkflowId(row.get(2)?),
                node: row.get(3)?,
                element: element.zip(of).map(|(index, of)| Element { index, of }),
                delivery: row.get(6)?,
                priority: row.get(7)?,
                input: json(row, 8)?,
                carried: carried.as_deref().map_or_else(Vec::new, carried_of),
                is_orphan: row.get(10)?,
            })
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut take = transaction
            .prepare_cached("UPDATE action SET owner = ?2, delivery = ?3 WHERE id = ?1")?;
        for action in &found {
            take.execute((action.id.0, session.0, action.delivery))?;
        }
        Ok(found)
    };
    claim().map_err(failed)
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Json> {
    Ok(Json::trusted(row.get_ref(column)?.as_str()?))
}

pub(super) fn inbox(
    connection: &Connection,
    gates: &[(InstanceId, u32)],
) -> rusqlite::Result<Vec<GateInbox>> {
    let mut about =
        connection.prepare_cached("SELECT workflow, priority FROM instance WHERE id = ?1")?;
    let mut read = connection.prepare_cached(
        "SELECT entries FROM inbox WHERE instance = ?1 AND gate = ?2 ORDER BY part",
    )?;
    gates
        .iter()
        .map(|(instance, gate)| {
            let (workflow, priority) =
                about.query_row([instance.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let parts = read.query_map((instance.0, gate), |row| json(row, 0))?;
            Ok(GateInbox {
                instance: *instance,
                workflow: WorkflowId(workflow),
                gate: *gate,
                priority,
                parts: parts.collect::<rusqlite::Result<_>>()?,
            })
        })
        .collect()
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<StoreCounts> {
    let count = |query: &str| -> rusqlite::Result<u64> {
        let n: i64 = connection.query_row(query, [], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    };
    Ok(StoreCounts {
        waiting: count("SELECT count(*) FROM instance WHERE owner IN (0, -1)")?,
        running: count(
            "SELECT count(*) FROM instance WHERE finished_at IS NULL AND (owner IS NULL OR owner > 0)",
        )?,
        completed: count("SELECT count(*) FROM instance WHERE outcome = 'completed'")?,
        failed: count("SELECT count(*) FROM instance WHERE outcome = 'failed'")?,
        actions: count("SELECT count(*) FROM action")?,
    })
}
