//! The command line: arguments, exit codes, and where output goes.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::ab::decision::Verdict;
use crate::ab::{self, CalibratePolicyArguments, CompareArguments, DecideArguments};
use crate::calibrate::{self, CalibrateArguments};
use crate::causes::with_causes;
use crate::expected::ExpectedTests;
use crate::observe::{self, ObserveArguments};
use crate::report::Report;
use crate::syncs::{self, SyncsArguments};
use crate::table;

/// The tool itself failed.
const FAILED: u8 = 1;
/// Bad arguments; clap's own exit code.
const USAGE: u8 = 2;
/// A gate failed, or one that should have run left no record.
const REJECTED: u8 = 3;
/// What was asked for can't be decided.
const INCONCLUSIVE: u8 = 4;

/// Observes performance gates, reports on their records, compares two versions of the code on them,
/// and shows every sync of any program.
#[derive(Debug, Parser)]
#[command(name = "cargo perfbudget", bin_name = "cargo perfbudget")]
#[command(version, after_help = ALL_EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const ALL_EXIT_CODES: &str = "\
Exit codes (`--help` of a command has its own list; `syncs` exits as its command does):
  0  every gate passed, accepted
  1  the tool failed
  2  bad arguments
  3  a gate failed, rejected
  4  inconclusive, not ready";

const EXIT_CODES: &str = "\
Exit codes:
  0  every gate passed
  1  the tool failed
  2  bad arguments
  3  a gate failed, or one that should have run left no record";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the gates of one run as a table.
    Report(ReportArguments),
    /// Run a gate in several processes, and print its base as a line to paste.
    Observe(ObserveArguments),
    /// What `observe` has Cargo start in the place of a test binary.
    #[command(name = observe::NOTE, hide = true)]
    Note {
        directory: PathBuf,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<OsString>,
    },
    /// Compare two versions of the code, measured in turns on this machine.
    Compare(CompareArguments),
    /// Decide by the policy of perfbudget.toml between two stored histories.
    Decide(DecideArguments),
    /// Propose the thresholds of the policy from runs of one code against itself.
    Calibrate(CalibratePolicyArguments),
    /// Time the reference work of PERF_BUDGET_MULTIPLIER=auto here, and write it to
    /// perfbudget.toml.
    CalibrateMachine(CalibrateArguments),
    /// Run any program and show every sync that it and its children issue.
    Syncs(SyncsArguments),
}

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
struct ReportArguments {
    /// The run to report on [default: the latest]
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,

    /// Where the records of all runs are [default: $PERFBUDGET_DIR, else target/perfbudget]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The tests that should have left records: `cargo nextest list --message-format json`
    #[arg(long, value_name = "FILE", conflicts_with = "expected_libtest")]
    expected_nextest: Option<PathBuf>,

    /// The same from `cargo test -- --list --format terse`
    #[arg(long, value_name = "FILE")]
    expected_libtest: Option<PathBuf>,

    /// Append the table as Markdown to this file, too; `-` prints it instead of the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the tool and says how it ended.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Cargo starts `cargo-perfbudget perfbudget report`; started by its own name, or by an alias,
    // the second word is missing.
    let arguments = arguments
        .enumerate()
        .filter(|(position, word)| (*position, word.as_os_str()) != (1, "perfbudget".as_ref()))
        .map(|(_, word)| word);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors and go to standard output.
            _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let passed = |passed| if passed { 0 } else { REJECTED };
    let outcome = match arguments.command {
        Command::Report(arguments) => report(&arguments).map(passed),
        Command::Observe(arguments) => {
            observe::observe(&arguments, records_root, print).map(|()| 0)
        }
        Command::Note {
            directory, program, ..
        } => observe::note(&directory, &program)
            .map(|()| 0)
            .map_err(Into::into),
        Command::Compare(arguments) => ab::compare(&arguments, print),
        Command::Decide(arguments) => ab::decide_stored(&arguments, print).map(Verdict::exit_code),
        Command::Calibrate(arguments) => {
            ab::calibrate(&arguments, print).map(|is_ready| if is_ready { 0 } else { INCONCLUSIVE })
        }
        Command::CalibrateMachine(arguments) => calibrate::calibrate(&arguments, print).map(|()| 0),
        Command::Syncs(arguments) => return syncs::syncs(&arguments),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::from(FAILED)
        }
    }
}

/// Whether every gate passed.
fn report(arguments: &ReportArguments) -> Result<bool, Box<dyn Error>> {
    let root = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => records_root(),
    };
    let run_id = match &arguments.run_id {
        Some(id) => id.clone(),
        None => latest_run(&root)?,
    };
    let expected = match (&arguments.expected_nextest, &arguments.expected_libtest) {
        (Some(file), _) => Some(ExpectedTests::from_nextest(file)?),
        (_, Some(file)) => Some(ExpectedTests::from_libtest(file)?),
        (None, None) => None,
    };
    let report = Report::read(&root, &run_id, expected.as_ref())?;

    let on_stdout = arguments.markdown.as_deref() == Some(Path::new("-"));
    let shown = if on_stdout {
        print(&table::markdown(&report))
    } else {
        show(&report, arguments.json)
    };
    if let Some(file) = arguments.markdown.as_ref().filter(|_| !on_stdout) {
        append(file, &table::markdown(&report))
            .map_err(|error| format!("failed to append to {}: {error}", file.display()))?;
    }
    match shown {
        // A reader that has seen enough (`| head`) is no failure of the report.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(report.passed),
    }
}

fn show(report: &Report, as_json: bool) -> io::Result<()> {
    let mut text = if as_json {
        serde_json::to_string_pretty(report)?
    } else {
        table::terminal(report)
    };
    if as_json {
        text.push('\n');
    }
    print(&text)
}

fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn append(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(text.as_bytes())
}

/// Where the records are when no argument says so.
fn records_root() -> PathBuf {
    std::env::var_os(perfbudget::DIR_ENV)
        .filter(|value| !value.is_empty())
        .map_or_else(default_dir, PathBuf::from)
}

/// `target/perfbudget` of this directory or of the nearest one above it that has one.
fn default_dir() -> PathBuf {
    const DIR: &str = "target/perfbudget";
    let here = std::env::current_dir().unwrap_or_default();
    let found = here
        .ancestors()
        .map(|dir| dir.join(DIR))
        .find(|dir| dir.is_dir());
    found.unwrap_or_else(|| PathBuf::from(DIR))
}

/// The run directory that was changed last.
fn latest_run(root: &Path) -> Result<String, Box<dyn Error>> {
    let nothing = || {
        format!(
            "failed to find a run in {}\nrun the gates first, with PERFBUDGET_DIR set, or name the \
             directory of the records with --dir",
            root.display()
        )
    };
    let entries = fs::read_dir(root).map_err(|error| format!("{}: {error}", nothing()))?;
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            runs.push((entry.metadata()?.modified()?, entry.file_name()));
        }
    }
    let (_, name) = runs.into_iter().max().ok_or_else(nothing)?;
    Ok(name.to_string_lossy().into_owned())
}
