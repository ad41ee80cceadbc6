//! `cargo perfbudget compare`: two versions of the code, measured in turns on this machine.
//!
//! Both sides are built the same way, in places of their own; every test that has a gate on both is
//! run as a process again and again, in an order that is the same for both, and beside the two
//! sides the baseline once more, as if it were a third program: what differs between the baseline
//! and itself is what this machine can't tell apart today. Then it is decided.
//!
//! It measures what the gates measure, and nothing itself; only a command is timed from outside.

mod command;
mod gates;
mod git;
mod measure;
mod repetition;
mod schedule;
mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::ab::artifacts;
use crate::ab::decide::{Comparison, decide};
use crate::ab::decision::{Decision, Method, Status, Subject, Verdict};
use crate::ab::history::{Outcome, Repetition, SCHEMA, Side};
use crate::ab::html;
use crate::ab::policy::{Expect, Policy};
use crate::ab::sequential::{self, Plan};
use crate::ab::statistics;
use crate::ab::table;
use crate::ab::text::counted;
use crate::children;
use crate::observe::cargo::Selection;
use crate::observe::progress::Progress;

use gates::{Filter, Found, Matched};
use git::{GitError, Repository};
use measure::{Measured, Measuring, Runner, Unit};
use schedule::PER_BLOCK;
use side::{Order, SideError, Source, TestKey, Workshop};

const AFTER_HELP: &str = "\
A side is a revision of the repository around, or a directory (one that is also the name of a
revision with ./ before it). Without --candidate it is the working tree as it is, with what is not
committed.

  $ cargo perfbudget compare --baseline main
  $ cargo perfbudget compare --baseline HEAD~1 --gates outbox/drain --expect improvement
  $ cargo perfbudget compare --baseline-cmd './old --all' --candidate-cmd './new --all'

A command of plain words is started as it is, any other by the shell. Its gate is named `command`.

Exit codes:
  0      accepted
  1      the tool failed: a revision that does not build, no gates
  2      bad arguments
  3      rejected
  4      inconclusive
  128+N  ended by signal N (130 by Ctrl-C); what was measured is in --out";

/// The tool itself failed.
const FAILED: u8 = 1;
/// Bad arguments.
const USAGE: u8 = 2;

/// Processes of a side in a pass, at most.
pub(crate) const REPETITIONS_MAX: u32 = 1000;

/// Below the tool's directory.
const DEFAULT_OUT: &str = "report";
/// The page.
const REPORT: &str = "report.html";
/// What an earlier comparison measured and decided, which is not what this one does.
const OLD: [&str; 5] = [
    "decision.json",
    "insights.md",
    REPORT,
    "baseline/history.jsonl",
    "candidate/history.jsonl",
];

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CompareArguments {
    /// What to compare with: a revision or a directory
    #[arg(
        long,
        value_name = "REV|DIR",
        required_unless_present = "baseline_cmd",
        conflicts_with = "baseline_cmd"
    )]
    baseline: Option<String>,

    /// What to judge: a revision or a directory [default: the working tree]
    #[arg(long, value_name = "REV|DIR", conflicts_with = "candidate_cmd")]
    candidate: Option<String>,

    /// A command to compare with, in the place of gates
    #[arg(long, value_name = "COMMAND", requires = "candidate_cmd")]
    baseline_cmd: Option<String>,

    /// The command to judge
    #[arg(long, value_name = "COMMAND", requires = "baseline_cmd")]
    candidate_cmd: Option<String>,

    /// Only gates with this in their names; may be repeated
    #[arg(long, value_name = "PART")]
    gates: Vec<String>,

    /// What the primary gates are to show [default: as the policy says]
    #[arg(long, value_name = "WHAT")]
    expect: Option<Expect>,

    /// Where the policy is [default: the nearest perfbudget.toml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Decide by a policy whose calibration is not ready
    #[arg(long)]
    allow_uncalibrated: bool,

    /// Where to write decision, histories and report
    /// [default: target/perfbudget-compare/report]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// In how many passes to measure, each with new copies of the programs; every pass has as many
    /// repetitions as one alone would have
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Processes of each side before the first decision; it is looked at after the maximum, half
    /// and a quarter of it
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(6..=i64::from(REPETITIONS_MAX)))]
    min_repetitions: u32,

    /// Processes of each side at most, where it is still not decided [default: 128, or more where
    /// many gates want them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(6..=i64::from(REPETITIONS_MAX)))]
    max_repetitions: Option<u32>,

    /// Print the decision as JSON instead of text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    selection: Selection,
}

