//! What Postgres can do with the same rows and no queue around them.
//!
//! As many connections as the queue has batches on their way, the same tables, indexes and
//! settings, the same number of actions in a transaction as the run had on average. A transaction
//! is one statement: it deletes as many action rows as it inserts, writes its line of the log and
//! its lane, and for every instance's share the rows of an instance: created, claimed, started,
//! finished, one gate and one inbox row. Nothing is checked, and nothing is asked back.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use work_queue::{LANES, Metrics};

use super::place;
use crate::QueueNoop;

/// As long as the queue's own: a step of the loop.
const INPUT: &str = r#"{"parity":"even","value":7}"#;
const CARRIED: &str = "[[18,1],[20,1]]";
const LOGGED: &str = "[123456,1234,12,-1,1,\"completed\",3],";
const INSTANCE: &str = r#"{"values":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}"#;
const ARRIVED: &str = r#"[[0,[{"parity":"even","value":0},{"parity":"odd","value":1},{"parity":"even","value":2},{"parity":"odd","value":3},{"parity":"even","value":4},{"parity":"odd","value":5}]]]"#;

const BATCH: &str = "
    WITH lane AS (UPDATE lane SET number = number + 1 WHERE session = 0 AND lane = $7),
    gone AS (DELETE FROM action USING unnest($1::bigint[]) AS old (id) WHERE action.id = old.id),
    new AS (INSERT INTO action (id, instance, node, delivery, owner, priority, input, carried)
        SELECT id, id / 49, 12, 1, 1, 0, input, carried
        FROM unnest($2::bigint[], $3::text[], $4::text[]) AS row (id, input, carried)),
    created AS (INSERT INTO instance (workflow, priority, owner, due_at, created_at, input)
        SELECT 1, 0, 0, now(), now(), input FROM unnest($5::text[]) AS row (input)
        RETURNING id),
    log AS (INSERT INTO log (at, entries) VALUES (now(), $6))
    SELECT id FROM created";

/// The updates of instances that earlier batches have created, and their gates.
const INSTANCES: [&str; 6] = [
    "UPDATE instance SET owner = 1, claim = claim + 1 WHERE id = ANY($1)",
    "UPDATE instance SET owner = NULL, started_at = now() WHERE id = ANY($1)",
    "INSERT INTO gate (instance, gate, missing, latest) SELECT id, 66, 1, 1 FROM unnest($1::bigint[]) AS row (id)",
    "DELETE FROM gate WHERE instance = ANY($1)",
    "DELETE FROM inbox WHERE instance = ANY($1)",
    "UPDATE instance SET finished_at = now(), outcome = 'completed', result = '{}' WHERE id = ANY($1)",
];

/// Actions a second.
pub(crate) async fn rate(
    options: &QueueNoop,
    metrics: &Metrics,
    time: Duration,
) -> Result<f64, Box<dyn Error>> {
    let place = place::postgres(None)?;
    // Makes the tables.
    drop(place::connect(place.url()).await?);
    let batches = metrics.batches.max(1);
    let batch = i64::try_from((metrics.actions_completed / batches).max(1))?;
    let an_instance = 3 * i64::from(options.loop_size) + 1;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let (client, connection) = tokio_postgres::connect(place.url(), NoTls).await?;
        tokio::spawn(connection);
        let is_over = Arc::clone(&is_over);
        tasks.spawn(work(client, i64::from(lane), batch, an_instance, is_over));
    }
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    is_over.store(true, Ordering::Relaxed);
    let mut done = 0;
    while let Some(finished) = tasks.join_next().await {
        done += finished??;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

async fn work(
    client: Client,
    lane: i64,
    batch: i64,
    an_instance: i64,
    is_over: Arc<AtomicBool>,
) -> Result<i64, tokio_postgres::Error> {
    client
        .batch_execute(
            "SET search_path = work_queue; SET plan_cache_mode = force_generic_plan;
             SET enable_seqscan = off; SET enable_bitmapscan = off;
             SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off",
        )
        .await?;
    let number = i32::try_from(lane).unwrap_or(0);
    client
        .execute(
            "INSERT INTO lane (session, lane, number) VALUES (0, $1, 0)",
            &[&number],
        )
        .await?;
    let statement = client.prepare(BATCH).await?;
    let mut for_instances = Vec::new();
    for text in INSTANCES {
        for_instances.push(client.prepare(text).await?);
    }
    let arrive = client
        .prepare(
            "INSERT INTO inbox (instance, gate, part, entries)
             SELECT id, 66, 1, $2 FROM unnest($1::bigint[]) AS row (id)",
        )
        .await?;
    let inputs = vec![INPUT; usize::try_from(batch).unwrap_or(0)];
    let carried: Vec<Option<&str>> = (0..batch)
        .map(|i| (i % 3 == 0).then_some(CARRIED))
        .collect();
    let log = LOGGED.repeat(inputs.len());
    let first = lane << 40;
    let ids = |from: i64| -> Vec<i64> { (first + from..first + from + batch).collect() };
    let mut done = 0;
    let mut instances = 0;
    let mut waiting: Vec<i64> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let share = (done + batch) / an_instance - instances;
        instances += share;
        let created = vec![INSTANCE; usize::try_from(share).unwrap_or(0)];
        let rows = client
            .query(
                &statement,
                &[
                    &ids(done - batch),
                    &ids(done),
                    &inputs,
                    &carried,
                    &created,
                    &log,
                    &number,
                ],
            )
            .await?;
        done += batch;
        // An instance's other rows, some hundred at once as the queue's claims are.
        waiting.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        if waiting.len() >= 100 {
            for statement in &for_instances[..3] {
                client.execute(statement, &[&waiting]).await?;
            }
            client.execute(&arrive, &[&waiting, &ARRIVED]).await?;
            for statement in &for_instances[3..] {
                client.execute(statement, &[&waiting]).await?;
            }
            waiting.clear();
        }
    }
    Ok(done)
}
