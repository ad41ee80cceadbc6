//! What the study found: written when it has measured, read when the document is made.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::drive::Phase;
use crate::{Result, Tally};

/// One run of the study.
#[derive(Debug, Deserialize, Serialize)]
pub struct Results {
    pub header: Header,
    pub cells: Vec<CellResult>,
    pub postgres: Postgres,
}

/// Where and of what.
#[derive(Debug, Deserialize, Serialize)]
pub struct Header {
    /// `AMD EPYC, 2 cores, Linux 6.18.44`.
    pub machine: String,
    /// What the databases lay on: `ext4`.
    pub file_system: String,
    pub date: String,
    pub rustc: String,
    /// Crates, from the lock file, and what they carry.
    pub versions: Vec<(String, String)>,
    /// Whether the kernel scope watched, too.
    pub with_kernel: bool,
    /// `None`: strace watched, too; else why not.
    pub without_strace: Option<String>,
    /// How often each cell ran under the scopes.
    pub repetitions: usize,
}

/// What one engine with one setting did.
#[derive(Debug, Deserialize, Serialize)]
pub struct CellResult {
    pub name: String,
    pub phases: Vec<PhaseResult>,
    /// Why the counts may be too low, in the words of the scopes.
    pub incomplete: Vec<String>,
}

/// What happened in one phase; in all steady commits for [`Phase::Commit`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PhaseResult {
    pub phase: Phase,
    /// Everything that either layer saw, over all repetitions.
    pub syncs: Spread,
    /// Of these what only the kernel saw; nothing without a kernel scope.
    pub raw: Spread,
    /// Writes that were durable without a sync, where strace counted them: least and most.
    pub durable_writes: Option<(u64, u64)>,
    /// In words and in order, of the first time.
    pub in_order: Vec<String>,
}

/// The least and the most of several counts, field by field.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Spread {
    pub low: Tally,
    pub high: Tally,
}

impl Spread {
    /// `None` of no counts.
    pub fn of(tallies: impl IntoIterator<Item = Tally>) -> Option<Self> {
        tallies
            .into_iter()
            .map(|tally| Self {
                low: tally,
                high: tally,
            })
            .reduce(|spread, one| Self {
                low: spread.low.min(one.low),
                high: spread.high.max(one.high),
            })
    }

    /// The count, where all were equal.
    pub fn exact(self) -> Option<Tally> {
        (self.low == self.high).then_some(self.low)
    }
}

/// PostgreSQL, or why it did not run.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Postgres {
    NotRun(String),
    Ran(PostgresRun),
}

/// What PostgreSQL did.
#[derive(Debug, Deserialize, Serialize)]
pub struct PostgresRun {
    pub version: String,
    /// Where the server's own counts come from.
    pub source: String,
    /// Why the kernel scope did not watch, where it did not.
    pub without_kernel: Option<String>,
    /// Why the counts may be too low, in the words of the scope.
    pub incomplete: Vec<String>,
    pub rows: Vec<PostgresRow>,
}

/// What the server did for some statements of one kind.
#[derive(Debug, Deserialize, Serialize)]
pub struct PostgresRow {
    pub name: String,
    /// How many there were in each window.
    pub commits: u64,
    /// How often the server says that it synced its log in a window: least and most.
    pub wal_syncs: (u64, u64),
    /// What the kernel saw of the server process that ran the statements, in a window.
    pub own: Option<Spread>,
    /// The same of every other process of the server.
    pub others: Option<Spread>,
    /// How long a window went on after the last statement.
    pub waited_ms: u64,
    /// What the kernel saw, by call and file, of one window.
    pub calls: Vec<String>,
}

impl Results {
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)?)?)
    }

    /// # Errors
    /// Those of the file system, and when the file is of another version of the study.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_field_by_field() {
        let one = Tally {
            files: 1,
            weak: 2,
            ..Tally::default()
        };
        let other = Tally {
            files: 3,
            ..Tally::default()
        };
        let spread = Spread::of([one, other]).unwrap();
        assert_eq!((spread.low.files, spread.high.files), (1, 3));
        assert_eq!((spread.low.weak, spread.high.weak), (0, 2));
        assert_eq!(spread.exact(), None);
        assert_eq!(Spread::of([one, one]).unwrap().exact(), Some(one));
        assert_eq!(Spread::of([]), None);
    }
}
