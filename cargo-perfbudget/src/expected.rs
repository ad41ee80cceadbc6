//! The tests that should have left records, as a test runner lists them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use perfbudget::record::TestPlace;
use serde::Deserialize;

/// A test by its name, and by its binary or package where the list tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExpectedTest {
    pub(crate) package: Option<String>,
    pub(crate) binary: Option<String>,
    pub(crate) name: String,
}

impl ExpectedTest {
    /// Whether a record's test is this one.
    pub(crate) fn is(&self, place: &TestPlace) -> bool {
        self.name == place.path
            && (self.package.is_none() || self.package == place.package)
            && (self.binary.is_none() || self.binary == place.binary)
    }
}

impl fmt::Display for ExpectedTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.binary.as_ref().or(self.package.as_ref()) {
            Some(place) => write!(f, "{} in {place}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// All of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpectedTests(pub(crate) Vec<ExpectedTest>);

/// A list that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExpectedError {
    #[error("failed to read the list of expected tests {path}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("failed to understand {path} as `cargo nextest list --message-format json`")]
    Json {
        path: String,
        source: serde_json::Error,
    },
    #[error(
        "failed to understand line {line} of {path} as `name: test`\n\
         make the file by `cargo test -- --list --format terse`"
    )]
    Line { path: String, line: usize },
}

#[derive(Deserialize)]
struct NextestList {
    #[serde(rename = "rust-suites")]
    rust_suites: BTreeMap<String, NextestSuite>,
}

#[derive(Deserialize)]
struct NextestSuite {
    testcases: BTreeMap<String, NextestCase>,
}

#[derive(Deserialize)]
struct NextestCase {
    #[serde(rename = "filter-match")]
    filter_match: NextestMatch,
}

#[derive(Deserialize)]
struct NextestMatch {
    status: String,
}

impl ExpectedTests {
    /// From nextest's JSON, which lists every test and says which its filter matches.
    pub(crate) fn from_nextest(path: &Path) -> Result<Self, ExpectedError> {
        let text = read(path)?;
        let list: NextestList =
            serde_json::from_str(&text).map_err(|source| ExpectedError::Json {
                path: path.display().to_string(),
                source,
            })?;
        let mut tests = Vec::new();
        for (binary, suite) in list.rust_suites {
            for (name, case) in suite.testcases {
                if case.filter_match.status == "matches" {
                    tests.push(ExpectedTest {
                        package: None,
                        binary: Some(binary.clone()),
                        name,
                    });
                }
            }
        }
        Ok(Self(tests))
    }

    /// From the test harness's own terse list, a line a test: `name: test`, or, where lists of
    /// several packages were put together, `package name: test`.
    pub(crate) fn from_libtest(path: &Path) -> Result<Self, ExpectedError> {
        let text = read(path)?;
        let mut tests = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.ends_with(": benchmark") {
                continue;
            }
            let name = line
                .strip_suffix(": test")
                .ok_or_else(|| ExpectedError::Line {
                    path: path.display().to_string(),
                    line: at + 1,
                })?;
            let (package, name) = match name.split_once(' ') {
                Some((package, name)) => (Some(package.to_owned()), name),
                None => (None, name),
            };
            tests.push(ExpectedTest {
                package,
                binary: None,
                name: name.to_owned(),
            });
        }
        Ok(Self(tests))
    }
}

fn read(path: &Path) -> Result<String, ExpectedError> {
    fs::read_to_string(path).map_err(|source| ExpectedError::Read {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        file.into_temp_path()
    }

    #[test]
    fn of_nextests_list_only_the_matches_are_expected() {
        let list = file(
            r#"{"rust-build-meta":{},"test-count":2,"rust-suites":{"outbox::perf":{
                "package-name":"outbox","testcases":{
                  "perf_a":{"ignored":false,"filter-match":{"status":"matches"}},
                  "red_b":{"ignored":false,"filter-match":{"status":"mismatch","reason":"expression"}}
                }}}}"#,
        );
        let tests = ExpectedTests::from_nextest(&list).expect("understood");
        assert_eq!(tests.0.len(), 1);
        assert_eq!(tests.0[0].to_string(), "perf_a in outbox::perf");
    }

    #[test]
    fn of_libtests_list_benchmarks_are_left_out() {
        let list = file("perf_a: test\nperf_b: benchmark\n\noutbox deep::perf_c: test\n");
        let tests = ExpectedTests::from_libtest(&list).expect("understood");
        let names: Vec<String> = tests.0.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["perf_a", "deep::perf_c in outbox"]);
    }

    #[test]
    fn a_test_is_the_one_of_its_binary_and_package() {
        let place: TestPlace =
            serde_json::from_str(r#"{"path":"perf_a","binary":"outbox::perf","package":"outbox"}"#)
                .expect("a place");
        let expected = |package: Option<&str>, binary: Option<&str>| ExpectedTest {
            package: package.map(str::to_owned),
            binary: binary.map(str::to_owned),
            name: "perf_a".into(),
        };
        assert!(expected(None, None).is(&place));
        assert!(expected(Some("outbox"), Some("outbox::perf")).is(&place));
        assert!(!expected(None, Some("queue::perf")).is(&place));
        assert!(!expected(Some("queue"), None).is(&place));
    }

    #[test]
    fn what_is_no_list_is_said_with_file_and_line() {
        let list = file("perf_a: test\nhello\n");
        let error = ExpectedTests::from_libtest(&list).expect_err("no list");
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(ExpectedTests::from_nextest(&list).is_err());
    }
}
