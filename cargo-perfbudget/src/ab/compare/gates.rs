//! Which gate stands in which test on either side, and what can't be compared.
//!
//! A gate's name is its alone in a workspace: a gate is the same on both sides where its name is,
//! also when its test was renamed or moved.

use std::collections::{BTreeMap, BTreeSet};

use crate::ab::history::Outcome;

use super::repetition::Repeated;
use super::side::TestKey;

/// What the tests of one side came to when each was run once.
#[derive(Debug, Default)]
pub(crate) struct Found {
    gates: BTreeMap<String, (TestKey, Outcome)>,
    /// Tests that failed before a gate began, and what they say.
    broken: BTreeMap<TestKey, String>,
}

impl Found {
    pub(crate) fn add(&mut self, test: &TestKey, repeated: Repeated) {
        for (gate, outcome) in repeated.gates {
            let entry = self.gates.entry(gate);
            entry.or_insert_with(|| (test.clone(), outcome));
        }
        if let Some(why) = repeated.broken {
            self.broken.insert(test.clone(), why);
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.gates.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gates.is_empty() && self.broken.is_empty()
    }
}

/// What is asked for with `--gates`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter(pub(crate) Vec<String>);

impl Filter {
    fn takes(&self, gate: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|part| gate.contains(part.as_str()))
    }

    /// A test of whose gates nothing is known but its name.
    fn takes_test(&self, test: &TestKey) -> bool {
        let part_of = |part: &String| test.name.contains(&part.replace(['/', '-'], "_"));
        self.0.is_empty() || self.0.iter().any(part_of)
    }
}

/// The gates of both sides, sorted by what can be done with them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Matched {
    /// Gates that stand in these tests, of the baseline and of the candidate.
    pub(crate) tests: BTreeMap<(TestKey, TestKey), Vec<Gate>>,
    /// What is not measured any further: what either side came to, where it has the gate.
    pub(crate) settled: BTreeMap<String, [Option<Outcome>; 2]>,
    /// Tests that fail before a gate begins, so that nobody knows whether they were asked for; by
    /// their names they were not.
    pub(crate) unasked: BTreeSet<TestKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) name: String,
    /// Not counted.
    pub(crate) is_timed: bool,
}

pub(crate) fn matched(baseline: &Found, candidate: &Found, filter: &Filter) -> Matched {
    let mut matched = Matched::default();
    let names: BTreeSet<&String> = baseline.names().chain(candidate.names()).collect();
    for name in names.into_iter().filter(|name| filter.takes(name)) {
        match (baseline.gates.get(name), candidate.gates.get(name)) {
            (Some((old_test, old)), Some((new_test, new))) => match (old, new) {
                (Outcome::Times { .. }, Outcome::Times { .. })
                | (Outcome::Counts { .. }, Outcome::Counts { .. }) => {
                    let tests = (old_test.clone(), new_test.clone());
                    matched.tests.entry(tests).or_default().push(Gate {
                        name: name.clone(),
                        is_timed: matches!(new, Outcome::Times { .. }),
                    });
                }
                (Outcome::Times { .. }, Outcome::Counts { .. })
                | (Outcome::Counts { .. }, Outcome::Times { .. }) => {
                    let why = "it counts on one side and is timed on the other".to_owned();
                    let failed = Outcome::Failed { why };
                    matched.settle(name, Some(old.clone()), Some(failed));
                }
                _ => matched.settle(name, Some(old.clone()), Some(new.clone())),
            },
            // Gone, new, or in a test that failed before it.
            (Some((test, old)), None) => {
                matched.settle(name, Some(old.clone()), candidate.failed(test));
            }
            (None, Some((test, new))) => {
                matched.settle(name, baseline.failed(test), Some(new.clone()));
            }
            (None, None) => {}
        }
    }
    // The gates of a test that fails before them are known from the other side, or not at all, or
    // stand elsewhere by now: then the test stands for what it may have had.
    let tests: BTreeSet<&TestKey> = baseline
        .broken
        .keys()
        .chain(candidate.broken.keys())
        .collect();
    for test in tests {
        let gates: Vec<&String> = baseline.of(test).chain(candidate.of(test)).collect();
        let is_told = gates.iter().any(|gate| matched.settled.contains_key(*gate));
        let is_of_others = !gates.is_empty() && !gates.iter().any(|gate| filter.takes(gate));
        if is_told || is_of_others {
            continue;
        }
        if filter.takes_test(test) {
            let name = format!("test {test}");
            matched.settle(&name, baseline.failed(test), candidate.failed(test));
        } else {
            matched.unasked.insert(test.clone());
        }
    }
    matched
}

impl Found {
    /// The gates of a test.
    fn of(&self, test: &TestKey) -> impl Iterator<Item = &String> {
        let gates = self.gates.iter();
        gates.filter_map(move |(gate, (place, _))| (place == test).then_some(gate))
    }

    /// What a test came to that failed before a gate began.
    fn failed(&self, test: &TestKey) -> Option<Outcome> {
        let why = self.broken.get(test)?.clone();
        Some(Outcome::Failed { why })
    }
}

