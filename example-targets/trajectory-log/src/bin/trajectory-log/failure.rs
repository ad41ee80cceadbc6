//! What the command says when it fails: what and why on the first line, what helps on the second.

use std::error::Error;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use trajectory_log::WithCauses;

/// The exit status of an operation that failed.
const FAILED: u8 = 1;

/// The exit status of arguments that cannot be right, which is also the one of `clap`.
const USAGE: u8 = 2;

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// An error with its cure and its exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Error>,
    cure: Option<String>,
    status: u8,
}

impl Failure {
    pub(crate) fn new(error: impl Into<Box<dyn Error>>, cure: impl Into<Option<String>>) -> Self {
        Self {
            error: error.into(),
            cure: cure.into(),
            status: FAILED,
        }
    }

    /// Arguments, or a file that they name, that say what is not possible.
    pub(crate) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            error: error.into(),
            cure: None,
            status: USAGE,
        }
    }

    /// Prints `error: failed to <what>: <cause>: <cause of the cause>`, and the cure.
    pub(crate) fn complain(&self) -> ExitCode {
        anstream::eprintln!(
            "{ERROR}error:{ERROR:#} failed to {}",
            WithCauses(&*self.error)
        );
        if let Some(cure) = &self.cure {
            anstream::eprintln!("  {cure}");
        }
        ExitCode::from(self.status)
    }
}

impl From<trajectory_log::Error> for Failure {
    fn from(error: trajectory_log::Error) -> Self {
        let cure = error.cure();
        match error {
            trajectory_log::Error::Config(_) => Self::usage(error),
            _ => Self::new(error, cure),
        }
    }
}
