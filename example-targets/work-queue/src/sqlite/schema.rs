//! The tables, and how an older file gets them.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::{BUSY_TIMEOUT, CHECKPOINT_PAGES};

/// Says in the file's header whose it is: "WQue".
const APPLICATION: i32 = 0x5751_7565;

/// What brings a file from one version to the next; the first makes it from nothing.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE workflow (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        definition TEXT NOT NULL,
        UNIQUE (name, definition)
    );
    -- owner: a session; 0 nobody, due; -1 nobody, not before due_at; NULL started.
    CREATE TABLE instance (
        id INTEGER PRIMARY KEY,
        workflow INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        owner INTEGER,
        claim INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER,
        outcome TEXT,
        input TEXT NOT NULL,
        result TEXT
    );
    CREATE INDEX instance_free ON instance (priority DESC, id) WHERE owner = 0;
    CREATE INDEX instance_waiting ON instance (due_at) WHERE owner = -1;
    CREATE INDEX instance_claimed ON instance (owner) WHERE owner > 0;
    CREATE TABLE action (
        id INTEGER PRIMARY KEY,
        instance INTEGER NOT NULL,
        node INTEGER NOT NULL,
        element INTEGER,
        elements INTEGER,
        delivery INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        due_at INTEGER,
        input TEXT NOT NULL,
        carried TEXT
    );
    CREATE INDEX action_free ON action (priority DESC, id) WHERE owner = 0;
    CREATE INDEX action_waiting ON action (due_at) WHERE owner = -1;
    CREATE TABLE gate (
        instance INTEGER NOT NULL,
        gate INTEGER NOT NULL,
        missing INTEGER NOT NULL,
        PRIMARY KEY (instance, gate)
    ) WITHOUT ROWID;
    CREATE INDEX gate_complete ON gate (instance) WHERE missing = 0;
    CREATE TABLE inbox (
        instance INTEGER NOT NULL,
        gate INTEGER NOT NULL,
        part INTEGER NOT NULL,
        entries TEXT NOT NULL,
        PRIMARY KEY (instance, gate, part)
    ) WITHOUT ROWID;
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        lease_until INTEGER NOT NULL
    );
    CREATE TABLE lane (
        session INTEGER NOT NULL,
        lane INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (session, lane)
    ) WITHOUT ROWID;
    CREATE TABLE sequence (
        name TEXT PRIMARY KEY,
        next INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        entries TEXT NOT NULL
    );
    CREATE VIEW action_log AS
        SELECT log.at AS at,
            entry.value ->> 0 AS action,
            entry.value ->> 1 AS instance,
            entry.value ->> 2 AS node,
            nullif(entry.value ->> 3, -1) AS element,
            entry.value ->> 4 AS delivery,
            entry.value ->> 5 AS outcome,
            entry.value ->> 6 AS ran_us,
            entry.value ->> 7 AS error
        FROM log, json_each(log.entries) AS entry;
"];

#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const VERSION: u32 = MIGRATIONS.len() as u32;

#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("it is a database of another program\nchoose another file")]
    Foreign,
    #[error("its schema has version {found}, this program knows up to {known}\nuse a newer one")]
    Newer { found: u32, known: u32 },
    #[error(
        "its file system does not allow a write-ahead log (journal mode {0})\nchoose a local disk"
    )]
    NoWriteAheadLog(String),
}

pub(super) fn bring_up_to_date(connection: &mut Connection) -> Result<(), SchemaError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION && (objects > 0 || application != 0) {
        return Err(SchemaError::Foreign);
    }
    check_version(connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" && mode != "memory" {
        return Err(SchemaError::NoWriteAheadLog(mode));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it meanwhile.
    let version = check_version(&transaction)?;
    for migration in &MIGRATIONS[version as usize..] {
        transaction.execute_batch(migration)?;
    }
    if version < VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(())
}

fn check_version(connection: &Connection) -> Result<u32, SchemaError> {
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(SchemaError::Newer {
            found,
            known: VERSION,
        });
    }
    Ok(found)
}

/// The id of a definition, which is stored if it is new.
pub(super) fn workflow(
    transaction: &Transaction<'_>,
    name: &str,
    definition: &str,
) -> rusqlite::Result<i64> {
    let known = transaction
        .query_row(
            "SELECT id FROM workflow WHERE name = ?1 AND definition = ?2",
            [name, definition],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    transaction.execute(
        "INSERT INTO workflow (name, definition) VALUES (?1, ?2)",
        [name, definition],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// The first of so many numbers of a sequence, which begins at 1.
pub(super) fn reserve(transaction: &Transaction<'_>, name: &str, n: u32) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO sequence (name, next) VALUES (?1, 1 + ?2)
             ON CONFLICT (name) DO UPDATE SET next = next + ?2 RETURNING next - ?2",
        )?
        .query_row((name, n), |row| row.get(0))
}
