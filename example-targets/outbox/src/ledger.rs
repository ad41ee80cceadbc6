//! The ledger of consumed turns: what it knows, and how it is read and written.
//!
//! It is one JSON object with an array of entries, written one to a line. Reading borrows
//! from the file's bytes; nothing here touches the disk.
//!
//! An entry names the *batch* that consumed its turn. A drain that dies after it wrote the
//! ledger has marked turns that nobody received; its write-ahead file carries the same
//! batch, and by that the next drain knows to deliver them after all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clock::is_older;
use crate::event::Turn;
use crate::lines::{Folded, Pending, newer_version};

/// How long a consumed turn is remembered.
pub(crate) const ENTRY_LIFETIME: Duration = Duration::from_hours(14 * 24);

const KIND: &str = "ledger";
const NAME: &str = "ledger.v1";

/// The turns that were consumed.
#[derive(Debug, Deserialize)]
pub(crate) struct Ledger<'a> {
    #[serde(borrow)]
    outbox: Cow<'a, str>,
    /// The greatest batch that ever marked a turn; less than `u64::MAX`, see [`Self::read`].
    last_batch: u64,
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Entry<'a> {
    #[serde(borrow)]
    turn: Cow<'a, str>,
    at: u64,
    batch: u64,
}

/// What a batch finds in the ledger.
#[derive(Debug)]
pub(crate) struct Marked {
    /// Of each pending record, in order, whether an earlier batch consumed it.
    pub(crate) consumed: Vec<bool>,
    /// The ledger's new content.
    pub(crate) file: Vec<u8>,
    /// Whether it says anything other than the old one, apart from what time took.
    pub(crate) is_changed: bool,
}

/// What a sweep leaves of the ledger.
#[derive(Debug)]
pub(crate) struct Swept {
    /// How many consumed turns it forgets.
    pub(crate) expired: usize,
    /// The ledger's new content.
    pub(crate) file: Vec<u8>,
    /// Whether it says anything other than the old one.
    pub(crate) is_changed: bool,
}

impl Marked {
    /// The turns of `folded`, which is what was marked, that no earlier batch consumed.
    pub(crate) fn fresh(&self, folded: Folded<'_>) -> Vec<Turn> {
        folded
            .pending
            .into_iter()
            .zip(&self.consumed)
            .filter(|(_, consumed)| !**consumed)
            .map(|(one, _)| one.record.into_turn())
            .collect()
    }
}

impl<'a> Ledger<'a> {
    /// Reads the file's content; `None` is a ledger that was never written.
    pub(crate) fn read(bytes: Option<&'a [u8]>, path: &Path) -> Result<Self, Error> {
        let Some(bytes) = bytes else {
            return Ok(Self {
                outbox: NAME.into(),
                last_batch: 0,
                entries: Vec::new(),
            });
        };
        if let Some(version) = newer_version(bytes, KIND) {
            return Err(Error::NewerVersion {
                path: path.to_owned(),
                version,
            });
        }
        let unreadable = |source| Error::LedgerUnreadable {
            path: path.to_owned(),
            source,
        };
        let ledger: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        let complaint = if ledger.outbox != NAME {
            format!("it calls itself {:?} and not {NAME:?}", ledger.outbox)
        } else if ledger.last_batch == u64::MAX {
            format!("no batch can follow its last one, {}", ledger.last_batch)
        } else {
            return Ok(ledger);
        };
        Err(unreadable(serde::de::Error::custom(complaint)))
    }

    /// The greatest batch that ever marked a turn; 0 when none did.
    pub(crate) fn last_batch(&self) -> u64 {
        self.last_batch
    }

    /// The batch that comes after all that ever marked a turn.
    pub(crate) fn next_batch(&self) -> u64 {
        self.last_batch + 1
    }

