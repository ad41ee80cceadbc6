//! Gates that have times.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Times, name};
use super::pace::{self, Pace};
use super::{Finding, Terms};
use crate::ab::decision::{self, Change, Method, Role, Status};
use crate::ab::history::{Repetition, Side};
use crate::ab::policy::Neutral;
use crate::ab::statistics::{self, Difference};
use crate::ab::text::{self, percent};

/// Repetitions on a side below which nothing is said: of a comparison, and of stored histories.
const REPETITIONS_MIN: [u32; 2] = [6, 4];

/// Of a gate that has times on both sides.
pub(super) fn finding(evidence: &Evidence<'_>, terms: Terms<'_>, role: Role) -> Finding {
    let pace = Pace::of(evidence);
    // Where the pace itself differs between the sides, times stay as they are.
    let differs = pace.and_then(|_| pace::differs(evidence, terms));
    let levelled = |times: &Times| match pace {
        Some(pace) if differs.is_none() => pace.level(times),
        _ => times.own_ns,
    };
    let own = Pair::of(evidence, Side::Candidate, levelled);
    let wall = Pair::of(evidence, Side::Candidate, |times| times.wall_ns);
    let control = Pair::of(evidence, Side::Control, levelled);
    let difference = own.difference(terms);
    let variations = own.variations();
    let of_control = control.difference(terms);

    let threshold = terms.policy.threshold_percent(role);
    let (status, why) = insufficient(evidence, &own, terms)
        .or_else(|| varying(variations, terms.policy.max_cv_percent))
        .or_else(|| uncontrolled(of_control.as_ref(), threshold, terms))
        .or_else(|| disputed(evidence, pace?, differs?, threshold, terms))
        .or_else(|| difference.map(|d| changed(&d, threshold, terms)))
        .unwrap_or_else(|| {
            (
                Status::InsufficientSamples,
                "there is no interval".to_owned(),
            )
        });

    Finding {
        change: difference.map(|d| own.change(&d)),
        wall: wall.difference(terms).map(|d| wall.change(&d)),
        control: of_control.map(|d| control.change(&d)),
        max_cv_percent: largest(variations),
        pace: pace.map(|pace| {
            let as_measured = Pair::as_measured(evidence);
            decision::Pace {
                slope: pace.slope,
                differs_percent: differs,
                change: as_measured
                    .difference(terms)
                    .map(|d| as_measured.change(&d)),
                max_cv_percent: largest(as_measured.variations()),
            }
        }),
        warnings: warnings(evidence, &own, terms),
        ..Finding::new(status, why)
    }
}

/// Too few repetitions, or too few for the rank test to reach the level.
fn insufficient(evidence: &Evidence<'_>, own: &Pair, terms: Terms<'_>) -> Option<(Status, String)> {
    let [baseline, candidate] = evidence.repetitions();
    let paired = terms.method == Method::Paired;
    let min = REPETITIONS_MIN[usize::from(!paired)];
    let level = terms.family.alpha_each;
    let of_the_level = format!(
        "at the level {level:.2e} of each look at each gate ({}, {})",
        text::counted(terms.family.gates as usize, "gate", "gates"),
        text::counted(terms.family.looks as usize, "look", "looks"),
    );
    let blocks = u32::try_from(own.log_ratios.len()).unwrap_or(u32::MAX);
    let why = if baseline.min(candidate) < min {
        format!(
            "{baseline} repetitions of the baseline and {candidate} of the candidate, of at least \
             {min} on each side"
        )
    } else if paired && blocks < statistics::blocks_needed(level) {
        format!(
            "{} with both sides, of at least {} {of_the_level}",
            text::counted(blocks as usize, "block", "blocks"),
            statistics::blocks_needed(level)
        )
    } else if !paired && !statistics::is_reachable(baseline, candidate, level) {
        format!(
            "{baseline} repetitions of the baseline and {candidate} of the candidate, of at least \
             {} on each side {of_the_level}",
            statistics::repetitions_needed(level)
        )
    } else {
        return None;
    };
    Some((Status::InsufficientSamples, why))
}

