//! `cargo perfbudget calibrate`: thresholds from runs in which both sides were the same code.
//!
//! The proposal is what none of these runs went beyond. Runs are independent and alike, so a new one
//! goes beyond all `n` of them, in any gate, with a probability of 1 / (n + 1): that is what makes
//! enough runs enough. Ceilings keep a machine that is too noisy from making a policy that lets
//! everything pass.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use perfbudget::config;
use serde::Serialize;
use toml_edit::{DocumentMut, Item, Table};

use super::decide::aa_change;
use super::history::{self, Repetition, Side};
use super::policy::Policy;
use super::text;
use crate::calibrate::{default_file, existing, replace, set};

const EXIT_CODES: &str = "\
Exit codes:
  0  the proposal is ready
  1  the tool failed: a history or a file that can't be used
  2  bad arguments
  4  the proposal is not ready: what it lacks is said

A history is the directory that `cargo perfbudget compare --out DIR` wrote, or a file of JSON lines, \
of one run with two sides of the same code: baseline and control, or baseline and candidate of one \
revision.";

/// Runs of a group below which nothing is ready, whatever alpha is.
const RUNS_MIN: usize = 10;
/// Twice the defaults: a policy that is looser catches nothing that matters.
const PRIMARY_MAX: f64 = 10.0;
const REGRESSION_MAX: f64 = 6.0;
const CV_MAX: f64 = 30.0;
/// What proposals are rounded up to.
const CHANGE_STEP: f64 = 0.5;
const CV_STEP: f64 = 1.0;

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CalibratePolicyArguments {
    /// The runs, each of one code against itself
    #[arg(value_name = "HISTORY", required = true)]
    histories: Vec<PathBuf>,

    /// Write the proposal to `[policy]`; everything else in the file stays as it is
    #[arg(long)]
    write: bool,

    /// The file with the policy [default: the nearest perfbudget.toml here or above, else one
    /// beside the workspace's Cargo.toml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why there is no proposal.
#[derive(Debug, thiserror::Error)]
enum CalibrationError {
    #[error(
        "failed to calibrate by {path}: its sides are not the same code\n\
         baseline is {baseline}, candidate is {candidate}, and there is no control"
    )]
    NotTheSame {
        path: String,
        baseline: String,
        candidate: String,
    },
    #[error("failed to calibrate by {path}: it is the run of {first} again")]
    Twice { path: String, first: String },
    #[error("failed to calibrate: no gate has times on both sides in any of these runs")]
    Nothing,
    #[error("failed to write {path}")]
    Write { path: String, source: io::Error },
}

/// What the runs say.
#[derive(Debug, Serialize)]
struct Proposal {
    file: PathBuf,
    written: bool,
    primary_threshold_percent: f64,
    max_regression_percent: f64,
    max_cv_percent: f64,
    /// Of the group with the fewest.
    runs: usize,
    runs_needed: usize,
    ready: bool,
    /// What it lacks.
    lacks: Vec<String>,
    groups: Vec<Group>,
}

/// One gate in all runs.
#[derive(Debug, Serialize)]
struct Group {
    gate: String,
    runs: usize,
    /// The largest change in size of a side against the same code.
    largest_change_percent: f64,
    largest_cv_percent: f64,
}

/// Proposes, and writes when asked to. The result is whether the proposal is ready.
///
/// # Errors
/// When a history or the file can't be used.
pub(crate) fn run(
    arguments: &CalibratePolicyArguments,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<bool, Box<dyn Error>> {
    let file = match &arguments.policy {
        Some(file) => file.clone(),
        None => default_file(&env::current_dir()?)?,
    };
    let before = existing(&file)?.unwrap_or_default();
    let policy = Policy::parse(&before, &file)?;
    let groups = groups(&arguments.histories)?;
    let mut proposal = proposal(groups, policy.alpha, file);
    if arguments.write {
        let after = with_proposal(&before, &proposal, &config::today())?;
        Policy::parse(&after, &proposal.file)?;
        replace(&proposal.file, &after).map_err(|source| CalibrationError::Write {
            path: proposal.file.display().to_string(),
            source,
        })?;
        proposal.written = true;
    }
    let text = if arguments.json {
        serde_json::to_string_pretty(&proposal)? + "\n"
    } else {
        shown(&proposal, policy.alpha)
    };
    match print(&text) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(proposal.ready),
    }
}