/// Compares, and says by its exit code what was decided.
pub(crate) fn compare(
    arguments: &CompareArguments,
    print: fn(&str) -> io::Result<()>,
) -> Result<u8, Box<dyn Error>> {
    let least = arguments.min_repetitions;
    if let Some(most) = arguments.max_repetitions.filter(|most| *most < least) {
        eprintln!("error: --max-repetitions {most} is less than --min-repetitions {least}");
        return Ok(USAGE);
    }
    let compared = children::attend()
        .map_err(|error| format!("failed to prepare for signals: {error}").into())
        .and_then(|()| run(arguments, print));
    // Whatever it made fail.
    if let Some(signal) = children::interrupted() {
        eprintln!("interrupted");
        return Ok(u8::try_from(128 + signal).unwrap_or(FAILED));
    }
    compared.map(Verdict::exit_code)
}

/// What can't be compared.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error(
        "failed to find a gate in the {side}, {what}: of {} named perf_… none left a record\n\
         a gate is a #[test] of that name that runs a perfbudget::Gate",
        counted(*tests, "test", "tests")
    )]
    NoGates {
        side: &'static str,
        what: String,
        tests: usize,
    },
    #[error(
        "failed to find a gate with {} in its name; there {}",
        filter.join(" or "),
        if found.is_empty() { "is none".to_owned() } else { format!("are {}", found.join(", ")) }
    )]
    NoneLike {
        filter: Vec<String>,
        found: Vec<String>,
    },
}

/// What is measured, whatever it is.
struct Subjects<'a> {
    units: Vec<Unit>,
    /// What is known before anything is measured.
    settled: Vec<Repetition>,
    subjects: [Subject; 2],
    copy: Box<dyn Fn() -> io::Result<()> + 'a>,
}

fn run(
    arguments: &CompareArguments,
    print: fn(&str) -> io::Result<()>,
) -> Result<Verdict, Box<dyn Error>> {
    let mut progress = Progress::on_stderr();
    // The policy may stand in a directory above.
    let here = side::absolute(&arguments.selection.directory());
    // Whatever comes of it: what another comparison decided there is not of this one.
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| default_out(&here));
    forget(&out)?;
    let mut policy = Policy::find(arguments.policy.as_deref(), &here)?;
    policy.expect = arguments.expect.unwrap_or(policy.expect);
    policy.check_ready(arguments.allow_uncalibrated)?;
    match (&arguments.baseline_cmd, &arguments.candidate_cmd) {
        (Some(baseline), Some(candidate)) => {
            prepare(&out)?;
            let subjects = of_commands(baseline, candidate)?;
            conclude(arguments, &policy, &subjects, &out, &mut progress, print)
        }
        _ => compare_gates(arguments, &policy, &here, &mut progress, print),
    }
}

/// Where it is written to unless `--out` or a candidate's directory says otherwise.
fn default_out(here: &Path) -> PathBuf {
    let target = side::target_directory(here);
    let target = target.unwrap_or_else(|_| here.join("target"));
    target.join(Workshop::NAME).join(DEFAULT_OUT)
}

