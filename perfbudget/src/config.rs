//! `perfbudget.toml`: what a workspace says about itself.
//!
//! ```toml
//! [machine]                   # the machine on which the bases were observed
//! cpu = "AMD EPYC"            # its model; optional
//! cores = 2                   # CPUs; optional
//! observed = "2026-11-21"     # when; optional
//! cpu_score = 1571.2          # microseconds that the reference work takes there
//! process_score = 612.9       # the same for the work that starts a process
//! ```
//!
//! `cargo perfbudget calibrate-machine` writes that table, and
//! [`PERF_BUDGET_MULTIPLIER=auto`](crate::MULTIPLIER_ENV) reads it. `[policy]` is the tool's and is
//! not looked at here; anything else is an error, which names file, line and key.

use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{self, Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::run;

/// The file's name.
pub const FILE_NAME: &str = "perfbudget.toml";

/// What a `perfbudget.toml` says.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The machine on which the bases were observed.
    pub machine: Option<Machine>,
}

/// The machine on which the bases were observed: `[machine]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Machine {
    /// The CPU's model.
    pub cpu: Option<String>,
    /// CPUs.
    pub cores: Option<u64>,
    /// The date of the observation, in the file's own words.
    pub observed: Option<String>,
    /// What [`cpu_time`](crate::machine::cpu_time) was there, in microseconds: positive, finite.
    pub cpu_score: f64,
    /// What [`process_time`](crate::machine::process_time) was there, in microseconds: positive,
    /// finite.
    pub process_score: f64,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, is not TOML, or says something that is not known or not possible.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = fs::read(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_at(&bytes, error.valid_up_to()),
            message: "it is not UTF-8".to_owned(),
        })?;
        Self::parse(text, path)
    }

    /// Understands the text of a file. `path` is for its errors.
    ///
    /// # Errors
    /// As [`read`](Config::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file = File { path, text };
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_at(text.as_bytes(), error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut config = Self::default();
        for (key, value) in in_order(document.get_ref()) {
            match key.get_ref().as_ref() {
                "machine" => config.machine = Some(file.machine(key.span(), value)?),
                "policy" => {}
                name => {
                    let known = &["machine", "policy"];
                    return Err(file.wrong(key.span(), name, Problem::Unknown { known }));
                }
            }
        }
        Ok(config)
    }
}

/// The [`FILE_NAME`] in this directory, or in the nearest one above it that has one.
#[must_use]
pub fn find_from(directory: &Path) -> Option<PathBuf> {
    let directory = path::absolute(directory).ok()?;
    directory
        .ancestors()
        .map(|dir| dir.join(FILE_NAME))
        .find(|file| file.is_file())
}

/// Where a test looks from: the directory of its package, which Cargo tells at run time, else the
/// current one.
#[must_use]
pub fn start_directory() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| env::current_dir().unwrap_or_default(), PathBuf::from)
}

/// Today's date, UTC, as `observed` has it: `2026-11-21`.
#[must_use]
pub fn today() -> String {
    run::now().chars().take_while(|c| *c != 'T').collect()
}

/// The time, UTC, as a record's `at` has it: RFC 3339.
#[must_use]
pub fn now() -> String {
    run::now()
}

/// Why a `perfbudget.toml` can't be used. Its text begins with file and line.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// It can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML.
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// It is TOML that says something wrong.
    Key {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key with its table: `machine.cpu_score`.
        key: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No such key is known.
    Unknown {
        /// Those that are, where it stands.
        known: &'static [&'static str],
    },
    /// Its table needs it and does not have it.
    Missing,
    /// Its value is of another type, or out of range.
    Unexpected {
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "failed to read {}", path.display()),
            Self::Syntax {
                path,
                line,
                message,
            } => write!(f, "{}:{line}: {message}", path.display()),
            Self::Key {
                path,
                line,
                key,
                problem,
            } => write!(f, "{}:{line}: {key}: {problem}", path.display()),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { known } => write!(f, "unknown key; known are {}", known.join(", ")),
            Self::Missing => f.write_str("missing"),
            Self::Unexpected { expected, found } => write!(f, "expected {expected}, found {found}"),
        }
    }
}

