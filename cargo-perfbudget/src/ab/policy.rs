//! `[policy]` of `perfbudget.toml`: what a decision goes by.
//!
//! ```toml
//! [policy]
//! expect = "no_regression"          # or "improvement"
//! primary_threshold_percent = 5     # the least change of a primary that counts
//! max_regression_percent = 3        # the same of a guardrail
//! max_cv_percent = 15               # repetitions that vary more decide nothing
//! alpha = 0.05                      # the error rate of all gates together
//! neutral = "equivalence"           # or "threshold"
//! primary = ["outbox/*"]            # globs; see `Policy::roles`
//! guardrail = ["queue/*"]
//!
//! [[policy.acknowledge]]            # what may differ: a count of syncs that fell …
//! gate = "outbox/drain-syncs"
//! key = "dirs"
//! count = 1
//!
//! [[policy.acknowledge]]            # … or a gate that one side does not have
//! gate = "outbox/old"
//! removed = true                    # or `added = true`
//!
//! [policy.calibration]              # what `cargo perfbudget calibrate --write` found
//! observed = "2026-11-21"
//! groups = 4
//! runs = 24                         # of the group with the fewest
//! ready = true
//! ```
//!
//! All keys have defaults, those above. What is not known or not possible is an error that names
//! file, line and key.

mod reader;

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use perfbudget::config::{self, Config, ConfigError};
use serde::{Deserialize, Serialize};

use super::decision::Role;

/// What a decision goes by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) expect: Expect,
    /// The least change of a primary that counts, positive and below 100.
    pub(crate) primary_threshold_percent: f64,
    /// The least change of a guardrail that counts, positive and below 100.
    pub(crate) max_regression_percent: f64,
    /// Positive and below 100.
    pub(crate) max_cv_percent: f64,
    /// The error rate of all gates and looks together, positive and below 0.5.
    pub(crate) alpha: f64,
    pub(crate) neutral: Neutral,
    /// Globs.
    pub(crate) primary: Vec<String>,
    /// Globs.
    pub(crate) guardrail: Vec<String>,
    pub(crate) acknowledge: Vec<Acknowledgement>,
    pub(crate) calibration: Option<Calibration>,
}

/// What the primaries are to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Expect {
    /// That they are better.
    Improvement,
    /// That they are not worse.
    NoRegression,
}

/// When a gate did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Neutral {
    /// When the whole interval of the change is within the threshold.
    Equivalence,
    /// When the change itself is less than the threshold.
    Threshold,
}

/// A difference that somebody has looked at, and that may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledgement {
    pub(crate) gate: String,
    #[serde(flatten)]
    pub(crate) what: Acknowledged,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Acknowledged {
    /// A count fell to this.
    Count { key: String, count: u64 },
    /// Only the candidate has the gate.
    Added,
    /// Only the baseline has the gate.
    Removed,
}

/// What the thresholds were made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// The day.
    pub(crate) observed: Option<String>,
    pub(crate) groups: Option<u64>,
    /// Of the group with the fewest.
    pub(crate) runs: Option<u64>,
    pub(crate) ready: bool,
}

/// A policy whose calibration says that it is not ready.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to decide by a policy that is not ready: policy.calibration says ready = false{of}\n\
     `cargo perfbudget calibrate HISTORY… --write` says what it lacks and makes it ready; \
     --allow-uncalibrated decides by it all the same"
)]
pub(crate) struct NotReady {
    of: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            expect: Expect::NoRegression,
            primary_threshold_percent: 5.0,
            max_regression_percent: 3.0,
            max_cv_percent: 15.0,
            alpha: 0.05,
            neutral: Neutral::Equivalence,
            primary: Vec::new(),
            guardrail: Vec::new(),
            acknowledge: Vec::new(),
            calibration: None,
        }
    }
}

impl Policy {
    /// Of the file that is named, or of the nearest `perfbudget.toml` here or above; the defaults
    /// where there is none.
    ///
    /// # Errors
    /// When the file can't be read, or says anything that is not known or not possible.
    pub(crate) fn find(named: Option<&Path>, here: &Path) -> Result<Self, ConfigError> {
        match named.map(Path::to_owned).or_else(|| file_from(here)) {
            Some(path) => Self::read(&path),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        // The rest of the file is read, too: a table that is misspelled is no policy at all.
        Config::read(path)?;
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        reader::read(&text, path)
    }

    /// Understands the text of a file. `path` is for its errors.
    ///
    /// # Errors
    /// When it says anything that is not known or not possible.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Config::parse(text, path)?;
        reader::read(text, path)
    }

