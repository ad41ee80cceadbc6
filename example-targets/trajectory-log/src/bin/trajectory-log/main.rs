//! The `trajectory-log` command: the library's operations for shells and scripts.
//!
//! It parses arguments and prints; what an operation does is in the library.
#![forbid(unsafe_code)]

mod append;
mod failure;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::append::Settings;
use crate::failure::Failure;

/// A log of agent trajectories in SQLite: every turn of every run, in batches.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = r#"Examples:
  echo '{"run_id":"run-7","turn":1,"role":"user","content":"What is 6 × 7?"}' |
    trajectory-log append log.db
  agent --print-turns | trajectory-log append log.db --durability wal/normal
  trajectory-log tail log.db -n 20 --run run-7
  trajectory-log stats log.db

Exit status: 0 success, 1 the operation failed (what was logged before is there), 2 usage."#;

#[derive(Subcommand)]
enum Command {
    /// Log the turns that come on standard input, one JSON object a line
    ///
    /// Each line is an object with `run_id` (text), `turn` (0 to 4294967295), `role` (text) and
    /// `content` (text, or any other JSON, which is kept to the digit). Empty lines are passed
    /// over. At a line that is none of these it stops; the turns before it are on disk. They all
    /// are when it ends with status 0.
    Append {
        /// The database, which is created where it is missing
        db: PathBuf,
        #[command(flatten)]
        settings: Settings,
        /// Print how many turns were logged as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the last turns, the latest last
    ///
    /// For a person: a line a turn, control characters escaped, long contents cut.
    Tail {
        /// The database
        db: PathBuf,
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: u32,
        /// Of this run only
        #[arg(long, value_name = "RUN_ID")]
        run: Option<String>,
        /// One JSON object a line, with everything: `append` reads what `jq
        /// 'del(.id, .accepted_at_ms)'` makes of it
        #[arg(long)]
        json: bool,
    },
    /// Print how much is in the log
    Stats {
        /// The database
        db: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Append { db, settings, json } => append::run(&db, &settings, json),
        Command::Tail {
            db,
            lines,
            run,
            json,
        } => show::tail(&db, lines, run.as_deref(), json),
        Command::Stats { db, json } => show::stats(&db, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.complain(),
    }
}

type Done = Result<(), Failure>;