    /// Marks `pending` as consumed by `batch`, except what an earlier batch consumed, and
    /// forgets the entries that are older than [`ENTRY_LIFETIME`].
    ///
    /// Marks that this very batch made before are made anew or dropped: a drain died after
    /// making them, so nobody received those turns. One that a newer event has replaced in
    /// the meantime must not count as consumed if its child sends it once more.
    pub(crate) fn mark(&self, pending: &[Pending<'_>], batch: u64, now_ms: u64) -> Marked {
        // The lookup table holds the few new turns and not the many old ones, so a drain
        // passes over the ledger once and allocates nothing for an entry.
        let incoming: HashMap<&str, usize> = pending
            .iter()
            .enumerate()
            .map(|(index, one)| (one.record.fingerprint.as_ref(), index))
            .collect();
        let mut consumed = vec![false; pending.len()];
        let mut file = LedgerFile::new(
            self.last_batch.max(batch),
            self.entries.len() + pending.len(),
        );
        let mut is_changed = false;
        for entry in &self.entries {
            if entry.batch == batch {
                is_changed = true;
            } else if !is_older(entry.at, now_ms, ENTRY_LIFETIME) {
                if let Some(&index) = incoming.get(entry.turn.as_ref()) {
                    consumed[index] = true;
                }
                file.push(entry);
            }
        }
        for (one, _) in pending.iter().zip(&consumed).filter(|(_, done)| !**done) {
            is_changed = true;
            file.push(&Entry {
                turn: one.record.fingerprint.as_ref().into(),
                at: now_ms,
                batch,
            });
        }
        Marked {
            consumed,
            file: file.finish(),
            is_changed,
        }
    }

    /// The content without the entries that are older than [`ENTRY_LIFETIME`] and without the
    /// marks of `unreceived`, a batch whose turns nobody has received and nobody will.
    pub(crate) fn swept(&self, unreceived: Option<u64>, now_ms: u64) -> Swept {
        let mut file = LedgerFile::new(self.last_batch, self.entries.len());
        let mut expired = 0;
        let mut is_changed = false;
        for entry in &self.entries {
            if unreceived == Some(entry.batch) {
                is_changed = true;
            } else if is_older(entry.at, now_ms, ENTRY_LIFETIME) {
                is_changed = true;
                expired += 1;
            } else {
                file.push(entry);
            }
        }
        Swept {
            expired,
            file: file.finish(),
            is_changed,
        }
    }
}

/// The content of a ledger as it grows.
struct LedgerFile {
    bytes: Vec<u8>,
    separator: &'static [u8],
}

impl LedgerFile {
    fn new(last_batch: u64, entries: usize) -> Self {
        let mut bytes = Vec::with_capacity(64 + entries * 96);
        bytes.extend_from_slice(
            format!("{{\"outbox\":\"{NAME}\",\"last_batch\":{last_batch},\"entries\":[").as_bytes(),
        );
        Self {
            bytes,
            separator: b"\n",
        }
    }

    fn push(&mut self, entry: &Entry<'_>) {
        self.bytes.extend_from_slice(self.separator);
        self.separator = b",\n";
        serde_json::to_writer(&mut self.bytes, entry).expect("strings and numbers are JSON");
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\n]}\n");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::lines::record_line;

    const DAY_MS: u64 = 86_400_000;

    fn inbox(turns: &[(&str, &str)]) -> Vec<u8> {
        turns
            .iter()
            .flat_map(|(child, signal)| record_line(&Event::new(*child, *signal), 0).unwrap())
            .collect()
    }

    fn mark(file: Option<&[u8]>, turns: &[(&str, &str)], batch: u64, now_ms: u64) -> Marked {
        let inbox = inbox(turns);
        let folded = Folded::new(b"", &inbox);
        Ledger::read(file, Path::new("ledger.json"))
            .unwrap()
            .mark(&folded.pending, batch, now_ms)
    }

    #[test]
    fn a_turn_is_consumed_once_by_any_other_batch() {
        let first = mark(None, &[("a", "1"), ("b", "1")], 1, 0);
        assert_eq!(first.consumed, [false, false]);
        let second = mark(Some(&first.file), &[("a", "1"), ("b", "2")], 2, 0);
        assert_eq!(second.consumed, [true, false]);
    }

