//! The noise study. See `scripts/noise-study`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use noise_study::loads::Hog;
use noise_study::ops::{self, Op};
use noise_study::report;
use noise_study::study::{self, Job, Options};

/// How often gates fail for the machine's sake, and how often they catch code that got slower.
#[derive(Parser)]
#[command(name = "noise-study")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where results go
    #[arg(long, global = true, default_value = "target/noise-study")]
    directory: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Measure
    Run {
        /// About how long it may take; below 40 the headline cells have fewer runs
        #[arg(long, default_value_t = 45.0)]
        minutes: f64,
        /// A part of the grid in a few minutes, to try it
        #[arg(long)]
        quick: bool,
        /// Go on with a run that broke off
        #[arg(long)]
        resume: bool,
        /// With --resume: measure again what has this in its name, such as idle/threads
        #[arg(long, requires = "resume", value_name = "NAME")]
        again: Option<String>,
        /// The compiler, for the report
        #[arg(long, default_value = "")]
        rustc: String,
    },
    /// Make the report from what was measured
    Report {
        /// The document; plots and figures go into a directory of its name
        #[arg(long, default_value = "docs/noise-study.md")]
        to: PathBuf,
    },
    #[command(hide = true)]
    Machine,
    #[command(hide = true)]
    Calibrate { op: Op, nominal_us: u64 },
    #[command(hide = true)]
    Observe { op: Op, amount: u64 },
    #[command(hide = true)]
    Gates { job: String },
    #[command(hide = true)]
    Load { hog: Hog, file: PathBuf },
}

fn main() -> ExitCode {
    // A child process of an operation: before anything that takes time.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(ops::BURN)
        && let Some(amount) = arguments.next().and_then(|amount| amount.parse().ok())
    {
        ops::compute(amount);
        return ExitCode::SUCCESS;
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noise-study: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, directory }: Arguments) -> io::Result<()> {
    match command {
        Command::Run {
            minutes,
            quick,
            resume,
            again,
            rustc,
        } => {
            study::check_programs()?;
            study::run(&Options {
                minutes: if quick { 2.0 } else { minutes },
                quick,
                resume,
                again,
                rustc,
                directory,
            })
        }
        Command::Report { to } => report::write(&study::results_file(&directory), &to),
        Command::Machine => print_json(&study::machine()),
        Command::Calibrate { op, nominal_us } => {
            println!(
                "{}",
                study::calibrate(op, Duration::from_micros(nominal_us))
            );
            Ok(())
        }
        Command::Observe { op, amount } => {
            for time in study::observe(op, amount) {
                println!("{time}");
            }
            Ok(())
        }
        Command::Gates { job } => {
            let job: Job = serde_json::from_str(&job)?;
            print_json(&job.run_here())
        }
        Command::Load { hog, file } => hog.run(&file),
    }
}

fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
