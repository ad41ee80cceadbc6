//! What makes a database a trajectory log: its mark, its version, its table.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::error::StorageError;

/// `TrjL`, in the header of the file: <https://www.sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i64 = 0x5472_6a4c;

/// Of the table and what is in it.
pub(crate) const VERSION: i64 = 1;

/// Turns whose ids differ in these bits only are a block.
pub(crate) const BLOCK_BITS: u32 = 8;

/// Ids grow in the order in which turns were accepted. An index of them by run would cost a page a
/// batch, a third of what a batch writes. So it is a coarse one: in which blocks of 256 ids a run
/// has turns. A run that is logged alone changes it once in 256 turns, and reading a run reads its
/// blocks whole. Runs have numbers, so that what is added is at the end of the run's part, wherever
/// its name would stand.
const CREATE: &str = "
    CREATE TABLE runs (
        id     INTEGER PRIMARY KEY,
        run_id TEXT    NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE turns (
        id             INTEGER PRIMARY KEY,
        run            INTEGER NOT NULL REFERENCES runs,
        turn           INTEGER NOT NULL,
        role           TEXT    NOT NULL,
        content        TEXT    NOT NULL,
        is_json        INTEGER NOT NULL,
        accepted_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE blocks_of_run (
        run   INTEGER NOT NULL REFERENCES runs,
        block INTEGER NOT NULL,
        PRIMARY KEY (run, block)
    ) STRICT, WITHOUT ROWID;
    CREATE VIEW turns_by_run AS
        SELECT runs.run_id, turns.id, turn, role, content, is_json, accepted_at_ms
        FROM runs
        JOIN blocks_of_run ON blocks_of_run.run = runs.id
        JOIN turns ON turns.id BETWEEN block << 8 AND (block << 8) + 255 AND turns.run = runs.id;
";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A trajectory log.
    Log,
    /// A database in which nothing is yet.
    Empty,
}

/// Tells what the database is, without changing it.
pub(crate) fn kind(connection: &Connection, path: &Path) -> Result<Kind, StorageError> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StorageError::NotADatabase {
            path: path.to_owned(),
        },
        _ => StorageError::Sqlite {
            action: "open",
            path: path.to_owned(),
            source,
        },
    };
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let objects = number("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    let application_id = number("PRAGMA application_id").map_err(failed)?;
    let version = number("PRAGMA user_version").map_err(failed)?;
    match (application_id, version) {
        (APPLICATION_ID, VERSION) => Ok(Kind::Log),
        (APPLICATION_ID, version) if version > VERSION => Err(StorageError::NewerVersion {
            path: path.to_owned(),
            version,
        }),
        (0, 0) if objects == 0 => Ok(Kind::Empty),
        _ => Err(StorageError::Foreign {
            path: path.to_owned(),
        }),
    }
}

/// Makes an empty database a log, in one transaction. Another process may do the same meanwhile.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
    let objects: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if objects == 0 {
        transaction.execute_batch(CREATE)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}
