//! Which test a gate stands in: by the gate's last record, else by its name, else by running what
//! is named as a gate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::path::Path;

use perfbudget::Record;
use perfbudget::record::TestPlace;

use super::cargo::Binary;
use super::process;
use super::progress::Progress;

/// A test of one of the binaries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// The position of its binary.
    pub(crate) binary: usize,
    pub(crate) name: String,
    pub(crate) package: String,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.package)
    }
}

/// The tests, and what those that were run say of gates.
#[derive(Debug)]
pub(crate) struct Catalogue<'a> {
    binaries: &'a [Binary],
    tests: Vec<Test>,
    tried: BTreeSet<Test>,
    gates: BTreeMap<String, Test>,
    /// Tests that failed before any gate began, and what they printed.
    broken: Vec<(Test, String)>,
}

/// Why a gate is not to be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("{}", no_gate(gate, near, *count, broken))]
    NoGate {
        gate: String,
        near: Vec<String>,
        count: usize,
        broken: Vec<(Test, String)>,
    },
    #[error(
        "failed to find a gate: of {tests} tests named perf_… none left a record\n\
         a gate is a #[test] of that name that runs a perfbudget::Gate"
    )]
    NoGates { tests: usize },
    #[error("failed to run the tests")]
    Run(#[from] io::Error),
}