/// Every gate that has times on both sides of a run.
fn groups(histories: &[PathBuf]) -> Result<Vec<Group>, Box<dyn Error>> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut seen: BTreeMap<Vec<(String, u32)>, &Path> = BTreeMap::new();
    for path in histories {
        let run = of_one_code(path)?;
        let mut identity: Vec<_> = run.iter().map(|r| (r.at.clone(), r.order)).collect();
        identity.sort();
        if let Some(first) = seen.insert(identity, path) {
            return Err(CalibrationError::Twice {
                path: path.display().to_string(),
                first: first.display().to_string(),
            }
            .into());
        }
        for found in aa_change(&run) {
            let group = groups.entry(found.gate.clone()).or_insert(Group {
                gate: found.gate,
                runs: 0,
                largest_change_percent: 0.0,
                largest_cv_percent: 0.0,
            });
            group.runs += 1;
            let change = found.percent.abs();
            group.largest_change_percent = group.largest_change_percent.max(change);
            group.largest_cv_percent = group.largest_cv_percent.max(found.max_cv_percent);
        }
    }
    if groups.is_empty() {
        return Err(CalibrationError::Nothing.into());
    }
    Ok(groups.into_values().collect())
}

/// The repetitions of a run, with the same code as baseline and candidate.
fn of_one_code(path: &Path) -> Result<Vec<Repetition>, Box<dyn Error>> {
    let mut run = if path.is_dir() {
        let mut run = history::read(&path.join("baseline/history.jsonl"))?;
        run.extend(history::read(&path.join("candidate/history.jsonl"))?);
        run
    } else {
        history::read(path)?
    };
    let of = |side| -> BTreeSet<String> {
        let of_side = run.iter().filter(|r| r.side == side);
        of_side.map(|r| r.of.clone()).collect()
    };
    let (baseline, candidate) = (of(Side::Baseline), of(Side::Candidate));
    let has_control = !of(Side::Control).is_empty();
    if baseline.len() == 1 && baseline == candidate {
        run.retain(|r| r.side != Side::Control);
    } else if has_control {
        // A control is the baseline once more: the same code, whatever the candidate was.
        run.retain(|r| r.side != Side::Candidate);
        for repetition in run.iter_mut().filter(|r| r.side == Side::Control) {
            repetition.side = Side::Candidate;
        }
    } else {
        let listed = |of: BTreeSet<String>| {
            let of: Vec<String> = of.into_iter().collect();
            if of.is_empty() {
                return "missing".to_owned();
            }
            of.join(", ")
        };
        return Err(CalibrationError::NotTheSame {
            path: path.display().to_string(),
            baseline: listed(baseline),
            candidate: listed(candidate),
        }
        .into());
    }
    Ok(run)
}

