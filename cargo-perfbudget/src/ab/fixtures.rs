//! Histories for tests.

use std::collections::BTreeMap;

use super::decide::{Comparison, decide};
use super::decision::{Decision, Method, Subject};
use super::history::{Outcome, Repetition, SCHEMA, Side};
use super::policy::Policy;

/// Repetitions of several gates and sides, in the order in which they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories(pub(crate) Vec<Repetition>);

impl Histories {
    pub(crate) fn add(&mut self, gate: &str, side: Side, block: u32, result: Outcome) {
        let order = u32::try_from(self.0.len()).expect("few");
        self.0.push(Repetition {
            schema: SCHEMA.to_owned(),
            gate: gate.to_owned(),
            side,
            block,
            order,
            at: format!("2026-11-21T04:{:02}:{:02}Z", order / 60 % 60, order % 60),
            of: match side {
                Side::Candidate => "bbbbbbb",
                Side::Baseline | Side::Control => "aaaaaaa",
            }
            .to_owned(),
            result,
        });
    }

    /// A process a block.
    pub(crate) fn times(mut self, gate: &str, side: Side, times_ns: &[f64]) -> Self {
        for (block, own_ns) in (0..).zip(times_ns) {
            self.add(gate, side, block, times(*own_ns));
        }
        self
    }

    /// Both sides of a gate.
    pub(crate) fn sides(self, gate: &str, baseline_ns: &[f64], candidate_ns: &[f64]) -> Self {
        self.times(gate, Side::Baseline, baseline_ns)
            .times(gate, Side::Candidate, candidate_ns)
    }

    pub(crate) fn counts(mut self, gate: &str, side: Side, counts: &[(&str, u64)]) -> Self {
        let counts: BTreeMap<String, u64> = counts
            .iter()
            .map(|(key, n)| ((*key).to_owned(), *n))
            .collect();
        for block in 0..2 {
            let counts = counts.clone();
            self.add(gate, side, block, Outcome::Counts { counts });
        }
        self
    }

    pub(crate) fn and(mut self, gate: &str, side: Side, result: Outcome) -> Self {
        self.add(gate, side, 0, result);
        self
    }

    pub(crate) fn decide(&self, method: Method, policy: &Policy) -> Decision {
        let subject = |name: &str, of: &str| Subject {
            name: name.to_owned(),
            of: of.to_owned(),
        };
        let comparison = Comparison {
            method,
            baseline: subject("main", "aaaaaaa"),
            candidate: subject("work", "bbbbbbb"),
            repetitions: &self.0,
            looks: 1,
            at: "2026-11-21T04:00:00Z".to_owned(),
        };
        decide(&comparison, policy)
    }
}

pub(crate) fn times(own_ns: f64) -> Outcome {
    Outcome::Times {
        own_ns,
        exact: true,
        wall_ns: own_ns * 1.25,
        pace_ns: None,
    }
}

/// `n` times around `typical`, that are the same in every run: they differ by a per cent.
pub(crate) fn around(typical: f64, n: u32) -> Vec<f64> {
    spread(typical, n, 0.01)
}

/// The same, with a spread of the logs.
pub(crate) fn spread(typical: f64, n: u32, by: f64) -> Vec<f64> {
    // Steps of the golden section: scattered, and in no order.
    let place = |i| (f64::from(i) * 0.618_033_988_75).fract() - 0.5;
    (1..=n)
        .map(|i| typical * (by * 3.4 * place(i)).exp())
        .collect()
}