fn varying(variations: [Option<f64>; 2], max: f64) -> Option<(Status, String)> {
    let [baseline, candidate] = variations.map(|cv| cv.unwrap_or(0.0));
    (baseline.max(candidate) > max).then(|| {
        let why = format!(
            "the repetitions vary by {} % (baseline) and {} % (candidate), of at most {max} %",
            text::three_digits(baseline),
            text::three_digits(candidate)
        );
        (Status::TooNoisy, why)
    })
}

/// When the baseline against itself would have been called a change.
fn uncontrolled(
    control: Option<&Difference>,
    threshold: f64,
    terms: Terms<'_>,
) -> Option<(Status, String)> {
    let control = control.filter(|control| {
        let [change, ..] = control.percent();
        control.is_shown(terms.family.alpha_each) && change.abs() >= threshold
    })?;
    let [change, low, high] = control.percent();
    Some((
        Status::TooNoisy,
        format!(
            "the control, the baseline against itself, changed by {} ({}): what differs here is \
             not the code",
            percent(change),
            text::interval(low, high)
        ),
    ))
}

/// How it begins to say that the pace differs between the sides.
pub(crate) const OTHER_PACE: &str = "fixed work beside the candidate took";

/// When the pace itself differs between the sides, by so many per cent: it may be the code's own
/// doing, or the moment's. Times at one pace must then come to the same as those that were measured.
fn disputed(
    evidence: &Evidence<'_>,
    pace: Pace,
    differs_percent: f64,
    threshold: f64,
    terms: Terms<'_>,
) -> Option<(Status, String)> {
    let as_measured = Pair::as_measured(evidence).difference(terms)?;
    let levelled = Pair::of(evidence, Side::Candidate, |times| pace.level(times));
    let levelled = levelled.difference(terms)?;
    let statuses = [as_measured, levelled].map(|d| changed(&d, threshold, terms).0);
    let [change_as_measured, change] = [as_measured, levelled].map(|d| d.percent()[0]);
    (statuses[0] != statuses[1]).then(|| {
        let why = format!(
            "{OTHER_PACE} {} % of the time that it took beside the \
             baseline: the times changed by {} as they were measured, and by {} at one pace of the \
             core",
            text::three_digits(100.0 + differs_percent),
            percent(change_as_measured),
            percent(change)
        );
        (Status::TooNoisy, why)
    })
}

fn changed(difference: &Difference, threshold: f64, terms: Terms<'_>) -> (Status, String) {
    let [change, low, high] = difference.percent();
    let interval = text::interval(low, high);
    let p = text::p(difference.p);
    match terms.policy.neutral {
        Neutral::Equivalence if low >= -threshold && high <= threshold => {
            return (
                Status::Neutral,
                format!("all of the interval {interval} is within ± {threshold} %"),
            );
        }
        Neutral::Threshold if change.abs() < threshold => {
            return (
                Status::Neutral,
                format!(
                    "the change of {} is less than {threshold} %",
                    percent(change)
                ),
            );
        }
        _ => {}
    }
    let excludes_none = low > 0.0 || high < 0.0;
    if difference.is_shown(terms.family.alpha_each) && change.abs() >= threshold {
        let status = if change < 0.0 {
            Status::Improved
        } else {
            Status::Regressed
        };
        let why = format!(
            "{}, interval {interval}, p {p}: shown, and at least {threshold} %",
            percent(change)
        );
        return (status, why);
    }
    let why = if !excludes_none {
        format!(
            "the interval {interval} allows no change as well as one of more than {threshold} %"
        )
    } else if change.abs() < threshold {
        format!(
            "the change of {} is less than {threshold} %, but its interval {interval} reaches \
             further",
            percent(change)
        )
    } else {
        format!("the interval {interval} excludes 0, but the rank test does not agree (p {p})")
    };
    (Status::TooNoisy, why)
}

fn warnings(evidence: &Evidence<'_>, own: &Pair, terms: Terms<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for side in [Side::Baseline, Side::Candidate] {
        let times = evidence.times(side);
        let bounded = times.iter().filter(|times| !times.exact).count();
        if bounded > 0 {
            warnings.push(format!(
                "in {bounded} of {} processes of {} the code's own time is known only as an upper bound",
                times.len(),
                name(side)
            ));
        }
    }
    if terms.method == Method::Paired && own.incomplete > 0 {
        warnings.push(format!(
            "{} without one of the sides: left out of the change",
            text::counted(own.incomplete, "block", "blocks")
        ));
    }
    warnings
}

