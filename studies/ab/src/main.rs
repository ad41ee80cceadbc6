//! The A/B study. See `scripts/ab-study`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use ab_study::loads;
use ab_study::report;
use ab_study::sides::Places;
use ab_study::study::{self, Options};

/// How often comparisons err, and how small a change they find.
#[derive(Parser)]
#[command(name = "ab-study")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure
    Run {
        /// Where everything but the results goes; an absolute path
        #[arg(long)]
        directory: PathBuf,
        /// Where the results go
        #[arg(long)]
        results: PathBuf,
        /// The cargo-perfbudget under study
        #[arg(long)]
        tool: PathBuf,
        /// perfgate 0.18.1
        #[arg(long)]
        perfgate: PathBuf,
        /// The sources that are compared
        #[arg(long)]
        template: PathBuf,
        /// A few comparisons of each kind, to try it
        #[arg(long)]
        quick: bool,
        /// Go on with a run that broke off
        #[arg(long)]
        resume: bool,
        /// Only make and build what is compared, which needs no quiet machine
        #[arg(long)]
        prepare: bool,
        /// The compiler, for the report
        #[arg(long, default_value = "")]
        rustc: String,
        /// The day, for the report
        #[arg(long, default_value = "")]
        date: String,
    },
    /// Make the report from what was measured
    Report {
        /// Where the results are
        #[arg(long)]
        results: PathBuf,
        /// The document; plots and figures go into a directory of its name
        #[arg(long)]
        to: PathBuf,
    },
    #[command(hide = true)]
    Load,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ab-study: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Run {
            directory,
            results,
            tool,
            perfgate,
            template,
            quick,
            resume,
            prepare,
            rustc,
            date,
        } => {
            let options = Options {
                quick,
                resume,
                prepare,
                rustc,
                date,
                results,
            };
            let places = Places {
                directory,
                tool,
                perfgate,
            };
            study::run(&options, &places, &template)
        }
        Command::Report { results, to } => report::write(&results, &to),
        Command::Load => {
            loads::compute();
            Ok(())
        }
    }
}
