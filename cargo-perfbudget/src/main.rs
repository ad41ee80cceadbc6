//! `cargo perfbudget`: observes gates, reports on the records that they leave behind, decides between
//! two histories of them, and counts the syncs of any program.
//!
//! Of gates it measures nothing itself: what it says of one stands in the gate's records. What it
//! times is the machine, when it is asked to, and syncs.

mod ab;
mod calibrate;
mod causes;
mod children;
mod cli;
mod expected;
mod observe;
mod report;
mod syncs;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
