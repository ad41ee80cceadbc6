//! Running the processes of a comparison: blocks of every test in turn, so that what changes slowly
//! on the machine weighs on all tests alike, until every gate is decided or the plan is at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use perfbudget::{MULTIPLIER_ENV, PACE_ENV};

use crate::ab::history::{Outcome, Repetition, SCHEMA, Side};
use crate::ab::text::counted;
use crate::children;
use crate::observe::cargo::Binary;
use crate::observe::process;
use crate::observe::progress::Progress;

use super::command;
use super::repetition::{self, Repeated};
use super::schedule::{self, TimeLeft};

/// How often a process is run at most, for one bound where there are two.
const ATTEMPTS_MAX: u32 = 3;

/// What a gate that is compared runs with: a limit above all, so that no budget has a part in how
/// long it measures, and the pace of the core.
const VARIABLES: [(&str, &str); 2] = [(MULTIPLIER_ENV, "1000000"), (PACE_ENV, "1")];

/// How an arm of a unit is run.
#[derive(Clone, Debug)]
pub(crate) enum Runner {
    Test { binary: Box<Binary>, name: String },
    Command(String),
}

/// What is run in one process of each arm: a test with its gates, or a command.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) gates: BTreeSet<String>,
    pub(crate) arms: BTreeMap<Side, Runner>,
    /// Whether there are times among what its gates measure: counts are the same in every process,
    /// and one block shows them.
    pub(crate) is_timed: bool,
}

/// What is measured and how long; what decides is asked at each look.
pub(crate) struct Measuring<'a> {
    pub(crate) units: &'a [Unit],
    /// After how many blocks there is a look.
    pub(crate) is_look: &'a dyn Fn(u32) -> bool,
    pub(crate) blocks_max: u32,
    /// Before which blocks the programs are copied anew.
    pub(crate) is_pass: &'a dyn Fn(u32) -> bool,
    pub(crate) copy: &'a dyn Fn() -> io::Result<()>,
    /// What the baseline and the candidate are.
    pub(crate) of: [&'a str; 2],
    /// The gates that are decided by what was measured.
    pub(crate) decided: &'a dyn Fn(&[Repetition]) -> BTreeSet<String>,
}

/// What was measured, and why it is not all that was planned.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) repetitions: Vec<Repetition>,
    pub(crate) broken_off: Option<String>,
}

impl Measuring<'_> {
    /// Runs the plan, as far as it goes. `before` are repetitions that are there already: gates that
    /// failed.
    pub(crate) fn run(&self, before: Vec<Repetition>, progress: &mut Progress) -> Measured {
        let mut measured = Measured {
            repetitions: before,
            broken_off: None,
        };
        measured.broken_off = self.fill(&mut measured.repetitions, progress).err();
        progress.clear();
        measured
    }

    fn fill(
        &self,
        repetitions: &mut Vec<Repetition>,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let mut done: BTreeSet<String> = BTreeSet::new();
        let mut left = TimeLeft::default();
        let mut order = 0;
        for block in 0..self.blocks_max {
            let open: Vec<&Unit> = self
                .units
                .iter()
                .filter(|unit| block == 0 || unit.is_timed)
                .filter(|unit| !unit.gates.is_subset(&done))
                .collect();
            if open.is_empty() {
                break;
            }
            if (self.is_pass)(block) {
                (self.copy)().map_err(|error| format!("failed to copy the programs: {error}"))?;
            }
            let blocks_left = (self.blocks_max - block) as usize;
            let mut to_run = open.len() * blocks_left * schedule::block(block).len();
            for unit in open {
                let mut failed = BTreeSet::new();
                for side in schedule::block(block) {
                    let rest = match left.of(to_run) {
                        Duration::ZERO => String::new(),
                        rest => format!(", at most {} left", schedule::said(rest)),
                    };
                    progress.step(&format!(
                        "block {} of at most {}: {}{rest}",
                        block + 1,
                        self.blocks_max,
                        unit.name
                    ));
                    let begin = Instant::now();
                    let repeated = unit.repeat(side);
                    left.add(begin.elapsed());
                    to_run -= 1;
                    if children::interrupted().is_some() {
                        return Err("interrupted".to_owned());
                    }
                    let repeated = repeated
                        .map_err(|error| format!("failed to run {}: {error}", unit.name))?;
                    for (gate, result) in repeated.gates {
                        // One that was decided at a look stays as it was then, also where its
                        // test goes on for another.
                        if done.contains(&gate) {
                            continue;
                        }
                        if matches!(result, Outcome::Failed { .. }) {
                            failed.insert(gate.clone());
                        }
                        let at = repeated.at.get(&gate).cloned();
                        repetitions.push(Repetition {
                            schema: SCHEMA.to_owned(),
                            gate,
                            side,
                            block,
                            order,
                            at: at.unwrap_or_else(perfbudget::config::now),
                            of: self.of[usize::from(side == Side::Candidate)].to_owned(),
                            result,
                        });
                    }
                    order += 1;
                }
                done.append(&mut failed);
            }
            if (self.is_look)(block + 1) {
                done.extend((self.decided)(repetitions));
                self.say(block + 1, &done, progress);
            }
        }
        Ok(())
    }

    fn say(&self, blocks: u32, done: &BTreeSet<String>, progress: &mut Progress) {
        let gates: BTreeSet<&String> = self
            .units
            .iter()
            .filter(|unit| unit.is_timed)
            .flat_map(|unit| &unit.gates)
            .collect();
        let decided = gates.iter().filter(|gate| done.contains(**gate)).count();
        progress.line(&format!(
            "after {} processes of each side: {decided} of {} decided",
            blocks * schedule::PER_BLOCK,
            counted(gates.len(), "timed gate", "timed gates")
        ));
    }
}

