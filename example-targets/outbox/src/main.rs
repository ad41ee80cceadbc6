//! The `outbox` command: the library's operations for scripts and hooks.
//!
//! It parses arguments and prints; what an operation does is in the library.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use outbox::{DrainError, Event, Outbox, Turn};

/// The environment variable that stands in for `--root`.
const ROOT_VARIABLE: &str = "OUTBOX_ROOT";

/// A durable outbox: children commit finished turns, their parent drains them.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    /// The directory that holds every parent's outbox [default: $OUTBOX_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  outbox commit --root ~/.outbox session-1 --child task-7 --signal 'turn 3' --summary done
  make test 2>&1 | tail | outbox commit session-1 --child task-7 --signal 'turn 4' --summary -
  outbox drain --root ~/.outbox session-1 | while read -r turn; do act-on \"$turn\"; done

Exit status: 0 success, 1 the operation failed (what was committed is still there), 2 usage.";

#[derive(Subcommand)]
enum Command {
    /// Make an event pending; it is durable when the command ends
    Commit {
        /// The id of the parent: any text that is not empty
        parent: String,
        /// The id of the child: a later event of a child replaces its pending one
        #[arg(long)]
        child: String,
        /// What identifies the turn, and is not empty: the same signal of a child is the same
        /// turn
        #[arg(long)]
        signal: String,
        /// What the child says about the turn, at most 32 KiB; `-` reads standard input, without
        /// its last line break
        #[arg(long, default_value = "", allow_hyphen_values = true)]
        summary: String,
    },
    /// Print the pending turns, one JSON object a line, and take them out
    ///
    /// They are taken out once standard output has them all: after a broken pipe they are
    /// still there.
    Drain {
        /// The id of the parent
        parent: String,
    },
    /// Show the pending turns and leave them there
    Pending {
        /// The id of the parent
        parent: String,
        /// One JSON object a line, as `drain` prints them
        #[arg(long)]
        json: bool,
    },
    /// Set aside what is damaged or older than 7 days, forget consumed turns after 14 days
    Sweep {
        /// The id of the parent
        parent: String,
    },
    /// Print what was set aside, and why: one JSON object a line
    DeadLetters {
        /// The id of the parent
        parent: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = arguments
        .root
        .or_else(|| std::env::var_os(ROOT_VARIABLE).map(PathBuf::from))
        .filter(|root| !root.as_os_str().is_empty());
    let Some(root) = root else {
        complain("find the outbox: no root directory is given", None);
        eprintln!("  give --root DIR, or set {ROOT_VARIABLE}");
        return ExitCode::from(USAGE);
    };
    match run(&root, arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.error.to_string(), failure.error.source());
            if let Some(cure) = failure.cure {
                eprintln!("  {cure}");
            }
            ExitCode::from(failure.status)
        }
    }
}

/// Prints `error: failed to <what>: <cause>: <cause of the cause>`.
fn complain(what: &str, mut cause: Option<&(dyn Error + 'static)>) {
    let mut text = format!("error: failed to {what}");
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    eprintln!("{text}");
}

/// The exit status of an operation that failed.
const FAILED: u8 = 1;

/// The exit status of arguments that cannot be right, which is also the one of `clap`.
const USAGE: u8 = 2;

/// An error with its cure and its exit status.
struct Failure {
    error: Box<dyn Error>,
    cure: Option<String>,
    status: u8,
}

impl From<outbox::Error> for Failure {
    fn from(error: outbox::Error) -> Self {
        let is_usage = matches!(
            error,
            outbox::Error::EmptyParent
                | outbox::Error::EmptyChild
                | outbox::Error::EmptySignal
                | outbox::Error::SummaryTooLong { .. }
                | outbox::Error::EventTooLong { .. }
        );
        Self {
            cure: error.cure(),
            error: error.into(),
            status: if is_usage { USAGE } else { FAILED },
        }
    }
}

/// There is nothing to read, and a mistyped name is likelier than an outbox to be created.
#[derive(Debug, thiserror::Error)]
#[error("find the root directory {}", .0.display())]
struct RootMissing(PathBuf, #[source] io::Error);

/// A failure of standard input or output.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("read the summary from standard input")]
    Input(#[source] io::Error),
    #[error("write to standard output")]
    Output(#[source] io::Error),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        let cure = match &error {
            StreamError::Input(_) => "give the summary as UTF-8 text",
            StreamError::Output(_) => "run it again: nothing was taken out",
        };
        Self {
            cure: Some(cure.into()),
            error: error.into(),
            status: FAILED,
        }
    }
}

/// Opens an outbox to look into it or to take from it. The root must be there; a parent to
/// which nobody has committed yet need not, so that it can drain from its first heartbeat,
/// and a mistyped one leaves no trace.
fn open_existing(root: &Path, parent: &str) -> Result<Option<Outbox>, Failure> {
    match root.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure {
            error: RootMissing(root.to_owned(), error).into(),
            cure: Some(format!(
                "check --root and {ROOT_VARIABLE}; only `outbox commit` creates a root"
            )),
            status: FAILED,
        }),
        // Any other error comes up again, with its cure, when the outbox is opened.
        _ => Ok(Outbox::open_existing(root, parent)?),
    }
}