    /// # Errors
    /// When its calibration says that it is not ready, and nobody has asked for it all the same.
    pub(crate) fn check_ready(&self, is_allowed: bool) -> Result<(), NotReady> {
        match &self.calibration {
            Some(calibration) if !calibration.ready && !is_allowed => {
                let date = calibration
                    .observed
                    .iter()
                    .map(|date| format!(" of {date}"));
                let runs = calibration
                    .runs
                    .iter()
                    .map(|runs| format!(", {runs} runs a group"));
                Err(NotReady {
                    of: date.chain(runs).collect(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What a gate is. A primary where a glob of `primary` fits, a guardrail where one of
    /// `guardrail` does, and both where both do. A gate that no glob fits is a guardrail when
    /// `primary` names any, else a primary: none is left out.
    pub(crate) fn roles(&self, gate: &str) -> Vec<Role> {
        let fits = |globs: &[String]| globs.iter().any(|glob| is_match(glob, gate));
        match (fits(&self.primary), fits(&self.guardrail)) {
            (true, true) => vec![Role::Primary, Role::Guardrail],
            (true, false) => vec![Role::Primary],
            (false, true) => vec![Role::Guardrail],
            (false, false) if self.primary.is_empty() => vec![Role::Primary],
            (false, false) => vec![Role::Guardrail],
        }
    }

    /// The least change that counts for a role, in per cent.
    pub(crate) fn threshold_percent(&self, role: Role) -> f64 {
        match role {
            Role::Primary => self.primary_threshold_percent,
            Role::Guardrail => self.max_regression_percent,
        }
    }

    /// Whether this difference of this gate is acknowledged.
    pub(crate) fn acknowledges(&self, gate: &str, what: &Acknowledged) -> bool {
        let is_it = |entry: &Acknowledgement| entry.gate == gate && entry.what == *what;
        self.acknowledge.iter().any(is_it)
    }
}

/// The nearest `perfbudget.toml` here or above.
pub(super) fn file_from(here: &Path) -> Option<PathBuf> {
    config::find_from(here)
}

/// Whether a glob fits the whole name: `*` stands for anything or nothing, also with a `/` in it,
/// and `?` for one character.
pub(super) fn is_match(glob: &str, name: &str) -> bool {
    match glob.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &glob[1..];
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| is_match(rest, &name[at..]))
        }
        Some(expected) => {
            let mut characters = name.chars();
            let fits = characters
                .next()
                .is_some_and(|c| expected == '?' || c == expected);
            fits && is_match(&glob[expected.len_utf8()..], characters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(globs: &[&str]) -> Vec<String> {
        globs.iter().map(ToString::to_string).collect()
    }

    fn roles(primary: &[&str], guardrail: &[&str], gate: &str) -> Vec<Role> {
        let policy = Policy {
            primary: strings(primary),
            guardrail: strings(guardrail),
            ..Policy::default()
        };
        policy.roles(gate)
    }

    #[test]
    fn a_gate_is_what_the_globs_say_and_never_nothing() {
        use Role::{Guardrail, Primary};
        assert_eq!(roles(&[], &[], "a/b"), [Primary]);
        assert_eq!(roles(&["a/*"], &[], "a/b"), [Primary]);
        assert_eq!(roles(&["a/*"], &[], "c/d"), [Guardrail]);
        assert_eq!(roles(&[], &["a/*"], "a/b"), [Guardrail]);
        assert_eq!(roles(&[], &["a/*"], "c/d"), [Primary]);
        assert_eq!(roles(&["a/*"], &["*/b"], "a/b"), [Primary, Guardrail]);
        assert_eq!(roles(&["a/*"], &["c/*"], "e/f"), [Guardrail]);
    }

    #[test]
    fn globs_fit_whole_names() {
        for (glob, name) in [
            ("*", "outbox/drain-25"),
            ("outbox/*", "outbox/drain-25"),
            ("*-25", "outbox/drain-25"),
            ("outbox/drain-??", "outbox/drain-25"),
            ("o*/*-*", "outbox/drain-25"),
            ("outbox/drain-25", "outbox/drain-25"),
            ("**", ""),
            ("*", "Verzögert — 1"),
        ] {
            assert!(is_match(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("", "a"),
            ("a", ""),
            ("outbox", "outbox/drain-25"),
            ("drain-25", "outbox/drain-25"),
            ("*/drain-?", "outbox/drain-25"),
            ("queue/*", "outbox/drain-25"),
            ("?", ""),
        ] {
            assert!(!is_match(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn only_a_calibration_that_says_so_is_not_ready() {
        let of = |ready| Policy {
            calibration: Some(Calibration {
                observed: Some("2026-11-21".into()),
                groups: Some(2),
                runs: Some(7),
                ready,
            }),
            ..Policy::default()
        };
        assert!(Policy::default().check_ready(false).is_ok());
        assert!(of(true).check_ready(false).is_ok());
        assert!(of(false).check_ready(true).is_ok());
        let error = of(false)
            .check_ready(false)
            .expect_err("not ready")
            .to_string();
        assert!(error.contains("of 2026-11-21, 7 runs a group\n"), "{error}");
        assert!(error.contains("--allow-uncalibrated"), "{error}");
    }
}
