//! `cargo perfbudget`: reads the records that gates leave behind, and reports on them.
//!
//! It measures nothing itself and starts no tests; it works on records only.

mod cli;
mod expected;
mod report;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
