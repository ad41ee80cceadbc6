//! What else runs on the machine: processes of our own, which end with the study.

use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use shared::loads::{self, Running};

use crate::ops;

/// What runs beside an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Nothing.
    Idle,
    /// As many busy processes as there are cores.
    Busy1,
    /// Twice as many.
    Busy2,
    /// Four times as many.
    Busy4,
    /// A process a core that streams through 256 MiB.
    Memory,
    /// A process a core that writes and syncs a file.
    Disk,
}

impl Load {
    /// All, in the order of tables.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Busy1,
        Self::Busy2,
        Self::Busy4,
        Self::Memory,
        Self::Disk,
    ];

    /// What it is, for a reader.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy1 => "1 × cores busy",
            Self::Busy2 => "2 × cores busy",
            Self::Busy4 => "4 × cores busy",
            Self::Memory => "memory hog",
            Self::Disk => "disk hog",
        }
    }

    /// What its processes do, and how many a core.
    const fn hogs(self) -> Option<(Hog, usize)> {
        match self {
            Self::Idle => None,
            Self::Busy1 => Some((Hog::Cpu, 1)),
            Self::Busy2 => Some((Hog::Cpu, 2)),
            Self::Busy4 => Some((Hog::Cpu, 4)),
            Self::Memory => Some((Hog::Memory, 1)),
            Self::Disk => Some((Hog::Disk, 1)),
        }
    }

    /// How many times longer work on a CPU takes beside it, roughly: for the schedule only.
    #[must_use]
    pub const fn slow_down(self) -> f64 {
        match self {
            Self::Idle => 1.0,
            Self::Busy1 => 2.0,
            Self::Busy2 => 3.0,
            Self::Busy4 => 6.0,
            Self::Memory => 2.0,
            Self::Disk => 1.3,
        }
    }

    /// Starts its processes and returns when all of them run. They end when the guard is dropped,
    /// and by themselves when the study is killed, or after an hour.
    ///
    /// # Errors
    /// When a process can't be started, or ends before it runs.
    pub fn start(self, cores: usize, directory: &Path) -> io::Result<Running> {
        let mut running = Running::default();
        let Some((hog, per_core)) = self.hogs() else {
            return Ok(running);
        };
        for number in 0..per_core * cores {
            let name = hog.to_possible_value().expect("not hidden");
            let started = running.start(
                Command::new(ops::program())
                    .arg("load")
                    .arg(name.get_name())
                    .arg(directory.join(format!("hog-{number}"))),
            );
            started.map_err(|error| io::Error::other(format!("{}: {error}", name.get_name())))?;
        }
        Ok(running)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// What one process of a load does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Hog {
    /// Computes.
    Cpu,
    /// Streams through memory.
    Memory,
    /// Writes and syncs a file.
    Disk,
}

/// The longest that one lives.
const LIFE: Duration = Duration::from_secs(3600);
const MEBIBYTE: usize = 1024 * 1024;

impl Hog {
    /// Does it until standard input ends, which it does with the study, and for an hour at most.
    ///
    /// # Errors
    /// When the file of a disk load can't be written.
    pub fn run(self, file: &Path) -> io::Result<()> {
        loads::end_with_the_study();
        let end = Instant::now() + LIFE;
        let mut said = false;
        let mut went_round = || {
            if !said {
                said = true;
                loads::say_that_it_runs();
            }
            Instant::now() < end
        };
        match self {
            Self::Cpu => {
                while {
                    ops::compute(1_000_000);
                    went_round()
                } {}
            }
            Self::Memory => {
                let mut memory = vec![1_u64; 256 * MEBIBYTE / size_of::<u64>()];
                let mut seed = 0;
                while {
                    seed += 1;
                    for word in &mut memory {
                        *word ^= seed;
                    }
                    black_box(&mut memory);
                    went_round()
                } {}
            }
            Self::Disk => {
                let mut disk = File::create(file)?;
                // Unlinked at once, so that nothing stays when the process is killed.
                fs::remove_file(file)?;
                let block = vec![7_u8; MEBIBYTE];
                while {
                    disk.rewind()?;
                    for _ in 0..16 {
                        for _ in 0..4 {
                            disk.write_all(&block)?;
                        }
                        disk.sync_all()?;
                    }
                    went_round()
                } {}
            }
        }
        Ok(())
    }
}
