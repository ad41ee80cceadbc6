//! `tail` and `stats`: what is in a log, for a person or as JSON.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use trajectory_log::{Counts, LoggedTurn, TrajectoryReader};

use crate::Done;
use crate::failure::Failure;

/// Characters of a content that a person is shown.
const SHOWN_CHARACTERS: usize = 200;

const RUN: Style = Style::new().dimmed();
const ROLE: Style = AnsiColor::Cyan.on_default();

pub(crate) fn tail(db: &Path, lines: u32, run: Option<&str>, json: bool) -> Done {
    let turns = TrajectoryReader::open(db)?.tail(lines, run)?;
    let mut text = Vec::new();
    for turn in &turns {
        if json {
            text.extend(json_line(turn));
        } else {
            text.extend(text_line(turn).into_bytes());
        }
    }
    print(&text)
}

#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    counts: Counts,
    database_bytes: u64,
}

pub(crate) fn stats(db: &Path, json: bool) -> Done {
    let counts = TrajectoryReader::open(db)?.counts()?;
    let stats = Stats {
        counts,
        database_bytes: bytes_of(db) + bytes_of(&with_suffix(db, "-wal")),
    };
    if json {
        return print(&json_line(&stats));
    }
    let text = format!(
        "turns: {}\nruns: {}\ncontent bytes: {}\ndatabase bytes: {}\n",
        stats.counts.turns, stats.counts.runs, stats.counts.content_bytes, stats.database_bytes
    );
    print(text.as_bytes())
}

/// Of a file that may not be there.
fn bytes_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("what the log has is JSON");
    line.push(b'\n');
    line
}

/// A turn for a person: control characters are escaped, so that it stays one line.
fn text_line(LoggedTurn { turn, .. }: &LoggedTurn) -> String {
    let content = turn.content.as_str();
    let mut shown = String::new();
    let mut characters = content.chars();
    for character in characters.by_ref().take(SHOWN_CHARACTERS) {
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    if !characters.as_str().is_empty() {
        shown = format!("{shown}… ({} bytes)", content.len());
    }
    format!(
        "{RUN}{}{RUN:#}  {}  {ROLE}{}{ROLE:#}  {shown}\n",
        turn.run_id.escape_debug(),
        turn.turn,
        turn.role.escape_debug(),
    )
}

/// Failing to write to standard output.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output")]
struct OutputError(#[source] io::Error);

/// To standard output, where the colours stay if it is a terminal. A reader that has seen enough
/// and goes is no failure.
pub(crate) fn print(bytes: &[u8]) -> Done {
    let mut output = anstream::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::new(OutputError(error), None)),
    }
}
