//! The queue study. See `scripts/queue-study`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use queue_study::report;
use queue_study::study::{self, Options};

/// How fast work-queue is, by store and by number of instances.
#[derive(Parser)]
#[command(name = "queue-study")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where results go
    #[arg(long, global = true, default_value = "target/queue-study")]
    directory: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Measure
    Run {
        /// The program that is measured
        #[arg(long)]
        work_queue: PathBuf,
        /// The program that measures other queues
        #[arg(long)]
        peers: Option<PathBuf>,
        /// A small part in about two minutes, to try it
        #[arg(long)]
        quick: bool,
        /// Leave out the runs of 500,000 instances
        #[arg(long)]
        without_500k: bool,
        /// Go on with a run that broke off
        #[arg(long)]
        resume: bool,
        /// The day, for the report
        #[arg(long)]
        date: String,
        /// The compiler, for the report
        #[arg(long)]
        rustc: String,
        /// How the study was called, for the report
        #[arg(long, default_value = "make queue-study")]
        called: String,
    },
    /// Make the report from what was measured
    Report {
        /// The document; plots and figures go into a directory of its name
        #[arg(long, default_value = "docs/queue-study.md")]
        to: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queue-study: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, directory }: Arguments) -> io::Result<()> {
    match command {
        Command::Run {
            work_queue,
            peers,
            quick,
            without_500k,
            resume,
            date,
            rustc,
            called,
        } => study::run(&Options {
            quick,
            without_500k,
            resume,
            date,
            rustc,
            called,
            work_queue,
            peers,
            directory,
        }),
        Command::Report { to } => report::write(&study::results_file(&directory), &to),
    }
}