/// A file that is being understood.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// `header` is where the table is named: the line of a key that it lacks.
    fn machine(
        &self,
        header: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Machine, ConfigError> {
        const KNOWN: &[&str] = &["cpu", "cores", "observed", "cpu_score", "process_score"];
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.unexpected(value, "machine", "a table"));
        };
        let (mut cpu, mut cores, mut observed) = (None, None, None);
        let (mut cpu_score, mut process_score) = (None, None);
        for (key, value) in in_order(table) {
            let name = format!("machine.{}", key.get_ref());
            match key.get_ref().as_ref() {
                "cpu" => cpu = Some(self.text(value, &name)?),
                "cores" => cores = Some(self.positive_integer(value, &name)?),
                "observed" => observed = Some(self.date(value, &name)?),
                "cpu_score" => cpu_score = Some(self.positive_number(value, &name)?),
                "process_score" => process_score = Some(self.positive_number(value, &name)?),
                _ => return Err(self.wrong(key.span(), &name, Problem::Unknown { known: KNOWN })),
            }
        }
        let missing = |key| self.wrong(header.clone(), key, Problem::Missing);
        Ok(Machine {
            cpu,
            cores,
            observed,
            cpu_score: cpu_score.ok_or_else(|| missing("machine.cpu_score"))?,
            process_score: process_score.ok_or_else(|| missing("machine.process_score"))?,
        })
    }

    fn text(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<String, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.unexpected(value, key, "a string")),
        }
    }

    fn date(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<String, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Datetime(date) => Ok(date.to_string()),
            _ => Err(self.unexpected(value, key, "a date")),
        }
    }

    fn positive_integer(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Result<u64, ConfigError> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()),
            _ => return Err(self.unexpected(value, key, "a positive integer")),
        };
        number
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| self.unexpected(value, key, "a positive integer"))
    }

    fn positive_number(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<f64, ConfigError> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(f64::from),
            _ => None,
        };
        number
            .filter(|number: &f64| number.is_finite() && *number > 0.0)
            .ok_or_else(|| self.unexpected(value, key, "a positive number"))
    }

    fn unexpected(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        expected: &'static str,
    ) -> ConfigError {
        // What is a number, but not one of these, says most by itself.
        let found = match value.get_ref() {
            DeValue::Integer(_) if !expected.contains("positive") => "an integer".to_owned(),
            DeValue::Float(_) if !expected.contains("number") => "a float".to_owned(),
            DeValue::Integer(_) | DeValue::Float(_) => self.text[value.span()].to_owned(),
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Boolean(_) => "a boolean".to_owned(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(value.span(), key, Problem::Unexpected { expected, found })
    }

    fn wrong(&self, span: Range<usize>, key: &str, problem: Problem) -> ConfigError {
        ConfigError::Key {
            path: self.path.to_owned(),
            line: line_at(self.text.as_bytes(), span.start),
            key: key.to_owned(),
            problem,
        }
    }
}

type Entry<'a, 'i> = (
    &'a Spanned<std::borrow::Cow<'i, str>>,
    &'a Spanned<DeValue<'i>>,
);

/// In the order of the file, so that the first error is the first in it.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The line that a byte stands in, from 1.
fn line_at(text: &[u8], at: usize) -> usize {
    let before = &text[..at.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[machine]\n\
                        cpu = \"AMD EPYC\"\n\
                        cores = 2\n\
                        observed = \"2026-11-21\"\n\
                        cpu_score = 1571.25\n\
                        process_score = 613\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new(FILE_NAME))
    }

    fn machine(text: &str) -> Machine {
        let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
        config.machine.expect("a machine")
    }

    fn error(text: &str) -> String {
        let error = parse(text).expect_err(text);
        error.to_string()
    }

    #[test]
    fn a_machine_is_what_its_table_says() {
        let machine = machine(GOOD);
        assert_eq!(machine.cpu.as_deref(), Some("AMD EPYC"));
        assert_eq!(machine.cores, Some(2));
        assert_eq!(machine.observed.as_deref(), Some("2026-11-21"));
        assert_eq!((machine.cpu_score, machine.process_score), (1571.25, 613.0));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "small integers")]
    fn only_the_scores_are_needed_and_toml_has_many_ways() {
        let least = machine("machine = { cpu_score = 0x10, process_score = 1_000 }");
        assert_eq!((least.cpu_score, least.process_score), (16.0, 1000.0));
        assert_eq!((least.cpu, least.cores, least.observed), (None, None, None));
        let dotted = machine("machine.cpu_score = 2e1\nmachine.process_score = 1\n");
        assert_eq!(dotted.cpu_score, 20.0);
        let date = machine("[machine]\ncpu_score=1\nprocess_score=1\nobserved=2026-11-21\n");
        assert_eq!(date.observed.as_deref(), Some("2026-11-21"));
    }

    #[test]
    fn an_empty_file_says_nothing_and_policy_is_the_tools() {
        assert_eq!(parse("").expect("empty"), Config::default());
        let policy = "[policy]\nexpect = \"improvement\"\nwhatever = [1, {}]\n\
                      [policy.calibration]\nready = false\n\
                      [[policy.acknowledge]]\ngate = \"x\"\n";
        assert_eq!(parse(policy).expect("accepted"), Config::default());
        let both = format!("{policy}{GOOD}");
        assert!(parse(&both).expect("accepted").machine.is_some());
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        for text in [
            "[machine]\ncpu = \"x\"\ncpu_score = \n",
            "[machine]\n\ncpu_score = \"\n",
            "[policy]\nx = 1\nx = 2\n",
            "[machine]\r\n# ü\r\ncpu_score\r\n",
        ] {
            let error = error(text);
            assert!(error.starts_with("perfbudget.toml:3: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_wrong_type_names_file_line_and_key() {
        for (line, text) in [
            (
                "cpu_score = \"fast\"",
                "cpu_score: expected a positive number, found a string",
            ),
            (
                "cpu_score = true",
                "cpu_score: expected a positive number, found a boolean",
            ),
            (
                "cpu_score = [1]",
                "cpu_score: expected a positive number, found an array",
            ),
            (
                "process_score = {}",
                "process_score: expected a positive number, found a table",
            ),
            (
                "process_score = 2026-11-21",
                "process_score: expected a positive number, found a date",
            ),
            ("cpu = 7", "cpu: expected a string, found an integer"),
            ("cpu = 7.5", "cpu: expected a string, found a float"),
            (
                "cores = \"2\"",
                "cores: expected a positive integer, found a string",
            ),
            (
                "cores = 2.5",
                "cores: expected a positive integer, found a float",
            ),
            (
                "observed = 20261121",
                "observed: expected a date, found an integer",
            ),
        ] {
            let error = error(&format!("# where\n[machine]\n{line}\n"));
            assert_eq!(error, format!("perfbudget.toml:3: machine.{text}"));
        }
        assert_eq!(
            error("\nmachine = 3\n"),
            "perfbudget.toml:2: machine: expected a table, found an integer"
        );
        assert_eq!(
            error("[[machine]]\n"),
            "perfbudget.toml:1: machine: expected a table, found an array"
        );
    }

    #[test]
    fn a_score_that_is_not_positive_and_finite_names_file_line_and_key() {
        for number in [
            "0", "0.0", "-0.0", "-1", "-1571.25", "nan", "inf", "-inf", "1e999", "0x0",
        ] {
            for key in ["cpu_score", "process_score"] {
                let error = error(&format!("[machine]\n\n{key} = {number} # here\n"));
                assert_eq!(
                    error,
                    format!(
                        "perfbudget.toml:3: machine.{key}: expected a positive number, \
                         found {number}"
                    )
                );
            }
        }
        for number in ["0", "-2", "99999999999999999999"] {
            let error = error(&format!("[machine]\ncores = {number}\n"));
            let text = format!("machine.cores: expected a positive integer, found {number}");
            assert_eq!(error, format!("perfbudget.toml:2: {text}"));
        }
    }

    #[test]
    fn an_unknown_key_names_file_line_key_and_the_known_ones() {
        assert_eq!(
            error(&format!("{GOOD}cpu_scores = 1\n")),
            "perfbudget.toml:7: machine.cpu_scores: unknown key; known are cpu, cores, observed, \
             cpu_score, process_score"
        );
        assert_eq!(
            error(&format!("{GOOD}[machines]\n")),
            "perfbudget.toml:7: machines: unknown key; known are machine, policy"
        );
        // Before what it is a misspelling of is missed.
        assert!(error("[machine]\ncpuscore = 1\n").contains("cpuscore: unknown key"));
    }

    #[test]
    fn a_missing_score_names_the_line_of_its_table() {
        assert_eq!(
            error("# x\n[machine]\ncpu = \"x\"\ncpu_score = 1\n"),
            "perfbudget.toml:2: machine.process_score: missing"
        );
        assert_eq!(
            error("[machine]\nprocess_score = 1\n"),
            "perfbudget.toml:1: machine.cpu_score: missing"
        );
    }

    #[test]
    fn the_first_error_of_a_file_is_the_one() {
        let error = error("[machine]\nprocess_score = 0\ncpu_score = 0\n");
        assert!(error.starts_with("perfbudget.toml:2: "), "{error}");
    }

    #[test]
    fn what_cannot_be_read_names_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE_NAME);
        let error = Config::read(&path).expect_err("not there");
        assert!(error.to_string().ends_with(FILE_NAME), "{error}");
        assert!(error.source().is_some());
        fs::write(&path, b"[machine]\ncpu = \"\xFF\"\n").expect("written");
        let error = Config::read(&path).expect_err("not UTF-8").to_string();
        assert!(
            error.ends_with("perfbudget.toml:2: it is not UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn today_is_a_date() {
        let today = today();
        assert_eq!(today.len(), "2026-11-21".len(), "{today}");
        assert!(run::now() >= today);
    }

    #[test]
    fn the_nearest_file_above_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).expect("made");
        let outer = dir.path().join(FILE_NAME);
        fs::write(&outer, "").expect("written");
        assert_eq!(find_from(&deep), Some(outer));
        let inner = dir.path().join("a/b").join(FILE_NAME);
        fs::write(&inner, "").expect("written");
        assert_eq!(find_from(&deep), Some(inner.clone()));
        // A directory of that name is no file.
        fs::create_dir(deep.join(FILE_NAME)).expect("made");
        assert_eq!(find_from(&deep), Some(inner));
    }
}