/// A gate in a run whose sides are the same code.
pub(crate) struct AaChange {
    pub(crate) gate: String,
    pub(crate) percent: f64,
    pub(crate) max_cv_percent: f64,
}

/// How the sides of a run differ where nothing differs: of each gate with enough times on both. By
/// blocks where the sides took turns, else by their means.
pub(crate) fn aa_change(repetitions: &[Repetition]) -> Vec<AaChange> {
    let gates = Evidence::by_gate(repetitions);
    let change = |evidence: &Evidence<'_>| {
        let pace = Pace::of(evidence);
        let levelled = |times: &Times| pace.map_or(times.own_ns, |pace| pace.level(times));
        let pair = Pair::of(evidence, Side::Candidate, levelled);
        let few = evidence.repetitions().into_iter().min()? < REPETITIONS_MIN[1];
        let log_ratio = if pair.log_ratios.len() >= 2 {
            statistics::estimate(&pair.log_ratios)?
        } else {
            statistics::mean(&pair.other)? - statistics::mean(&pair.baseline)?
        };
        (!few && log_ratio.is_finite()).then_some(AaChange {
            gate: evidence.gate.to_owned(),
            percent: log_ratio.exp_m1() * 100.0,
            max_cv_percent: largest(pair.variations())?,
        })
    };
    gates.iter().filter_map(change).collect()
}

/// The baseline and another side, by one of their times.
pub(super) struct Pair {
    baseline: Vec<f64>,
    other: Vec<f64>,
    /// Of the blocks with both, in the order of the blocks.
    log_ratios: Vec<f64>,
    /// Blocks with one side only.
    incomplete: usize,
}

impl Pair {
    pub(super) fn of(evidence: &Evidence<'_>, other: Side, time: impl Fn(&Times) -> f64) -> Self {
        let mut blocks: BTreeMap<u32, [Vec<f64>; 2]> = BTreeMap::new();
        let mut sides = [Side::Baseline, other].map(|_| Vec::new());
        for (position, side) in [Side::Baseline, other].into_iter().enumerate() {
            for times in evidence.times(side) {
                let log = time(&times).ln();
                blocks.entry(times.block).or_default()[position].push(log);
                sides[position].push(log);
            }
        }
        let complete = |[baseline, other]: &[Vec<f64>; 2]| {
            Some(statistics::mean(other)? - statistics::mean(baseline)?)
        };
        let log_ratios: Vec<f64> = blocks.values().filter_map(complete).collect();
        let [baseline, other] = sides;
        Self {
            incomplete: blocks.len() - log_ratios.len(),
            baseline,
            other,
            log_ratios,
        }
    }

    /// Baseline and candidate by the code's own time.
    fn as_measured(evidence: &Evidence<'_>) -> Self {
        Self::of(evidence, Side::Candidate, |times| times.own_ns)
    }

    fn variations(&self) -> [Option<f64>; 2] {
        [&self.baseline, &self.other].map(|side| cv_percent(side))
    }

    pub(super) fn difference(&self, terms: Terms<'_>) -> Option<Difference> {
        let level = terms.family.alpha_each;
        match terms.method {
            Method::Paired => statistics::paired(&self.log_ratios, level),
            Method::Welch => statistics::independent(&self.baseline, &self.other, level),
        }
    }

    fn change(&self, difference: &Difference) -> Change {
        let typical = |logs: &[f64]| statistics::mean(logs).unwrap_or_default().exp();
        let [percent, low_percent, high_percent] = difference.percent();
        Change {
            baseline_ns: typical(&self.baseline),
            candidate_ns: typical(&self.other),
            percent,
            low_percent,
            high_percent,
            p: difference.p,
        }
    }
}

fn largest(variations: [Option<f64>; 2]) -> Option<f64> {
    variations.into_iter().flatten().reduce(f64::max)
}

/// Of the times themselves, whose logs these are.
fn cv_percent(logs: &[f64]) -> Option<f64> {
    let times: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
    statistics::cv_percent(&times)
}
