//! What there is to judge one gate by.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Terms, counts, times};
use crate::ab::decision::{Effect, Role, Status};
use crate::ab::history::{Outcome, Repetition, Side};
use crate::ab::policy::Acknowledged;

/// The repetitions of one gate, in the order in which they ran.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) gate: &'a str,
    baseline: Vec<&'a Repetition>,
    candidate: Vec<&'a Repetition>,
    control: Vec<&'a Repetition>,
}

/// The times of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) block: u32,
    pub(super) own_ns: f64,
    pub(super) wall_ns: f64,
    pub(super) exact: bool,
    pub(super) pace_ns: Option<f64>,
}

impl<'a> Evidence<'a> {
    /// In the order of the gates' names.
    pub(super) fn by_gate(repetitions: &'a [Repetition]) -> Vec<Self> {
        let mut in_order: Vec<&Repetition> = repetitions.iter().collect();
        in_order.sort_by_key(|repetition| repetition.order);
        let mut gates: BTreeMap<&str, Self> = BTreeMap::new();
        for repetition in in_order {
            let gate = gates.entry(&repetition.gate).or_insert_with(|| Self {
                gate: &repetition.gate,
                baseline: Vec::new(),
                candidate: Vec::new(),
                control: Vec::new(),
            });
            match repetition.side {
                Side::Baseline => gate.baseline.push(repetition),
                Side::Candidate => gate.candidate.push(repetition),
                Side::Control => gate.control.push(repetition),
            }
        }
        gates.into_values().collect()
    }

    pub(super) fn of(&self, side: Side) -> &[&'a Repetition] {
        match side {
            Side::Baseline => &self.baseline,
            Side::Candidate => &self.candidate,
            Side::Control => &self.control,
        }
    }

    pub(super) fn has_times(&self) -> bool {
        self.any(|outcome| matches!(outcome, Outcome::Times { .. }))
    }

    fn has_counts(&self) -> bool {
        self.any(|outcome| matches!(outcome, Outcome::Counts { .. }))
    }

    fn any(&self, is: fn(&Outcome) -> bool) -> bool {
        self.all().any(|repetition| is(&repetition.result))
    }

