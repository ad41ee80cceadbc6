//! Reads `[policy]` from a file's text, with the line of whatever is wrong in it.

use std::ops::Range;
use std::path::Path;

use perfbudget::config::{ConfigError, Problem};
use toml_edit::{Document, Item, TableLike, Value};

use super::{Acknowledged, Acknowledgement, Calibration, Expect, Neutral, Policy};

const KEYS: &[&str] = &[
    "expect",
    "primary_threshold_percent",
    "max_regression_percent",
    "max_cv_percent",
    "alpha",
    "neutral",
    "primary",
    "guardrail",
    "acknowledge",
    "calibration",
];
const OF_ACKNOWLEDGE: &[&str] = &["gate", "key", "count", "removed", "added"];
const OF_CALIBRATION: &[&str] = &["observed", "groups", "runs", "ready"];

const PERCENT: &str = "a positive number below 100";
const GLOBS: &str = "an array of globs, none of them empty";
const ONE_OF: &str = "`key` and `count`, `removed = true` or `added = true`: one of the three";

/// The policy of a file, the defaults for what it does not say.
pub(super) fn read(text: &str, path: &Path) -> Result<Policy, ConfigError> {
    let file = File { path, text };
    let document = Document::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: file.line(error.span()),
        message: error.message().to_owned(),
    })?;
    let mut policy = Policy::default();
    let Some((key, item)) = document.as_table().get_key_value("policy") else {
        return Ok(policy);
    };
    for entry in file.entries(item, "policy", key.span())? {
        match entry.key {
            "expect" => {
                policy.expect = match entry.text()? {
                    "improvement" => Expect::Improvement,
                    "no_regression" => Expect::NoRegression,
                    _ => return Err(entry.unexpected("\"improvement\" or \"no_regression\"")),
                }
            }
            "neutral" => {
                policy.neutral = match entry.text()? {
                    "equivalence" => Neutral::Equivalence,
                    "threshold" => Neutral::Threshold,
                    _ => return Err(entry.unexpected("\"equivalence\" or \"threshold\"")),
                }
            }
            "primary_threshold_percent" => {
                policy.primary_threshold_percent = entry.below(100.0, PERCENT)?;
            }
            "max_regression_percent" => {
                policy.max_regression_percent = entry.below(100.0, PERCENT)?;
            }
            "max_cv_percent" => policy.max_cv_percent = entry.below(100.0, PERCENT)?,
            "alpha" => policy.alpha = entry.below(0.5, "a positive number below 0.5")?,
            "primary" => policy.primary = entry.globs()?,
            "guardrail" => policy.guardrail = entry.globs()?,
            "acknowledge" => policy.acknowledge = acknowledgements(&entry)?,
            "calibration" => policy.calibration = Some(calibration(&entry)?),
            _ => return Err(entry.unknown(KEYS)),
        }
    }
    Ok(policy)
}

/// An array of tables, or an array of inline ones.
fn acknowledgements(entry: &Entry<'_>) -> Result<Vec<Acknowledgement>, ConfigError> {
    let mut all: Vec<Acknowledgement> = Vec::new();
    let name = &entry.name;
    let mut add = |one: Acknowledgement, span| {
        let is_same = |other: &Acknowledgement| match (&one.what, &other.what) {
            (Acknowledged::Count { key: a, .. }, Acknowledged::Count { key: b, .. }) => a == b,
            (Acknowledged::Count { .. }, _) | (_, Acknowledged::Count { .. }) => false,
            _ => true,
        };
        if all
            .iter()
            .any(|other| other.gate == one.gate && is_same(other))
        {
            let found = format!("another of {}", one.gate);
            return Err(entry.file.wrong(span, name, "one entry for each", found));
        }
        all.push(one);
        Ok(())
    };
    match entry.item {
        Item::ArrayOfTables(tables) => {
            for table in tables {
                let span = table.span();
                let one = acknowledgement(entry.file, table, name, span.clone())?;
                add(one, span)?;
            }
        }
        Item::Value(Value::Array(array)) => {
            for value in array {
                let table = value.as_inline_table().ok_or_else(|| {
                    let found = kind(value).to_owned();
                    entry
                        .file
                        .wrong(value.span(), name, "an array of tables", found)
                })?;
                let one = acknowledgement(entry.file, table, name, value.span())?;
                add(one, value.span())?;
            }
        }
        _ => return Err(entry.unexpected("an array of tables, [[policy.acknowledge]]")),
    }
    Ok(all)
}

