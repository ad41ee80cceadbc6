//! What the writer has to say when nobody is asking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Death, StorageError};

/// Something that happened on the writer's thread, or in a drop.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A write failed. Its turns are kept and tried again.
    WriteFailed {
        /// Turns that were accepted and are not written.
        kept: usize,
        /// How often it has failed in a row.
        attempt: u32,
        /// When it is tried again, unless somebody flushes before.
        retry_in: Duration,
        /// Why.
        source: Arc<StorageError>,
    },
    /// A write succeeded that had failed.
    Recovered {
        /// How often it had failed.
        attempts: u32,
    },
    /// The writer has died.
    WriterDied {
        /// Turns that were accepted and are not written.
        kept: usize,
        /// What of.
        source: Death,
    },
    /// A logger was dropped, and these turns were not written in time.
    Unwritten {
        /// Turns that were accepted and are not written.
        turns: usize,
        /// Why, where a write failed and is not merely slow.
        source: Option<Death>,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteFailed {
                kept,
                attempt,
                retry_in,
                source,
            } => write!(
                f,
                "failed to {}: {kept} turns are kept, attempt {} follows in {retry_in:?}",
                with_causes(source),
                attempt + 1
            ),
            Self::Recovered { attempts } => {
                write!(f, "writing works again, after {attempts} failed attempts")
            }
            Self::WriterDied { kept, source } => {
                write!(
                    f,
                    "the writer has died with {kept} turns unwritten: {source}"
                )?;
                causes_of(f, source)
            }
            Self::Unwritten { turns, source } => {
                write!(f, "dropped with {turns} turns unwritten")?;
                match source {
                    Some(source) => {
                        write!(f, ": {source}")?;
                        causes_of(f, source)
                    }
                    None => f.write_str(": the disk did not answer in time"),
                }
            }
        }
    }
}

fn causes_of(f: &mut fmt::Formatter<'_>, error: &dyn std::error::Error) -> fmt::Result {
    let mut cause = match error.source() {
        // A death's own text is that of its storage.
        Some(storage) => storage.source(),
        None => None,
    };
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// `write to log.db: database or disk is full`.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Prints a report to standard error: what a logger does that was told nothing else.
pub(crate) fn to_standard_error(report: &Report) {
    eprintln!("warning: trajectory log: {report}");
}