impl<'a> Catalogue<'a> {
    pub(crate) fn of(binaries: &'a [Binary]) -> Result<Self, FindError> {
        let mut tests = Vec::new();
        for (position, binary) in binaries.iter().enumerate() {
            for name in binary.tests()? {
                tests.push(Test {
                    binary: position,
                    name,
                    package: binary.package().unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(Self {
            binaries,
            tests,
            tried: BTreeSet::new(),
            gates: BTreeMap::new(),
            broken: Vec::new(),
        })
    }

    /// The test that the gate stands in. Tests are run until one of them has the gate: that of
    /// its last record first, then one that is named after it.
    pub(crate) fn find(
        &mut self,
        gate: &str,
        records: &Path,
        progress: &mut Progress,
    ) -> Result<Test, FindError> {
        let last = last_place(records, gate);
        let mut tests: Vec<(u8, Test)> = self
            .tests
            .iter()
            .map(|test| (rank(test, gate, last.as_ref()), test.clone()))
            .filter(|(rank, _)| *rank < NO_CANDIDATE)
            .collect();
        tests.sort();
        let mut says_so = false;
        for (rank, test) in &tests {
            if let Some(test) = self.gates.get(gate) {
                return Ok(test.clone());
            }
            if self.tried.contains(test) {
                continue;
            }
            if *rank == UNKNOWN && !says_so {
                says_so = true;
                progress.line(&format!(
                    "finding {gate}: no record and no test's name tells where it is; running the \
                     tests named perf_…"
                ));
            }
            self.try_one(test, progress)?;
        }
        if let Some(test) = self.gates.get(gate) {
            return Ok(test.clone());
        }
        Err(FindError::NoGate {
            gate: gate.to_owned(),
            near: near(gate, self.gates.keys()),
            count: self.gates.len(),
            broken: std::mem::take(&mut self.broken),
        })
    }

    /// Every gate of the tests that are named as gates are, and what those printed that failed
    /// before a gate began.
    pub(crate) fn find_all(
        &mut self,
        progress: &mut Progress,
    ) -> Result<Vec<(String, Test)>, FindError> {
        let tests: Vec<Test> = self.tests.clone();
        let tests: Vec<&Test> = tests
            .iter()
            .filter(|test| is_named_as_a_gate(test))
            .collect();
        progress.line(&format!(
            "finding the gates: running the {} tests named perf_… once",
            tests.len()
        ));
        for test in &tests {
            self.try_one(test, progress)?;
        }
        if self.gates.is_empty() && self.broken.is_empty() {
            return Err(FindError::NoGates { tests: tests.len() });
        }
        Ok(self.gates.clone().into_iter().collect())
    }

    /// Tests that failed before any gate began.
    pub(crate) fn broken(&self) -> &[(Test, String)] {
        &self.broken
    }

    fn try_one(&mut self, test: &Test, progress: &mut Progress) -> Result<(), FindError> {
        if !self.tried.insert(test.clone()) {
            return Ok(());
        }
        progress.step(&format!("finding gates: {test}"));
        let outcome = process::run(&self.binaries[test.binary], &test.name)?;
        for gate in outcome.gates() {
            let place = self.gates.entry(gate.clone());
            place.or_insert_with(|| test.clone());
        }
        if outcome.gates().next().is_none() && !outcome.status.success() {
            self.broken.push((test.clone(), outcome.output));
        }
        progress.clear();
        Ok(())
    }
}

/// A test that nothing but its name makes a candidate for the gate.
const UNKNOWN: u8 = 2;
const NO_CANDIDATE: u8 = 3;

/// How soon a test is to be tried.
fn rank(test: &Test, gate: &str, last: Option<&TestPlace>) -> u8 {
    let is_last = last.is_some_and(|last| {
        last.path == test.name
            && last
                .package
                .as_ref()
                .is_none_or(|package| *package == test.package)
    });
    if is_last {
        0
    } else if function(test) == format!("perf_{}", gate.replace(['/', '-'], "_")) {
        1
    } else if is_named_as_a_gate(test) {
        UNKNOWN
    } else {
        NO_CANDIDATE
    }
}

fn function(test: &Test) -> &str {
    test.name.rsplit("::").next().unwrap_or_default()
}

pub(crate) fn is_named_as_a_gate(test: &Test) -> bool {
    function(test).starts_with("perf_")
}

/// Where the gate's latest record says that it stands.
fn last_place(records: &Path, gate: &str) -> Option<TestPlace> {
    let name = Record::file_name(gate);
    let runs = fs::read_dir(records).ok()?.flatten();
    let records = runs.filter_map(|run| Record::read(&run.path().join(&name)).ok());
    // RFC 3339 in UTC sorts as text.
    let latest = records.max_by(|a, b| a.at.cmp(&b.at))?;
    Some(latest.test)
}

/// The names that are most like this one, best first.
fn near<'a>(gate: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    const ALIKE: f64 = 0.6;
    const SHOWN: usize = 5;
    let mut near: Vec<(f64, &String)> = names
        .map(|name| {
            let is_part = name.contains(gate) || gate.contains(name.as_str());
            let alike = strsim::normalized_damerau_levenshtein(gate, name);
            (if is_part { alike.max(0.9) } else { alike }, name)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    near.sort_by(|(a, name_a), (b, name_b)| b.total_cmp(a).then(name_a.cmp(name_b)));
    near.into_iter()
        .take(SHOWN)
        .map(|(_, name)| name.clone())
        .collect()
}

fn no_gate(gate: &str, near: &[String], count: usize, broken: &[(Test, String)]) -> String {
    let mut text = format!("failed to find the gate {gate}");
    _ = match (near, count) {
        ([], 0) => write!(text, "\nno test named perf_… left a record"),
        ([], 1) => write!(text, "\none other gate was found: --all observes it"),
        ([], n) => write!(
            text,
            "\n{n} other gates were found, none of a name like it: --all observes them"
        ),
        (near, _) => write!(text, "\nnear to it: {}", near.join(", ")),
    };
    for (test, output) in broken {
        _ = write!(text, "\n\n{}", broken_test(test, output));
    }
    text
}

/// A test that may have had a gate.
pub(crate) fn broken_test(test: &Test, output: &str) -> String {
    format!(
        "the test {test} failed before a gate began:\n{}",
        indented(output)
    )
}

/// What a test printed, set off from what is said of it.
pub(crate) fn indented(output: &str) -> String {
    let lines = output.lines().map(|line| format!("  | {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str) -> Test {
        Test {
            binary: 0,
            name: name.into(),
            package: "outbox".into(),
        }
    }

    fn place(path: &str, package: Option<&str>) -> TestPlace {
        serde_json::from_value(serde_json::json!({"path": path, "package": package}))
            .expect("a place")
    }

    #[test]
    fn near_names_come_best_first_and_strangers_not_at_all() {
        let names = [
            "outbox/cli-drain",
            "outbox/commit",
            "outbox/drain-25",
            "queue/x",
        ]
        .map(str::to_owned);
        let near_to = |gate| near(gate, names.iter());
        // That both are of the outbox makes no two names alike.
        assert_eq!(near_to("outbox/drain-52"), ["outbox/drain-25"]);
        assert_eq!(near_to("drain-25"), ["outbox/drain-25"]);
        assert_eq!(near_to("zzz"), [""; 0]);
    }

    #[test]
    fn the_last_record_goes_before_the_name_and_the_name_before_the_rest() {
        let gate = "outbox/drain-25";
        let last = place("gates::perf_other", Some("outbox"));
        let rank = |name, last| rank(&test(name), gate, last);
        assert_eq!(rank("gates::perf_other", Some(&last)), 0);
        assert_eq!(rank("gates::perf_outbox_drain_25", Some(&last)), 1);
        assert_eq!(rank("perf_more", Some(&last)), UNKNOWN);
        assert_eq!(rank("helps", Some(&last)), NO_CANDIDATE);
        // A record's test need not be named as a gate; one of another package is another test.
        let unnamed = place("helps", None);
        assert_eq!(rank("helps", Some(&unnamed)), 0);
        let stranger = place("perf_more", Some("queue"));
        assert_eq!(rank("perf_more", Some(&stranger)), UNKNOWN);
    }

    #[test]
    fn the_latest_record_tells_the_place() {
        let root = tempfile::tempdir().expect("a directory");
        for (run, at, path) in [
            ("a", "2026-11-21T04:00:00Z", "newer"),
            ("b", "2026-11-20T04:00:00Z", "older"),
        ] {
            let directory = root.path().join(run);
            fs::create_dir(&directory).expect("made");
            let record = serde_json::json!({
                "schema": perfbudget::record::SCHEMA, "gate": "a/b", "tier": 2,
                "verdict": "exact", "test": {"path": path}, "run_id": run, "at": at,
            });
            let file = directory.join(Record::file_name("a/b"));
            fs::write(file, record.to_string()).expect("written");
        }
        let place = last_place(root.path(), "a/b").expect("a place");
        assert_eq!(place.path, "newer");
        assert_eq!(last_place(root.path(), "a/c"), None);
    }

    #[test]
    fn a_name_without_a_match_is_said_with_what_is_near() {
        let near = ["outbox/drain-25".to_owned()];
        let broken = [(test("perf_x"), "panicked at\nboom".to_owned())];
        insta::assert_snapshot!(
            [
                no_gate("outbox/drain-52", &near, 5, &[]),
                no_gate("zzz", &[], 5, &[]),
                no_gate("zzz", &[], 1, &[]),
                no_gate("zzz", &[], 0, &broken),
            ]
            .join("\n---\n")
        );
    }
}
