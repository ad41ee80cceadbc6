//! What else runs on the machine: processes of our own, which end with the study.

use std::env;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared::loads::{self, Running};

/// What runs beside a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Nothing.
    Quiet,
    /// A process that computes without end.
    OneBusy,
    /// Two of them: as many as the machine of the study has cores.
    TwoBusy,
}

impl Load {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Quiet, Self::OneBusy, Self::TwoBusy];

    /// What it is, for a reader.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::OneBusy => "one busy process",
            Self::TwoBusy => "two busy processes",
        }
    }

    const fn processes(self) -> usize {
        match self {
            Self::Quiet => 0,
            Self::OneBusy => 1,
            Self::TwoBusy => 2,
        }
    }

    /// Starts its processes, and returns when all of them run. They end when what is returned is
    /// dropped, by themselves when the study is killed, and after two hours.
    ///
    /// # Errors
    /// When a process can't be started.
    pub fn start(self) -> io::Result<Running> {
        let mut running = Running::default();
        for _ in 0..self.processes() {
            running.start(Command::new(env::current_exe()?).arg("load"))?;
        }
        Ok(running)
    }
}

/// The longest that one lives.
const LIFE: Duration = Duration::from_secs(2 * 3600);

/// Computes until standard input ends, which it does with the study.
pub fn compute() {
    loads::end_with_the_study();
    let end = Instant::now() + LIFE;
    loads::say_that_it_runs();
    while Instant::now() < end {
        subject::work(subject::PAGES);
    }
}
