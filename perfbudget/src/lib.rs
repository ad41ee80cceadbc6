//! Performance budgets that are ordinary Rust tests.
//!
//! A gate is a `#[test]` that fails when the code got slower than its budget allows, or does other
//! work than it should:
//!
//! ```
//! use std::time::Duration;
//! use perfbudget::{Budget, Gate};
//!
//! const PARSE: Budget = Budget::warm(Duration::from_micros(400)); // median, machine, date
//!
//! // #[test]
//! fn perf_parse() {
//!     Gate::new("docs/parse", PARSE)
//!         .setup(|| "1 2 3 ".repeat(10_000))
//!         .run(|text| {
//!             let sum: u64 = text.split_whitespace().map(|n| n.parse::<u64>().unwrap()).sum();
//!             assert_eq!(sum, 60_000); // the work was done
//!         });
//! }
//! # perf_parse();
//! ```
//!
//! - **Tier 1**, walltime: [`Gate::new`] measures a warm-up and 11 runs and compares their trimmed
//!   mean with `max(base × factor, 1 ms) × multiplier` ([`Budget`]). A busy machine does not fail
//!   it: what the code waited for a CPU that others had is taken out of elapsed time, and only what
//!   is proved to be its own doing, in three rounds, fails the test ([`Verdict`]).
//! - **Tier 2**, counts: [`Gate::counts`] compares counts (syncs, rows, allocations) exactly, and
//!   [`constant_across`] shows that they don't grow with N. The features below count.
//! - [`trimmed_mean`] and its three relatives measure without a gate.
//! - [`command_output`] and [`command_status`] run a command for a gate and use its own figures.
//! - [`tmpfs_dir`] keeps a fixture's files in memory, so that a walltime gate measures the code.
//!
//! Name the tests `perf_…`, build them with optimisation and run them alone on the machine. In
//! builds that can't be timed (debug, coverage, Miri, sanitizers) a walltime gate runs its
//! operation once and says `not_measured`; count gates always count.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what for | needs |
//! |---|---|---|
//! | `allocations` | counts what code asks of the allocator: `AllocationScope`, behind the global allocator `CountingAllocator` | nothing more |
//! | `sqlite` | counts commits, rollbacks, rows and statements of a connection: `SqliteCounter` | rusqlite 0.41, Rust 1.89 |
//! | `jemalloc` | warm measurements where tikv-jemallocator 0.7 is the global allocator ([`allocator`]) | what it needs |
//! | `mimalloc` | the same for mimalloc 0.1 | what it needs |
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | [`PERF_BUDGET_MULTIPLIER`](MULTIPLIER_ENV) | widens every limit: a number, or `auto` ([`machine`]); 1.0 when unset |
//! | [`PERFBUDGET_DIR`](DIR_ENV) | where records go; none are written when unset |
//! | [`PERFBUDGET_RUN_ID`](RUN_ID_ENV) | the run's name where cargo-nextest gives none |
//! | [`PERFBUDGET_PACE`](PACE_ENV) | also times fixed work beside the samples, as `cargo perfbudget compare` asks for |
//! | [`PERFBUDGET_DENY`](DENY_ENV) | passing verdicts that fail: `contended,undecided,not_measured` |
//!
//! # What this changes in your process
//!
//! The first warm measurement raises two thresholds of glibc's malloc for the life of the process,
//! so that it gives no memory back inside the clock, and each round begins with one
//! `malloc_trim`. What it changes of jemalloc or mimalloc it puts back ([`allocator`]). A walltime gate holds a lock on `perfbudget.lock` in the directory for temporary
//! files while it measures, so that the gates of a machine take turns, and on Linux keeps some
//! files of `/proc` open. Nothing else: no thread, no signal handler, and a global allocator only
//! where a test binary declares `CountingAllocator` as its own.
//!
//! # When not to use it
//!
//! A gate alone does not tell which of two versions is 2 % faster: it catches what exceeds its
//! headroom, which every report states. `cargo perfbudget compare` (crate `cargo-perfbudget`) tells,
//! on the same gates. To explore: a benchmark harness draws better pictures.

// Says on docs.rs which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accounting;
#[cfg(feature = "allocations")]
mod allocations;
pub mod allocator;
mod auto;
mod bounds;
mod budget;
mod child;
pub mod config;
#[cfg(any(feature = "allocations", feature = "sqlite"))]
mod count_set;
mod counts;
mod gate;
mod host;
pub mod machine;
mod measure;
mod message;
mod multiplier;
mod pace;
pub mod record;
mod run;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statistics;
mod tmpfs;
mod turn;
mod verdict;

#[cfg(feature = "allocations")]
pub use allocations::{AllocationCounts, AllocationScope, CountingAllocator};
pub use budget::{Budget, Class, FLOOR};
#[doc(hidden)]
pub use child::{TimedCommand, timed_command_output};
pub use child::{command_output, command_status};
#[cfg(any(feature = "allocations", feature = "sqlite"))]
pub use count_set::{CountsIter, Observed};
pub use counts::constant_across;
pub use gate::{CountGate, Gate, PreparedGate};
pub use measure::{
    Measurement, SAMPLES, trimmed_mean, trimmed_mean_warm, trimmed_mean_warm_with_setup,
    trimmed_mean_with_setup,
};
pub use multiplier::{MULTIPLIER_ENV, Multiplier, MultiplierError};
pub use pace::PACE_ENV;
pub use record::Record;
pub use run::{DIR_ENV, RUN_ID_ENV};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteCounter, SqliteCounts};
pub use tmpfs::{TmpfsDir, tmpfs_dir};
pub use verdict::{DENY_ENV, Verdict};