fn proposal(groups: Vec<Group>, alpha: f64, file: PathBuf) -> Proposal {
    let largest = |of: fn(&Group) -> f64| groups.iter().map(of).fold(0.0, f64::max);
    let change = rounded_up(largest(|group| group.largest_change_percent), CHANGE_STEP);
    let cv = rounded_up(largest(|group| group.largest_cv_percent), CV_STEP);
    let runs_needed = runs_needed(alpha);
    let mut lacks = Vec::new();
    for group in groups.iter().filter(|group| group.runs < runs_needed) {
        lacks.push(format!(
            "{} has {} of the {runs_needed} runs that alpha = {alpha} needs",
            group.gate,
            text::counted(group.runs, "run", "runs")
        ));
    }
    for group in &groups {
        let change = rounded_up(group.largest_change_percent, CHANGE_STEP);
        if change > REGRESSION_MAX.min(PRIMARY_MAX) {
            lacks.push(format!(
                "{} changed by {} % against itself: a threshold above that is looser than \
                 max_regression_percent may be ({REGRESSION_MAX})",
                group.gate,
                text::three_digits(group.largest_change_percent)
            ));
        }
        if rounded_up(group.largest_cv_percent, CV_STEP) > CV_MAX {
            lacks.push(format!(
                "{} varies by {} %: a limit above that is looser than max_cv_percent may be \
                 ({CV_MAX})",
                group.gate,
                text::three_digits(group.largest_cv_percent)
            ));
        }
    }
    Proposal {
        file,
        written: false,
        primary_threshold_percent: change,
        max_regression_percent: change,
        max_cv_percent: cv,
        runs: groups.iter().map(|group| group.runs).min().unwrap_or(0),
        runs_needed,
        ready: lacks.is_empty(),
        lacks,
        groups,
    }
}

/// With as many a new run goes beyond all of them in at most `alpha` of the cases.
fn runs_needed(alpha: f64) -> usize {
    // 1 / 0.05 may be a hair above 20.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "alpha is positive and below 0.5; what saturates is refused all the same"
    )]
    let runs = (1.0 / alpha - 1.0 - 1e-9).ceil() as usize;
    runs.max(RUNS_MIN)
}

/// At least a step, and below 100 as a policy wants it; what comes near that is not ready anyway.
fn rounded_up(percent: f64, step: f64) -> f64 {
    let steps = (percent / step - 1e-9).ceil().max(1.0);
    (steps * step).min(99.0)
}

/// The text with the proposal in its `[policy]`, and everything else as it was.
fn with_proposal(
    text: &str,
    proposal: &Proposal,
    date: &str,
) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let new = || Item::Table(Table::new());
    let policy = document.entry("policy").or_insert_with(new);
    if let Some(policy) = policy.as_table_like_mut() {
        for (key, value) in [
            (
                "primary_threshold_percent",
                proposal.primary_threshold_percent,
            ),
            ("max_regression_percent", proposal.max_regression_percent),
            ("max_cv_percent", proposal.max_cv_percent),
        ] {
            set(policy, key, value.into());
        }
        let calibration = policy.entry("calibration").or_insert_with(new);
        if let Some(calibration) = calibration.as_table_like_mut() {
            let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            set(calibration, "observed", date.into());
            set(calibration, "groups", whole(proposal.groups.len()).into());
            set(calibration, "runs", whole(proposal.runs).into());
            set(calibration, "ready", proposal.ready.into());
        }
    }
    Ok(document.to_string())
}

fn shown(proposal: &Proposal, alpha: f64) -> String {
    let width = proposal
        .groups
        .iter()
        .map(|group| group.gate.chars().count());
    let width = width.chain(["gate".len()]).max().unwrap_or(0);
    let mut text = format!("\n{:<width$}  runs  largest change  largest CV\n", "gate");
    for group in &proposal.groups {
        _ = writeln!(
            text,
            "{:<width$}  {:>4}  {:>12} %  {:>8} %",
            group.gate,
            group.runs,
            text::three_digits(group.largest_change_percent),
            text::three_digits(group.largest_cv_percent)
        );
    }
    _ = writeln!(
        text,
        "\nprimary_threshold_percent = {:?}\nmax_regression_percent = {:?}\nmax_cv_percent = {:?}\n",
        proposal.primary_threshold_percent,
        proposal.max_regression_percent,
        proposal.max_cv_percent
    );
    if proposal.ready {
        _ = writeln!(
            text,
            "ready: {} of each gate, of at least {} at alpha = {alpha}",
            text::counted(proposal.runs, "run", "runs"),
            proposal.runs_needed
        );
    }
    for lack in &proposal.lacks {
        _ = writeln!(text, "not ready: {lack}");
    }
    let file = proposal.file.display();
    _ = if proposal.written {
        writeln!(text, "written   {file}")
    } else {
        writeln!(text, "not written (--write does it): {file}")
    };
    text
}

