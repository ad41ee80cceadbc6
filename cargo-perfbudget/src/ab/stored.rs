//! `cargo perfbudget decide`: the policy, applied to two stored histories.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::decide::{Comparison, decide};
use super::decision::{Method, Subject, Verdict};
use super::history::{self, Repetition, Side};
use super::policy::{Expect, Policy};
use super::{artifacts, table};

const EXIT_CODES: &str = "\
Exit codes:
  0  accepted
  1  the tool failed: a history or a policy that can't be used
  2  bad arguments
  3  rejected
  4  inconclusive";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DecideArguments {
    /// The history of the baseline, JSON lines; what it has of a control is the control
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,

    /// The history of the candidate
    #[arg(long, value_name = "FILE")]
    candidate: PathBuf,

    /// What the primaries are to show, whatever the policy says
    #[arg(long, value_enum)]
    expect: Option<Expect>,

    /// The file of the policy [default: the nearest perfbudget.toml here or above, else the
    /// defaults]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Write decision.json, insights.md and both histories to this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the decision as one JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Decide also by a policy whose calibration says that it is not ready
    #[arg(long)]
    allow_uncalibrated: bool,
}

/// A file with the repetitions of two sides.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to decide on {path}: it has repetitions of the baseline and of the candidate\n\
     name a file with one side only, as `cargo perfbudget compare --out DIR` writes them"
)]
struct TwoSides {
    path: String,
}

/// Decides, and prints the decision.
///
/// # Errors
/// When a history or the policy can't be used, or an artifact can't be written.
pub(crate) fn run(
    arguments: &DecideArguments,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<Verdict, Box<dyn Error>> {
    let mut policy = Policy::find(arguments.policy.as_deref(), &env::current_dir()?)?;
    policy.check_ready(arguments.allow_uncalibrated)?;
    if let Some(expect) = arguments.expect {
        policy.expect = expect;
    }
    let mut repetitions = of_side(&arguments.baseline, Side::Baseline)?;
    repetitions.extend(of_side(&arguments.candidate, Side::Candidate)?);
    let comparison = Comparison {
        method: Method::Welch,
        baseline: subject(&arguments.baseline, &repetitions, Side::Baseline),
        candidate: subject(&arguments.candidate, &repetitions, Side::Candidate),
        repetitions: &repetitions,
        looks: 1,
        at: perfbudget::config::now(),
    };
    let decision = decide(&comparison, &policy);
    if let Some(directory) = &arguments.out {
        artifacts::write(directory, &decision, &repetitions)?;
    }
    let text = if arguments.json {
        serde_json::to_string_pretty(&decision)? + "\n"
    } else {
        table::terminal(&decision)
    };
    match print(&text) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(decision.decision),
    }
}

/// A file's repetitions as those of a side, whichever they were of when they ran. The control of the
/// baseline stays one; that of a candidate would be a third side.
fn of_side(path: &Path, side: Side) -> Result<Vec<Repetition>, Box<dyn Error>> {
    let mut repetitions = history::read(path)?;
    let sides: BTreeSet<Side> = repetitions.iter().map(|r| r.side).collect();
    if sides.contains(&Side::Baseline) && sides.contains(&Side::Candidate) {
        let path = path.display().to_string();
        return Err(TwoSides { path }.into());
    }
    repetitions.retain(|r| side == Side::Baseline || r.side != Side::Control || sides.len() == 1);
    for repetition in &mut repetitions {
        if repetition.side != Side::Control || sides.len() == 1 {
            repetition.side = side;
        }
    }
    Ok(repetitions)
}

/// The file, and what was measured: all that its lines name.
fn subject(path: &Path, repetitions: &[Repetition], side: Side) -> Subject {
    let of: BTreeSet<&str> = repetitions
        .iter()
        .filter(|repetition| repetition.side == side)
        .map(|repetition| repetition.of.as_str())
        .collect();
    Subject {
        name: path.display().to_string(),
        of: of.into_iter().collect::<Vec<_>>().join(", "),
    }
}
