//! What makes a database a trajectory log: its mark, its version, its table.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::error::StorageError;

/// `TrjL`, in the header of the file: <https://www.sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i64 = 0x5472_6a4c;

/// Of the table and what is in it.
pub(crate) const VERSION: i64 = 1;

/// Ids grow in the order in which turns were accepted; the index has them in that order for each
/// run, because an index of SQLite ends in the id. Runs have numbers, so that a batch of their
/// turns changes the end of the index, wherever their names would stand in it.
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
    CREATE INDEX turns_of_run ON turns (run);
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