fn acknowledgement(
    file: File<'_>,
    table: &dyn TableLike,
    name: &str,
    span: Option<Range<usize>>,
) -> Result<Acknowledgement, ConfigError> {
    let (mut gate, mut key, mut count, mut removed, mut added) = (None, None, None, None, None);
    for entry in file.entries_of(table, name) {
        match entry.key {
            "gate" => gate = Some(entry.filled()?.to_owned()),
            "key" => key = Some(entry.filled()?.to_owned()),
            "count" => count = Some(entry.whole()?),
            "removed" => removed = Some(entry.yes()?),
            "added" => added = Some(entry.yes()?),
            _ => return Err(entry.unknown(OF_ACKNOWLEDGE)),
        }
    }
    let missing = |key: &str| file.missing(span.clone(), &format!("{name}.{key}"));
    let gate = gate.ok_or_else(|| missing("gate"))?;
    let what = match (key, count, removed, added) {
        (Some(key), Some(count), None, None) => Acknowledged::Count { key, count },
        (Some(_), None, None, None) => return Err(missing("count")),
        (None, Some(_), None, None) => return Err(missing("key")),
        (None, None, Some(()), None) => Acknowledged::Removed,
        (None, None, None, Some(())) => Acknowledged::Added,
        (None, None, None, None) => {
            return Err(file.wrong(span, name, ONE_OF, "none of them".to_owned()));
        }
        _ => return Err(file.wrong(span, name, ONE_OF, "several".to_owned())),
    };
    Ok(Acknowledgement { gate, what })
}

fn calibration(entry: &Entry<'_>) -> Result<Calibration, ConfigError> {
    let (mut observed, mut groups, mut runs, mut ready) = (None, None, None, None);
    for entry in entry
        .file
        .entries(entry.item, &entry.name, entry.at.clone())?
    {
        match entry.key {
            "observed" => observed = Some(entry.date()?),
            "groups" => groups = Some(entry.whole()?),
            "runs" => runs = Some(entry.whole()?),
            "ready" => ready = Some(entry.boolean()?),
            _ => return Err(entry.unknown(OF_CALIBRATION)),
        }
    }
    let missing = || {
        entry
            .file
            .missing(entry.at.clone(), "policy.calibration.ready")
    };
    Ok(Calibration {
        observed,
        groups,
        runs,
        ready: ready.ok_or_else(missing)?,
    })
}

/// The file that is being understood.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

/// A key with its value.
struct Entry<'a> {
    file: File<'a>,
    key: &'a str,
    /// With its tables.
    name: String,
    item: &'a Item,
    /// Where the key is.
    at: Option<Range<usize>>,
}

