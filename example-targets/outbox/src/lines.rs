//! The line format of the inbox and the write-ahead file, and how lines become turns.
//!
//! Both files hold one JSON object a line: a header first, then records. Reading borrows
//! from the file's bytes and never fails on a bad line: it reports it, so that the caller
//! can set it aside. Nothing here touches the disk.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clock::{from_unix_ms, is_older};
use crate::dead_letters::{DeadLine, Reason, Source};
use crate::event::{Event, SUMMARY_BYTES_MAX, Turn};

/// The longest line that is parsed or written, in bytes without its line break.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a record may wait for a drain.
pub(crate) const RECORD_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The format version that this program reads and writes.
const VERSION: u32 = 1;

/// A committed event as it stands in a line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Record<'a> {
    #[serde(borrow)]
    pub(crate) child: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) fingerprint: Cow<'a, str>,
    pub(crate) committed_at: u64,
    #[serde(borrow)]
    pub(crate) signal: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) summary: Cow<'a, str>,
}

impl Record<'_> {
    /// Whether the fingerprint is one of this child. Without that, a damaged line could
    /// take another child's place in the ledger.
    fn is_consistent(&self) -> bool {
        !self.child.is_empty()
            && self
                .fingerprint
                .strip_prefix(self.child.as_ref())
                .is_some_and(|rest| rest.len() == 17 && rest.starts_with(':'))
            && from_unix_ms(self.committed_at).is_some()
    }

    /// The record with what it borrowed copied.
    pub(crate) fn into_turn(self) -> Turn {
        Turn {
            child: self.child.into_owned(),
            fingerprint: self.fingerprint.into_owned(),
            signal: self.signal.into_owned(),
            summary: self.summary.into_owned(),
            committed_at: from_unix_ms(self.committed_at)
                .expect("a record is checked when it is read"),
        }
    }
}

/// The line, with its line break, that commits `event`.
pub(crate) fn record_line(event: &Event, now_ms: u64) -> Result<Vec<u8>, Error> {
    if event.child().is_empty() {
        return Err(Error::EmptyChild);
    }
    if event.signal().is_empty() {
        return Err(Error::EmptySignal);
    }
    if event.summary().len() > SUMMARY_BYTES_MAX {
        return Err(Error::SummaryTooLong {
            bytes: event.summary().len(),
        });
    }
    let record = Record {
        child: event.child().into(),
        fingerprint: event.fingerprint().into(),
        committed_at: now_ms,
        signal: event.signal().into(),
        summary: event.summary().into(),
    };
    let mut line = serde_json::to_vec(&record).expect("strings and numbers are JSON");
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::EventTooLong { bytes: line.len() });
    }
    line.push(b'\n');
    Ok(line)
}

/// Returns the version in `{"outbox":"<kind>.v<version>"`, the opening that every file of
/// the outbox has in every version, whatever follows it.
pub(crate) fn version(bytes: &[u8], kind: &str) -> Option<u32> {
    let digits = bytes
        .strip_prefix(b"{\"outbox\":\"")?
        .strip_prefix(kind.as_bytes())?
        .strip_prefix(b".v")?;
    let end = digits.iter().position(|&byte| byte == b'"')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Whether a file that opens with `bytes` was written by a later version.
pub(crate) fn newer_version(bytes: &[u8], kind: &str) -> Option<u32> {
    version(bytes, kind).filter(|&version| version > VERSION)
}

/// The fields that a header may have.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    live_bytes: u64,
    batch: Option<u64>,
}

fn header(line: &[u8], kind: &str) -> Option<Header> {
    if version(line, kind)? != VERSION {
        return None;
    }
    serde_json::from_slice(line).ok()
}

/// The inbox's header line: `live_bytes` is what its lines took right after the last
/// compaction.
pub(crate) fn inbox_header(live_bytes: usize) -> String {
    format!("{{\"outbox\":\"inbox.v{VERSION}\",\"live_bytes\":{live_bytes}}}\n")
}

/// The `live_bytes` of an inbox that opens with `head`; 0 where the header is missing.
pub(crate) fn live_bytes(head: &[u8]) -> u64 {
    let end = head.iter().position(|&byte| byte == b'\n');
    end.and_then(|end| header(&head[..end], Source::Inbox.kind()))
        .map_or(0, |header| header.live_bytes)
}

/// The write-ahead file's header line.
pub(crate) fn wal_header(batch: u64) -> String {
    format!("{{\"outbox\":\"wal.v{VERSION}\",\"batch\":{batch}}}\n")
}

/// Splits off the first line of `rest`, without its line break.
pub(crate) fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let whole = *rest;
    let length = rest
        .skip_until(b'\n')
        .expect("reading from memory does not fail");
    let line = &whole[..length];
    Some(line.strip_suffix(b"\n").unwrap_or(line))
}

