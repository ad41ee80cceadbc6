//! Verdicts: what a gate's figures say of the code.
//!
//! For each round there are two bounds on the time that is the code's own doing: at least `lo`, at
//! most `hi`. Code whose `lo` is over the limit is proved guilty, code whose `hi` is within it is
//! innocent of what the bounds see, and a machine that makes the wall longer than `hi` is no fault
//! of either.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The variable that makes passing verdicts fail: `contended`, `undecided` and `not_measured`,
/// separated by commas.
pub const DENY_ENV: &str = "PERFBUDGET_DENY";

/// What a gate decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The trimmed mean of wall is within the limit.
    Within,
    /// Wall is over, but the code's own time is not: the machine was busy. Passes, warns.
    Contended,
    /// The code's own time was over the limit in three rounds. Fails.
    Over,
    /// Neither is proved after three rounds. Passes, warns.
    Undecided,
    /// This build can't be timed, or does not count. Passes, visibly.
    NotMeasured,
    /// The counts are what the code says. Passes.
    Exact,
    /// The counts are not what the code says. Fails.
    Differs,
}

impl Verdict {
    /// Its name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Contended => "contended",
            Self::Over => "over",
            Self::Undecided => "undecided",
            Self::NotMeasured => "not_measured",
            Self::Exact => "exact",
            Self::Differs => "differs",
        }
    }

    /// Whether the test fails whatever [`DENY_ENV`] says.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Over | Self::Differs)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The passing verdicts that a run wants to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denied(BTreeSet<Verdict>);

impl Denied {
    const DENIABLE: [Verdict; 3] = [Verdict::Contended, Verdict::Undecided, Verdict::NotMeasured];

    /// What [`DENY_ENV`] asks for, and a warning for each word that it can't mean.
    pub(crate) fn from_env() -> (Self, Vec<String>) {
        let value = env::var_os(DENY_ENV).unwrap_or_default();
        Self::from_value(&value.to_string_lossy())
    }

    fn from_value(value: &str) -> (Self, Vec<String>) {
        let mut denied = BTreeSet::new();
        let mut warnings = Vec::new();
        for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match Self::DENIABLE.into_iter().find(|v| v.name() == word) {
                Some(verdict) => _ = denied.insert(verdict),
                None => warnings.push(format!(
                    "{DENY_ENV}: {word:?} is ignored: it is not contended, undecided or \
                     not_measured"
                )),
            }
        }
        (Self(denied), warnings)
    }

    pub(crate) fn contains(&self, verdict: Verdict) -> bool {
        self.0.contains(&verdict)
    }
}

/// A trimmed mean and a median: a bound must hold for both, because the trimmed mean of 11 breaks
/// at three disturbed samples and the median alone sees half of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Centre {
    pub(crate) trimmed_mean: Duration,
    pub(crate) median: Duration,
}

impl Centre {
    fn is_within(self, limit: Duration) -> bool {
        self.trimmed_mean <= limit && self.median <= limit
    }

    fn is_over(self, limit: Duration) -> bool {
        self.trimmed_mean > limit && self.median > limit
    }
}

/// What a round says of its wall and of the code's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundFigures {
    pub(crate) wall: Centre,
    pub(crate) lo: Centre,
    pub(crate) hi: Centre,
}

/// Rounds that it takes to call code guilty, or to give up.
pub(crate) const ROUNDS_MAX: usize = 3;

/// The verdict of the rounds so far, or `None` when another round must tell.
///
/// A round that is within or contended ends it, the first or a confirming one. Guilt takes
/// [`ROUNDS_MAX`] rounds that all say so.
pub(crate) fn verdict(rounds: &[RoundFigures], limit: Duration) -> Option<Verdict> {
    let last = rounds.last()?;
    if last.wall.trimmed_mean <= limit {
        Some(Verdict::Within)
    } else if last.hi.is_within(limit) {
        Some(Verdict::Contended)
    } else if rounds.len() < ROUNDS_MAX {
        None
    } else if rounds.iter().all(|round| round.lo.is_over(limit)) {
        Some(Verdict::Over)
    } else {
        Some(Verdict::Undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(10);

    fn centre(trimmed_mean: u64, median: u64) -> Centre {
        Centre {
            trimmed_mean: Duration::from_millis(trimmed_mean),
            median: Duration::from_millis(median),
        }
    }

    fn by_wall(trimmed_mean: u64, median: u64) -> RoundFigures {
        let wall = centre(trimmed_mean, median);
        RoundFigures {
            wall,
            lo: wall,
            hi: wall,
        }
    }

    fn bounded(wall: u64, lo: u64, hi: u64) -> RoundFigures {
        RoundFigures {
            wall: centre(wall, wall),
            lo: centre(lo, lo),
            hi: centre(hi, hi),
        }
    }

    #[test]
    fn a_passing_gate_costs_one_round() {
        assert_eq!(verdict(&[], LIMIT), None);
        assert_eq!(verdict(&[by_wall(10, 10)], LIMIT), Some(Verdict::Within));
        // By the trimmed mean alone: the median may be over.
        assert_eq!(verdict(&[by_wall(10, 11)], LIMIT), Some(Verdict::Within));
    }

    #[test]
    fn guilt_takes_three_rounds() {
        let over = by_wall(12, 12);
        assert_eq!(verdict(&[over], LIMIT), None);
        assert_eq!(verdict(&[over, over], LIMIT), None);
        assert_eq!(verdict(&[over, over, over], LIMIT), Some(Verdict::Over));
    }

    #[test]
    fn a_confirming_round_that_is_within_ends_it() {
        let (over, within) = (by_wall(12, 12), by_wall(9, 9));
        assert_eq!(verdict(&[over, within], LIMIT), Some(Verdict::Within));
        assert_eq!(verdict(&[over, over, within], LIMIT), Some(Verdict::Within));
    }

    #[test]
    fn guilt_wants_trimmed_mean_and_median_in_every_round() {
        let (over, spiky) = (by_wall(12, 12), by_wall(12, 9));
        for rounds in [
            [spiky, over, over],
            [over, spiky, over],
            [over, over, spiky],
        ] {
            assert_eq!(verdict(&rounds, LIMIT), Some(Verdict::Undecided));
        }
    }

    #[test]
    fn a_busy_machine_is_contended_when_the_upper_bound_is_within() {
        assert_eq!(
            verdict(&[bounded(30, 8, 9)], LIMIT),
            Some(Verdict::Contended)
        );
        let spiky_bound = RoundFigures {
            hi: centre(9, 11),
            ..bounded(30, 8, 9)
        };
        assert_eq!(verdict(&[spiky_bound], LIMIT), None);
    }

    #[test]
    fn bounds_on_both_sides_of_the_limit_decide_nothing() {
        let unclear = bounded(30, 8, 20);
        assert_eq!(
            verdict(&[unclear, unclear, unclear], LIMIT),
            Some(Verdict::Undecided)
        );
    }

    #[test]
    fn only_passing_verdicts_can_be_denied() {
        let (denied, warnings) = Denied::from_value(" undecided,contended,");
        assert!(denied.contains(Verdict::Undecided) && denied.contains(Verdict::Contended));
        assert!(!denied.contains(Verdict::NotMeasured));
        assert!(warnings.is_empty());
        let (denied, warnings) = Denied::from_value("over,all");
        assert_eq!(denied, Denied::default());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
