//! What can go wrong, with the cure where there is one.
//!
//! Each error is a fragment that reads after "failed to"; its cause is in `source()`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::SUMMARY_BYTES_MAX;
use crate::lines::LINE_BYTES_MAX;

/// Why an operation on an outbox failed. Whatever it is, no committed record was lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The parent id has no characters.
    #[error("open an outbox whose parent id is empty")]
    EmptyParent,

    /// The child id has no characters.
    #[error("commit an event whose child id is empty")]
    EmptyChild,

    /// The signal has no characters. All turns of the child that have none would be one turn.
    #[error("commit an event whose signal is empty")]
    EmptySignal,

    /// The summary is longer than [`SUMMARY_BYTES_MAX`]. Nothing was written.
    #[error("commit a summary of {bytes} bytes (at most {SUMMARY_BYTES_MAX} are allowed)")]
    SummaryTooLong {
        /// The length of the summary.
        bytes: usize,
    },

    /// The event would make a line longer than 16 MiB. Nothing was written.
    #[error("commit an event of {bytes} bytes (at most {LINE_BYTES_MAX} are allowed)")]
    EventTooLong {
        /// The length of the line.
        bytes: usize,
    },

    /// The operating system refused something. A failed commit was taken back.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: Action,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A write failed and could not be taken back either. After a commit, its event may
    /// still be delivered, or turn up as a fragment in the dead letters.
    #[error("take an unfinished write back out of {} (which failed: {write})", path.display())]
    NotTakenBack {
        /// The file.
        path: PathBuf,
        /// Why the write failed.
        write: io::Error,
        /// Why the file could not be cut back.
        source: io::Error,
    },

    /// The ledger of consumed turns is not what the outbox wrote. Nothing was moved.
    #[error("read the ledger of consumed turns {}", path.display())]
    LedgerUnreadable {
        /// The ledger.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },

    /// A file was written by a later version of the outbox. Nothing was moved.
    #[error("read {} (format version {version}; this program reads version 1)", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version that it says it has.
        version: u32,
    },
}

impl Error {
    /// What to do about it: one sentence, where something helps.
    #[must_use]
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::EmptyParent => Some("give the id of the parent session".into()),
            Self::EmptyChild => Some("give the id of the child session".into()),
            Self::EmptySignal => Some(
                "give a signal that no other turn of this child has, such as its number".into(),
            ),
            Self::SummaryTooLong { .. } => Some("shorten the summary".into()),
            Self::EventTooLong { .. } => Some("shorten the child id or the signal".into()),
            Self::NotTakenBack { .. } => {
                Some("try again: a turn that is committed twice is delivered once".into())
            }
            Self::LedgerUnreadable { path, .. } => Some(format!(
                "move {} away: nothing is lost, but turns it lists are delivered again if they are sent again",
                path.display()
            )),
            Self::NewerVersion { .. } => Some("use the newer outbox; nothing was touched".into()),
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space and try again: what was committed is still there".into())
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    let directory = path.parent().unwrap_or(path);
                    Some(format!(
                        "let this user write to {} and to what is in it",
                        directory.display()
                    ))
                }
                io::ErrorKind::NotFound => {
                    Some("the parent's directory has gone: open the outbox again".into())
                }
                io::ErrorKind::NotADirectory => {
                    Some("give a directory, or a name that is free, as the root".into())
                }
                _ => None,
            },
        }
    }

    /// For `map_err` at a call into the operating system.
    pub(crate) fn io(action: Action, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// What was tried when an [`Error::Io`] came up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Creating a directory.
    CreateDirectory,
    /// Opening or creating a file.
    Open,
    /// Waiting for a lock file.
    Lock,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Making a file or a directory durable.
    Sync,
    /// Moving a temporary file to its name.
    Rename,
    /// Removing a file.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDirectory => "create the directory",
            Self::Open => "open",
            Self::Lock => "lock",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename a temporary file to",
            Self::Remove => "remove",
        })
    }
}

/// Why [`Outbox::drain_with`](crate::Outbox::drain_with) failed.
///
/// Either way the turns are delivered again by the next drain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError<E> {
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] Error),

    /// The consumer's closure failed.
    #[error("consume the drained turns")]
    Consumer(#[source] E),
}
