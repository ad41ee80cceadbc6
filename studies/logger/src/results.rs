//! What was measured: figures of every round, and nothing made from them.

use serde::{Deserialize, Serialize};

/// The four strategies of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// The caller writes each turn.
    SyncSingle,
    /// The caller writes each full batch.
    SyncBatched,
    /// A thread writes each turn.
    AsyncSingle,
    /// A thread writes each full batch: what was chosen.
    AsyncBatched,
}

impl Strategy {
    /// All, in the record's order.
    pub const ALL: [Self; 4] = [
        Self::SyncSingle,
        Self::SyncBatched,
        Self::AsyncSingle,
        Self::AsyncBatched,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyncSingle => "sync, one write",
            Self::SyncBatched => "sync, batched",
            Self::AsyncSingle => "async, one write",
            Self::AsyncBatched => "async, batched",
        }
    }

    /// Whether another thread writes.
    #[must_use]
    pub const fn is_async(self) -> bool {
        matches!(self, Self::AsyncSingle | Self::AsyncBatched)
    }

    /// What the record says that a turn takes, in milliseconds; in WAL, with synchronous=FULL as
    /// it must have been.
    #[must_use]
    pub const fn record_ms(self) -> f64 {
        match self {
            Self::SyncSingle => 1.0,
            Self::SyncBatched => 0.067,
            Self::AsyncSingle => 0.5,
            Self::AsyncBatched => 0.1,
        }
    }
}

/// How turns are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// By which strategy.
    pub strategy: Strategy,
    /// Journal mode and synchronous level.
    pub durability: String,
    /// Turns in a transaction.
    pub buffer_size: usize,
}

/// What logging came to, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Throughput {
    /// How.
    pub cell: Cell,
    /// Turns that were logged and flushed, over the time of both.
    pub turns_per_second: f64,
    /// Appends with an fdatasync right before and right after, the mean of both rates.
    pub raw_per_second: f64,
}

/// What a caller waited who logs 2,000 turns a second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Waits {
    /// The median, in nanoseconds.
    pub median_ns: f64,
    /// The 99th percentile.
    pub p99_ns: f64,
}

/// The record's choice, tokio-rusqlite, in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Other {
    /// Turns a second in WAL/FULL.
    pub full: f64,
    /// In WAL/NORMAL.
    pub normal: f64,
    /// What a caller waited in WAL/FULL.
    pub waits: Waits,
}

/// One round: everything once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Every cell.
    pub throughputs: Vec<Throughput>,
    /// Of the logger with its defaults.
    pub waits: Waits,
    /// Of the record's choice.
    pub other: Other,
}

/// A run of the study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Processor, cores, kernel.
    pub machine: String,
    /// Of the directory that was logged to.
    pub file_system: String,
    /// The compiler.
    pub rustc: String,
    /// The day.
    pub date: String,
    /// Versions of what was measured.
    pub versions: String,
    /// Tasks that were running when it began.
    pub load: f64,
    /// All rounds.
    pub rounds: Vec<Round>,
    /// Memory in use after so many turns, in bytes.
    pub memory: Vec<(u32, u64)>,
}

impl Results {
    /// What a cell came to in each round.
    #[must_use]
    pub fn throughputs(&self, cell: &Cell) -> Vec<&Throughput> {
        let all = self.rounds.iter().flat_map(|round| &round.throughputs);
        all.filter(|throughput| throughput.cell == *cell).collect()
    }
}
