//! What the processes of one side came to: a history, JSON lines.
//!
//! A line is one gate (or one measured command) in one process: a repetition. Samples within a
//! process share its memory layout and are not independent; they are not here.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The value of a line's `schema`.
pub(crate) const SCHEMA: &str = "perfbudget.history.v1";

/// One gate in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Repetition {
    pub(crate) schema: String,
    pub(crate) gate: String,
    pub(crate) side: Side,
    /// The block of the run that it is a part of, from 0: what is compared stands in one block.
    pub(crate) block: u32,
    /// Its place in the run's order of processes, from 0, over all sides.
    pub(crate) order: u32,
    /// When it ended: UTC, RFC 3339.
    pub(crate) at: String,
    /// What was measured: a revision's commit, a directory, a command.
    pub(crate) of: String,
    #[serde(flatten)]
    pub(crate) result: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Baseline,
    Candidate,
    /// The baseline once more, as if it were a candidate: the null control.
    Control,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A walltime gate, or a command.
    Times {
        /// The code's own time: the upper bound of it where both bounds are one. Nanoseconds an
        /// operation.
        own_ns: f64,
        /// Whether both bounds are one (within 1 %); otherwise `own_ns` is the upper one.
        exact: bool,
        /// Elapsed time. Nanoseconds an operation.
        wall_ns: f64,
        /// How long fixed work took beside the samples: how fast the core went. Nanoseconds; where
        /// it was measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pace_ns: Option<f64>,
    },
    /// A count gate; zeros are left out.
    Counts { counts: BTreeMap<String, u64> },
    /// It failed to run, or left no record.
    Failed { why: String },
    /// It ran and measured nothing (left out, stubbed out): no metric.
    NotMeasured { why: String },
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HistoryError {
    #[error("failed to read the history {path}")]
    Read { path: String, source: io::Error },
    #[error("failed to read the history {path}: line {line}: {why}")]
    Line {
        path: String,
        /// From 1.
        line: usize,
        why: String,
    },
    #[error("failed to read the history {path}: it has no repetition\n{HINT}")]
    Empty { path: String },
}

const HINT: &str = "`cargo perfbudget compare --out DIR` writes histories: DIR/baseline/history.jsonl \
                    and DIR/candidate/history.jsonl";

/// The repetitions of a file: of a line each, with nothing else between them.
///
/// # Errors
/// When it can't be read, has no repetition, or has a line that is none, which is named: cut off,
/// of another kind or version, with a time that is not positive, or one that is there twice.
pub(crate) fn read(path: &Path) -> Result<Vec<Repetition>, HistoryError> {
    let text = fs::read(path).map_err(|source| HistoryError::Read {
        path: path.display().to_string(),
        source,
    })?;
    parse(&text, path)
}

fn parse(text: &[u8], path: &Path) -> Result<Vec<Repetition>, HistoryError> {
    let mut repetitions: Vec<Repetition> = Vec::new();
    let mut seen = HashMap::new();
    for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |why| HistoryError::Line {
            path: path.display().to_string(),
            line,
            why,
        };
        let repetition = repetition(text).map_err(wrong)?;
        let place = (
            repetition.gate.clone(),
            repetition.side,
            repetition.order,
            repetition.at.clone(),
        );
        if let Some(first) = seen.insert(place, line) {
            return Err(wrong(format!(
                "it is the process of line {first} again: what is counted twice seems surer than \
                 it is"
            )));
        }
        repetitions.push(repetition);
    }
    if repetitions.is_empty() {
        return Err(HistoryError::Empty {
            path: path.display().to_string(),
        });
    }
    Ok(repetitions)
}