    fn all(&self) -> impl Iterator<Item = &'a Repetition> {
        let sides = [&self.baseline, &self.candidate, &self.control];
        sides.into_iter().flatten().copied()
    }

    /// Processes with a metric: baseline, candidate.
    pub(super) fn repetitions(&self) -> [u32; 2] {
        [Side::Baseline, Side::Candidate].map(|side| {
            let measured = self.of(side).iter().filter(|r| is_measured(&r.result));
            u32::try_from(measured.count()).unwrap_or(u32::MAX)
        })
    }

    /// Only the candidate has it.
    pub(super) fn is_added(&self) -> bool {
        self.baseline.is_empty() && self.control.is_empty()
    }

    /// Only the baseline has it.
    pub(super) fn is_removed(&self) -> bool {
        self.candidate.is_empty()
    }

    pub(super) fn times(&self, side: Side) -> Vec<Times> {
        let times = |repetition: &&Repetition| match repetition.result {
            Outcome::Times {
                own_ns,
                exact,
                wall_ns,
                pace_ns,
            } => Some(Times {
                block: repetition.block,
                own_ns,
                wall_ns,
                exact,
                pace_ns,
            }),
            _ => None,
        };
        self.of(side).iter().filter_map(times).collect()
    }

    pub(super) fn counts(&self, side: Side) -> Vec<&'a BTreeMap<String, u64>> {
        let counts = |repetition: &&'a Repetition| match &repetition.result {
            Outcome::Counts { counts } => Some(counts),
            _ => None,
        };
        self.of(side).iter().filter_map(counts).collect()
    }

    /// Whether this count fell to that.
    pub(super) fn fell_to(&self, key: &str, count: u64) -> bool {
        counts::Key::of(self, key).is_some_and(|key| key.fell_to(count))
    }

    /// In the contract's order: what can't be judged first.
    pub(super) fn finding(&self, terms: Terms<'_>, role: Role) -> Finding {
        let not_judged = self
            .removed(terms)
            .or_else(|| self.failed())
            .or_else(|| self.one_sided(terms))
            .or_else(|| self.nothing());
        let mut finding = match not_judged {
            Some(finding) => finding,
            None if self.has_times() => times::finding(self, terms, role),
            None => counts::finding(self, terms.policy),
        };
        finding.warnings.extend(self.left_out());
        finding
    }

    /// A gate that is gone on purpose: how it did on the baseline is of no interest any more.
    fn removed(&self, terms: Terms<'_>) -> Option<Finding> {
        let declared = || terms.policy.acknowledges(self.gate, &Acknowledged::Removed);
        (self.is_removed() && declared())
            .then(|| self.one_sided(terms))
            .flatten()
    }

    /// A process that failed, or whose time is none.
    fn failed(&self) -> Option<Finding> {
        let sides = [Side::Candidate, Side::Baseline, Side::Control];
        sides.into_iter().find_map(|side| {
            let whys: Vec<String> = self.of(side).iter().filter_map(|r| failure(r)).collect();
            let why = whys.first()?;
            Some(Finding::new(
                Status::BadStatus,
                format!(
                    "{} failed in {} of {} processes{}: {why}",
                    name(side),
                    whys.len(),
                    self.of(side).len(),
                    if self.is_removed() { GONE_AS_WELL } else { "" }
                ),
            ))
        })
    }

    /// A gate that one side does not have. One that got lost is what a broken test looks like; a
    /// new one has nothing to be compared with.
    fn one_sided(&self, terms: Terms<'_>) -> Option<Finding> {
        let is_declared = |what| terms.policy.acknowledges(self.gate, &what);
        let (status, declared, why) = if self.is_removed() {
            let declared = is_declared(Acknowledged::Removed);
            (
                if declared {
                    Status::MissingMetric
                } else {
                    Status::BadStatus
                },
                declared,
                "the candidate left no record",
            )
        } else if self.is_added() {
            let declared = is_declared(Acknowledged::Added);
            (
                Status::MissingMetric,
                declared,
                "the baseline does not have it",
            )
        } else if self.baseline.is_empty() {
            (
                Status::BadStatus,
                false,
                "the baseline left no record, and its control did",
            )
        } else {
            return None;
        };
        let mut finding = Finding::new(status, why);
        if declared {
            finding.why.push_str(", as the policy acknowledges");
            finding.effect = Some(Effect::Skipped);
        }
        Some(finding)
    }

    /// No metric on a side, or one that can't be compared.
    fn nothing(&self) -> Option<Finding> {
        let missing = |why: String| Some(Finding::new(Status::MissingMetric, why));
        for side in [Side::Baseline, Side::Candidate] {
            let repetitions = self.of(side);
            if !repetitions.iter().any(|r| is_measured(&r.result)) {
                let why = repetitions.iter().find_map(|r| not_measured(&r.result));
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                return missing(format!("{} measured nothing{why}", name(side)));
            }
        }
        if self.has_times() && self.has_counts() {
            return missing("some of its processes have times, others counts".to_owned());
        }
        None
    }

    /// Processes without a metric beside others that have one.
    fn left_out(&self) -> Vec<String> {
        let sides = [Side::Baseline, Side::Candidate, Side::Control];
        let warning = |side| {
            let whys: BTreeSet<&str> = self
                .of(side)
                .iter()
                .filter_map(|r| not_measured(&r.result))
                .collect();
            let left_out = self
                .of(side)
                .iter()
                .filter(|r| not_measured(&r.result).is_some());
            let n = left_out.count();
            (n > 0 && n < self.of(side).len()).then(|| {
                let whys: Vec<&str> = whys.into_iter().collect();
                format!(
                    "{} measured nothing in {n} of {} processes: {}",
                    name(side),
                    self.of(side).len(),
                    whys.join("; ")
                )
            })
        };
        sides.into_iter().filter_map(warning).collect()
    }
}

/// Of a gate that failed on the baseline.
pub(crate) const GONE_AS_WELL: &str = ", and the candidate does not have it";

fn is_measured(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Times { .. } | Outcome::Counts { .. })
}

fn not_measured(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::NotMeasured { why } => Some(why),
        _ => None,
    }
}

fn failure(repetition: &Repetition) -> Option<String> {
    match &repetition.result {
        Outcome::Failed { why } => Some(why.clone()),
        Outcome::Times {
            own_ns, wall_ns, ..
        } => {
            let bad = [*own_ns, *wall_ns].into_iter().find(|ns| !is_time(*ns))?;
            Some(format!("it recorded a time of {bad} ns"))
        }
        _ => None,
    }
}

/// What has a logarithm.
pub(crate) fn is_time(nanoseconds: f64) -> bool {
    nanoseconds.is_finite() && nanoseconds > 0.0
}

pub(super) fn name(side: Side) -> &'static str {
    match side {
        Side::Baseline => "the baseline",
        Side::Candidate => "the candidate",
        Side::Control => "the control (the baseline once more)",
    }
}
