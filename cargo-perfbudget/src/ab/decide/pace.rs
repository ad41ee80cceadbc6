//! Bringing a gate's times to one pace of the core.
//!
//! A process also timed fixed work beside its samples (`perfbudget`'s `pace`). Where that work took
//! longer the core was slower, and so was the code: on a shared host that is most of what processes
//! of one code differ by.
//!
//! How much a gate's logs of times rise with the log of the pace is found from what the processes of
//! *one side in one block* differ by, and from nothing else. Were the sides exchanged in any block,
//! or was one of them slower in every block, it would be the same. So it depends on nothing that the
//! rank test asks about, and the test and its interval stay exact.

use std::collections::BTreeMap;

use super::Terms;
use super::evidence::{Evidence, Times};
use super::times::Pair;
use crate::ab::history::Side;
use crate::ab::statistics;

/// Beyond this times do not go along with the pace, they make it: a process that takes long because
/// it sleeps finds the core in a deeper sleep, say.
const SLOPE_MAX: f64 = 2.0;

/// Of the spread of times within a block, this much at least must be the pace's; less is noise.
const SHARE_MIN: f64 = 0.2;

/// How a gate's times go along with the pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// By how much the log of a time rises with the log of the pace.
    pub(super) slope: f64,
    /// The mean of the logs of all paces: what times are brought to.
    mean_log: f64,
}

impl Pace {
    /// `None` where a process has no pace, where no side has two processes in a block, or where times
    /// don't go along with the pace.
    pub(super) fn of(evidence: &Evidence<'_>) -> Option<Self> {
        let mut paces = Vec::new();
        let mut cells: BTreeMap<(Side, u32), Vec<(f64, f64)>> = BTreeMap::new();
        for side in [Side::Baseline, Side::Candidate, Side::Control] {
            for times in evidence.times(side) {
                let pace = times.pace_ns?.ln();
                paces.push(pace);
                let cell = cells.entry((side, times.block)).or_default();
                cell.push((pace, times.own_ns.ln()));
            }
        }
        let differences: Vec<(f64, f64)> =
            cells.values().flat_map(|cell| differences(cell)).collect();
        let slope = statistics::slope(&differences)?.min(SLOPE_MAX);
        let spread = |slope: f64| -> f64 {
            let rests = differences.iter().map(|(pace, time)| time - slope * pace);
            rests.map(f64::abs).sum()
        };
        let goes_along = slope > 0.0 && spread(slope) <= (1.0 - SHARE_MIN) * spread(0.0);
        goes_along.then_some(Self {
            slope,
            mean_log: statistics::mean(&paces)?,
        })
    }

    /// A process's own time, had the core gone at the mean pace of all.
    pub(super) fn level(&self, times: &Times) -> f64 {
        let beyond = times.pace_ns.map_or(0.0, |pace| pace.ln() - self.mean_log);
        times.own_ns * (-self.slope * beyond).exp()
    }
}

/// Of the processes of a side in a block, each from the one before: of pace and time.
fn differences(cell: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    cell.windows(2)
        .map(|two| (two[1].0 - two[0].0, two[1].1 - two[0].1))
}

/// By how many per cent the pace itself differs between the sides, where that is shown: the code of
/// one may be what slows the core (wide vector instructions, threads that it leaves behind), or it
/// was measured at worse moments.
pub(super) fn differs(evidence: &Evidence<'_>, terms: Terms<'_>) -> Option<f64> {
    let pace = |times: &Times| times.pace_ns.unwrap_or(f64::NAN);
    let difference = Pair::of(evidence, Side::Candidate, pace).difference(terms)?;
    let [percent, ..] = difference.percent();
    let is_shown = difference.is_shown(terms.family.alpha_each);
    is_shown.then_some(percent)
}
