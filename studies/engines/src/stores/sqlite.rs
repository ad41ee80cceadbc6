//! SQLite, compiled in through rusqlite: every journal mode at every synchronous level.

use std::path::Path;

use rusqlite::Connection;

use super::{Keys, VALUE};
use crate::cell::{Cell, Group, Store};
use crate::{Error, Result};

/// Journal modes, in the order of the table.
pub(crate) const JOURNAL_MODES: [&str; 6] =
    ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"];
/// Synchronous levels, by the number that SQLite answers.
pub(crate) const LEVELS: [&str; 4] = ["OFF", "NORMAL", "FULL", "EXTRA"];

pub(super) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for mode in JOURNAL_MODES {
        for (level, level_name) in LEVELS.into_iter().enumerate() {
            let name = format!("sqlite/{mode}/{level_name}").to_lowercase();
            let setting = format!("{mode}, {level_name}");
            let cell = Cell::new(name, Group::Sqlite, setting, move |directory| {
                Sqlite::open(directory, mode, level)
            });
            cells.push(if mode == "WAL" {
                cell.afterwards("`wal_checkpoint(TRUNCATE)`")
            } else {
                cell
            });
        }
    }
    cells
}

struct Sqlite {
    connection: Connection,
    keys: Keys,
}

impl Sqlite {
    fn open(directory: &Path, mode: &str, level: usize) -> Result<Self> {
        let connection = Connection::open(directory.join("db"))?;
        // First: changing over to WAL is a commit already.
        connection.pragma_update(None, "synchronous", LEVELS[level])?;
        connection.pragma_update(None, "journal_mode", mode)?;
        // A setting that SQLite does not take is ignored, and another one would be measured.
        let is_mode: String = connection.query_row("PRAGMA journal_mode", (), |row| row.get(0))?;
        let is_level: u8 = connection.query_row("PRAGMA synchronous", (), |row| row.get(0))?;
        if !is_mode.eq_ignore_ascii_case(mode) || usize::from(is_level) != level {
            return Err(format!(
                "SQLite has journal_mode {is_mode}, synchronous {is_level} instead of {mode}, {level}"
            )
            .into());
        }
        connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, value BLOB)",
            (),
        )?;
        Ok(Self {
            connection,
            keys: Keys::default(),
        })
    }
}

impl Store for Sqlite {
    fn commit(&mut self, rows: u32) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for key in self.keys.take(rows) {
            transaction.execute(
                "INSERT INTO rows VALUES (?1, ?2)",
                (key.cast_signed(), VALUE),
            )?;
        }
        Ok(transaction.commit()?)
    }

    fn afterwards(&mut self) -> Result<()> {
        let busy: bool =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        if busy {
            return Err("the checkpoint was not run to its end".into());
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.connection
            .close()
            .map_err(|(_, error)| Error::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tables call the default.
    #[test]
    fn the_default_is_delete_and_full() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("db")).unwrap();
        let mode: String = connection
            .query_row("PRAGMA journal_mode", (), |row| row.get(0))
            .unwrap();
        let level: u8 = connection
            .query_row("PRAGMA synchronous", (), |row| row.get(0))
            .unwrap();
        assert_eq!(
            (mode.as_str(), LEVELS[usize::from(level)]),
            ("delete", "FULL")
        );
    }

    #[test]
    fn a_setting_that_sqlite_does_not_take_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = Sqlite::open(directory.path(), "NONSENSE", 2).err().unwrap();
        assert!(error.to_string().contains("instead of NONSENSE"), "{error}");
    }
}