fn of_commands(baseline: &str, candidate: &str) -> io::Result<Subjects<'static>> {
    let command = |text: &str| Runner::Command(text.to_owned());
    let arms = [
        (Side::Baseline, command(baseline)),
        (Side::Candidate, command(candidate)),
        (Side::Control, command(baseline)),
    ];
    // A first run of each finds the disk cold, and counts for nothing.
    for (side, runner) in &arms {
        if *side != Side::Control && children::interrupted().is_none() {
            runner.run(&BTreeSet::new())?;
        }
    }
    let subject = |text: &str| Subject {
        name: text.to_owned(),
        of: text.to_owned(),
    };
    Ok(Subjects {
        units: vec![Unit {
            name: "the commands".to_owned(),
            gates: BTreeSet::from([command::GATE.to_owned()]),
            arms: BTreeMap::from(arms),
            is_timed: true,
        }],
        settled: Vec::new(),
        subjects: [subject(baseline), subject(candidate)],
        copy: Box::new(|| Ok(())),
    })
}

fn compare_gates(
    arguments: &CompareArguments,
    policy: &Policy,
    here: &Path,
    progress: &mut Progress,
    print: fn(&str) -> io::Result<()>,
) -> Result<Verdict, Box<dyn Error>> {
    let sources = Sources::of(arguments, here, progress)?;
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| sources.workshop.path.join(DEFAULT_OUT));
    prepare(&out)?;
    let [baseline, candidate] = sources.build(&arguments.selection, progress)?;
    if baseline.profile != candidate.profile {
        return Err(format!(
            "failed to build both sides the same way: the baseline has the profile `{}`, the \
             candidate `{}`\n--profile names one that both have",
            baseline.profile, candidate.profile
        )
        .into());
    }
    progress.line(&format!(
        "both are built with the profile `{}`",
        baseline.profile
    ));

    let sides = [("baseline", &baseline), ("candidate", &candidate)];
    let tests: usize = sides.iter().map(|(_, side)| side.tests.len()).sum();
    progress.line(&format!(
        "finding the gates: running {} named perf_… once",
        counted(tests, "test", "tests")
    ));
    let mut found = [Found::default(), Found::default()];
    let programs = || -> io::Result<()> {
        baseline.copy(baseline.tests.values(), OF_A_SIDE)?;
        baseline.copy(baseline.tests.values(), OF_THE_CONTROL)?;
        candidate.copy(candidate.tests.values(), OF_A_SIDE)
    };
    programs().map_err(|error| format!("failed to copy the programs: {error}"))?;
    for ((name, side), found) in sides.iter().zip(&mut found) {
        for (key, test) in &side.tests {
            progress.step(&format!("finding gates: {key}, {name}"));
            let (binary, name) = side.start(test, OF_A_SIDE);
            let binary = Box::new(binary);
            let ran = Runner::Test { binary, name }.run(&BTreeSet::new());
            if children::interrupted().is_some() {
                progress.clear();
                return Err("interrupted".into());
            }
            found.add(
                key,
                ran.map_err(|error| format!("failed to run {key}: {error}"))?,
            );
        }
    }
    progress.clear();
    for (((name, side), found), source) in sides.iter().zip(&found).zip(&sources.of) {
        if found.is_empty() {
            return Err(CompareError::NoGates {
                side: name,
                what: source.said(),
                tests: side.tests.len(),
            }
            .into());
        }
    }
    let [old, new] = &found;
    let matched = gates::matched(old, new, &Filter(arguments.gates.clone()));
    for test in &matched.unasked {
        progress.line(&format!(
            "{test} fails before a gate begins: which gates it has is not known, and its name does \
             not fit --gates"
        ));
    }
    if matched.is_empty() {
        let found: BTreeSet<&String> = old.names().chain(new.names()).collect();
        return Err(CompareError::NoneLike {
            filter: arguments.gates.clone(),
            found: found.into_iter().cloned().collect(),
        }
        .into());
    }

    let arms = |(old, new): &(TestKey, TestKey)| -> BTreeMap<Side, Runner> {
        let runner = |side: &side::Side, key: &TestKey, letter: char| {
            let (binary, name) = side.start(side.tests.get(key)?, letter);
            let binary = Box::new(binary);
            Some(Runner::Test { binary, name })
        };
        let arms = [
            (Side::Baseline, runner(&baseline, old, OF_A_SIDE)),
            (Side::Candidate, runner(&candidate, new, OF_A_SIDE)),
            (Side::Control, runner(&baseline, old, OF_THE_CONTROL)),
        ];
        let there = |(side, runner): (Side, Option<Runner>)| Some((side, runner?));
        arms.into_iter().filter_map(there).collect()
    };
    let units = matched.tests.iter().map(|(tests, gates)| Unit {
        name: tests.1.to_string(),
        gates: gates.iter().map(|gate| gate.name.clone()).collect(),
        arms: arms(tests),
        is_timed: gates.iter().any(|gate| gate.is_timed),
    });
    let subjects = sources.of.each_ref().map(Source::subject);
    let subjects = Subjects {
        units: units.collect(),
        settled: settled(&matched, &subjects),
        subjects,
        copy: Box::new(programs),
    };
    conclude(arguments, policy, &subjects, &out, progress, print)
}

