//! A log of agent trajectories in SQLite: turns are accepted in a microsecond and written in
//! batches, by a thread of their own.
//!
//! ```
//! use trajectory_log::{Config, TrajectoryLogger, TrajectoryReader, Turn};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("log.db");
//! let logger = TrajectoryLogger::open(&path, Config::default())?;
//!
//! logger.log_turn(Turn::new("run-7", 1, "user", "What is 6 × 7?")).await?; // accepted
//! logger.log_turn_durable(Turn::new("run-7", 2, "assistant", "42")).await?; // on disk, both
//! logger.close().await?;
//!
//! let turns = TrajectoryReader::open(&path)?.turns_of("run-7")?;
//! assert_eq!(turns[1].turn.content.as_str(), "42");
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # What it promises
//!
//! - A turn that was accepted is written when its batch is full, or when it has waited for the
//!   interval, whichever is first: the clock of a batch runs from its first turn. Closing and
//!   dropping write what is left.
//! - What [`flush`](TrajectoryLogger::flush) or
//!   [`log_turn_durable`](TrajectoryLogger::log_turn_durable) acknowledged is on disk, at every
//!   [`Durability`], also where a commit of that level is not.
//! - Killed at any point: of what was accepted at most `channel_capacity + buffer_size` turns are
//!   missing, which are the last ones, and none that waited for longer than the interval and the
//!   writes before it. With turns that come one by one, further apart than the interval, that is
//!   one. None is half written, and the order of a run, which is that of all turns, has no holes.
//! - A write that fails loses nothing: its turns are kept and tried again, after 10 ms, then 20, up
//!   to a second, and at once when somebody flushes. Who flushes is told; who logs waits when there
//!   is no more room. An error that trying again does not help (a damaged database) is the
//!   writer's death, and everybody is told.
//! - The async functions never block their thread, and none of them leaves anything half done when
//!   it is dropped.
//!
//! # How
//!
//! Callers take room from a semaphore and put their turn into a queue. The writer is a thread,
//! because SQLite blocks; it takes up to `buffer_size` turns, writes them in one transaction, and
//! gives the room back *after* that, so that the bound holds for what is being written, too.
//! A caller seldom wakes the writer: see `queue.rs`.
//!
//! | durability | a batch's commit survives | a flush makes it survive |
//! |---|---|---|
//! | `wal/full`, `wal/extra`; `truncate` and `persist` from `full`; `delete/extra` | a loss of power | nothing more: each batch does |
//! | `wal/normal` | a kill | a loss of power: its commit is made at `full` |
//! | `delete/full` | a kill, and a loss of power unless it comes before the next sync of the directory | a loss of power: its commit is made at `extra` |
//! | the other `normal` | a kill, and nearly every loss of power | a loss of power |
//!
//! # What it does not promise
//!
//! - That a loss of power is survived rests on SQLite and on disks that honour a sync. What the
//!   tests kill is a process.
//! - Several loggers, in one process or in several, may write to one database. Each keeps its own
//!   order; a write that finds the lock taken for longer than a second counts as failed and is
//!   tried again.
//! - The same turn logged twice is there twice.
//! - [`Turn::turn`] is stored, not looked at.
#![forbid(unsafe_code)]

mod blocking;
mod causes;
mod config;
mod durability;
mod error;
mod logger;
mod queue;
mod reader;
mod report;
mod schema;
mod sqlite;
mod storage;
mod turn;
mod writer;

pub use blocking::BlockingLogger;
pub use causes::WithCauses;
pub use config::{Config, ConfigError};
pub use durability::{Durability, Journal, Synchronous, UnknownDurability};
pub use error::{Death, Error, StorageError};
pub use logger::TrajectoryLogger;
pub use queue::Status;
pub use reader::{Counts, TrajectoryReader};
pub use report::Report;
pub use sqlite::SqliteStorage;
pub use storage::{Accepted, Storage};
pub use turn::{Content, LoggedTurn, TURN_BYTES_MAX, Turn};

/// A logger is shared among threads; nothing inside may stop that.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<TrajectoryLogger>();
    is_shared::<Error>();
};
