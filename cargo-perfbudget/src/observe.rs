//! `cargo perfbudget observe`: where a base comes from.
//!
//! Builds the tests, finds the one that a gate stands in, runs it in several processes one after
//! the other at multiplier 1.0, and shows what was measured with the line to paste. It decides
//! nothing and changes no file; the verdict of a gate does not matter here.

mod base;
pub(crate) mod cargo;
pub(crate) mod find;
mod observation;
pub(crate) mod process;
pub(crate) mod progress;
mod text;

use std::error::Error;
use std::io;
use std::path::PathBuf;

use clap::Args;
use perfbudget::Verdict;
use perfbudget::record::TestPlace;
use serde::Serialize;

pub(crate) use cargo::{NOTE, note};

use cargo::{Binary, Selection};
use find::{Catalogue, Test, broken_test, indented};
use observation::Observation;
use progress::Progress;

use crate::causes::with_causes;

const AFTER_HELP: &str = "\
Write the gate with a base that you guess, observe it on a quiet machine, and paste the line:

  $ cargo perfbudget observe outbox/drain-25

A base is the median over the processes of the code's own time: the trimmed mean of a process's \
samples, without what it is known to have waited for a CPU. The constant in the line is named \
after the gate.

Exit codes:
  0  every gate was observed, whatever its verdict
  1  the tool failed: the build, no such gate, no record, not measured
  2  bad arguments";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ObserveArguments {
    /// The gates to observe
    #[arg(value_name = "GATE", value_parser = gate_name, required_unless_present = "all")]
    gates: Vec<String>,

    /// Observe every gate whose test is named perf_…
    #[arg(long, conflicts_with = "gates")]
    all: bool,

    /// How many processes to observe a gate in, one after the other
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    processes: u32,

    /// Where the records of earlier runs are, which say what test a gate stands in
    /// [default: $PERFBUDGET_DIR, else target/perfbudget]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    selection: Selection,
}

fn gate_name(text: &str) -> Result<String, &'static str> {
    let is_word = |word: &str| {
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !word.is_empty() && word.bytes().all(is_letter)
    };
    if text.split('/').all(is_word) {
        Ok(text.to_owned())
    } else {
        Err("a gate's name is words of a-z, 0-9 and -, separated by /")
    }
}

/// What is printed with `--json`.
#[derive(Debug, Default, Serialize)]
struct Observations {
    gates: Vec<Observation>,
    /// What could not be observed, and why.
    errors: Vec<String>,
}

/// A gate that left no record where it should have.
#[derive(Debug, thiserror::Error)]
enum NoRecord {
    #[error(
        "failed to observe {gate}: it left no record in process {process} of {processes}: the test \
         {test} ended with {status}\n{}",
        indented(output)
    )]
    Missing {
        gate: String,
        test: Test,
        process: u32,
        processes: u32,
        status: std::process::ExitStatus,
        output: String,
    },
    #[error("failed to observe {gate}: its record can't be read: {why}")]
    Unreadable { gate: String, why: String },
    #[error("failed to run the test {test}")]
    Run { test: Test, source: io::Error },
}

/// Prints what was observed. `records` is where records are when nothing says so.
pub(crate) fn observe(
    arguments: &ObserveArguments,
    records: fn() -> PathBuf,
    print: fn(&str) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let mut progress = Progress::on_stderr();
    let binaries = cargo::binaries(&arguments.selection, &mut progress)?;
    let records = records_directory(arguments, &binaries).unwrap_or_else(records);
    let mut catalogue = Catalogue::of(&binaries)?;
    let mut seen = Observations::default();

    let mut groups: Vec<(Test, Vec<String>)> = Vec::new();
    let mut add = |gate: String, test: Test| match groups.iter_mut().find(|(t, _)| *t == test) {
        Some((_, gates)) if gates.contains(&gate) => {}
        Some((_, gates)) => gates.push(gate),
        None => groups.push((test, vec![gate])),
    };
    if arguments.all {
        for (gate, test) in catalogue.find_all(&mut progress)? {
            add(gate, test);
        }
        let broken = catalogue.broken().iter();
        seen.errors
            .extend(broken.map(|(test, output)| broken_test(test, output)));
    }
    for gate in &arguments.gates {
        match catalogue.find(gate, &records, &mut progress) {
            Ok(test) => add(gate.clone(), test),
            Err(error) => seen.errors.push(with_causes(&error)),
        }
    }

    for (test, gates) in &groups {
        let found = in_processes(&binaries, test, gates, arguments.processes, &mut progress);
        for observation in found {
            match observation {
                Ok(observation) => {
                    if !arguments.json {
                        unless_closed(print(&text::text(&observation)))?;
                    }
                    seen.gates.push(observation);
                }
                Err(error) => seen.errors.push(with_causes(&*error)),
            }
        }
    }
    if arguments.json {
        let mut text = serde_json::to_string_pretty(&seen)?;
        text.push('\n');
        unless_closed(print(&text))?;
    }
    if seen.errors.is_empty() {
        Ok(())
    } else {
        Err(seen.errors.join("\nerror: ").into())
    }
}

/// A reader that has seen enough (`| head`) is no failure of the tool.
fn unless_closed(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// As the gates themselves find it: Cargo's configuration may set it.
fn records_directory(arguments: &ObserveArguments, binaries: &[Binary]) -> Option<PathBuf> {
    arguments.dir.clone().or_else(|| {
        let set = binaries.first()?.variable(perfbudget::DIR_ENV)?;
        (!set.is_empty()).then(|| set.into())
    })
}

/// The gates of one test, each observed or the reason why not.
fn in_processes(
    binaries: &[Binary],
    test: &Test,
    gates: &[String],
    processes: u32,
    progress: &mut Progress,
) -> Vec<Result<Observation, Box<dyn Error>>> {
    progress.line(&format!(
        "observing {} in {}",
        gates.join(", "),
        observation::counted(processes as usize, "process", "processes")
    ));
    let mut outcomes = Vec::new();
    for process in 1..=processes {
        progress.step(&format!("process {process} of {processes}"));
        match process::run(&binaries[test.binary], &test.name) {
            Ok(outcome) => outcomes.push(outcome),
            Err(source) => {
                progress.clear();
                let test = test.clone();
                return vec![Err(NoRecord::Run { test, source }.into())];
            }
        }
        // What the first process shows to be in vain is not done again.
        let goes_on = |gate: &String| {
            let record = outcomes.last().and_then(|outcome| outcome.record(gate));
            record.is_some_and(|record| record.verdict != Verdict::NotMeasured)
        };
        if !gates.iter().any(goes_on) {
            break;
        }
    }
    progress.clear();
    let of_gate = |gate: &String| {
        let mut records = Vec::new();
        for (process, outcome) in (1..).zip(&outcomes) {
            if let Some((_, why)) = outcome.unreadable.iter().find(|(name, _)| name == gate) {
                let (gate, why) = (gate.clone(), why.clone());
                return Err(NoRecord::Unreadable { gate, why }.into());
            }
            records.push(
                outcome
                    .record(gate)
                    .cloned()
                    .ok_or_else(|| NoRecord::Missing {
                        gate: gate.clone(),
                        test: test.clone(),
                        process,
                        processes,
                        status: outcome.status,
                        output: outcome.output.clone(),
                    })?,
            );
        }
        // A harness on one core runs tests on its main thread, and a gate then takes that for
        // the test's name.
        let mut place: TestPlace = records.last().map(|r| r.test.clone()).unwrap_or_default();
        place.path.clone_from(&test.name);
        Ok(Observation::of(gate, place, &records)?)
    };
    gates.iter().map(of_gate).collect()
}
