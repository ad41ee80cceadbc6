//! What is asked besides batches: new instances, claims, sessions, what there is.

use std::time::Duration;

use deadpool_postgres::tokio_postgres::Row;
use deadpool_postgres::{GenericClient, Object, Transaction};

use super::failure::Failure;
use super::in_us;
use crate::store::{
    ActionId, ClaimedAction, ClaimedInstance, Element, GateInbox, InstanceId, InstanceStatus,
    LANES, NewInstance, Outcome, Renewed, SessionId, StoreCounts, WorkflowId, carried_of,
};
use crate::value::Json;

/// The id of a definition, which is stored if it is new.
pub(super) async fn workflow(
    client: &mut Object,
    name: &str,
    definition: &str,
) -> Result<WorkflowId, Failure> {
    const FIND: &str = "SELECT id FROM workflow WHERE name = $1 AND definition = $2";
    if let Some(row) = client.query_opt(FIND, &[&name, &definition]).await? {
        return Ok(WorkflowId(row.get(0)));
    }
    let transaction = client.transaction().await?;
    // So that the same one is not stored twice.
    transaction
        .batch_execute("LOCK TABLE workflow IN SHARE ROW EXCLUSIVE MODE")
        .await?;
    let row = match transaction.query_opt(FIND, &[&name, &definition]).await? {
        Some(row) => row,
        None => {
            let store = "INSERT INTO workflow (name, definition) VALUES ($1, $2) RETURNING id";
            transaction.query_one(store, &[&name, &definition]).await?
        }
    };
    transaction.commit().await?;
    Ok(WorkflowId(row.get(0)))
}

pub(super) async fn create(
    client: &Object,
    instances: &[NewInstance],
) -> Result<Vec<InstanceId>, Failure> {
    let workflows: Vec<i64> = instances.iter().map(|it| it.workflow.0).collect();
    let priorities: Vec<i16> = instances.iter().map(|it| it.priority).collect();
    let waits: Vec<i64> = instances.iter().map(|it| in_us(it.wait)).collect();
    let inputs: Vec<&str> = instances.iter().map(|it| it.input.as_str()).collect();
    let insert = client
        .prepare_cached(
            "INSERT INTO instance (workflow, priority, owner, due_at, created_at, input)
             SELECT workflow, priority, CASE WHEN wait = 0 THEN 0 ELSE -1 END,
                 now() + wait * interval '1 microsecond', now(), input
             FROM (SELECT unnest($1::bigint[]) AS workflow, unnest($2::smallint[]) AS priority,
                 unnest($3::bigint[]) AS wait, unnest($4::text[]) AS input) AS new
             RETURNING id",
        )
        .await?;
    let rows = client
        .query(&insert, &[&workflows, &priorities, &waits, &inputs])
        .await?;
    let mut ids: Vec<InstanceId> = rows.iter().map(|row| InstanceId(row.get(0))).collect();
    // They were given in the order of the arrays; nothing says that they come back in it.
    ids.sort_unstable();
    Ok(ids)
}

pub(super) async fn open_session(client: &Object, lease: Duration) -> Result<SessionId, Failure> {
    let lanes = i32::try_from(LANES).unwrap_or(i32::MAX);
    let row = client
        .query_one(
            "WITH new AS (INSERT INTO session (lease_until)
                 VALUES (clock_timestamp() + $1::bigint * interval '1 microsecond') RETURNING id),
             lanes AS (INSERT INTO lane (session, lane, number)
                 SELECT id, lane, 0 FROM new, generate_series(0, $2::integer - 1) AS lane)
             SELECT id FROM new",
            &[&in_us(lease), &lanes],
        )
        .await?;
    Ok(SessionId(row.get(0)))
}

/// Gives back all that a session has. Its lanes go first: a batch of it that is on its way is
/// waited for, and a later one finds itself lost.
pub(super) async fn end_session(
    transaction: &Transaction<'_>,
    session: i64,
) -> Result<(), Failure> {
    for statement in [
        "DELETE FROM session WHERE id = $1",
        "DELETE FROM lane WHERE session = $1",
        "UPDATE action SET owner = 0 WHERE owner = $1",
        "UPDATE instance SET owner = 0 WHERE owner = $1 AND owner > 0",
    ] {
        transaction.execute(statement, &[&session]).await?;
    }
    Ok(())
}

