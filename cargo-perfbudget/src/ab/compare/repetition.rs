//! What one process of a test says of its gates.

use std::collections::BTreeMap;

use perfbudget::Record;
use perfbudget::record::RoundTimes;

use crate::ab::history::Outcome;
use crate::observe::process;

/// Up to here two bounds are one: a hundredth of the upper one.
const ONE_WITHIN: f64 = 0.01;

/// What a failed process printed at its end: more is in nobody's way, and is not read.
const OUTPUT_LINES_MAX: usize = 20;

/// What every gate of a test came to in one process.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Repeated {
    pub(crate) gates: BTreeMap<String, Outcome>,
    /// When a gate was decided, by its record.
    pub(crate) at: BTreeMap<String, String>,
    /// Whether to measure again might give one bound where there are two.
    pub(crate) may_become_exact: bool,
    /// What is to be said of a test that failed before a gate began.
    pub(crate) broken: Option<String>,
}

/// Reads what a process left behind. `expected` are the gates that are known to be in the test.
pub(crate) fn repeated<'a>(
    outcome: &'a process::Outcome,
    expected: impl Iterator<Item = &'a String>,
) -> Repeated {
    let mut repeated = Repeated::default();
    let ended = || format!("its test ended with {}", outcome.status);
    // Counts that are not what the code says fail a test after they were counted. That budget is
    // judged elsewhere; here they are compared.
    let is_explained = outcome.records.iter().any(|r| r.verdict.is_failure());
    let test_failed = !outcome.status.success() && !is_explained;
    for record in &outcome.records {
        let gate = record.gate.clone();
        repeated.at.insert(gate.clone(), record.at.clone());
        if test_failed {
            let why = with_output(&ended(), &outcome.output);
            repeated.fail(&gate, why);
            continue;
        }
        let (outcome, hopeful) = of_record(record);
        repeated.may_become_exact |= hopeful;
        repeated.gates.insert(gate, outcome);
    }
    for (gate, why) in &outcome.unreadable {
        repeated.fail(gate, format!("its record can't be read: {why}"));
    }
    let lost: Vec<&String> = outcome.unfinished.iter().chain(expected).collect();
    for gate in lost {
        if !repeated.gates.contains_key(gate) {
            let why = format!("it left no record: {}", ended());
            repeated.fail(gate, with_output(&why, &outcome.output));
        }
    }
    if repeated.gates.is_empty() && !outcome.status.success() {
        repeated.broken = Some(with_output(
            &format!("it failed before a gate began: {}", ended()),
            &outcome.output,
        ));
    }
    repeated
}

impl Repeated {
    fn fail(&mut self, gate: &str, why: String) {
        let failed = Outcome::Failed { why };
        self.gates.insert(gate.to_owned(), failed);
    }
}

/// What a gate's record comes to, and whether another process might say it more exactly.
fn of_record(record: &Record) -> (Outcome, bool) {
    if let Some(why) = &record.not_measured {
        return (Outcome::NotMeasured { why: why.clone() }, false);
    }
    if record.tier == 2 {
        let counts = record.counts.clone();
        return (Outcome::Counts { counts }, false);
    }
    // The first round with one bound, the same rule for every arm: what a round is found to be
    // too slow by has no part in which one is taken.
    let rounds = &record.rounds;
    let Some(round) = rounds.iter().find(|r| is_one(r)).or(rounds.first()) else {
        let why = "its record has no round".to_owned();
        return (Outcome::Failed { why }, false);
    };
    let exact = is_one(round);
    let each = |sample: u64| nanoseconds(sample) / f64::from(record.batch.unwrap_or(1).max(1));
    let outcome = Outcome::Times {
        own_ns: each(round.hi_ns),
        exact,
        wall_ns: each(round.wall_ns),
        pace_ns: pace(round),
    };
    // Where the record says why there is no better bound, it is the code or the system, not the
    // moment.
    (outcome, !exact && record.bounds.is_none())
}

/// Not of code with threads of its own that are at work: they may be what takes its share of a core.
fn pace(round: &RoundTimes) -> Option<f64> {
    /// Of the time that was measured; the two CPU times that tell are not read at once.
    const THREADS_MAX: f64 = 0.05;
    let samples: u64 = round.samples.iter().map(|sample| sample.wall_ns).sum();
    let threads = nanoseconds(round.delays.own_cpu_ns);
    round
        .pace_ns
        .map(nanoseconds)
        .filter(|pace| *pace > 0.0 && threads <= THREADS_MAX * nanoseconds(samples))
}

fn is_one(round: &RoundTimes) -> bool {
    let (lo, hi) = (nanoseconds(round.lo_ns), nanoseconds(round.hi_ns));
    hi - lo <= hi * ONE_WITHIN
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to a hundred days, and a measured time"
)]
fn nanoseconds(whole: u64) -> f64 {
    whole as f64
}

