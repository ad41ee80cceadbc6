//! The dead-letter file: what could not be delivered, and why.
//!
//! A line that is no record, or that waited too long, is written here durably before it
//! leaves the file it was found in. Nothing is ever removed from this file by the outbox.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::{from_unix_ms, unix_ms};
use crate::lines::next_line;

/// Why a line was set aside.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It is not a record: torn, damaged, or written by something else.
    Corrupt,
    /// It is longer than 16 MiB and was not parsed.
    TooLong,
    /// It waited more than seven days for a drain.
    Expired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "corrupt",
            Self::TooLong => "too long",
            Self::Expired => "expired",
        })
    }
}

/// The file in which a dead letter was found.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// The inbox.
    Inbox,
    /// The write-ahead file of a drain.
    Wal,
    /// The dead-letter file itself: a crash tore a line of it.
    DeadLetters,
}

impl Source {
    /// The kind in the file's header.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Wal => "wal",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// A line that was set aside.
///
/// As JSON it is what the file holds: `at` in milliseconds since the Unix epoch, and
/// `line_hex` in place of `line` where the bytes are not UTF-8.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Why it was set aside.
    pub reason: Reason,
    /// The particulars of the reason, for a person.
    pub detail: String,
    /// The file in which it was found.
    pub source: Source,
    /// When it was set aside; `None` where that is not known.
    pub at: Option<SystemTime>,
    /// The line as it was found, without its line break.
    pub line: Vec<u8>,
}

/// A line that is about to be set aside.
#[derive(Debug)]
pub(crate) struct DeadLine<'a> {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    pub(crate) source: Source,
    pub(crate) line: &'a [u8],
}

/// A dead letter as it stands in the file: text as it is, other bytes in hexadecimal.
#[derive(Deserialize, Serialize)]
struct Written<'a> {
    reason: Reason,
    #[serde(borrow)]
    detail: Cow<'a, str>,
    source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    line: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    line_hex: Option<Cow<'a, str>>,
}

impl<'a> Written<'a> {
    fn new(
        reason: Reason,
        detail: &'a str,
        source: Source,
        at: Option<SystemTime>,
        line: &'a [u8],
    ) -> Self {
        let text = std::str::from_utf8(line).ok();
        Self {
            reason,
            detail: detail.into(),
            source,
            at: at.map(unix_ms),
            line: text.map(Cow::from),
            line_hex: text.is_none().then(|| to_hex(line).into()),
        }
    }
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::new(self.reason, &self.detail, self.source, self.at, &self.line)
            .serialize(serializer)
    }
}

/// The lines that set `dead` aside at `now`.
pub(crate) fn to_lines<'a>(
    dead: impl IntoIterator<Item = &'a DeadLine<'a>>,
    now: SystemTime,
) -> Vec<u8> {
    let mut lines = Vec::new();
    for one in dead {
        let written = Written::new(one.reason, &one.detail, one.source, Some(now), one.line);
        serde_json::to_writer(&mut lines, &written).expect("strings and numbers are JSON");
        lines.push(b'\n');
    }
    lines
}

/// Those of `dead` that are not among the letters in `end`, which is how a dead-letter file
/// ends. A letter stands for one line only: two equal ones need two.
///
/// Where `end` begins inside a line, it begins with a fragment, which equals nothing. The
/// source is not compared: a record that a crash left in both files is one record.
pub(crate) fn missing<'a, 'b>(dead: &'b [DeadLine<'a>], end: &[u8]) -> Vec<&'b DeadLine<'a>> {
    let mut letters: HashMap<(Reason, Cow<'_, [u8]>), usize> = HashMap::new();
    for letter in read(end) {
        if letter.source != Source::DeadLetters {
            let line = Cow::from(letter.line);
            *letters.entry((letter.reason, line)).or_default() += 1;
        }
    }
    dead.iter()
        .filter(
            |one| match letters.get_mut(&(one.reason, one.line.into())) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            },
        )
        .collect()
}

