//! Where batches go: the seam between the writer and a database.

use std::time::Instant;

use crate::error::StorageError;
use crate::turn::Turn;

/// A turn that was accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The turn.
    pub turn: Turn,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    pub(crate) at: Instant,
}

impl Accepted {
    pub(crate) fn now(turn: Turn) -> Self {
        use std::time::SystemTime;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            turn,
            at_ms: since_1970.map_or(0, |time| {
                i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
            }),
            at: Instant::now(),
        }
    }
}

/// Where a writer puts its batches. [`SqliteStorage`](crate::SqliteStorage) is the real one; tests
/// wrap it to count, to fail, or to plant a defect.
pub trait Storage: Send {
    /// Writes the turns, all or none, in their order. When `to_disk` is set, they and everything
    /// that was written before must survive a loss of power when it returns, also when there are
    /// no turns. After an error it is called again with the same turns.
    ///
    /// # Errors
    /// When nothing was written. [`StorageError::is_transient`] decides whether it is tried again.
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError>;

    /// Whether every write is one to disk, asked for or not.
    fn always_writes_to_disk(&self) -> bool;
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        (**self).write(turns, to_disk)
    }

    fn always_writes_to_disk(&self) -> bool {
        (**self).always_writes_to_disk()
    }
}