    #[test]
    fn its_own_batch_delivers_a_marked_turn_again_and_marks_it_once() {
        let first = mark(None, &[("a", "1")], 1, 0);
        let again = mark(Some(&first.file), &[("a", "1"), ("b", "1")], 1, 0);
        assert_eq!(again.consumed, [false, false]);
        let ledger = Ledger::read(Some(&again.file), Path::new("")).unwrap();
        assert_eq!(ledger.entries.len(), 2);
        assert_eq!(ledger.last_batch, 1);
    }

    #[test]
    fn a_mark_that_nobody_received_goes_when_its_turn_is_no_longer_pending() {
        let first = mark(None, &[("a", "1")], 1, 0);
        let recovered = mark(Some(&first.file), &[("a", "2")], 1, 0);
        let again = mark(Some(&recovered.file), &[("a", "1")], 2, 0);
        assert_eq!(again.consumed, [false]);
    }

    #[test]
    fn a_batch_of_repetitions_changes_nothing() {
        let first = mark(None, &[("a", "1")], 1, 0);
        assert!(first.is_changed);
        assert!(!mark(Some(&first.file), &[("a", "1")], 2, 0).is_changed);
        assert!(mark(Some(&first.file), &[], 1, 0).is_changed);
    }

    #[test]
    fn entries_are_forgotten_after_fourteen_days_and_not_before() {
        let first = mark(None, &[("a", "1")], 1, 0);
        let at = |now_ms| mark(Some(&first.file), &[("a", "1")], 2, now_ms).consumed[0];
        assert!(at(14 * DAY_MS));
        assert!(!at(14 * DAY_MS + 1));
        let ledger = Ledger::read(Some(&first.file), Path::new("")).unwrap();
        assert_eq!(ledger.swept(None, 14 * DAY_MS).expired, 0);
        assert!(!ledger.swept(None, 14 * DAY_MS).is_changed);
        assert_eq!(ledger.swept(None, 14 * DAY_MS + 1).expired, 1);
    }

    #[test]
    fn a_sweep_takes_the_marks_that_nobody_received_and_no_others() {
        let first = mark(None, &[("a", "1")], 1, 0);
        let second = mark(Some(&first.file), &[("b", "1")], 2, 0);
        let ledger = Ledger::read(Some(&second.file), Path::new("")).unwrap();
        let swept = ledger.swept(Some(2), 0);
        assert!(swept.is_changed);
        assert_eq!(swept.expired, 0);
        let again = mark(Some(&swept.file), &[("a", "1"), ("b", "1")], 3, 0);
        assert_eq!(again.consumed, [true, false]);
    }

    #[test]
    fn the_greatest_batch_is_kept() {
        let first = mark(None, &[("a", "1")], 9, 0);
        let second = mark(Some(&first.file), &[("b", "1")], 3, 0);
        let ledger = Ledger::read(Some(&second.file), Path::new("")).unwrap();
        assert_eq!(ledger.last_batch, 9);
    }

    #[test]
    fn what_is_no_ledger_is_refused_by_name() {
        let path = Path::new("ledger.json");
        for text in [
            "",
            "not json",
            "{}",
            "{\"outbox\":\"wal.v1\",\"last_batch\":0,\"entries\":[]}",
            "{\"outbox\":\"ledger.v1\",\"last_batch\":18446744073709551615,\"entries\":[]}",
        ] {
            let error = Ledger::read(Some(text.as_bytes()), path).unwrap_err();
            assert!(matches!(error, Error::LedgerUnreadable { .. }), "{text}");
        }
        let newer = b"{\"outbox\":\"ledger.v2\",\"turns\":{}}";
        assert!(matches!(
            Ledger::read(Some(newer), path),
            Err(Error::NewerVersion { version: 2, .. })
        ));
    }
}
