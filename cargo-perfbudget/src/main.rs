//! `cargo perfbudget`: observes gates, and reports on the records that they leave behind.
//!
//! It measures nothing itself: what it says of a gate stands in the gate's records.

mod cli;
mod expected;
mod observe;
mod report;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
