//! An error and what it came from, in one line.

use std::error::Error;
use std::fmt;

/// Displays an error and its causes: `write to log.db: database or disk is full`.
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // An error that stands for another says the same, and SQLite's code says in general
            // what its message has said.
            if text != said && !error.is::<rusqlite::ffi::Error>() {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}