impl Matched {
    /// Whether there is nothing to be said of any gate.
    pub(crate) fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.settled.is_empty()
    }

    fn settle(&mut self, gate: &str, baseline: Option<Outcome>, candidate: Option<Outcome>) {
        self.settled.insert(gate.to_owned(), [baseline, candidate]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> TestKey {
        TestKey {
            package: "tiny".into(),
            name: name.into(),
            target: None,
        }
    }

    fn times() -> Outcome {
        Outcome::Times {
            own_ns: 1.0,
            exact: true,
            wall_ns: 1.0,
            pace_ns: None,
        }
    }

    fn boom() -> Option<Outcome> {
        Some(Outcome::Failed { why: "boom".into() })
    }

    fn found(gates: &[(&str, &str, Outcome)], broken: &[&str]) -> Found {
        let mut found = Found::default();
        for (test, gate, outcome) in gates {
            let repeated = Repeated {
                gates: BTreeMap::from([((*gate).to_owned(), outcome.clone())]),
                ..Repeated::default()
            };
            found.add(&key(test), repeated);
        }
        for test in broken {
            let repeated = Repeated {
                broken: Some("boom".into()),
                ..Repeated::default()
            };
            found.add(&key(test), repeated);
        }
        found
    }

    #[test]
    fn a_gate_is_the_same_in_another_test() {
        let old = found(&[("perf_a", "t/a", times())], &[]);
        let new = found(&[("perf_b", "t/a", times())], &[]);
        let matched = matched(&old, &new, &Filter::default());
        let gates = &matched.tests[&(key("perf_a"), key("perf_b"))];
        assert_eq!((gates[0].name.as_str(), gates[0].is_timed), ("t/a", true));
        assert!(matched.settled.is_empty());
    }

    #[test]
    fn a_gate_that_is_gone_or_new_has_one_side_only() {
        let old = found(&[("perf_a", "t/gone", times())], &[]);
        let new = found(&[("perf_b", "t/new", times())], &[]);
        let matched = matched(&old, &new, &Filter::default());
        assert_eq!(matched.settled["t/gone"], [Some(times()), None]);
        assert_eq!(matched.settled["t/new"], [None, Some(times())]);
    }

    #[test]
    fn what_is_broken_is_never_left_out() {
        let old = found(&[("perf_a", "t/a", times())], &["perf_b", "perf_c"]);
        let new = found(
            &[("perf_b", "t/b", times())],
            &["perf_a", "perf_c", "perf_d"],
        );
        let matched = matched(&old, &new, &Filter::default());
        assert_eq!(matched.settled["t/a"], [Some(times()), boom()]);
        assert_eq!(matched.settled["t/b"], [boom(), Some(times())]);
        assert_eq!(matched.settled["test perf_c in tiny"], [boom(), boom()]);
        assert_eq!(matched.settled["test perf_d in tiny"], [None, boom()]);
        assert_eq!(matched.settled.len(), 4);
    }

    /// Its gate stands in another test by now, and is fine: what else it had is not known.
    #[test]
    fn a_broken_test_is_not_excused_by_a_gate_that_moved_away() {
        let old = found(&[("perf_a", "t/a", times())], &[]);
        let new = found(&[("perf_b", "t/a", times())], &["perf_a"]);
        let all = matched(&old, &new, &Filter::default());
        assert_eq!(all.tests.len(), 1);
        assert_eq!(all.settled["test perf_a in tiny"], [None, boom()]);
        // The gate that was asked for is fine; the test is said to have failed.
        let asked = matched(&old, &new, &Filter(vec!["t/a".into()]));
        assert_eq!((asked.tests.len(), asked.settled.len()), (1, 0));
        assert_eq!(asked.unasked, BTreeSet::from([key("perf_a")]));
        // Of its gates nobody asked for one.
        let filter = Filter(vec!["t/x".into()]);
        assert_eq!(matched(&old, &new, &filter), Matched::default());
    }

    #[test]
    fn a_filter_takes_parts_of_names() {
        let gates = [
            ("perf_t_a", "t/a", times()),
            ("perf_t_b_c", "t/b-c", times()),
        ];
        let found = found(&gates, &["perf_t_x", "perf_u"]);
        let filter = Filter(vec!["b-c".into(), "t/x".into()]);
        let matched = matched(&found, &found, &filter);
        assert_eq!(matched.tests.len(), 1);
        let settled: Vec<&str> = matched.settled.keys().map(String::as_str).collect();
        assert_eq!(settled, ["test perf_t_x in tiny"]);
        assert_eq!(matched.unasked, BTreeSet::from([key("perf_u")]));
    }

    #[test]
    fn a_gate_that_changed_its_kind_can_not_be_compared() {
        let counts = Outcome::Counts {
            counts: BTreeMap::new(),
        };
        let old = found(&[("perf_a", "t/a", times())], &[]);
        let new = found(&[("perf_a", "t/a", counts)], &[]);
        let matched = matched(&old, &new, &Filter::default());
        assert!(matches!(
            matched.settled["t/a"][1],
            Some(Outcome::Failed { .. })
        ));
    }
}
