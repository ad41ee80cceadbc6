//! A line on standard error that says how far a run is; only on a terminal.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);

pub(crate) struct ProgressLine {
    of: u64,
    is_shown: bool,
    next: Instant,
}

impl ProgressLine {
    pub(crate) fn new(of: u64) -> Self {
        Self {
            of,
            is_shown: stderr().is_terminal(),
            next: Instant::now() + EVERY,
        }
    }

    pub(crate) fn show(&mut self, done: u64, elapsed: Duration) {
        let now = Instant::now();
        if !self.is_shown || now < self.next {
            return;
        }
        self.next = now + EVERY;
        let rate = done as f64 / elapsed.as_secs_f64();
        // Whether it can be seen does not matter to the run.
        _ = write!(
            stderr(),
            "\r{done} of {} instances, {rate:.0} a second, {:.0} s \u{1b}[K",
            self.of,
            elapsed.as_secs_f64()
        );
    }

    pub(crate) fn end(&self) {
        if self.is_shown {
            _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}
