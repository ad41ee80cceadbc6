//! What a child reports, and what a parent receives.
//!
//! The types of the public face; how they look in a file is in `lines.rs`.

use std::time::SystemTime;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::clock::unix_ms;

/// The longest summary that [`Outbox::commit`](crate::Outbox::commit) accepts, in bytes.
pub const SUMMARY_BYTES_MAX: usize = 32 * 1024;

/// A finished turn, as a child reports it.
///
/// ```
/// use outbox::Event;
///
/// let event = Event::new("child-1", "turn 7: stop").with_summary("all tests pass");
/// let again = Event::new("child-1", "turn 7: stop").with_summary("reworded");
/// assert_eq!(event.fingerprint(), again.fingerprint());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    child: String,
    signal: String,
    summary: String,
}

impl Event {
    /// An event of `child` with an empty summary. `signal` identifies the turn: two events
    /// of one child with the same signal are the same turn, whenever they are sent. Neither
    /// may be empty when the event is committed.
    pub fn new(child: impl Into<String>, signal: impl Into<String>) -> Self {
        Self {
            child: child.into(),
            signal: signal.into(),
            summary: String::new(),
        }
    }

    /// The same event with a summary of at most [`SUMMARY_BYTES_MAX`] bytes.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// The child's id.
    #[must_use]
    pub fn child(&self) -> &str {
        &self.child
    }

    /// What identifies the turn among the child's turns.
    #[must_use]
    pub fn signal(&self) -> &str {
        &self.signal
    }

    /// What the child says about the turn.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// The child's id, `:` and the first 16 hexadecimal digits of the SHA-256 of the signal.
    /// The time is not part of it, so a turn that is sent again keeps its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut fingerprint = String::with_capacity(self.child.len() + 17);
        fingerprint.push_str(&self.child);
        fingerprint.push(':');
        for byte in &Sha256::digest(self.signal.as_bytes())[..8] {
            for digit in [byte >> 4, byte & 15] {
                fingerprint.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        fingerprint
    }
}

/// A committed event: stamped with its fingerprint and its time.
///
/// As JSON it is one object with the fields below; `committed_at` is in milliseconds since
/// the Unix epoch.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Turn {
    /// The child's id.
    pub child: String,
    /// The turn's identity: the key by which a consumer recognises a turn it has already
    /// acted on. See [`Event::fingerprint`].
    pub fingerprint: String,
    /// What identifies the turn among the child's turns.
    pub signal: String,
    /// What the child says about the turn.
    pub summary: String,
    /// When the event was committed, to the millisecond.
    #[serde(serialize_with = "as_unix_ms")]
    pub committed_at: SystemTime,
}

fn as_unix_ms<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(unix_ms(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_published_digest() {
        // The SHA-256 of "abc", FIPS 180-4: ba7816bf 8f01cfea ...
        assert_eq!(
            Event::new("child:1", "abc").fingerprint(),
            "child:1:ba7816bf8f01cfea"
        );
    }

    #[test]
    fn the_fingerprint_tells_children_and_signals_apart_but_not_summaries() {
        let event = Event::new("a", "1");
        assert_ne!(event.fingerprint(), Event::new("b", "1").fingerprint());
        assert_ne!(event.fingerprint(), Event::new("a", "2").fingerprint());
        assert_eq!(
            event.fingerprint(),
            event.clone().with_summary("x").fingerprint()
        );
    }
}