/// What the names of copied programs end in: of the two sides, and of the baseline once more.
const OF_A_SIDE: char = 'x';
const OF_THE_CONTROL: char = 'y';

/// What the sides are, and where they are made ready.
struct Sources {
    of: [Source; 2],
    repository: Option<Repository>,
    workshop: Workshop,
}

impl Sources {
    fn of(
        arguments: &CompareArguments,
        here: &Path,
        progress: &mut Progress,
    ) -> Result<Self, SideError> {
        let named = arguments.baseline.as_deref().unwrap_or_default();
        let baseline = Source::named(named, here)?;
        let candidate = match &arguments.candidate {
            Some(name) => Some(Source::named(name, here)?),
            // Beside a directory the working tree is one, too, in git or not.
            None if matches!(baseline, Source::Directory(_)) => {
                Some(Source::Directory(here.to_owned()))
            }
            None => None,
        };
        let project = match &candidate {
            Some(Source::Directory(path)) => path.as_path(),
            _ => here,
        };
        let workshop = Workshop::open(project)?;
        let repository = Repository::around(here);
        let candidate = match candidate {
            Some(candidate) => candidate,
            None => {
                let repository = repository.as_ref().map_err(GitError::again)?;
                Source::Revision(repository.working_tree(&workshop.target)?)
            }
        };
        if let Source::Revision(revision) = &candidate {
            if revision.uncommitted > 0 {
                progress.line(&format!(
                    "the candidate is {}, which {} part of it",
                    revision.said,
                    if revision.uncommitted == 1 {
                        "is"
                    } else {
                        "are"
                    },
                ));
            } else if let Ok(repository) = &repository
                && arguments.candidate.is_some()
            {
                let left_out = repository.uncommitted(&workshop.target)?;
                if left_out > 0 {
                    progress.line(&format!(
                        "{} in the working tree {} not committed, and in neither side",
                        counted(left_out, "changed file", "changed files"),
                        if left_out == 1 { "is" } else { "are" },
                    ));
                }
            }
        }
        Ok(Self {
            of: [baseline, candidate],
            repository: repository.ok(),
            workshop,
        })
    }

    /// Both sides, one after the other: the machine is theirs alone.
    fn build(
        &self,
        selection: &Selection,
        progress: &mut Progress,
    ) -> Result<[side::Side; 2], SideError> {
        let [old, new] = &self.of;
        let order = |side, letter, source| Order {
            side,
            letter,
            source,
            selection,
            profile: None,
        };
        let repository = self.repository.as_ref();
        let workshop = &self.workshop;
        let baseline = order("baseline", "a", old);
        let baseline = side::Side::build(baseline, workshop, repository, progress)?;
        let candidate = Order {
            profile: Some(&baseline.profile),
            ..order("candidate", "b", new)
        };
        let candidate = side::Side::build(candidate, workshop, repository, progress)?;
        Ok([baseline, candidate])
    }
}

