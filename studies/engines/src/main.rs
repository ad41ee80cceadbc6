//! The study of storage engines. See `scripts/engines`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::machine;

use engine_study::results::{Header, Postgres, Results};
use engine_study::study::{self, Options};
use engine_study::{Cell, Result, postgres, report, scopes, stores};

/// How many syncs a commit costs, of one storage engine after the other.
#[derive(Parser)]
#[command(name = "engine-study")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where results go, and the databases while they are observed
    #[arg(long, global = true, default_value = "target/engines")]
    directory: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Measure
    Run {
        /// The day, for the document
        #[arg(long)]
        date: String,
        /// The compiler, for the document
        #[arg(long)]
        rustc: String,
        /// Without PostgreSQL it is an error
        #[arg(long)]
        require_postgres: bool,
        /// Go by what the hook sees
        #[arg(long)]
        without_kernel: bool,
    },
    /// Make the document from what was measured
    Report {
        #[arg(long, default_value = "docs/engines.md")]
        to: PathBuf,
    },
    /// The names of all cells
    List,
    /// One cell once, under the scopes: what they saw, as JSON
    #[command(hide = true)]
    Observe {
        cell: String,
        #[arg(long)]
        to: PathBuf,
        #[arg(long)]
        without_kernel: bool,
    },
    /// One cell once, with no scope open: for strace
    #[command(hide = true)]
    Bare { cell: String, root: PathBuf },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine-study: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, directory }: Arguments) -> Result<()> {
    let results = directory.join("results.json");
    match command {
        Command::Run {
            date,
            rustc,
            require_postgres,
            without_kernel,
        } => {
            let options = options(directory, !without_kernel)?;
            let measured = measure(&options, date, rustc)?;
            if let Postgres::NotRun(reason) = &measured.postgres {
                eprintln!("PostgreSQL: not run: {reason}");
                if require_postgres {
                    return Err(format!("PostgreSQL did not run: {reason}").into());
                }
            }
            measured.write(&results)
        }
        Command::Report { to } => report::write(&Results::read(&results)?, &to),
        Command::List => {
            for cell in stores::all() {
                println!("{}", cell.name);
            }
            Ok(())
        }
        Command::Observe {
            cell,
            to,
            without_kernel,
        } => {
            let observation = study::observe(&find(&cell)?, &directory, !without_kernel)?;
            Ok(std::fs::write(to, serde_json::to_string(&observation)?)?)
        }
        Command::Bare { cell, root } => study::run_bare(&find(&cell)?, &root),
    }
}

fn find(name: &str) -> Result<Cell> {
    stores::find(name).ok_or_else(|| format!("there is no cell {name}").into())
}

fn options(directory: PathBuf, with_kernel: bool) -> Result<Options> {
    std::fs::create_dir_all(&directory)?;
    if with_kernel {
        scopes::kernel_scope_works().map_err(|error| {
            format!(
                "the kernel refuses a scope: {error}\n\
                 to count by the hook alone: scripts/engines --without-kernel"
            )
        })?;
    }
    Ok(Options {
        program: std::env::current_exe()?,
        directory,
        with_kernel,
        with_strace: true,
    })
}

fn measure(options: &Options, date: String, rustc: String) -> Result<Results> {
    let without_strace = match study::strace_works(&options.directory) {
        Ok(()) => None,
        Err(reason) => {
            eprintln!("without strace: {reason}");
            Some(reason.to_string())
        }
    };
    let options = Options {
        with_strace: without_strace.is_none(),
        ..options.clone()
    };
    let cells = study::run(&options)?;
    let postgres = postgres::run(options.with_kernel)?;
    Ok(Results {
        header: Header {
            machine: machine::describe(),
            file_system: machine::file_system(&options.directory)?,
            date,
            rustc,
            versions: report::versions()?,
            with_kernel: options.with_kernel,
            without_strace,
            repetitions: study::REPETITIONS,
        },
        cells,
        postgres,
    })
}
