//! Taking out of a gate's times what goes along with the pace of the core.
//!
//! A process also timed fixed work beside its samples (`perfbudget`'s `pace`). Where that work took
//! longer the core was slower, and so was the code: on a shared host that is most of what processes
//! of one code differ by. How much a gate's logs of times rise with the log of the pace is found by
//! least squares, from all its processes together, *whichever side they are of*: were the sides
//! exchanged in any block, it would be the same. So what is taken out depends on nothing that the
//! rank test asks about, and the test stays exact.
//!
//! Where the pace itself differs between the sides, the code of one may be what slows the core (wide
//! vector instructions, threads that it leaves behind), or it was measured at worse moments. Then
//! how times go along with it is found within each side, and nothing is decided by times at one pace
//! that the times as they were measured don't show as well.

use super::Terms;
use super::evidence::{Evidence, Times};
use super::times::Pair;
use crate::ab::decision::Method;
use crate::ab::history::Side;
use crate::ab::statistics;

/// How a gate's times go along with the pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// By how much the log of a time rises with the log of the pace.
    pub(super) slope: f64,
    /// The mean of the logs of all paces: what times are brought to.
    mean_log: f64,
    /// By how many per cent the pace differs between the sides, where that is shown.
    pub(super) differs: Option<f64>,
}

impl Pace {
    /// `None` where a process has no pace or not one bound (its own threads may be what slows the
    /// core), where the times do not rise with the pace, or where the sides did not take turns: what
    /// differs between two runs can't be told from what differs between their code.
    pub(super) fn of(evidence: &Evidence<'_>, terms: Terms<'_>) -> Option<Self> {
        if terms.method != Method::Paired {
            return None;
        }
        let level = terms.family.alpha_each;
        let pace = |times: &Times| times.pace_ns.unwrap_or(f64::NAN);
        let differs = Pair::of(evidence, Side::Candidate, pace)
            .difference(terms)
            .filter(|difference| difference.is_shown(level))
            .map(|difference| difference.percent()[0]);
        Some(Self {
            differs,
            ..Self::fitted(evidence, differs.is_some())?
        })
    }

    /// From all processes of the gate together, or from what they differ by within each side.
    pub(super) fn fitted(evidence: &Evidence<'_>, within_sides: bool) -> Option<Self> {
        let sides = [Side::Baseline, Side::Candidate, Side::Control];
        let sides: Option<Vec<_>> = sides.into_iter().map(|s| logs(evidence, s)).collect();
        let sides = sides?;
        let paces: Vec<f64> = sides.iter().flatten().map(|(pace, _)| *pace).collect();
        let mean_log = statistics::mean(&paces)?;
        let pairs: Vec<(f64, f64)> = if within_sides {
            sides.iter().flat_map(|side| centred(side)).collect()
        } else {
            sides.concat()
        };
        let slope = statistics::slope(&pairs).filter(|slope| *slope > 0.0)?;
        Some(Self {
            slope,
            mean_log,
            differs: None,
        })
    }

    /// A process's own time, had the core gone at the mean pace of all.
    pub(super) fn level(&self, times: &Times) -> f64 {
        let beyond = times.pace_ns.map_or(0.0, |pace| pace.ln() - self.mean_log);
        times.own_ns * (-self.slope * beyond).exp()
    }
}

/// Of a side's processes: pace and own time.
fn logs(evidence: &Evidence<'_>, side: Side) -> Option<Vec<(f64, f64)>> {
    let log = |times: &Times| {
        let pace = times.pace_ns.filter(|_| times.exact)?;
        Some((pace.ln(), times.own_ns.ln()))
    };
    evidence.times(side).iter().map(log).collect()
}

/// Without what the side has in common.
fn centred(side: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (paces, times): (Vec<f64>, Vec<f64>) = side.iter().copied().unzip();
    let mean = |values: &[f64]| statistics::mean(values).unwrap_or_default();
    let (pace, time) = (mean(&paces), mean(&times));
    side.iter().map(|(p, t)| (p - pace, t - time)).collect()
}
