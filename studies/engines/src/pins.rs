//! What earlier versions did: counted before this study, by other means.

use crate::Phase;
use crate::results::Results;

/// A count of an earlier version.
pub struct Pin {
    pub cell: &'static str,
    pub phase: Phase,
    /// Files, directories, weak calls.
    pub counts: (u64, u64, u64),
    /// Which version that was.
    pub version: &'static str,
    /// What is known of a difference.
    pub explained: Option<&'static str>,
}

const fn pin(
    cell: &'static str,
    phase: Phase,
    counts: (u64, u64, u64),
    version: &'static str,
) -> Pin {
    Pin {
        cell,
        phase,
        counts,
        version,
        explained: None,
    }
}

/// Counts that strace and a hook had agreed on.
pub const PINS: [Pin; 14] = [
    pin(
        "sqlite/delete/full",
        Phase::Commit,
        (3, 1, 0),
        "rusqlite 0.37",
    ),
    pin(
        "sqlite/delete/extra",
        Phase::Commit,
        (3, 2, 0),
        "rusqlite 0.37",
    ),
    pin("sqlite/wal/full", Phase::Commit, (1, 0, 0), "rusqlite 0.37"),
    pin(
        "sqlite/wal/normal",
        Phase::Commit,
        (0, 0, 0),
        "rusqlite 0.37",
    ),
    Pin {
        explained: Some(
            "redb 4 makes a new file with 3 syncs, 3.1.3 with 6, run again the same way; the table \
             is one more in both",
        ),
        ..pin("redb/immediate", Phase::Create, (7, 0, 0), "redb 3.1")
    },
    pin("redb/immediate", Phase::Commit, (1, 0, 0), "redb 3.1"),
    pin("redb/two-phase", Phase::Commit, (2, 0, 0), "redb 3.1"),
    Pin {
        explained: Some(
            "fjall 3 keeps its settings in a keyspace of its own (`keyspaces/0`), which is made and \
             written, too; 2.11.2, run again the same way, still has 6 + 7",
        ),
        ..pin("fjall/sync-all", Phase::Create, (6, 7, 0), "fjall 2.11")
    },
    pin("fjall/sync-all", Phase::Commit, (1, 0, 0), "fjall 2.11"),
    pin("fjall/sync-data", Phase::Commit, (1, 0, 0), "fjall 2.11"),
    pin("sled/insert-flush", Phase::Commit, (0, 0, 1), "sled 0.34"),
    pin(
        "lmdb/default",
        Phase::Commit,
        (1, 0, 0),
        "heed, LMDB 0.9.70",
    ),
    pin("tempfile/persist", Phase::Commit, (0, 0, 0), "tempfile 3"),
    pin(
        "memmap2/flush-async",
        Phase::Commit,
        (0, 0, 1),
        "memmap2 0.9",
    ),
];

impl Pin {
    /// Whether it is still so; `None` where the study has no exact count for it.
    pub fn holds(&self, results: &Results) -> Option<bool> {
        let cell = results.cells.iter().find(|cell| cell.name == self.cell)?;
        let phase = cell.phases.iter().find(|it| it.phase == self.phase)?;
        let now = phase.syncs.exact()?;
        Some((now.files, now.dirs, now.weak) == self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores;

    #[test]
    fn every_pin_is_of_a_cell_and_phase_that_there_are() {
        for pin in PINS {
            let cell = stores::find(pin.cell);
            let cell = cell.unwrap_or_else(|| panic!("no cell {}", pin.cell));
            assert!(
                crate::drive::phases(&cell).contains(&pin.phase),
                "{}",
                pin.cell
            );
        }
    }
}