/// Reads a dead-letter file. A line of it that a crash tore is a dead letter too.
pub(crate) fn read(bytes: &[u8]) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        if !line.is_empty() {
            letters.push(read_line(line));
        }
    }
    letters
}

fn read_line(line: &[u8]) -> DeadLetter {
    let torn = |detail: String| DeadLetter {
        reason: Reason::Corrupt,
        detail,
        source: Source::DeadLetters,
        at: None,
        line: line.to_vec(),
    };
    let written: Written<'_> = match serde_json::from_slice(line) {
        Ok(written) => written,
        Err(error) => return torn(error.to_string()),
    };
    let original = match (written.line, written.line_hex.as_deref().map(from_hex)) {
        (Some(text), None) => text.into_owned().into_bytes(),
        (None, Some(Some(bytes))) => bytes,
        _ => return torn("neither a line nor its hexadecimal digits".into()),
    };
    DeadLetter {
        reason: written.reason,
        detail: written.detail.into_owned(),
        source: written.source,
        at: written.at.and_then(from_unix_ms),
        line: original,
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("a String takes any text");
    }
    hex
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(digit(high)? * 16 + digit(low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn any_bytes_come_back_as_they_were() {
        let lines: [&[u8]; 4] = [
            b"{\"torn",
            b"\xff\x00\xfe",
            "é\u{1F980}\t".as_bytes(),
            b"\x80",
        ];
        let dead: Vec<DeadLine<'_>> = lines
            .iter()
            .map(|line| DeadLine {
                reason: Reason::Corrupt,
                detail: "why".into(),
                source: Source::Wal,
                line,
            })
            .collect();
        let letters = read(&to_lines(&dead, UNIX_EPOCH));
        assert_eq!(letters.len(), lines.len());
        for (letter, line) in letters.iter().zip(lines) {
            assert_eq!(letter.line, line);
            assert_eq!(letter.reason, Reason::Corrupt);
            assert_eq!(letter.source, Source::Wal);
            assert_eq!(letter.at, Some(UNIX_EPOCH));
        }
    }

    #[test]
    fn a_line_is_missing_unless_a_letter_of_its_own_holds_it() {
        let line = |reason, source, line: &'static str| DeadLine {
            reason,
            detail: String::new(),
            source,
            line: line.as_bytes(),
        };
        let a = || line(Reason::Corrupt, Source::Inbox, "a");
        let b = || line(Reason::Corrupt, Source::Inbox, "b");
        let file = to_lines(&[a(), b()], UNIX_EPOCH);
        let missing = |dead: &[DeadLine<'_>], end: &[u8]| missing(dead, end).len();
        assert_eq!(missing(&[a(), b()], b""), 2);
        assert_eq!(missing(&[a(), b()], &file), 0);
        assert_eq!(missing(&[a(), a(), b()], &file), 1);
        assert_eq!(missing(&[a(), b()], &file[1..]), 1);
        assert_eq!(missing(&[a(), b()], &file[..file.len() - 2]), 1);
        assert_eq!(
            missing(&[line(Reason::Expired, Source::Inbox, "a")], &file),
            1
        );
        assert_eq!(
            missing(&[line(Reason::Corrupt, Source::Wal, "a")], &file),
            0
        );
    }

    #[test]
    fn a_torn_dead_letter_is_shown_as_one() {
        for torn in [
            "{\"reason\":\"cor",
            "{}",
            "{\"reason\":\"corrupt\",\"detail\":\"\",\"source\":\"wal\",\"at\":0,\"line_hex\":\"abc\"}",
        ] {
            let letters = read(torn.as_bytes());
            assert_eq!(letters.len(), 1);
            assert_eq!(letters[0].source, Source::DeadLetters);
            assert_eq!(letters[0].line, torn.as_bytes());
        }
    }
}
