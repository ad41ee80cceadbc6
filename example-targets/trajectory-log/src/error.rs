//! What can go wrong, with the cure where there is one.
//!
//! Each error is a fragment that reads after "failed to"; its cause is in `source()`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::config::ConfigError;
use crate::durability::Durability;
use crate::turn::{TURN_BYTES_MAX, Turn};

/// Why an operation of a logger or a reader failed. What was acknowledged is on disk all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of the configuration is out of range.
    #[error("use the configuration")]
    Config(#[from] ConfigError),

    /// The database can't be opened, or not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),

    /// The writer's thread can't be started.
    #[error("start the writer's thread")]
    Thread(#[source] io::Error),

    /// The content of a turn has no JSON. Nothing was accepted.
    #[error("make JSON of turn {turn} of run {run_id}")]
    Unserialisable {
        /// The run.
        run_id: String,
        /// The number of the turn.
        turn: u32,
        /// What can't be said in JSON.
        source: serde_json::Error,
    },

    /// The turn is longer than [`TURN_BYTES_MAX`]. Nothing was accepted.
    #[error("log a turn of {bytes} bytes (at most {TURN_BYTES_MAX} are allowed)")]
    TurnTooLong {
        /// Bytes of run id, role and content.
        bytes: usize,
    },

    /// The logger is closed, or was while the caller waited. Nothing was accepted.
    #[error("log a turn: the logger is closed")]
    Closed,

    /// The writer has come to an end, and what it had not written is kept for
    /// [`close`](crate::TrajectoryLogger::close) to hand over.
    #[error("log a turn: the writer has died with {kept} turns unwritten")]
    WriterDied {
        /// Turns that were accepted and are not written.
        kept: usize,
        /// What it died of.
        source: Death,
    },

    /// A flush, or the write of a durable turn, failed. The turns are kept, and are tried again
    /// without being asked.
    #[error("write {kept} turns, which are kept and tried again")]
    NotWritten {
        /// Turns that were accepted and are not written.
        kept: usize,
        /// What the last attempt died of.
        source: Arc<StorageError>,
    },

    /// The logger came to its end with turns that could not be written. Here they are.
    #[error("write {} turns before the logger was closed", turns.len())]
    Unwritten {
        /// The turns, in the order in which they were accepted.
        turns: Vec<Turn>,
        /// What the last attempt died of.
        source: Death,
    },
}

impl Error {
    /// What to do about it: one sentence, where something helps.
    #[must_use]
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.cure(),
            Self::NotWritten { source, .. } => source.cure(),
            Self::Unserialisable { .. } => {
                Some("give a value that has JSON, with strings for keys, or log it as text".into())
            }
            Self::TurnTooLong { .. } => Some("store it elsewhere, and log where it is".into()),
            Self::Closed => Some("open another logger".into()),
            Self::WriterDied { .. } => Some(
                "close the logger, which hands the unwritten turns over, and open another".into(),
            ),
            Self::Unwritten { source, .. } => match source {
                Death::Storage(error) => error.cure(),
                _ => None,
            },
            Self::Config(_) | Self::Thread(_) => None,
        }
    }
}

/// What a writer died of.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Death {
    /// Its storage failed in a way that trying again does not help, or until time was up.
    #[error("{0}")]
    Storage(#[source] Arc<StorageError>),
    /// It panicked.
    #[error("a panic: {0}")]
    Panic(String),
}

/// Why a storage failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The directory of the database is not there.
    #[error("open {}: there is no directory {}", path.display(), directory.display())]
    DirectoryMissing {
        /// The database.
        path: PathBuf,
        /// What would have to be there.
        directory: PathBuf,
    },

    /// There is no database to read.
    #[error("open {}: there is no such file", path.display())]
    FileMissing {
        /// The database.
        path: PathBuf,
    },

    /// The file is there and is no SQLite database.
    #[error("open {}: it is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },

    /// The database is another program's. Nothing in it was changed.
    #[error("open {}: it is the database of another program", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },

    /// The database was made by a later version. Nothing in it was changed.
    #[error("open {}: its format version is {version}, and this program knows 1", path.display())]
    NewerVersion {
        /// The database.
        path: PathBuf,
        /// The version that it says it has.
        version: i64,
    },

    /// The database can be read and not written.
    #[error("open {}: it can't be written", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },

    /// SQLite keeps another journal mode than it was told, because others use the database.
    #[error("open {} as {wanted}: its journal mode stays {found}", path.display())]
    JournalMode {
        /// The database.
        path: PathBuf,
        /// What was asked for.
        wanted: Durability,
        /// The journal mode that it has.
        found: String,
    },

    /// SQLite refused something.
    #[error("{action} {}", path.display())]
    Sqlite {
        /// What was tried: "open", "write to", "read".
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },

    /// A storage that is not SQLite's failed.
    #[error("write turns")]
    Other {
        /// Whether trying again may help.
        is_transient: bool,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// Whether trying again may help: a full disk becomes free, a lock is let go of.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::OutOfMemory
                        | ErrorCode::OperationInterrupted
                        | ErrorCode::FileLockingProtocolFailed
                )
            ),
            Self::Other { is_transient, .. } => *is_transient,
            _ => false,
        }
    }

    /// What to do about it: one sentence, where something helps.
    #[must_use]
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::DirectoryMissing { directory, .. } => {
                Some(format!("create it: mkdir -p {}", directory.display()))
            }
            Self::FileMissing { .. } => {
                Some("check the path; only logging creates a database".into())
            }
            Self::NotADatabase { .. } | Self::Foreign { .. } => {
                Some("give another path; the file was left as it is".into())
            }
            Self::NewerVersion { .. } => {
                Some("use the newer program; the database was left as it is".into())
            }
            Self::ReadOnly { path } => Some(may_write(path)),
            Self::JournalMode { .. } => {
                Some("close the other programs that use it, or open it with their mode".into())
            }
            Self::Sqlite { source, path, .. } => match source.sqlite_error_code()? {
                ErrorCode::DiskFull | ErrorCode::SystemIoFailure => {
                    Some("free some space; what was acknowledged is there".into())
                }
                ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                    Some(may_write(path))
                }
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    Some("end the program that holds its lock".into())
                }
                ErrorCode::DatabaseCorrupt => {
                    Some("move it away, and save what can be saved with sqlite3's .recover".into())
                }
                _ => None,
            },
            Self::Other { .. } => None,
        }
    }
}

fn may_write(path: &std::path::Path) -> String {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    format!(
        "let this user write to {} and to the files in it",
        directory.display()
    )
}