/// A record with the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) line: &'a [u8],
    source: Source,
}

/// What lines fold into: one record a child, in the order in which the children were first
/// seen, each with the content that was seen last.
#[derive(Debug, Default)]
pub(crate) struct Folded<'a> {
    pub(crate) pending: Vec<Pending<'a>>,
    /// The lines that are not records, and after [`Folded::expire`] those that waited too
    /// long.
    pub(crate) dead: Vec<DeadLine<'a>>,
    /// The batch in the write-ahead file's header.
    pub(crate) batch: Option<u64>,
}

impl<'a> Folded<'a> {
    /// Folds the write-ahead file and then the inbox, which is the newer one. An absent
    /// file is an empty one.
    pub(crate) fn new(wal: &'a [u8], inbox: &'a [u8]) -> Self {
        let mut folded = Self::default();
        let mut by_child: HashMap<Cow<'a, str>, usize> = HashMap::new();
        for (source, bytes) in [(Source::Wal, wal), (Source::Inbox, inbox)] {
            folded.read(bytes, source, &mut by_child);
        }
        folded
    }

    fn read(
        &mut self,
        bytes: &'a [u8],
        source: Source,
        by_child: &mut HashMap<Cow<'a, str>, usize>,
    ) {
        let mut rest = bytes;
        let mut is_first = true;
        while let Some(line) = next_line(&mut rest) {
            if std::mem::take(&mut is_first)
                && let Some(header) = header(line, source.kind())
            {
                if source == Source::Wal {
                    self.batch = header.batch;
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            match read_record(line) {
                Ok(record) => {
                    let pending = Pending {
                        record,
                        line,
                        source,
                    };
                    match by_child.entry(pending.record.child.clone()) {
                        Entry::Occupied(slot) => self.pending[*slot.get()] = pending,
                        Entry::Vacant(slot) => {
                            slot.insert(self.pending.len());
                            self.pending.push(pending);
                        }
                    }
                }
                Err((reason, detail)) => self.dead.push(DeadLine {
                    reason,
                    detail,
                    source,
                    line,
                }),
            }
        }
    }

    /// Moves the records that are older than [`RECORD_LIFETIME`] to the dead lines.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        let is_expired =
            |pending: &Pending<'_>| is_older(pending.record.committed_at, now_ms, RECORD_LIFETIME);
        if !self.pending.iter().any(is_expired) {
            return;
        }
        let (expired, kept) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition::<Vec<_>, _>(is_expired);
        self.pending = kept;
        self.dead.extend(expired.into_iter().map(|pending| {
            let age_ms = now_ms.saturating_sub(pending.record.committed_at);
            DeadLine {
                reason: Reason::Expired,
                detail: format!("waited {} days for a drain", age_ms / 86_400_000),
                source: pending.source,
                line: pending.line,
            }
        }));
    }

    /// `header` and the pending lines, as the content of a file with room for
    /// `additional_bytes` more.
    pub(crate) fn to_file(&self, header: &str, additional_bytes: usize) -> Vec<u8> {
        let lines_bytes: usize = self.pending.iter().map(|one| one.line.len() + 1).sum();
        let mut file = Vec::with_capacity(header.len() + lines_bytes + additional_bytes);
        file.extend_from_slice(header.as_bytes());
        for pending in &self.pending {
            file.extend_from_slice(pending.line);
            file.push(b'\n');
        }
        file
    }
}

fn read_record(line: &[u8]) -> Result<Record<'_>, (Reason, String)> {
    if line.len() > LINE_BYTES_MAX {
        return Err((
            Reason::TooLong,
            format!("{} bytes, at most {LINE_BYTES_MAX} are read", line.len()),
        ));
    }
    let record: Record<'_> =
        serde_json::from_slice(line).map_err(|error| (Reason::Corrupt, error.to_string()))?;
    if record.is_consistent() {
        Ok(record)
    } else {
        Err((
            Reason::Corrupt,
            "the fingerprint or the time is not one that the outbox writes".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(child: &str, signal: &str, at_ms: u64) -> String {
        String::from_utf8(record_line(&Event::new(child, signal), at_ms).unwrap()).unwrap()
    }

    fn signals(folded: &Folded<'_>) -> Vec<String> {
        folded
            .pending
            .iter()
            .map(|one| format!("{}={}", one.record.child, one.record.signal))
            .collect()
    }

    #[test]
    fn the_last_line_of_a_child_wins_in_the_place_of_its_first() {
        let wal = wal_header(7) + &line("a", "1", 0) + &line("b", "1", 0);
        let inbox = inbox_header(0) + &line("c", "1", 0) + &line("a", "2", 0) + &line("c", "2", 0);
        let folded = Folded::new(wal.as_bytes(), inbox.as_bytes());
        assert_eq!(signals(&folded), ["a=2", "b=1", "c=2"]);
        assert_eq!(folded.batch, Some(7));
        assert!(folded.dead.is_empty());
    }

    #[test]
    fn awkward_text_survives_and_is_one_child_however_it_is_escaped() {
        let child = "\"\n\\ \u{1F980}é";
        let escaped = line(child, "1", 0).replace('é', "\\u00e9");
        let both = line(child, "0", 0) + &escaped;
        let folded = Folded::new(b"", both.as_bytes());
        assert_eq!(folded.pending.len(), 1);
        assert_eq!(folded.pending[0].record.child, child);
        assert_eq!(folded.pending[0].record.signal, "1");
    }

    /// Cut a file at every byte: each line before the cut is read, the fragment is reported,
    /// nothing else.
    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_lines_and_reports_the_fragment() {
        let lines = [inbox_header(0), line("a", "1", 0), line("b", "2", 0)];
        let whole = lines.concat();
        for cut in 0..=whole.len() {
            let folded = Folded::new(b"", &whole.as_bytes()[..cut]);
            let mut end = 0;
            let mut complete = 0;
            for line in &lines {
                // Only the line break missing: the content is all there.
                if cut >= end + line.len() - 1 {
                    complete += 1;
                }
                end += line.len();
            }
            assert_eq!(
                folded.pending.len(),
                usize::max(complete, 1) - 1,
                "cut {cut}"
            );
            let ends_whole = [0, lines[0].len(), lines[0].len() + lines[1].len(), end]
                .iter()
                .any(|&boundary| cut == boundary || cut + 1 == boundary);
            assert_eq!(folded.dead.len(), usize::from(!ends_whole), "cut {cut}");
        }
    }

    #[test]
    fn bad_lines_are_reported_with_their_reason_and_the_rest_is_read() {
        let too_long = format!("{{\"child\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        let foreign = line("a", "1", 0).replace("a:", "z:");
        let inbox = format!(
            "no header\n{}{foreign}{too_long}\n\n[1]\n{}",
            line("a", "1", 0),
            line("b", "1", 0)
        );
        let folded = Folded::new(b"", inbox.as_bytes());
        assert_eq!(signals(&folded), ["a=1", "b=1"]);
        let reasons: Vec<Reason> = folded.dead.iter().map(|dead| dead.reason).collect();
        assert_eq!(
            reasons,
            [
                Reason::Corrupt,
                Reason::Corrupt,
                Reason::TooLong,
                Reason::Corrupt
            ]
        );
    }

    #[test]
    fn records_expire_after_seven_days_and_not_before() {
        let week_ms = 7 * 24 * 3600 * 1000;
        let inbox = line("old", "1", 1000)
            + &line("young", "1", 1001)
            + &line("future", "1", u64::MAX / 2000);
        let mut folded = Folded::new(b"", inbox.as_bytes());
        folded.expire(1001 + week_ms);
        assert_eq!(signals(&folded), ["young=1", "future=1"]);
        assert_eq!(folded.dead.len(), 1);
        assert_eq!(folded.dead[0].reason, Reason::Expired);
        assert_eq!(folded.dead[0].detail, "waited 7 days for a drain");
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(
            newer_version(b"{\"outbox\":\"wal.v2\",\"x\":", "wal"),
            Some(2)
        );
        assert_eq!(newer_version(wal_header(1).as_bytes(), "wal"), None);
        assert_eq!(newer_version(b"{\"outbox\":\"wal.v2\"", "inbox"), None);
        assert_eq!(newer_version(b"{\"outbox\":\"wal.v", "wal"), None);
    }

    #[test]
    fn limits_are_inclusive() {
        let at = |bytes| record_line(&Event::new("c", "s").with_summary("x".repeat(bytes)), 0);
        assert!(at(SUMMARY_BYTES_MAX).is_ok());
        assert!(matches!(
            at(SUMMARY_BYTES_MAX + 1),
            Err(Error::SummaryTooLong { bytes: 32_769 })
        ));
        let long_signal = Event::new("c", "x".repeat(LINE_BYTES_MAX));
        assert!(matches!(
            record_line(&long_signal, 0),
            Err(Error::EventTooLong { .. })
        ));
        assert!(matches!(
            record_line(&Event::new("", "s"), 0),
            Err(Error::EmptyChild)
        ));
        assert!(matches!(
            record_line(&Event::new("c", ""), 0),
            Err(Error::EmptySignal)
        ));
    }
}
