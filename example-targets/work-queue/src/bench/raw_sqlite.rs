//! What SQLite can do with the same rows and no queue around them.
//!
//! One thread, prepared statements, the same tables, indexes and settings, the same number of
//! actions in a transaction as the run had on average: each transaction inserts as many action rows
//! as it deletes, writes its line of the log and its lane, and for every instance's share the rows
//! of an instance: created, claimed, started, finished, one gate and one inbox row.

use std::error::Error;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use work_queue::{Metrics, SqliteStore};

use crate::QueueNoop;
use crate::bench::place;

/// As long as the queue's own: a step of the loop.
const INPUT: &str = r#"{"parity":"even","value":7}"#;
const CARRIED: &str = "[[18,1],[20,1]]";
const LOGGED: &str = "[123456,1234,12,-1,1,\"completed\",3],";

/// Actions a second.
pub(crate) fn rate(
    options: &QueueNoop,
    metrics: &Metrics,
    time: Duration,
) -> Result<f64, Box<dyn Error>> {
    let place = place::sqlite(None)?;
    // Makes the tables.
    drop(SqliteStore::open(place.path())?);
    let mut connection = Connection::open(place.path())?;
    for (name, value) in [
        ("synchronous", "FULL"),
        ("wal_autocheckpoint", "4000"),
        ("cache_size", "-65536"),
        ("temp_store", "MEMORY"),
    ] {
        connection.pragma_update(None, name, value)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    let batches = metrics.batches.max(1);
    let batch = i64::try_from((metrics.actions_completed / batches).max(1))?;
    let an_instance = 3 * i64::from(options.loop_size) + 1;
    let log = LOGGED.repeat(usize::try_from(batch)?);
    let mut next = 1;
    let mut instance = 0;
    insert_actions(&mut connection, next, batch)?;
    let mut done = 0;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            transaction
                .prepare_cached("UPDATE sequence SET next = ?1 WHERE name = 'raw'")?
                .execute([next])?;
            let mut delete =
                transaction.prepare_cached("DELETE FROM action WHERE id = ?1 AND delivery = ?2")?;
            for id in next..next + batch {
                delete.execute((id, 1))?;
            }
            next += batch;
            insert(&transaction, next, batch)?;
            while instance * an_instance < done {
                instance += 1;
                instance_rows(&transaction, instance)?;
            }
            transaction
                .prepare_cached("INSERT INTO log (at, entries) VALUES (?1, ?2)")?
                .execute((1, &log))?;
        }
        transaction.commit()?;
        done += batch;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

fn insert_actions(connection: &mut Connection, first: i64, n: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    insert(&transaction, first, n)?;
    transaction.commit()
}

fn insert(transaction: &Connection, first: i64, n: i64) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO action
            (id, instance, node, element, elements, delivery, owner, priority, input, carried)
         VALUES (?1, ?2, 12, NULL, NULL, 1, 1, 0, ?3, ?4)",
    )?;
    for id in first..first + n {
        let carried = (id % 3 == 0).then_some(CARRIED);
        insert.execute((id, id / 49, INPUT, carried))?;
    }
    Ok(())
}

fn instance_rows(transaction: &Connection, id: i64) -> rusqlite::Result<()> {
    for statement in [
        "INSERT INTO instance (id, workflow, priority, owner, due_at, created_at, input)
         VALUES (?1, 1, 0, 0, 1, 1, '{\"values\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}')",
        "UPDATE instance SET owner = 1, claim = claim + 1 WHERE id = ?1",
        "UPDATE instance SET owner = NULL, started_at = 1 WHERE id = ?1",
        "INSERT INTO gate (instance, gate, missing) VALUES (?1, 66, 1)",
        "INSERT INTO inbox (instance, gate, part, entries) VALUES (?1, 66, 1,
            '[[0,[{\"parity\":\"even\",\"value\":0},{\"parity\":\"odd\",\"value\":1},{\"parity\":\"even\",\"value\":2},{\"parity\":\"odd\",\"value\":3},{\"parity\":\"even\",\"value\":4},{\"parity\":\"odd\",\"value\":5}]]]')",
        "DELETE FROM gate WHERE instance = ?1 AND gate = 66",
        "DELETE FROM inbox WHERE instance = ?1 AND gate = 66",
        "UPDATE instance SET finished_at = 1, outcome = 'completed',
            result = '{\"n\":16,\"sum\":120}' WHERE id = ?1",
    ] {
        transaction.prepare_cached(statement)?.execute([id])?;
    }
    Ok(())
}
