//! Rounds: everything once, one after the other, again and again, so that what the machine does
//! meanwhile is spread over all that is compared.

use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use shared::machine;

use crate::Result;
use crate::drive;
use crate::results::{Cell, Other, Results, Round, Strategy, Throughput, Waits};

/// The durabilities that are compared, of all four strategies.
pub const DURABILITIES: [&str; 8] = [
    "wal/full",
    "wal/normal",
    "delete/normal",
    "delete/full",
    "delete/extra",
    "truncate/full",
    "persist/normal",
    "persist/full",
];

/// The sizes that are compared, in WAL.
pub const BUFFER_SIZES: [usize; 5] = [1, 5, 10, 50, 100];

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it logs, on the disk that is measured.
    pub directory: PathBuf,
    /// How often everything is measured.
    pub rounds: usize,
    /// The program of the record's choice.
    pub other: PathBuf,
    /// The compiler, for the report.
    pub rustc: String,
    /// The day, for the report.
    pub date: String,
}

/// How long a cell logs, and how long the disk is asked for its rate beside it.
const CELL: Duration = Duration::from_millis(200);
const RAW: Duration = Duration::from_millis(80);
const WAITS: Duration = Duration::from_secs(1);

/// Every cell once.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for durability in DURABILITIES {
        for strategy in Strategy::ALL {
            cells.push(Cell {
                strategy,
                durability: durability.to_owned(),
                buffer_size: match strategy {
                    Strategy::SyncSingle | Strategy::AsyncSingle => 1,
                    Strategy::SyncBatched | Strategy::AsyncBatched => 10,
                },
            });
        }
    }
    for durability in ["wal/full", "wal/normal"] {
        for buffer_size in [5, 50, 100] {
            cells.push(Cell {
                strategy: Strategy::AsyncBatched,
                durability: durability.to_owned(),
                buffer_size,
            });
        }
    }
    cells
}

/// Measures.
///
/// # Errors
/// When something can't be measured, or the directory is in memory.
pub fn run(options: &Options) -> Result<Results> {
    let file_system = machine::file_system(&options.directory)?;
    if matches!(file_system.as_str(), "tmpfs" | "ramfs") {
        return Err(format!(
            "{} is in memory ({file_system}): give a directory on a disk",
            options.directory.display()
        )
        .into());
    }
    let load = machine::load_1m().unwrap_or_default();
    let start = Instant::now();
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        rounds.push(round(options, number)?);
        let seconds = start.elapsed().as_secs();
        if stderr().is_terminal() {
            eprint!("\rround {number} of {}, {seconds} s", options.rounds);
        }
    }
    if stderr().is_terminal() {
        eprintln!();
    }
    // In a process of its own, which has nothing else in its memory.
    let memory = Command::new(std::env::current_exe()?)
        .arg("memory")
        .arg("--directory")
        .arg(&options.directory)
        .output()?;
    if !memory.status.success() {
        return Err(String::from_utf8_lossy(&memory.stderr).into());
    }
    let own_lock = include_str!("../Cargo.lock");
    let other_lock = include_str!("../../logger-tokio-rusqlite/Cargo.lock");
    let version = |lock, name| machine::version_in(lock, name).unwrap_or("?");
    Ok(Results {
        machine: machine::describe(),
        file_system,
        rustc: options.rustc.clone(),
        date: options.date.clone(),
        versions: format!(
            "rusqlite {}, tokio {}; tokio-rusqlite {} with rusqlite {}",
            version(own_lock, "rusqlite"),
            version(own_lock, "tokio"),
            version(other_lock, "tokio-rusqlite"),
            version(other_lock, "rusqlite"),
        ),
        load,
        rounds,
        memory: serde_json::from_slice(&memory.stdout)?,
    })
}

/// Everything once, beginning elsewhere in each round, with the raw rate between any two cells.
fn round(options: &Options, number: usize) -> Result<Round> {
    let directory = &options.directory;
    let mut cells = cells();
    let begin = number * 7 % cells.len();
    cells.rotate_left(begin);
    let mut throughputs = Vec::new();
    let mut before = drive::raw_per_second(directory, RAW)?;
    for cell in cells {
        let turns_per_second = drive::turns_per_second(&cell, directory, CELL)?;
        let after = drive::raw_per_second(directory, RAW)?;
        throughputs.push(Throughput {
            cell,
            turns_per_second,
            raw_per_second: f64::midpoint(before, after),
        });
        before = after;
    }
    let waits = drive::waits(directory, WAITS)?;
    let other = other(options)?;
    Ok(Round {
        throughputs,
        waits,
        other,
    })
}

fn other(options: &Options) -> Result<Other> {
    let throughput = |synchronous| -> Result<f64> {
        let figures = ask_other(options, "throughput", synchronous, CELL)?;
        Ok(figures["turns_per_second"].as_f64().ok_or("no figure")?)
    };
    let waits = ask_other(options, "waits", "full", WAITS)?;
    let of = |name: &str| waits[name].as_f64().ok_or("no figure");
    Ok(Other {
        full: throughput("full")?,
        normal: throughput("normal")?,
        waits: Waits {
            median_ns: of("median_ns")?,
            p99_ns: of("p99_ns")?,
        },
    })
}

fn ask_other(
    options: &Options,
    what: &str,
    synchronous: &str,
    time: Duration,
) -> Result<serde_json::Value> {
    let directory = drive::fresh(&options.directory)?;
    let output = Command::new(&options.other)
        .arg(what)
        .arg(directory.path().join("log.db"))
        .args([synchronous, "10", &time.as_millis().to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Where results stand.
#[must_use]
pub fn results_file(directory: &Path) -> PathBuf {
    directory.join("results.json")
}