/// What is said, with the last of what was printed.
pub(crate) fn with_output(said: &str, output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let shown = &lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..];
    let mut text = said.to_owned();
    for line in shown {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(fields: &Value) -> Record {
        let mut record = json!({
            "schema": perfbudget::record::SCHEMA, "gate": "a/b", "tier": 1, "batch": 4,
            "verdict": "within", "run_id": "observed", "at": "2026-11-21T04:00:00Z",
        });
        for (key, value) in fields.as_object().expect("an object") {
            record[key] = value.clone();
        }
        serde_json::from_value(record).expect("a record")
    }

    fn round(wall: u64, lo: u64, hi: u64) -> Value {
        json!({"wall_ns": wall, "lo_ns": lo, "hi_ns": hi})
    }

    #[test]
    fn own_time_is_the_upper_bound_of_the_first_round_that_has_one_bound_only() {
        let rounds = json!([round(900, 500, 800), round(700, 396, 400), round(1, 1, 1)]);
        let (outcome, again) = of_record(&record(&json!({"rounds": rounds})));
        let expected = Outcome::Times {
            own_ns: 100.0,
            exact: true,
            wall_ns: 175.0,
            pace_ns: None,
        };
        assert_eq!((outcome, again), (expected, false));
    }

    #[test]
    fn the_pace_is_that_of_the_round_and_not_of_an_operation() {
        let with_threads = |pace: Value, own_cpu: u64| {
            let mut round = round(900, 800, 800);
            round["pace_ns"] = pace;
            round["samples"] = json!([{"wall_ns": 1_000_000}, {"wall_ns": 1_000_000}]);
            round["delays"] = json!({"own_cpu_ns": own_cpu});
            match of_record(&record(&json!({"rounds": [round]}))).0 {
                Outcome::Times { pace_ns, .. } => pace_ns,
                other => panic!("{other:?}"),
            }
        };
        let pace = |pace: Value| with_threads(pace, 50_000);
        assert_eq!(pace(json!(10_800)), Some(10_800.0));
        assert_eq!(with_threads(json!(10_800), 150_000), None);
        assert_eq!(pace(Value::Null), None);
        assert_eq!(pace(json!(0)), None);
    }

    #[test]
    fn two_bounds_are_measured_again_unless_that_is_in_vain() {
        let busy = json!({"rounds": [round(900, 500, 800)]});
        let (outcome, again) = of_record(&record(&busy));
        assert!(matches!(outcome, Outcome::Times { exact: false, own_ns, .. } if own_ns > 199.0));
        assert!(again);
        let by_nature = json!({"rounds": [round(900, 500, 800)], "bounds": "it has children"});
        assert!(!of_record(&record(&by_nature)).1);
    }

    #[test]
    fn what_was_not_measured_says_why_and_counts_are_counts() {
        let (outcome, _) = of_record(&record(&json!({"not_measured": "a debug build"})));
        assert_eq!(
            outcome,
            Outcome::NotMeasured {
                why: "a debug build".into()
            }
        );
        let counted = json!({"tier": 2, "verdict": "differs", "counts": {"files": 3}});
        let (outcome, _) = of_record(&record(&counted));
        let counts = BTreeMap::from([("files".to_owned(), 3)]);
        assert_eq!(outcome, Outcome::Counts { counts });
    }

    #[cfg(unix)]
    fn ran(records: Vec<Record>, unfinished: &[&str], status: i32) -> process::Outcome {
        use std::os::unix::process::ExitStatusExt;
        process::Outcome {
            records,
            unfinished: unfinished.iter().map(|&gate| gate.into()).collect(),
            unreadable: Vec::new(),
            status: std::process::ExitStatus::from_raw(status << 8),
            output: "panicked\nboom".into(),
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_gate_without_a_record_has_failed() {
        let known = ["a/c".to_owned()];
        let repeated = repeated(&ran(Vec::new(), &["a/b"], 101), known.iter());
        for gate in ["a/b", "a/c"] {
            let Outcome::Failed { why } = &repeated.gates[gate] else {
                panic!("{repeated:?}");
            };
            assert!(
                why.starts_with("it left no record: its test ended with"),
                "{why}"
            );
            assert!(why.ends_with("  | boom"), "{why}");
        }
        assert_eq!(repeated.broken, None);
    }

    #[cfg(unix)]
    #[test]
    fn a_test_that_fails_after_its_gate_has_failed_and_one_whose_counts_differ_has_not() {
        let within = record(&json!({"rounds": [round(4, 4, 4)]}));
        let of = |record: &Record| {
            let repeated = repeated(&ran(vec![record.clone()], &[], 101), [].iter());
            repeated.gates["a/b"].clone()
        };
        assert!(matches!(of(&within), Outcome::Failed { .. }));
        let counted = json!({"tier": 2, "verdict": "differs", "counts": {"files": 3}});
        assert!(matches!(of(&record(&counted)), Outcome::Counts { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn a_test_that_fails_before_any_gate_is_broken() {
        let repeated = repeated(&ran(Vec::new(), &[], 101), [].iter());
        assert!(
            repeated
                .broken
                .expect("it")
                .starts_with("it failed before a gate began")
        );
    }
}