/// What is known of gates that are not measured any further, as repetitions of the first block.
fn settled(matched: &Matched, subjects: &[Subject; 2]) -> Vec<Repetition> {
    let mut settled = Vec::new();
    for (gate, outcomes) in &matched.settled {
        let sides = [Side::Baseline, Side::Candidate];
        for ((outcome, side), subject) in outcomes.iter().zip(sides).zip(subjects) {
            if let Some(result) = outcome {
                settled.push(Repetition {
                    schema: SCHEMA.to_owned(),
                    gate: gate.clone(),
                    side,
                    block: 0,
                    order: 0,
                    at: perfbudget::config::now(),
                    of: subject.of.clone(),
                    result: result.clone(),
                });
            }
        }
    }
    settled
}

/// Measures, decides, writes and prints; `out` is prepared.
fn conclude(
    arguments: &CompareArguments,
    policy: &Policy,
    subjects: &Subjects<'_>,
    out: &Path,
    progress: &mut Progress,
    print: fn(&str) -> io::Result<()>,
) -> Result<Verdict, Box<dyn Error>> {
    let timed: BTreeSet<&String> = subjects
        .units
        .iter()
        .filter(|unit| unit.is_timed)
        .flat_map(|unit| &unit.gates)
        .collect();
    let has_times = |r: &&Repetition| matches!(r.result, Outcome::Times { .. });
    let settled: BTreeSet<&String> = subjects
        .settled
        .iter()
        .filter(has_times)
        .map(|repetition| &repetition.gate)
        .collect();
    let family = u32::try_from(timed.len() + settled.len()).unwrap_or(u32::MAX);
    let plan = plan(arguments, policy, family);
    let gates = subjects.units.iter().map(|unit| unit.gates.len()).sum();
    let processes = if timed.is_empty() {
        PER_BLOCK.to_string()
    } else {
        format!("at most {}", plan.last() * arguments.runs * PER_BLOCK)
    };
    progress.line(&match subjects.units.len() {
        0 => "nothing to measure: no gate is there on both sides, and runs".to_owned(),
        tests => format!(
            "measuring {} in {}: {processes} processes of each side",
            counted(gates, "gate", "gates"),
            counted(tests, "test", "tests"),
        ),
    });
    let [baseline, candidate] = &subjects.subjects;
    let judged = |repetitions: &[Repetition]| -> Decision {
        let comparison = Comparison {
            method: Method::Paired,
            baseline: baseline.clone(),
            candidate: candidate.clone(),
            repetitions,
            looks: plan.looks(),
            at: perfbudget::config::now(),
        };
        decide(&comparison, policy)
    };
    let measuring = Measuring {
        units: &subjects.units,
        // Every look of one pass is one of all passes together.
        is_look: &|blocks| blocks % arguments.runs == 0 && plan.is_look(blocks / arguments.runs),
        blocks_max: plan.last() * arguments.runs,
        is_pass: &|block| is_pass(&plan, arguments.runs, block),
        copy: &*subjects.copy,
        of: [&baseline.of, &candidate.of],
        decided: &|repetitions| decided(&judged(repetitions)),
    };
    let Measured {
        repetitions,
        broken_off,
    } = measuring.run(subjects.settled.clone(), progress);
    if let Some(why) = broken_off {
        artifacts::write_histories(out, &repetitions)?;
        progress.line(&format!(
            "{}: {} of what was measured are in {}",
            match children::interrupted() {
                Some(_) => "interrupted",
                None => "broken off",
            },
            counted(repetitions.len(), "repetition", "repetitions"),
            out.display()
        ));
        return Err(why.into());
    }
    let decision = judged(&repetitions);
    artifacts::write(out, &decision, &repetitions)?;
    let report = out.join(REPORT);
    fs::write(&report, html::page(&decision, &repetitions))
        .map_err(|error| format!("failed to write {}: {error}", report.display()))?;
    let text = if arguments.json {
        let mut text = serde_json::to_string_pretty(&decision)?;
        text.push('\n');
        text
    } else {
        table::terminal(&decision)
    };
    match print(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    progress.line(&format!("the report is {}", report.display()));
    Ok(decision.decision)
}

/// A directory, and nothing in it that another comparison left.
fn prepare(out: &Path) -> Result<(), String> {
    fs::create_dir_all(out).map_err(|error| not_prepared(out, &error))?;
    forget(out)
}

fn not_prepared(out: &Path, error: &io::Error) -> String {
    format!("failed to prepare {}: {error}", out.display())
}

/// Removes what another comparison left, where there is something: this one may fail or be
/// interrupted, and what stands there then is not its.
fn forget(out: &Path) -> Result<(), String> {
    for name in OLD {
        match fs::remove_file(out.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_prepared(out, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The looks, in blocks of a pass.
fn plan(arguments: &CompareArguments, policy: &Policy, gates: u32) -> Plan {
    /// Where it is not said: 64 blocks.
    const MOST: u32 = 128;
    /// So much more than the rank test needs to have a say.
    const ROOM: u32 = 2;
    let blocks = |repetitions: u32| repetitions.div_ceil(PER_BLOCK);
    let needed = statistics::blocks_needed(sequential::level(policy.alpha, gates, 1));
    let least = blocks(arguments.min_repetitions);
    let enough = || blocks(MOST).max(needed.saturating_mul(ROOM)).max(least);
    let most = arguments.max_repetitions.map_or_else(enough, blocks);
    Plan::between(least, most, policy.alpha, gates)
}

/// Whether new copies are made before this block: what lies between two looks is measured in as
/// many passes as there are runs, each of them after new copies.
fn is_pass(plan: &Plan, runs: u32, block: u32) -> bool {
    let is_look = |blocks: u32| blocks == 0 || plan.is_look(blocks);
    let look_before = (0..=block / runs).rev().find(|blocks| is_look(*blocks));
    let before = look_before.unwrap_or(0);
    let next = (before + 1..=plan.last()).find(|blocks| is_look(*blocks));
    let each = next.unwrap_or(before + 1) - before;
    (block - before * runs).is_multiple_of(each)
}

/// Gates of which more repetitions would tell nothing new.
fn decided(decision: &Decision) -> BTreeSet<String> {
    let is_open = |status| {
        matches!(
            status,
            Status::MissingMetric | Status::InsufficientSamples | Status::TooNoisy
        )
    };
    // A gate may be there in two roles.
    let open = decision.gates.iter().filter(|gate| is_open(gate.status));
    let open: BTreeSet<&String> = open.map(|gate| &gate.gate).collect();
    let gates = decision.gates.iter().map(|gate| &gate.gate);
    gates.filter(|gate| !open.contains(gate)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        arguments: CompareArguments,
    }

    fn planned(bounds: &[&str], gates: u32) -> Plan {
        let line = ["compare", "--baseline", "main"].iter().chain(bounds);
        let parsed = <Parsed as clap::Parser>::parse_from(line);
        plan(&parsed.arguments, &Policy::default(), gates)
    }

    #[test]
    fn looks_come_after_the_maximum_half_and_a_quarter_of_it_and_not_too_soon() {
        let looks = |plan: &Plan| -> Vec<u32> {
            let processes = (1..=plan.last()).filter(|blocks| plan.is_look(*blocks));
            processes.map(|blocks| blocks * PER_BLOCK).collect()
        };
        assert_eq!(looks(&planned(&[], 1)), [32, 64, 128]);
        assert_eq!(looks(&planned(&["--min-repetitions", "33"], 1)), [64, 128]);
        assert_eq!(looks(&planned(&["--min-repetitions", "200"], 1)), [200]);
        assert_eq!(looks(&planned(&["--max-repetitions", "40"], 1)), [20, 40]);
    }

    #[test]
    fn each_pass_between_two_looks_begins_with_new_copies() {
        // Looks after 8, 16 and 32 blocks of a pass.
        let plan = Plan::between(8, 32, 0.05, 1);
        let passes = |runs| -> Vec<u32> {
            let blocks = 0..plan.last() * runs;
            blocks
                .filter(|block| is_pass(&plan, runs, *block))
                .collect()
        };
        assert_eq!(passes(1), [0, 8, 16]);
        assert_eq!(passes(2), [0, 8, 16, 24, 32, 48]);
    }
}