fn run(root: &Path, command: Command) -> Result<(), Failure> {
    match command {
        Command::Commit {
            parent,
            child,
            signal,
            summary,
        } => {
            let summary = if summary == "-" {
                read_summary()?
            } else {
                summary
            };
            let event = Event::new(child, signal).with_summary(summary);
            Outbox::open(root, &parent)?.commit(event)?;
        }
        Command::Drain { parent } => {
            let Some(outbox) = open_existing(root, &parent)? else {
                return Ok(());
            };
            let dead_letters = outbox
                .drain_with(|drained| {
                    let lines = drained.iter().flat_map(json_line).collect::<Vec<u8>>();
                    print(&lines).map(|()| drained.dead_letters())
                })
                .map_err(|error| match error {
                    DrainError::Outbox(error) => Failure::from(error),
                    DrainError::Consumer(error) => Failure::from(error),
                    other => Failure {
                        error: other.into(),
                        cure: None,
                        status: FAILED,
                    },
                })?;
            if dead_letters > 0 {
                let were = if dead_letters == 1 { "was" } else { "were" };
                eprintln!(
                    "warning: {} {were} set aside; see `outbox dead-letters`",
                    counted(dead_letters, "line")
                );
            }
        }
        Command::Pending { parent, json } => {
            let Some(outbox) = open_existing(root, &parent)? else {
                return Ok(());
            };
            let pending = outbox.pending()?;
            let lines = pending.iter().flat_map(|turn| {
                if json {
                    json_line(turn)
                } else {
                    text_line(turn)
                }
            });
            print(&lines.collect::<Vec<u8>>())?;
        }
        Command::Sweep { parent } => {
            let Some(outbox) = open_existing(root, &parent)? else {
                return Ok(());
            };
            let swept = outbox.sweep()?;
            let text = format!(
                "set aside {}, forgot {}\n",
                counted(swept.dead_letters, "line"),
                counted(swept.ledger_entries, "consumed turn")
            );
            print(text.as_bytes())?;
        }
        Command::DeadLetters { parent } => {
            let Some(outbox) = open_existing(root, &parent)? else {
                return Ok(());
            };
            let letters = outbox.dead_letters()?;
            let lines = letters.iter().flat_map(json_line);
            print(&lines.collect::<Vec<u8>>())?;
        }
    }
    Ok(())
}

/// Reads the summary from standard input, without the line break with which commands end
/// what they print.
fn read_summary() -> Result<String, StreamError> {
    let mut summary = String::new();
    io::stdin()
        .read_to_string(&mut summary)
        .map_err(StreamError::Input)?;
    if summary.ends_with('\n') {
        summary.pop();
    }
    Ok(summary)
}

/// `1 line`, `2 lines`.
fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn json_line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("strings and numbers are JSON");
    line.push(b'\n');
    line
}

/// A turn for a person: control characters are escaped, so that it stays one line.
fn text_line(turn: &Turn) -> Vec<u8> {
    format!(
        "{}  {}  {}\n",
        turn.child.escape_debug(),
        turn.signal.escape_debug(),
        turn.summary.escape_debug()
    )
    .into_bytes()
}

fn print(bytes: &[u8]) -> Result<(), StreamError> {
    let mut output = io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(StreamError::Output)
}