pub(super) async fn renew(
    client: &mut Object,
    session: SessionId,
    lease: Duration,
) -> Result<Renewed, Failure> {
    let transaction = client.transaction().await?;
    let renew = transaction
        .prepare_cached(
            "UPDATE session
             SET lease_until = clock_timestamp() + $2::bigint * interval '1 microsecond'
             WHERE id = $1",
        )
        .await?;
    if transaction
        .execute(&renew, &[&session.0, &in_us(lease)])
        .await?
        == 0
    {
        return Err(Failure::SessionLost);
    }
    // Another engine that does the same at this moment is not waited for.
    let expired = transaction
        .prepare_cached(
            "SELECT id FROM session WHERE lease_until < clock_timestamp()
             ORDER BY id FOR UPDATE SKIP LOCKED",
        )
        .await?;
    let expired = transaction.query(&expired, &[]).await?;
    for row in &expired {
        end_session(&transaction, row.get(0)).await?;
    }
    let complete = transaction
        .prepare_cached("SELECT instance, gate FROM gate WHERE missing <= 0 LIMIT 10000")
        .await?;
    let complete = transaction.query(&complete, &[]).await?;
    transaction.commit().await?;
    let gate = |row: &Row| (InstanceId(row.get(0)), row.get::<_, i32>(1).unsigned_abs());
    Ok(Renewed {
        left_behind: complete.iter().map(gate).collect(),
        sessions_expired: u32::try_from(expired.len()).unwrap_or(u32::MAX),
    })
}

pub(super) async fn close_session(client: &mut Object, session: SessionId) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    end_session(&transaction, session.0).await?;
    transaction.commit().await?;
    Ok(())
}

/// The first of so many numbers.
pub(super) async fn reserve(client: &Object, n: u32) -> Result<i64, Failure> {
    let reserve = client
        .prepare_cached(
            "UPDATE sequence SET next = next + $1 WHERE name = 'number' RETURNING next - $1",
        )
        .await?;
    Ok(client.query_one(&reserve, &[&i64::from(n)]).await?.get(0))
}

/// Rows of a claim, of which the first column says whether the session is there: one row at least.
fn claimed<T>(rows: &[Row], read: impl Fn(&Row) -> T) -> Result<Vec<T>, Failure> {
    let is_alive = rows.first().is_some_and(|row| row.get(0));
    if !is_alive {
        return Err(Failure::SessionLost);
    }
    let found = rows
        .iter()
        .filter(|row| row.get::<_, Option<i64>>(1).is_some());
    Ok(found.map(read).collect())
}

fn ids_of(workflows: &[WorkflowId]) -> Vec<i64> {
    workflows.iter().map(|it| it.0).collect()
}

/// What has waited long enough is due. Another engine that does the same at this moment is not
/// waited for.
async fn make_due(client: &Object, table: &str) -> Result<(), Failure> {
    let due = format!(
        "UPDATE {table} SET owner = 0 WHERE id IN (SELECT id FROM {table}
             WHERE owner = -1 AND due_at <= now() FOR NO KEY UPDATE SKIP LOCKED)"
    );
    let due = client.prepare_cached(&due).await?;
    client.execute(&due, &[]).await?;
    Ok(())
}

/// The session's row is locked only when there is something to claim: a lock is a write, and an
/// idle queue writes nothing. It is locked before anything is the session's, so that the one who
/// gives back what it had sees all of it.
pub(super) async fn instances(
    client: &Object,
    session: SessionId,
    workflows: &[WorkflowId],
    max: u32,
) -> Result<Vec<ClaimedInstance>, Failure> {
    make_due(client, "instance").await?;
    let claim = client
        .prepare_cached(
            "WITH free AS (SELECT id FROM instance WHERE owner = 0 AND workflow = ANY($2)
                 ORDER BY priority DESC, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED),
             mine AS (SELECT id FROM session WHERE id = $1 AND EXISTS (SELECT FROM free)
                 FOR KEY SHARE),
             claimed AS (UPDATE instance SET owner = mine.id, claim = claim + 1
                 FROM mine, free WHERE instance.id = free.id
                 RETURNING instance.id, workflow, input, priority, claim)
             SELECT alive, id, workflow, input, priority, claim
             FROM (SELECT CASE WHEN EXISTS (SELECT FROM free) THEN EXISTS (SELECT FROM mine)
                     ELSE EXISTS (SELECT FROM session WHERE id = $1) END AS alive) AS alive
                 LEFT JOIN claimed ON true
             ORDER BY priority DESC, id",
        )
        .await?;
    let workflows = ids_of(workflows);
    let rows = client
        .query(&claim, &[&session.0, &workflows, &i64::from(max)])
        .await?;
    claimed(&rows, |row| ClaimedInstance {
        id: InstanceId(row.get(1)),
        workflow: WorkflowId(row.get(2)),
        input: json(row, 3),
        priority: row.get(4),
        claim: row.get::<_, i32>(5).unsigned_abs(),
    })
}

