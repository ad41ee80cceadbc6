//! What the writer has to say when nobody is asking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::causes::WithCauses;
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
                WithCauses(source),
                attempt + 1
            ),
            Self::Recovered { attempts } => {
                write!(f, "writing works again, after {attempts} failed attempts")
            }
            Self::WriterDied { kept, source } => write!(
                f,
                "the writer has died with {kept} turns unwritten: {}",
                WithCauses(source)
            ),
            Self::Unwritten { turns, source } => {
                write!(f, "dropped with {turns} turns unwritten: ")?;
                match source {
                    Some(source) => write!(f, "{}", WithCauses(source)),
                    None => f.write_str("the disk did not answer in time"),
                }
            }
        }
    }
}

/// Prints a report to standard error: what a logger does that was told nothing else.
pub(crate) fn to_standard_error(report: &Report) {
    eprintln!("warning: trajectory log: {report}");
}
