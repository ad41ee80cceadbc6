//! The storage that is real: a transaction a batch, statements prepared once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension as _};

use crate::durability::{Durability, Synchronous};
use crate::error::StorageError;
use crate::schema::{self, Kind};
use crate::storage::{Accepted, Storage};

/// How long a write waits for another process's lock before it counts as failed (and is tried
/// again).
const BUSY: Duration = Duration::from_secs(1);

const INSERT: &str = "INSERT INTO turns (run, turn, role, content, is_json, accepted_at_ms) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// A database that turns are written to.
#[derive(Debug)]
pub struct SqliteStorage {
    connection: Connection,
    durability: Durability,
    path: PathBuf,
    runs: Runs,
    /// The id that the first turn of a batch was given whose commit failed.
    in_doubt: Option<i64>,
}

impl SqliteStorage {
    /// Opens a log, and creates it where there is no file or an empty one.
    ///
    /// # Errors
    /// When the directory is missing or can't be written, when the file is not a log or one of a
    /// later version, and when its journal mode can't be changed because others use it.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, StorageError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            return Err(StorageError::DirectoryMissing {
                path: path.to_owned(),
                directory: directory.to_owned(),
            });
        }
        let failed = |source| StorageError::Sqlite {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let kind = schema::kind(&connection, path)?;
        if connection.is_readonly(MAIN_DB).map_err(failed)? {
            return Err(StorageError::ReadOnly {
                path: path.to_owned(),
            });
        }
        if kind == Kind::Empty {
            // Also the directory, so that the file is there after a loss of power.
            set_synchronous(&connection, Synchronous::Extra).map_err(failed)?;
            schema::create(&connection).map_err(failed)?;
        }
        let found: String = connection
            .pragma_update_and_check(None, "journal_mode", durability.journal.name(), |row| {
                row.get(0)
            })
            .map_err(failed)?;
        if found != durability.journal.name() {
            return Err(StorageError::JournalMode {
                path: path.to_owned(),
                wanted: durability,
                found,
            });
        }
        set_synchronous(&connection, durability.synchronous).map_err(failed)?;
        // Having read it in this mode, the connection keeps others from changing the mode.
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(failed)?;
        Ok(Self {
            connection,
            durability,
            path: path.to_owned(),
            runs: Runs::default(),
            in_doubt: None,
        })
    }

    /// The connection, to count what it does or to set its limits.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// One transaction, at the level that is set.
    fn commit(&mut self, turns: &[Accepted]) -> rusqlite::Result<()> {
        let Self {
            connection,
            runs,
            in_doubt,
            ..
        } = self;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let is_in = match in_doubt.take() {
            Some(first) => is_in(connection, first, turns)?,
            None => false,
        };
        if turns.is_empty() || is_in {
            // A commit without a change syncs nothing; this one changes a page to what it is.
            connection.pragma_update(None, "user_version", schema::VERSION)?;
        } else {
            let mut insert = connection.prepare_cached(INSERT)?;
            for Accepted { turn, at_ms, .. } in turns {
                let run = runs.of(connection, &turn.run_id)?;
                let id = insert.insert((
                    run.number,
                    turn.turn,
                    &turn.role,
                    turn.content.as_str(),
                    turn.content.is_json(),
                    at_ms,
                ))?;
                in_doubt.get_or_insert(id);
                run.is_in_block(connection, id >> schema::BLOCK_BITS)?;
            }
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        *in_doubt = None;
        Ok(())
    }
}

/// Whether a batch whose commit failed is in all the same: with a rollback journal a commit is done
/// when the journal is gone, and what comes after that, the sync of its directory, can still fail.
fn is_in(connection: &Connection, first: i64, turns: &[Accepted]) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT run_id, turn, role, content, is_json, accepted_at_ms \
         FROM turns JOIN runs ON runs.id = run WHERE turns.id = ?1",
    )?;
    for (id, Accepted { turn, at_ms, .. }) in (first..).zip(turns) {
        let is_same = select
            .query_row([id], |row| {
                Ok(row.get_ref(0)?.as_str()? == turn.run_id
                    && row.get::<_, u32>(1)? == turn.turn
                    && row.get_ref(2)?.as_str()? == turn.role
                    && row.get_ref(3)?.as_str()? == turn.content.as_str()
                    && row.get::<_, bool>(4)? == turn.content.is_json()
                    && row.get::<_, i64>(5)? == *at_ms)
            })
            .optional()?;
        if is_same != Some(true) {
            return Ok(false);
        }
    }
    Ok(!turns.is_empty())
}

fn set_synchronous(connection: &Connection, level: Synchronous) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", level.name())
}

impl Storage for SqliteStorage {
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        let raised = to_disk && !self.always_writes_to_disk();
        let level = self.durability.journal.level_on_disk();
        let mut written = Ok(());
        if raised {
            written = set_synchronous(&self.connection, level);
        }
        let written = written.and_then(|()| self.commit(turns));
        if written.is_err() {
            self.runs.forget();
        }
        if written.is_err() && !self.connection.is_autocommit() {
            // Where it fails, too, the next `BEGIN` does, and says why.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if raised {
            // Without it later commits would be slower and as safe.
            let _ = set_synchronous(&self.connection, self.durability.synchronous);
        }
        written.map_err(|source| StorageError::Sqlite {
            action: "write to",
            path: self.path.clone(),
            source,
        })
    }

    fn always_writes_to_disk(&self) -> bool {
        self.durability.commits_survive_power_loss()
    }
}

/// Runs that were written to lately.
#[derive(Debug, Default)]
struct Runs {
    runs: HashMap<String, Run>,
}

#[derive(Debug)]
struct Run {
    number: i64,
    /// The last of its blocks that is written down.
    block: Option<i64>,
}

impl Runs {
    const REMEMBERED: usize = 1_024;

    /// A run, which is given a number if it has none. Within a transaction.
    fn of(&mut self, connection: &Connection, run_id: &str) -> rusqlite::Result<&mut Run> {
        if !self.runs.contains_key(run_id) {
            let known = connection
                .prepare_cached("SELECT id FROM runs WHERE run_id = ?1")?
                .query_row([run_id], |row| row.get(0))
                .optional()?;
            let number = match known {
                Some(number) => number,
                None => connection
                    .prepare_cached("INSERT INTO runs (run_id) VALUES (?1)")?
                    .insert([run_id])?,
            };
            if self.runs.len() >= Self::REMEMBERED {
                self.forget();
            }
            let block = None;
            self.runs.insert(run_id.to_owned(), Run { number, block });
        }
        Ok(self.runs.get_mut(run_id).expect("it is there now"))
    }

    /// After a transaction that was taken back, with what it wrote down.
    fn forget(&mut self) {
        self.runs.clear();
    }
}

impl Run {
    /// Writes down that it has a turn there, unless that is known. Within a transaction.
    fn is_in_block(&mut self, connection: &Connection, block: i64) -> rusqlite::Result<()> {
        if self.block != Some(block) {
            connection
                .prepare_cached("INSERT OR IGNORE INTO blocks_of_run VALUES (?1, ?2)")?
                .execute([self.number, block])?;
            self.block = Some(block);
        }
        Ok(())
    }
}