impl Unit {
    /// One repetition of an arm, with no more attempts than it may have. Of each gate the first
    /// attempt counts that has one bound, else the last.
    fn repeat(&self, side: Side) -> io::Result<Repeated> {
        let mut kept = Repeated::default();
        let Some(runner) = self.arms.get(&side) else {
            return Ok(kept);
        };
        for _ in 0..ATTEMPTS_MAX {
            let repeated = runner.run(&self.gates)?;
            for (gate, outcome) in repeated.gates {
                let is_ours = self.gates.contains(&gate);
                let is_better = kept.gates.get(&gate).is_none_or(is_inexact);
                if is_ours && is_better {
                    if let Some(at) = repeated.at.get(&gate) {
                        kept.at.insert(gate.clone(), at.clone());
                    }
                    kept.gates.insert(gate, outcome);
                }
            }
            let is_exact = !kept.gates.values().any(is_inexact);
            if is_exact || !repeated.may_become_exact || children::interrupted().is_some() {
                break;
            }
        }
        Ok(kept)
    }
}

fn is_inexact(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Times { exact: false, .. })
}

impl Runner {
    /// One process.
    ///
    /// # Errors
    /// When a test can't be started, which is listed and was built just now, or what it left can't be
    /// looked at: it is the machine's doing, and says nothing of a side.
    pub(crate) fn run(&self, gates: &BTreeSet<String>) -> io::Result<Repeated> {
        Ok(match self {
            Self::Test { binary, name } => {
                let ran = process::run_with(&VARIABLES, binary, name)?;
                repetition::repeated(&ran, gates.iter())
            }
            Self::Command(text) => {
                let (outcome, may_become_exact) = command::run(text);
                Repeated {
                    gates: BTreeMap::from([(command::GATE.to_owned(), outcome)]),
                    may_become_exact,
                    ..Repeated::default()
                }
            }
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn unit(baseline: &str, candidate: &str) -> Unit {
        let command = |text: &str| Runner::Command(text.to_owned());
        Unit {
            name: "it".to_owned(),
            gates: BTreeSet::from([command::GATE.to_owned()]),
            arms: BTreeMap::from([
                (Side::Baseline, command(baseline)),
                (Side::Candidate, command(candidate)),
                (Side::Control, command(baseline)),
            ]),
            is_timed: true,
        }
    }

    fn measured(unit: Unit, decided_after: u32) -> Vec<Repetition> {
        let measuring = Measuring {
            units: &[unit],
            is_look: &|blocks| blocks % 2 == 0,
            blocks_max: 6,
            is_pass: &|_| false,
            copy: &|| Ok(()),
            of: ["old", "new"],
            decided: &|repetitions| {
                let blocks = repetitions.iter().map(|r| r.block + 1).max();
                let is_decided = blocks >= Some(decided_after);
                is_decided
                    .then(|| command::GATE.to_owned())
                    .into_iter()
                    .collect()
            },
        };
        let measured = measuring.run(Vec::new(), &mut Progress::on_stderr());
        assert_eq!(measured.broken_off, None);
        measured.repetitions
    }

    #[test]
    fn what_is_decided_at_a_look_is_measured_no_longer() {
        let repetitions = measured(unit("true", "true"), 3);
        // Not at block 3: there is no look.
        assert_eq!(repetitions.len(), 4 * 6);
        let orders: Vec<u32> = repetitions.iter().map(|r| r.order).collect();
        assert_eq!(orders, (0..24).collect::<Vec<_>>());
        for repetition in &repetitions {
            let of = if repetition.side == Side::Candidate {
                "new"
            } else {
                "old"
            };
            assert_eq!(repetition.of, of);
        }
        assert_eq!(measured(unit("true", "true"), 100).len(), 6 * 6);
    }

    #[test]
    fn what_fails_is_kept_and_not_measured_on() {
        let repetitions = measured(unit("true", "exit 3"), 100);
        assert_eq!(repetitions.len(), 6);
        let failed = |r: &&Repetition| matches!(r.result, Outcome::Failed { .. });
        assert_eq!(repetitions.iter().filter(failed).count(), 2);
    }

    #[test]
    fn what_was_measured_is_kept_where_it_can_not_go_on() {
        let unit = unit("true", "true");
        let copies = std::cell::Cell::new(0);
        let measuring = Measuring {
            units: &[unit],
            is_look: &|_| false,
            blocks_max: 6,
            is_pass: &|block| block % 2 == 0,
            copy: &|| {
                copies.set(copies.get() + 1);
                if copies.get() < 3 {
                    Ok(())
                } else {
                    Err(io::Error::other("the disk is full"))
                }
            },
            of: ["old", "new"],
            decided: &|_| BTreeSet::new(),
        };
        let measured = measuring.run(Vec::new(), &mut Progress::on_stderr());
        assert_eq!(measured.repetitions.len(), 4 * 6);
        let why = measured.broken_off.expect("it was broken off");
        assert_eq!(why, "failed to copy the programs: the disk is full");
    }

    #[test]
    fn counts_are_shown_by_one_block() {
        let mut unit = unit("true", "true");
        unit.is_timed = false;
        assert_eq!(measured(unit, 100).len(), 6);
    }
}