impl<'a> File<'a> {
    fn entries(
        self,
        item: &'a Item,
        name: &str,
        at: Option<Range<usize>>,
    ) -> Result<Vec<Entry<'a>>, ConfigError> {
        let table = item.as_table_like().ok_or_else(|| {
            self.wrong(
                item.span().or(at),
                name,
                "a table",
                item.type_name().to_owned(),
            )
        })?;
        Ok(self.entries_of(table, name))
    }

    /// In the order of the file, so that the first error is the first in it.
    fn entries_of(self, table: &'a dyn TableLike, name: &str) -> Vec<Entry<'a>> {
        let mut entries: Vec<Entry<'a>> = table
            .iter()
            .map(|(key, item)| Entry {
                file: self,
                key,
                name: format!("{name}.{key}"),
                item,
                at: table
                    .key(key)
                    .and_then(toml_edit::Key::span)
                    .or_else(|| item.span()),
            })
            .collect();
        entries.sort_by_key(|entry| entry.at.as_ref().map(|span| span.start));
        entries
    }

    /// From 1.
    fn line(self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        let before = &self.text.as_bytes()[..start];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn wrong(
        self,
        span: Option<Range<usize>>,
        key: &str,
        expected: &'static str,
        found: String,
    ) -> ConfigError {
        self.problem(span, key, Problem::Unexpected { expected, found })
    }

    fn missing(self, span: Option<Range<usize>>, key: &str) -> ConfigError {
        self.problem(span, key, Problem::Missing)
    }

    fn problem(self, span: Option<Range<usize>>, key: &str, problem: Problem) -> ConfigError {
        ConfigError::Key {
            path: self.path.to_owned(),
            line: self.line(span),
            key: key.to_owned(),
            problem,
        }
    }
}

impl Entry<'_> {
    fn unknown(&self, known: &'static [&'static str]) -> ConfigError {
        self.file
            .problem(self.at.clone(), &self.name, Problem::Unknown { known })
    }

    /// With the value as it stands in the file, where it is short enough to.
    fn unexpected(&self, expected: &'static str) -> ConfigError {
        const SHORT: usize = 40;
        let span = self.item.span();
        let written = span.clone().and_then(|span| self.file.text.get(span));
        let found = match (self.item, written) {
            (Item::Value(_), Some(text)) if text.len() <= SHORT && !text.contains('\n') => text,
            _ => self.item.type_name(),
        };
        self.file.wrong(
            span.or(self.at.clone()),
            &self.name,
            expected,
            found.to_owned(),
        )
    }

    fn text(&self) -> Result<&str, ConfigError> {
        self.item
            .as_str()
            .ok_or_else(|| self.unexpected("a string"))
    }

    fn filled(&self) -> Result<&str, ConfigError> {
        let text = self.item.as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| self.unexpected("a string that is not empty"))
    }

    fn date(&self) -> Result<String, ConfigError> {
        let date = self.item.as_datetime().map(ToString::to_string);
        let text = || self.item.as_str().map(str::to_owned);
        date.or_else(text).ok_or_else(|| self.unexpected("a date"))
    }

    fn boolean(&self) -> Result<bool, ConfigError> {
        self.item
            .as_bool()
            .ok_or_else(|| self.unexpected("true or false"))
    }

    fn yes(&self) -> Result<(), ConfigError> {
        match self.item.as_bool() {
            Some(true) => Ok(()),
            _ => Err(self.unexpected("true")),
        }
    }

    fn whole(&self) -> Result<u64, ConfigError> {
        let number = self.item.as_integer().and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| self.unexpected("a whole number, not negative"))
    }

    /// Positive and below `end`, which leaves out what is no number.
    fn below(&self, end: f64, expected: &'static str) -> Result<f64, ConfigError> {
        #[expect(clippy::cast_precision_loss, reason = "below a hundred, or refused")]
        let whole = || self.item.as_integer().map(|n| n as f64);
        let number = self.item.as_float().or_else(whole);
        number
            .filter(|number| *number > 0.0 && *number < end)
            .ok_or_else(|| self.unexpected(expected))
    }

    fn globs(&self) -> Result<Vec<String>, ConfigError> {
        let array = self.item.as_array().ok_or_else(|| self.unexpected(GLOBS))?;
        let glob = |value: &Value| {
            let text = value.as_str().filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or_else(|| {
                let found = match value.as_str() {
                    Some(_) => "an empty one",
                    None => kind(value),
                };
                self.file
                    .wrong(value.span(), &self.name, GLOBS, found.to_owned())
            })
        };
        array.iter().map(glob).collect()
    }
}

