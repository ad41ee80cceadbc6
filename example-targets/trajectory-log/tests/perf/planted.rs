//! Defects that the gates must catch, planted at the seam to the database and in who logs.
//!
//! The logger itself has none of this. `red.rs` runs the gates so, in processes of their own.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use trajectory_log::{Accepted, SqliteStorage, Storage, StorageError};

/// The variable by which `red.rs` plants a defect.
pub(crate) const PLANTED_ENV: &str = "TRAJECTORY_PLANTED_DEFECT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// A batch becomes a transaction a turn.
    TransactionATurn,
    /// Every write computes for two milliseconds more.
    SlowWrite,
    /// Who logs computes for 20 µs before the turn is accepted.
    SlowCaller,
    /// Who logs writes, on the runtime's thread.
    WritesByItself,
}

impl Defect {
    pub(crate) fn from_env() -> Self {
        match std::env::var(PLANTED_ENV).ok().as_deref() {
            None => Self::None,
            Some("transaction-a-turn") => Self::TransactionATurn,
            Some("slow-write") => Self::SlowWrite,
            Some("slow-caller") => Self::SlowCaller,
            Some("writes-by-itself") => Self::WritesByItself,
            Some(other) => panic!("{PLANTED_ENV}: {other:?} is no defect"),
        }
    }
}

/// The real storage with at most one defect, which tells how many turns each write wrote.
pub(crate) struct PlantedStorage {
    pub(crate) storage: SqliteStorage,
    pub(crate) defect: Defect,
    pub(crate) written: Sender<usize>,
}

impl Storage for PlantedStorage {
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        match self.defect {
            Defect::TransactionATurn => {
                for turn in turns {
                    self.storage.write(std::slice::from_ref(turn), to_disk)?;
                }
            }
            Defect::SlowWrite => {
                spin(Duration::from_millis(2));
                self.storage.write(turns, to_disk)?;
            }
            _ => self.storage.write(turns, to_disk)?,
        }
        // A test that does not listen has gone.
        let _ = self.written.send(turns.len());
        Ok(())
    }

    fn always_writes_to_disk(&self) -> bool {
        self.storage.always_writes_to_disk()
    }
}

pub(crate) fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
