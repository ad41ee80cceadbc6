//! What is compared, by what, how often, and in what order.
//!
//! The order follows from nothing but the options, so that a run that broke off is taken up again
//! where it stopped. The cells take turns in rounds: a machine that changes while the study runs
//! changes for all of them.

use serde::{Deserialize, Serialize};

use crate::loads::Load;
use crate::sides;

/// Who compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `cargo perfbudget compare` of two directories, by their gate.
    Gate,
    /// `cargo perfbudget compare` of two commands.
    Commands,
    /// tango-bench 0.9.0.
    Tango,
    /// criterion 0.8.2, against a baseline that was stored just before.
    Criterion,
    /// perfgate-cli 0.18.1, `paired`, of two commands.
    Perfgate,
}

impl Way {
    /// All, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Gate,
        Self::Tango,
        Self::Criterion,
        Self::Commands,
        Self::Perfgate,
    ];

    /// Its name.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Gate => "compare, a gate",
            Self::Commands => "compare, commands",
            Self::Tango => "tango-bench",
            Self::Criterion => "criterion",
            Self::Perfgate => "perfgate paired",
        }
    }
}

/// One kind of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Who compares.
    pub way: Way,
    /// How much slower the candidate is.
    pub slower_percent: u64,
    /// The least change that counts, in tenths of a per cent.
    pub threshold_permille: u64,
    /// What runs beside it.
    pub load: Load,
}

impl Cell {
    /// In per cent.
    #[must_use]
    pub fn threshold_percent(self) -> f64 {
        self.threshold_permille as f64 / 10.0
    }
}

/// Half of 5 %, and half of 2 %.
pub const HALF_OF_5: u64 = 25;
pub const HALF_OF_2: u64 = 10;

/// How often each cell is run, and in one quick study.
const PLAN: &[(Cell, u32, u32)] = {
    use Load::{OneBusy, Quiet, TwoBusy};
    use Way::{Commands, Criterion, Gate, Perfgate, Tango};
    const fn cell(way: Way, slower_percent: u64, threshold_permille: u64, load: Load) -> Cell {
        Cell {
            way,
            slower_percent,
            threshold_permille,
            load,
        }
    }
    &[
        (cell(Gate, 0, HALF_OF_5, Quiet), 1000, 20),
        (cell(Gate, 5, HALF_OF_5, Quiet), 80, 10),
        (cell(Gate, 2, HALF_OF_2, Quiet), 40, 4),
        (cell(Gate, 0, HALF_OF_2, Quiet), 20, 4),
        (cell(Tango, 0, HALF_OF_5, Quiet), 40, 4),
        (cell(Tango, 5, HALF_OF_5, Quiet), 40, 4),
        (cell(Tango, 2, HALF_OF_2, Quiet), 20, 4),
        (cell(Criterion, 0, HALF_OF_5, Quiet), 12, 2),
        (cell(Criterion, 5, HALF_OF_5, Quiet), 12, 2),
        (cell(Commands, 0, HALF_OF_5, Quiet), 12, 2),
        (cell(Commands, 5, HALF_OF_5, Quiet), 12, 2),
        (cell(Perfgate, 0, HALF_OF_5, Quiet), 40, 4),
        (cell(Perfgate, 5, HALF_OF_5, Quiet), 40, 4),
        (cell(Gate, 0, HALF_OF_5, OneBusy), 40, 6),
        (cell(Gate, 5, HALF_OF_5, OneBusy), 60, 6),
        (cell(Tango, 0, HALF_OF_5, OneBusy), 40, 4),
        (cell(Tango, 5, HALF_OF_5, OneBusy), 40, 4),
        (cell(Criterion, 0, HALF_OF_5, OneBusy), 12, 2),
        (cell(Criterion, 5, HALF_OF_5, OneBusy), 12, 2),
        (cell(Commands, 0, HALF_OF_5, OneBusy), 12, 2),
        (cell(Commands, 5, HALF_OF_5, OneBusy), 12, 2),
        (cell(Perfgate, 0, HALF_OF_5, OneBusy), 40, 4),
        (cell(Perfgate, 5, HALF_OF_5, OneBusy), 40, 4),
        (cell(Commands, 0, HALF_OF_5, TwoBusy), 12, 2),
        (cell(Commands, 5, HALF_OF_5, TwoBusy), 12, 2),
        (cell(Perfgate, 0, HALF_OF_5, TwoBusy), 40, 4),
        (cell(Perfgate, 5, HALF_OF_5, TwoBusy), 40, 4),
    ]
};

/// One comparison of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it is.
    pub cell: Cell,
    /// Which build of the candidate it has: the layout of a program is another in each.
    pub build: u32,
}

/// All comparisons in their order.
#[must_use]
pub fn plan(quick: bool) -> Vec<Task> {
    let rounds = if quick { 2 } else { 20 };
    let mut tasks = Vec::new();
    let mut builds = std::collections::HashMap::new();
    for round in 0..rounds {
        for (cell, full, in_quick) in PLAN {
            let times = if quick { *in_quick } else { *full };
            // As evenly as whole numbers allow.
            let share = times * (round + 1) / rounds - times * round / rounds;
            for _ in 0..share {
                let build = builds.entry(*cell).or_insert(0);
                tasks.push(Task {
                    cell: *cell,
                    build: *build % sides::builds(cell.slower_percent),
                });
                *build += 1;
            }
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_comparison_and_is_the_same_each_time() {
        let tasks = plan(false);
        assert_eq!(tasks, plan(false));
        for (cell, times, _) in PLAN {
            let of_cell: Vec<_> = tasks.iter().filter(|task| task.cell == *cell).collect();
            assert_eq!(of_cell.len(), *times as usize, "{cell:?}");
            let builds = sides::builds(cell.slower_percent);
            for build in 0..builds {
                let of_build = of_cell.iter().filter(|task| task.build == build).count();
                assert_eq!(of_build, (*times / builds) as usize, "{cell:?}");
            }
        }
        let quick: u32 = PLAN.iter().map(|(_, _, quick)| quick).sum();
        assert_eq!(plan(true).len(), quick as usize);
    }

    #[test]
    fn every_cell_is_there_once_and_in_every_round() {
        for (place, (cell, ..)) in PLAN.iter().enumerate() {
            assert!(PLAN[..place].iter().all(|(other, ..)| other != cell));
        }
        let tasks = plan(false);
        let first_half = &tasks[..tasks.len() / 2];
        for (cell, times, _) in PLAN {
            let there = first_half.iter().filter(|task| task.cell == *cell).count();
            assert!(there + 50 >= *times as usize / 2, "{cell:?}: {there}");
        }
    }
}