fn repetition(line: &[u8]) -> Result<Repetition, String> {
    #[derive(Deserialize)]
    struct Kind {
        schema: Option<String>,
    }
    let unusable = |error: serde_json::Error| {
        if error.is_eof() {
            return "it is cut off".to_owned();
        }
        // Every line is a JSON text of its own, whose line is 1.
        let why = error.to_string();
        why.split(" at line 1")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let kind: Kind = serde_json::from_slice(line).map_err(unusable)?;
    match kind.schema.as_deref() {
        Some(SCHEMA) => {}
        Some(other) => return Err(format!("its schema is {other:?}, not {SCHEMA:?}")),
        None => return Err(format!("it has no schema; a repetition has {SCHEMA:?}")),
    }
    let repetition: Repetition = serde_json::from_slice(line).map_err(unusable)?;
    if let Outcome::Times {
        own_ns,
        wall_ns,
        pace_ns,
        ..
    } = repetition.result
    {
        let times = [("own_ns", own_ns), ("wall_ns", wall_ns)];
        let pace = pace_ns.map(|pace_ns| ("pace_ns", pace_ns));
        for (name, time) in times.into_iter().chain(pace) {
            if !(time.is_finite() && time > 0.0) {
                return Err(format!("{name} is {time}, which is no time"));
            }
        }
    }
    Ok(repetition)
}

/// One line each.
///
/// # Errors
/// When a repetition can't be JSON.
pub(crate) fn text<'a>(
    repetitions: impl IntoIterator<Item = &'a Repetition>,
) -> serde_json::Result<String> {
    let mut text = String::new();
    for repetition in repetitions {
        text.push_str(&serde_json::to_string(repetition)?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(order: u32, more: &str) -> String {
        format!(
            "{{\"schema\":\"{SCHEMA}\",\"gate\":\"a/b\",\"side\":\"baseline\",\"block\":0,\
             \"order\":{order},\"at\":\"2026-11-21T00:00:00Z\",\"of\":\"abc\",{more}}}\n"
        )
    }

    const TIMES: &str = "\"outcome\":\"times\",\"own_ns\":12.5,\"exact\":true,\"wall_ns\":13.0";

    fn parsed(text: &str) -> Result<Vec<Repetition>, String> {
        let parsed = parse(text.as_bytes(), Path::new("a/history.jsonl"));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = [
            line(0, TIMES),
            line(4, &format!("{TIMES},\"pace_ns\":10800.0")),
            line(1, "\"outcome\":\"counts\",\"counts\":{\"files\":2}"),
            line(2, "\"outcome\":\"failed\",\"why\":\"it ended with 101\""),
            line(3, "\"outcome\":\"not_measured\",\"why\":\"a debug build\""),
        ]
        .concat();
        let repetitions = parsed(&text).expect("read");
        assert_eq!(repetitions.len(), 5);
        assert_eq!(
            repetitions[0].result,
            Outcome::Times {
                own_ns: 12.5,
                exact: true,
                wall_ns: 13.0,
                pace_ns: None,
            }
        );
        assert_eq!(super::text(&repetitions).expect("JSON"), text);
    }

    #[test]
    fn what_is_no_repetition_is_named_with_its_line() {
        let good = line(0, TIMES);
        let cut = &good[..good.len() - 20];
        for (second, why) in [
            (cut.to_owned(), "line 2: it is cut off"),
            ("{\"a\":1}".to_owned(), "line 2: it has no schema"),
            ("hello".to_owned(), "line 2: expected value"),
            (
                good.replace("history.v1", "history.v9"),
                "line 2: its schema is \"perfbudget.history.v9\", not",
            ),
            (
                good.replace("\"gate\"", "\"gait\""),
                "line 2: missing field `gate`",
            ),
            (
                good.replace("\"times\"", "\"sizes\""),
                "line 2: unknown variant `sizes`",
            ),
            (
                line(1, TIMES).replace("12.5", "0"),
                "line 2: own_ns is 0, which is no time",
            ),
            (
                line(1, TIMES).replace("13.0", "-1"),
                "line 2: wall_ns is -1, which",
            ),
            (
                line(1, &format!("{TIMES},\"pace_ns\":0.0")),
                "line 2: pace_ns is 0, which",
            ),
            (
                line(1, TIMES).replace("13.0", "1e999"),
                "line 2: number out of range",
            ),
            (good.clone(), "line 2: it is the process of line 1 again"),
        ] {
            let error = parsed(&format!("{good}{second}")).expect_err(&second);
            assert!(error.contains("a/history.jsonl: "), "{error}");
            assert!(error.contains(why), "{second}: {error}");
        }
        let error = parse(b"\xff\xfe", Path::new("x"))
            .expect_err("no text")
            .to_string();
        assert!(error.contains("line 1: "), "{error}");
    }

    #[test]
    fn nothing_is_no_history() {
        for text in ["", "\n\n"] {
            let error = parsed(text).expect_err("empty");
            assert!(error.contains("it has no repetition\n"), "{error}");
        }
        let error = read(Path::new("/nowhere/history.jsonl")).expect_err("none");
        assert!(
            error.to_string().contains("/nowhere/history.jsonl"),
            "{error}"
        );
    }

    #[test]
    fn empty_lines_and_line_ends_of_windows_are_nothing() {
        let text = format!("\n{}\r\n", line(0, TIMES).trim());
        assert_eq!(parsed(&text).expect("read").len(), 1);
    }
}
