//! The `work-queue` command: measures the queue, checks workflow files, shows what a store holds.
//!
//! It parses arguments and prints; what the queue does is in the library.
#![forbid(unsafe_code)]

mod bench;
mod show;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A durable queue of workflow actions, on SQLite and on Postgres.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  work-queue bench queue-noop --store sqlite --instances 10000 --seconds 10
  work-queue bench queue-noop --store postgres --instances 10000 --seconds 10 --json | jq .
  work-queue check album.json
  work-queue status --db queue.db

Exit status: 0 success, 1 it failed, 2 usage.";

#[derive(Subcommand)]
enum Command {
    /// Measure how fast the queue is
    #[command(subcommand)]
    Bench(Bench),
    /// Check a workflow definition, a JSON file
    Check {
        /// The file
        file: PathBuf,
    },
    /// How many instances and actions a store holds
    Status {
        #[command(flatten)]
        place: Place,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Instances of no-ops: at once, one after the other with branches, at once again
    QueueNoop(QueueNoop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One file, no server
    Sqlite,
    /// A server, for any number of processes
    Postgres,
}

/// Where a store is.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The SQLite file
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// The Postgres database, such as postgres://user@host/name
    #[arg(long, value_name = "URL", conflicts_with = "db")]
    url: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct QueueNoop {
    /// What holds the queue
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    store: Kind,
    /// How many instances are executed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    instances: u64,
    /// Actions that an instance runs at once, three times one more
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    loop_size: u16,
    /// Tasks that run handlers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Stop after this time, whatever is left
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// A SQLite file to use, instead of a temporary one on a real disk; it is kept
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// A Postgres database to use, instead of a temporary server; what is made there is kept
    #[arg(long, value_name = "URL", conflicts_with = "db")]
    url: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Changes in a transaction, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// Start instances while fewer actions than this are ready
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    ready: Option<u32>,
    /// Leave out what the same rows take without a queue
    #[arg(long)]
    no_raw_limit: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("a number of seconds above 0, at most 86400".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Bench(Bench::QueueNoop(options)) => bench::run(&options),
        Command::Check { file } => show::check(&file),
        Command::Status { place, json } => show::status(&place, json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("work-queue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
