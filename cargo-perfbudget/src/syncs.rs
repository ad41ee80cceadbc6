//! `cargo perfbudget syncs -- COMMAND`: runs any program and says what it synced.
//!
//! As with `time`, what the command prints and how it ends are its own; the report goes to standard
//! error behind it.

mod command;
mod report;
mod signals;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use fsync_counter::{Incomplete, KernelScope};

use report::{Form, Report, Tally};

const EXIT_CODES: &str = "\
Exit codes:
  as the command's own; 128 + n where signal n ended it
  2    bad arguments
  125  the tool failed: nothing was run, or the report could not be written
  126  the command could not be started
  127  the command was not found

Examples:
  cargo perfbudget syncs -- git commit -m message
  cargo perfbudget syncs --json -- ./my-server --self-test | jq .total";

/// The tool itself failed, in the shell's usual numbers.
const FAILED: u8 = 125;
const CANNOT_START: u8 = 126;
const NOT_FOUND: u8 = 127;

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SyncsArguments {
    /// Print one JSON object to standard output; what the command prints there goes to standard
    /// error then
    #[arg(long)]
    json: bool,

    /// Write the report to this file instead
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// List the syncs one by one, too, in their order
    #[arg(long)]
    events: bool,

    /// How many lines the table has at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,

    /// Leave the syncs to the program itself: faster, without the time in them
    #[arg(long)]
    no_time: bool,

    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// Runs the command and reports. It has exit codes of its own.
pub(crate) fn syncs(arguments: &SyncsArguments) -> ExitCode {
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(Failure { text, code }) => {
            eprintln!("error: {text}");
            ExitCode::from(code)
        }
    }
}

struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn of_the_tool(text: impl ToString) -> Self {
        Self {
            text: text.to_string(),
            code: FAILED,
        }
    }

    fn of_the_command(command: &OsString, error: &io::Error) -> Self {
        let name = command.to_string_lossy();
        match error.kind() {
            io::ErrorKind::NotFound => Self {
                text: format!("{name}: command not found"),
                code: NOT_FOUND,
            },
            _ => Self {
                text: format!("{name}: {error}"),
                code: CANNOT_START,
            },
        }
    }
}

fn run(arguments: &SyncsArguments) -> Result<u8, Failure> {
    // Before the command runs: what it did should not be lost for a file that can't be written.
    let file = match &arguments.output {
        None => None,
        Some(path) => Some(File::create(path).map_err(|error| {
            Failure::of_the_tool(format!("failed to write {}: {error}", path.display()))
        })?),
    };
    let scope = KernelScope::open()
        .map_err(Failure::of_the_tool)?
        .to_the_last();
    let scope = if arguments.no_time {
        scope
    } else {
        scope.timed()
    };
    let session = Arc::new(Session {
        command: arguments.command.clone(),
        form: Form {
            json: arguments.json,
            events: arguments.events,
            top: arguments.top,
            timed: !arguments.no_time,
        },
        file,
        phase: Mutex::new(Phase::Starting),
        changed: Condvar::new(),
        tally: Mutex::default(),
    });
    signals::attend(&session)
        .map_err(|error| Failure::of_the_tool(format!("failed to prepare for signals: {error}")))?;

    let watched = &session;
    let observed = scope
        .try_observe(
            || command::run(watched),
            |event| session.tally().add(event, session.form.keeps_events()),
            |reason| session.tally().incomplete.push(reason.clone()),
        )
        .map_err(Failure::of_the_tool)?;
    if let Err(error) = &observed.value {
        return Err(Failure::of_the_command(&arguments.command[0], error));
    }
    session
        .report(None)
        .map_err(|error| Failure::of_the_tool(format!("failed to write the report: {error}")))
}

/// How far the command is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Starting,
    /// This process runs.
    Running(u32),
    /// It has ended, and something that it started has not.
    Lingering(Ended),
    /// The report is being written, by whoever came first.
    Reporting,
}

/// How the command ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    status: ExitStatus,
    /// Since it was started.
    after: Duration,
}

impl Ended {
    /// As a shell has it.
    fn code(&self) -> u8 {
        let code = match (self.status.code(), command::signal_of(self.status)) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => i32::from(FAILED),
        };
        u8::try_from(code & 0xff).unwrap_or(FAILED)
    }
}

/// One run of the tool, shared with the thread that attends to signals.
#[derive(Debug)]
struct Session {
    command: Vec<OsString>,
    form: Form,
    file: Option<File>,
    phase: Mutex<Phase>,
    changed: Condvar,
    tally: Mutex<Tally>,
}

impl Session {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase() = phase;
        self.changed.notify_all();
    }

    /// Writes the report, once, with a reason more why it may have too little; the exit code.
    fn report(&self, more: Option<Incomplete>) -> io::Result<u8> {
        let ended = {
            let mut phase = self.phase();
            let Phase::Lingering(ended) = *phase else {
                // The other thread is at it, and ends the process.
                drop(phase);
                loop {
                    std::thread::park();
                }
            };
            *phase = Phase::Reporting;
            ended
        };
        self.changed.notify_all();
        let mut tally = self.tally();
        tally.incomplete.extend(more);
        let report = Report::new(&self.command, &ended, &tally, self.form);
        let text = report.text();
        match &self.file {
            Some(file) => (&mut &*file).write_all(text.as_bytes())?,
            None if self.form.json => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            None => anstream::stderr().write_all(text.as_bytes())?,
        }
        Ok(ended.code())
    }
}
