//! What is going on, on standard error: one line that changes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};

/// The place where progress is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
    /// Whether the cursor stands behind a line that is to be replaced.
    shown: bool,
}

impl Progress {
    pub(crate) fn on_stderr() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A step of something that has been announced: shown on a terminal only.
    pub(crate) fn step(&mut self, text: &str) {
        if self.is_terminal {
            self.clear();
            _ = write!(anstream::stderr(), "{text}");
            self.shown = true;
        }
    }

    /// Takes the step away, before something else is printed.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            _ = write!(std::io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }
}