pub(super) async fn actions(
    client: &Object,
    session: SessionId,
    workflows: &[WorkflowId],
    max: u32,
) -> Result<Vec<ClaimedAction>, Failure> {
    make_due(client, "action").await?;
    let claim = client
        .prepare_cached(
            "WITH free AS (SELECT action.id, workflow, finished_at IS NOT NULL AS is_orphan
                 FROM action JOIN instance ON instance.id = action.instance
                 WHERE action.owner = 0 AND workflow = ANY($2)
                 ORDER BY action.priority DESC, action.id LIMIT $3
                 FOR NO KEY UPDATE OF action SKIP LOCKED),
             mine AS (SELECT id FROM session WHERE id = $1 AND EXISTS (SELECT FROM free)
                 FOR KEY SHARE),
             claimed AS (UPDATE action SET owner = mine.id, delivery = delivery + 1
                 FROM mine, free WHERE action.id = free.id
                 RETURNING action.id, instance, workflow, node, element, elements, delivery,
                     priority, input, carried, is_orphan)
             SELECT alive, claimed.*
             FROM (SELECT CASE WHEN EXISTS (SELECT FROM free) THEN EXISTS (SELECT FROM mine)
                     ELSE EXISTS (SELECT FROM session WHERE id = $1) END AS alive) AS alive
                 LEFT JOIN claimed ON true
             ORDER BY priority DESC, id",
        )
        .await?;
    let workflows = ids_of(workflows);
    let rows = client
        .query(&claim, &[&session.0, &workflows, &i64::from(max)])
        .await?;
    let number = |row: &Row, column: usize| row.get::<_, i32>(column).unsigned_abs();
    let maybe = |row: &Row, column: usize| {
        let number: Option<i32> = row.get(column);
        number.map(i32::unsigned_abs)
    };
    claimed(&rows, |row| {
        let element = maybe(row, 5).zip(maybe(row, 6));
        let carried: Option<&str> = row.get(10);
        ClaimedAction {
            id: ActionId(row.get(1)),
            instance: InstanceId(row.get(2)),
            workflow: WorkflowId(row.get(3)),
            node: number(row, 4),
            element: element.map(|(index, of)| Element { index, of }),
            delivery: number(row, 7),
            priority: row.get(8),
            input: json(row, 9),
            carried: carried.map_or_else(Vec::new, carried_of),
            is_orphan: row.get(11),
        }
    })
}

fn json(row: &Row, column: usize) -> Json {
    Json::trusted(row.get::<_, &str>(column))
}

pub(super) async fn inbox(
    client: &Object,
    gates: &[(InstanceId, u32)],
) -> Result<Vec<GateInbox>, Failure> {
    let instances: Vec<i64> = gates.iter().map(|(instance, _)| instance.0).collect();
    let numbers: Vec<i32> = gates
        .iter()
        .map(|(_, gate)| i32::try_from(*gate).unwrap_or(i32::MAX))
        .collect();
    let read = client
        .prepare_cached(
            "SELECT it.at, workflow, priority, entries
             FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY AS it (instance, gate, at)
                 JOIN instance ON instance.id = it.instance
                 LEFT JOIN inbox ON inbox.instance = it.instance AND inbox.gate = it.gate
             ORDER BY it.at, part",
        )
        .await?;
    let rows = client.query(&read, &[&instances, &numbers]).await?;
    let mut inboxes: Vec<(i64, GateInbox)> = Vec::with_capacity(gates.len());
    for row in &rows {
        let at: i64 = row.get(0);
        if inboxes.last().is_none_or(|(last, _)| *last != at) {
            let (instance, gate) = gates[usize::try_from(at - 1).unwrap_or(0)];
            let inbox = GateInbox {
                instance,
                workflow: WorkflowId(row.get(1)),
                gate,
                priority: row.get(2),
                parts: Vec::new(),
            };
            inboxes.push((at, inbox));
        }
        let entries: Option<&str> = row.get(3);
        if let (Some((_, inbox)), Some(entries)) = (inboxes.last_mut(), entries) {
            inbox.parts.push(Json::trusted(entries));
        }
    }
    Ok(inboxes.into_iter().map(|(_, inbox)| inbox).collect())
}

pub(super) async fn status(
    client: &Object,
    instance: InstanceId,
) -> Result<Option<InstanceStatus>, Failure> {
    let read = client
        .prepare_cached(
            "SELECT started_at IS NOT NULL, outcome, result FROM instance WHERE id = $1",
        )
        .await?;
    let row = client.query_opt(&read, &[&instance.0]).await?;
    Ok(row.map(|row| {
        let outcome: Option<&str> = row.get(1);
        let result: Option<&str> = row.get(2);
        InstanceStatus {
            has_started: row.get(0),
            outcome: Outcome::parse(outcome).zip(result.map(Json::trusted)),
        }
    }))
}

pub(super) async fn counts(client: &mut Object) -> Result<StoreCounts, Failure> {
    let transaction = client.transaction().await?;
    // Everything is counted, which the settings of the batches' plans are not for.
    transaction
        .batch_execute("SET LOCAL enable_seqscan = on")
        .await?;
    let row = transaction
        .query_one(
            "SELECT count(*) FILTER (WHERE owner <= 0),
                 count(*) FILTER (WHERE finished_at IS NULL AND (owner IS NULL OR owner > 0)),
                 count(*) FILTER (WHERE outcome = 'completed'),
                 count(*) FILTER (WHERE outcome = 'failed'),
                 (SELECT count(*) FROM action)
             FROM instance",
            &[],
        )
        .await?;
    transaction.commit().await?;
    let count = |column: usize| row.get::<_, i64>(column).unsigned_abs();
    Ok(StoreCounts {
        waiting: count(0),
        running: count(1),
        completed: count(2),
        failed: count(3),
        actions: count(4),
    })
}