#[cfg(test)]
mod tests {
    use perfbudget::config::FILE_NAME;

    use super::*;

    fn group(gate: &str, runs: usize, change: f64, cv: f64) -> Group {
        Group {
            gate: gate.into(),
            runs,
            largest_change_percent: change,
            largest_cv_percent: cv,
        }
    }

    fn proposed(groups: Vec<Group>) -> Proposal {
        proposal(groups, 0.05, PathBuf::from(FILE_NAME))
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "multiples of a half")]
    fn the_proposal_is_what_no_run_went_beyond() {
        let proposal = proposed(vec![group("a", 19, 1.2, 3.0), group("b", 30, 2.01, 4.1)]);
        assert_eq!(proposal.primary_threshold_percent, 2.5);
        assert_eq!(proposal.max_regression_percent, 2.5);
        assert_eq!(proposal.max_cv_percent, 5.0);
        assert!(proposal.ready, "{:?}", proposal.lacks);
        assert_eq!((proposal.runs, proposal.runs_needed), (19, 19));
        let quiet = proposed(vec![group("a", 19, 0.0, 0.0)]);
        assert_eq!(
            (quiet.primary_threshold_percent, quiet.max_cv_percent),
            (0.5, 1.0)
        );
    }

    #[test]
    fn too_few_runs_are_not_ready() {
        let proposal = proposed(vec![group("a", 18, 1.0, 3.0), group("b", 19, 1.0, 3.0)]);
        assert!(!proposal.ready);
        assert_eq!(
            proposal.lacks,
            ["a has 18 runs of the 19 runs that alpha = 0.05 needs"]
        );
        assert_eq!(
            (runs_needed(0.05), runs_needed(0.01), runs_needed(0.4)),
            (19, 99, 10)
        );
    }

    #[test]
    fn what_is_looser_than_the_ceilings_is_not_ready() {
        assert!(proposed(vec![group("a", 19, 6.0, 30.0)]).ready);
        let lacks = |change, cv| proposed(vec![group("a", 19, change, cv)]).lacks;
        assert!(lacks(6.01, 1.0)[0].contains("a changed by 6.01 % against itself"));
        assert!(lacks(1.0, 30.1)[0].contains("a varies by 30.1 %"));
        assert_eq!(lacks(500.0, 500.0).len(), 2);
    }

    #[test]
    fn only_the_policys_figures_change_in_the_file() {
        let text = "# Ours.\n[machine] # here\ncpu_score = 1\nprocess_score = 2\n\n\
                    [policy]\nexpect = \"improvement\" # always\nmax_cv_percent = 9 # old\n\n\
                    [[policy.acknowledge]]\ngate = \"a\"\nremoved = true\n";
        let mut proposal = proposed(vec![group("a", 19, 1.2, 3.0)]);
        let written = |text: &str, proposal: &Proposal| {
            with_proposal(text, proposal, "2026-11-21").expect("TOML")
        };
        let after = written(text, &proposal);
        insta::assert_snapshot!(after);
        assert_eq!(written(&after, &proposal), after);
        let policy = Policy::parse(&after, Path::new(FILE_NAME)).expect("read back");
        assert!(policy.check_ready(false).is_ok());
        proposal.ready = false;
        for text in ["", "policy = {}\n", "policy.alpha = 0.01\n", after.as_str()] {
            let after = written(text, &proposal);
            let policy = Policy::parse(&after, Path::new(FILE_NAME)).expect("read back");
            assert!(policy.check_ready(false).is_err(), "{after}");
            assert_eq!(policy.calibration.expect("some").runs, Some(19), "{after}");
        }
    }
}
