//! `cargo perfbudget`: reads the records that gates leave behind, and reports on them.
//!
//! It starts no tests, and of gates it measures nothing itself: it works on their records. What it
//! times is the machine, when it is asked to.

mod calibrate;
mod cli;
mod expected;
mod report;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
