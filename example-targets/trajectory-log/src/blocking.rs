//! The same log without a writer's thread: the caller waits for its own writes.
//!
//! For programs that have no runtime, and for comparison: two of the four strategies of the record
//! are this logger with a buffer of one turn and with one of several.

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Death, Error, StorageError};
use crate::sqlite::SqliteStorage;
use crate::storage::{Accepted, Storage};
use crate::turn::Turn;

/// Logs turns from the caller's own thread, a transaction for every `buffer_size` of them.
///
/// It has no timer: a turn is written when its batch is full, by a flush, or by the end.
///
/// ```
/// use trajectory_log::{BlockingLogger, Config, Turn};
///
/// let directory = tempfile::tempdir()?;
/// let mut logger = BlockingLogger::open(directory.path().join("log.db"), Config::default())?;
/// logger.log_turn(Turn::new("run-7", 1, "user", "What is 6 × 7?"))?;
/// logger.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BlockingLogger<S: Storage = SqliteStorage> {
    storage: S,
    buffer: Vec<Accepted>,
    buffer_size: usize,
    turns_max: usize,
    /// Turns were written since the last write to disk.
    is_behind: bool,
}

impl BlockingLogger {
    /// Opens the database, which is created where it is missing.
    ///
    /// # Errors
    /// When the configuration is out of range, or the database can't be opened, is not a log or
    /// one of a later version.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self, Error> {
        config.check()?;
        let storage = SqliteStorage::open(path.as_ref(), config.durability)?;
        Self::with_storage(storage, &config)
    }
}

impl<S: Storage> BlockingLogger<S> {
    /// Logs to a storage, whose durability counts instead of the configuration's.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn with_storage(storage: S, config: &Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            storage,
            buffer: Vec::new(),
            buffer_size: config.buffer_size,
            turns_max: config.turns_max(),
            is_behind: false,
        })
    }

    /// Logs a turn, and writes the batch when it is full.
    ///
    /// # Errors
    /// When the turn is too long; with [`Error::NotWritten`] when the write failed, in which case
    /// the turn is kept and is tried again with the next; and with [`Error::Unwritten`] and the
    /// turn, which is not kept, when there is no more room for it.
    pub fn log_turn(&mut self, turn: Turn) -> Result<(), Error> {
        turn.check()?;
        if self.buffer.len() >= self.turns_max
            && let Err(source) = self.write(false)
        {
            return Err(Error::Unwritten {
                turns: vec![turn],
                source: Death::Storage(source),
            });
        }
        self.buffer.push(Accepted::now(turn));
        if self.buffer.len() >= self.buffer_size {
            self.write(false).map_err(|error| self.not_written(error))?;
        }
        Ok(())
    }

    /// Writes everything, to disk.
    ///
    /// # Errors
    /// [`Error::NotWritten`] when that failed. The turns are kept.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() && !self.is_behind {
            return Ok(());
        }
        self.write(true).map_err(|error| self.not_written(error))
    }

    /// Flushes, and gives up the database.
    ///
    /// # Errors
    /// [`Error::Unwritten`] with the turns that could not be written.
    pub fn close(mut self) -> Result<(), Error> {
        self.flush().map_err(|error| match error {
            Error::NotWritten { source, .. } => Error::Unwritten {
                turns: self.buffer.drain(..).map(|kept| kept.turn).collect(),
                source: Death::Storage(source),
            },
            other => other,
        })
    }

    fn write(&mut self, to_disk: bool) -> Result<(), Arc<StorageError>> {
        self.storage.write(&self.buffer, to_disk)?;
        self.buffer.clear();
        self.is_behind = !to_disk && !self.storage.always_writes_to_disk();
        Ok(())
    }

    fn not_written(&self, source: Arc<StorageError>) -> Error {
        Error::NotWritten {
            kept: self.buffer.len(),
            source,
        }
    }
}

/// A last attempt. Whether it succeeded only [`close`](BlockingLogger::close) can say.
impl<S: Storage> Drop for BlockingLogger<S> {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            eprintln!("warning: trajectory log: dropped: failed to {error}");
        }
    }
}
