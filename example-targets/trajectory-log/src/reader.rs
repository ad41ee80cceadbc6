//! What is in a log: turns of a run, the last ones, counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Params, Row};

use crate::error::{Error, StorageError};
use crate::schema::{self, Kind};
use crate::turn::{Content, LoggedTurn, Turn};

const SELECT: &str = "SELECT turns.id, run_id, turn, role, content, is_json, accepted_at_ms \
                      FROM turns JOIN runs ON runs.id = run";

/// Block by block, a block's by id: in the order of ids, without sorting.
const SELECT_OF_RUN: &str = "SELECT turns.id, run_id, turn, role, content, is_json, accepted_at_ms \
     FROM runs CROSS JOIN blocks_of_run ON blocks_of_run.run = runs.id \
     CROSS JOIN turns ON turns.id BETWEEN block << 8 AND (block << 8) + 255 AND turns.run = runs.id \
     WHERE run_id = ?1";

/// Reads a log, also one that is being written. It sees what is written, on disk or not.
#[derive(Debug)]
pub struct TrajectoryReader {
    connection: Connection,
    path: PathBuf,
}

/// How much is in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// All turns.
    pub turns: u64,
    /// Runs that have one.
    pub runs: u64,
    /// Bytes of all contents.
    pub content_bytes: u64,
    /// When the first turn was accepted, in milliseconds since 1970.
    pub first_at_ms: Option<i64>,
    /// When the last was.
    pub last_at_ms: Option<i64>,
}

impl TrajectoryReader {
    /// Opens a log that is there. Nothing that was logged is changed.
    ///
    /// # Errors
    /// When there is no such file, or it can't be read, is not a log, or one of a later version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if !path.exists() {
            return Err(Error::Storage(StorageError::FileMissing {
                path: path.to_owned(),
            }));
        }
        let open = || {
            // Where this user may write: what a killed logger left half done is undone by whoever
            // comes next, and a reader that may not write would be refused.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            Ok(connection)
        };
        let connection = open().map_err(|source| StorageError::Sqlite {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        // A log that was not finished being created has the same nothing in it as a file of
        // another program that was not: which of them it is can't be known.
        if schema::kind(&connection, path)? == Kind::Empty {
            return Err(Error::Storage(StorageError::Foreign {
                path: path.to_owned(),
            }));
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// The turns of a run, in the order in which they were accepted; none of a run that is not
    /// there.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn turns_of(&self, run_id: &str) -> Result<Vec<LoggedTurn>, Error> {
        let sql = format!("{SELECT_OF_RUN} ORDER BY block, turns.id");
        self.turns(&sql, [run_id])
    }

    /// The last `n` turns, of all runs or of one, the latest last.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn tail(&self, n: u32, run_id: Option<&str>) -> Result<Vec<LoggedTurn>, Error> {
        let mut turns = match run_id {
            None => {
                let sql = format!("{SELECT} ORDER BY turns.id DESC LIMIT ?1");
                self.turns(&sql, [n])?
            }
            Some(run_id) => {
                let order = "ORDER BY block DESC, turns.id DESC LIMIT ?2";
                self.turns(&format!("{SELECT_OF_RUN} {order}"), (run_id, n))?
            }
        };
        turns.reverse();
        Ok(turns)
    }

    /// How much is in it. Reads all of it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn counts(&self) -> Result<Counts, Error> {
        let sql = "SELECT count(*), count(DISTINCT run), \
                   coalesce(sum(octet_length(content)), 0), \
                   min(accepted_at_ms), max(accepted_at_ms) FROM turns";
        self.connection
            .query_row(sql, [], |row| {
                Ok(Counts {
                    turns: row.get(0)?,
                    runs: row.get(1)?,
                    content_bytes: row.get(2)?,
                    first_at_ms: row.get(3)?,
                    last_at_ms: row.get(4)?,
                })
            })
            .map_err(|source| self.failed(source))
    }

    /// How many turns a run has.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn count_of(&self, run_id: &str) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM turns_by_run WHERE run_id = ?1";
        self.connection
            .query_row(sql, [run_id], |row| row.get(0))
            .map_err(|source| self.failed(source))
    }

    fn turns(&self, sql: &str, parameters: impl Params) -> Result<Vec<LoggedTurn>, Error> {
        let read = || -> rusqlite::Result<Vec<LoggedTurn>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(parameters, logged_turn)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::Storage(StorageError::Sqlite {
            action: "read",
            path: self.path.clone(),
            source,
        })
    }
}

fn logged_turn(row: &Row<'_>) -> rusqlite::Result<LoggedTurn> {
    let content = row.get(4)?;
    Ok(LoggedTurn {
        id: row.get(0)?,
        turn: Turn {
            run_id: row.get(1)?,
            turn: row.get(2)?,
            role: row.get(3)?,
            content: if row.get(5)? {
                Content::Json(content)
            } else {
                Content::Text(content)
            },
        },
        accepted_at_ms: row.get(6)?,
    })
}