fn kind(value: &Value) -> &'static str {
    value.type_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse(text, Path::new("perfbudget.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(text: &str) -> String {
        let read = Policy::parse(text, Path::new("perfbudget.toml"));
        read.expect_err(text).to_string()
    }

    #[test]
    fn a_file_without_a_policy_has_the_defaults() {
        let machine = "[machine]\ncpu_score = 1.0\nprocess_score = 1.0\n";
        for text in ["", machine, "[policy]\n", "policy = {}\n"] {
            assert_eq!(policy(text), Policy::default(), "{text}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "[policy]\nexpect = \"improvement\"\nprimary_threshold_percent = 28.5\n\
             max_regression_percent = 21\nmax_cv_percent = 21.5\nalpha = 0.01\n\
             neutral = \"threshold\"\nprimary = [\"a/*\", \"b\"]\nguardrail = [\"c\"]\n\n\
             [policy.calibration]\nobserved = 2026-11-21\ngroups = 3\nruns = 24\nready = false\n\n\
             [[policy.acknowledge]]\ngate = \"a/syncs\"\nkey = \"dirs\"\ncount = 0\n\n\
             [[policy.acknowledge]]\ngate = \"a/old\"\nremoved = true\n\n\
             [[policy.acknowledge]]\ngate = \"a/new\"\nadded = true\n";
        let acknowledged = |gate: &str, what| Acknowledgement {
            gate: gate.into(),
            what,
        };
        let expected = Policy {
            expect: Expect::Improvement,
            primary_threshold_percent: 28.5,
            max_regression_percent: 21.0,
            max_cv_percent: 21.5,
            alpha: 0.01,
            neutral: Neutral::Threshold,
            primary: vec!["a/*".into(), "b".into()],
            guardrail: vec!["c".into()],
            acknowledge: vec![
                acknowledged(
                    "a/syncs",
                    Acknowledged::Count {
                        key: "dirs".into(),
                        count: 0,
                    },
                ),
                acknowledged("a/old", Acknowledged::Removed),
                acknowledged("a/new", Acknowledged::Added),
            ],
            calibration: Some(Calibration {
                observed: Some("2026-11-21".into()),
                groups: Some(3),
                runs: Some(24),
                ready: false,
            }),
        };
        assert_eq!(policy(text), expected);
        let inline = "policy.acknowledge = [{ gate = \"a/old\", removed = true }]\n";
        assert_eq!(policy(inline).acknowledge, expected.acknowledge[1..2]);
        let json = serde_json::to_string(&expected).expect("JSON");
        let back: Policy = serde_json::from_str(&json).expect("read back");
        assert_eq!(back, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_key() {
        for (text, message) in [
            (
                "[polciy]\n",
                "1: polciy: unknown key; known are machine, policy",
            ),
            ("policy = 1\n", "1: policy: expected a table, found integer"),
            (
                "[policy]\n\nalpah = 0.1\n",
                "3: policy.alpah: unknown key; known are expect, ",
            ),
            (
                "[policy]\nguardrails = []\n",
                "2: policy.guardrails: unknown key",
            ),
            (
                "[policy]\nalpha = 0.5\n",
                "2: policy.alpha: expected a positive number below 0.5, found 0.5",
            ),
            (
                "[policy]\nalpha = nan\n",
                "2: policy.alpha: expected a positive number below 0.5, found nan",
            ),
            ("[policy]\nalpha = -0.1\n", "found -0.1"),
            ("[policy]\nalpha = \"x\"\n", "found \"x\""),
            (
                "[policy]\nprimary_threshold_percent = 0\n",
                "expected a positive number below 100, found 0",
            ),
            ("[policy]\nmax_regression_percent = inf\n", "found inf"),
            ("[policy]\nmax_cv_percent = 100\n", "found 100"),
            (
                "[policy]\nexpect = \"better\"\n",
                "policy.expect: expected \"improvement\" or \"no_regression\", found \"better\"",
            ),
            (
                "[policy]\nneutral = true\n",
                "policy.neutral: expected a string, found true",
            ),
            (
                "[policy]\nprimary = \"a\"\n",
                "policy.primary: expected an array of globs",
            ),
            (
                "[policy]\nprimary = [\"a\",\n 3]\n",
                "3: policy.primary: expected an array of globs, none of them empty, found integer",
            ),
            ("[policy]\nguardrail = [\"\"]\n", "found an empty one"),
            (
                "[policy]\nacknowledge = 1\n",
                "expected an array of tables, [[policy.acknowledge]], found 1",
            ),
            (
                "[policy]\nacknowledge = [1]\n",
                "expected an array of tables, found integer",
            ),
            (
                "[[policy.acknowledge]]\nkey = \"files\"\ncount = 1\n",
                "1: policy.acknowledge.gate: missing",
            ),
            (
                "\n[[policy.acknowledge]]\ngate = \"a\"\nkey = \"files\"\n",
                "2: policy.acknowledge.count: missing",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\ncount = 1\n",
                "policy.acknowledge.key: missing",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\ncount = -1\nkey = \"x\"\n",
                "3: policy.acknowledge.count: expected a whole number",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\n",
                "one of the three, found none of them",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\nremoved = true\nadded = true\n",
                "found several",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\nremoved = false\n",
                "expected true, found false",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\nreason = \"b\"\n",
                "unknown key; known are gate, key",
            ),
            (
                "[[policy.acknowledge]]\ngate = \"a\"\nremoved = true\n[[policy.acknowledge]]\ngate = \"a\"\nadded = true\n",
                "4: policy.acknowledge: expected one entry for each, found another of a",
            ),
            (
                "[policy.calibration]\nruns = 3\n",
                "1: policy.calibration.ready: missing",
            ),
            (
                "[policy.calibration]\nready = 1\n",
                "2: policy.calibration.ready: expected true or false, found 1",
            ),
            (
                "[policy.calibration]\nready = true\nx = 1\n",
                "3: policy.calibration.x: unknown key",
            ),
            ("[policy\n", "perfbudget.toml:1: "),
        ] {
            let error = error(text);
            assert!(error.starts_with("perfbudget.toml:"), "{text}: {error}");
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
