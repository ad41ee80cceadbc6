//! The logger: what callers hold.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::Config;
use crate::error::{Death, Error};
use crate::queue::{Queue, Status};
use crate::report::{self, Report};
use crate::sqlite::SqliteStorage;
use crate::storage::Storage;
use crate::turn::Turn;
use crate::writer::{self, Reporter};

/// Logs turns, in batches, from a thread of its own.
///
/// Shared by reference among any number of tasks and threads, under any executor. What its futures
/// do when they are dropped stands at each of them: a turn is accepted as a whole or not at all.
///
/// ```
/// use trajectory_log::{Config, TrajectoryLogger, TrajectoryReader, Turn};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("log.db");
/// let logger = TrajectoryLogger::open(&path, Config::default())?;
/// logger.log_turn(Turn::new("run-7", 1, "user", "What is 6 × 7?")).await?;
/// logger.log_turn(Turn::new("run-7", 2, "assistant", "42")).await?;
/// logger.flush().await?; // both are on disk
/// logger.close().await?;
/// assert_eq!(TrajectoryReader::open(&path)?.turns_of("run-7")?.len(), 2);
/// # Ok(())
/// # })
/// # }
/// ```
pub struct TrajectoryLogger {
    queue: Arc<Queue>,
    config: Config,
    reporter: Reporter,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl TrajectoryLogger {
    /// Opens the database, which is created where it is missing, and starts the writer. What the
    /// writer has to report goes to standard error.
    ///
    /// This makes files and syncs them: on an async runtime's thread, before the work begins.
    ///
    /// # Errors
    /// When the configuration is out of range, the database can't be opened, is not a log or one
    /// of a later version, or a thread can't be started.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self, Error> {
        config.check()?;
        let storage = SqliteStorage::open(path.as_ref(), config.durability)?;
        Self::with_seams(storage, config, report::to_standard_error)
    }

    /// Starts a writer on a storage, whose durability counts instead of the configuration's, and
    /// with somebody who is told what happens on its thread.
    ///
    /// # Errors
    /// When the configuration is out of range or a thread can't be started.
    pub fn with_seams(
        storage: impl Storage + 'static,
        config: Config,
        reporter: impl Fn(&Report) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        config.check()?;
        let queue = Arc::new(Queue::new(
            config.turns_max(),
            config.buffer_size,
            config.flush_interval(),
            storage.always_writes_to_disk(),
        ));
        let reporter: Reporter = Arc::new(reporter);
        let writer = writer::start(Arc::clone(&queue), storage, Arc::clone(&reporter))
            .map_err(Error::Thread)?;
        Ok(Self {
            queue,
            config,
            reporter,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Logs a turn: accepted, and written when its batch is full or has waited for the interval.
    /// Waits only while `channel_capacity + buffer_size` turns are accepted and not written.
    ///
    /// Dropped while it waits, it has logged nothing.
    ///
    /// # Errors
    /// When the turn is too long, the logger is closed, or its writer has died. A disk that is
    /// full is no error here: the turns are kept, and callers wait when there is no more room.
    pub async fn log_turn(&self, turn: Turn) -> Result<(), Error> {
        turn.check()?;
        self.queue.accept(turn).await
    }

    /// Logs a turn and returns when it is on disk. Callers that do so at the same time share a
    /// transaction.
    ///
    /// Dropped while it waits for room, it has logged nothing; after that the turn is logged like
    /// any other.
    ///
    /// # Errors
    /// As [`log_turn`](TrajectoryLogger::log_turn); and with [`Error::NotWritten`] when writing
    /// failed, in which case the turn *is* accepted and is tried again: call
    /// [`flush`](TrajectoryLogger::flush) instead of logging it anew.
    pub async fn log_turn_durable(&self, turn: Turn) -> Result<(), Error> {
        turn.check()?;
        self.queue.accept_to_disk(turn).await
    }

    /// Returns when everything that was accepted before is on disk. Dropped, it has had it written
    /// all the same.
    ///
    /// # Errors
    /// [`Error::NotWritten`] when writing failed: the turns are kept and tried again, at once when
    /// somebody flushes. [`Error::WriterDied`] when there is nobody to write them.
    pub async fn flush(&self) -> Result<(), Error> {
        self.queue.flush().await
    }

    /// Accepts nothing more, has everything written and to disk, and ends the writer. On a disk
    /// that refuses it goes on trying for `close_timeout_ms`. Closing again waits for the same end
    /// and succeeds.
    ///
    /// Dropped, it has closed the logger all the same.
    ///
    /// # Errors
    /// [`Error::Unwritten`] with the turns that could not be written, once.
    pub async fn close(&self) -> Result<(), Error> {
        self.queue
            .close(Instant::now() + self.config.close_timeout());
        self.queue.ended().await;
        self.join();
        let end = self.queue.take_end();
        match end.death {
            Some(source) if !end.unwritten.is_empty() => Err(Error::Unwritten {
                turns: end.unwritten,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.queue.status()
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The thread has nothing left to do but to end.
    fn join(&self) {
        if let Some(writer) = self.writer.lock().take() {
            // It catches its own panics.
            let _ = writer.join();
        }
    }
}

/// Writes what is left, for at most `close_timeout_ms`, and reports what could not be written. It
/// blocks the thread: on a runtime's, prefer [`close`](TrajectoryLogger::close).
impl Drop for TrajectoryLogger {
    fn drop(&mut self) {
        let until = Instant::now() + self.config.close_timeout();
        self.queue.close(until);
        if self.queue.ended_before(until) {
            self.join();
            let end = self.queue.take_end();
            self.report_unwritten(end.unwritten.len(), end.death);
        } else {
            let (kept, source) = self.queue.kept();
            self.report_unwritten(kept, source);
        }
    }
}

impl TrajectoryLogger {
    fn report_unwritten(&self, turns: usize, source: Option<Death>) {
        if turns > 0 {
            (self.reporter)(&Report::Unwritten { turns, source });
        }
    }
}

impl fmt::Debug for TrajectoryLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrajectoryLogger")
            .field("config", &self.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
