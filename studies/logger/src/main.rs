//! The logger's study. See `scripts/logger-study`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use logger_study::study::{self, Options};
use logger_study::{Result, drive, report};

/// What a logged turn costs, by strategy, durability and buffer size.
#[derive(Parser)]
#[command(name = "logger-study")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where it logs and where results go: on the disk that is measured
    #[arg(long, global = true, default_value = "target/logger-study")]
    directory: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Measure
    Run {
        /// How often everything is measured
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// The program of the record's choice
        #[arg(long)]
        other: PathBuf,
        /// The compiler, for the report
        #[arg(long, default_value = "")]
        rustc: String,
        /// The day, for the report
        #[arg(long, default_value = "")]
        date: String,
    },
    /// Make the report from what was measured
    Report {
        /// The document; plots go into a directory of its name
        #[arg(long, default_value = "docs/logger-study.md")]
        to: PathBuf,
    },
    #[command(hide = true)]
    Memory,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logger-study: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, directory }: Arguments) -> Result<()> {
    fs::create_dir_all(&directory)?;
    let file = study::results_file(&directory);
    match command {
        Command::Run {
            rounds,
            other,
            rustc,
            date,
        } => {
            let results = study::run(&Options {
                directory,
                rounds,
                other,
                rustc,
                date,
            })?;
            fs::write(file, serde_json::to_vec_pretty(&results)?)?;
        }
        Command::Report { to } => {
            let results = serde_json::from_slice(&fs::read(file)?)?;
            report::write(&results, &to)?;
        }
        Command::Memory => println!("{}", serde_json::to_string(&drive::memory(&directory)?)?),
    }
    Ok(())
}
