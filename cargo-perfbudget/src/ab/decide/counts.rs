//! Gates that have counts. They are compared as they are: there is nothing to estimate.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::evidence::Evidence;
use crate::ab::decision::Status;
use crate::ab::history::Side;
use crate::ab::policy::{Acknowledged, Policy};

/// The kinds of `fsync_counter::SyncCounts`.
const SYNCS: [&str; 5] = ["files", "dirs", "other", "unknown", "weak"];

/// One key: the least and the largest count of each side, as processes may differ.
pub(super) struct Key {
    baseline: [u64; 2],
    candidate: [u64; 2],
}

/// What became of a key, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Same,
    /// A sync that is missing, which somebody has acknowledged, or anything else.
    Fewer,
    /// A sync that is missing.
    Lost,
    /// The processes of one side do not agree, and their counts overlap with the other's.
    Unsteady,
    More,
}

impl Key {
    /// `None` when a side has no counts.
    pub(super) fn of(evidence: &Evidence<'_>, key: &str) -> Option<Self> {
        let range = |side| {
            let counts = evidence.counts(side);
            let of_key = || counts.iter().map(|c| c.get(key).copied().unwrap_or(0));
            Some([of_key().min()?, of_key().max()?])
        };
        Some(Self {
            baseline: range(Side::Baseline)?,
            candidate: range(Side::Candidate)?,
        })
    }

    pub(super) fn fell_to(&self, count: u64) -> bool {
        self.candidate == [count; 2] && count < self.baseline[0]
    }

    fn direction(&self, name: &str, is_acknowledged: impl Fn(u64) -> bool) -> Direction {
        let [least, largest] = self.candidate;
        if least > self.baseline[1] {
            Direction::More
        } else if largest < self.baseline[0] {
            let is_loss = is_sync(name) && !(least == largest && is_acknowledged(least));
            if is_loss {
                Direction::Lost
            } else {
                Direction::Fewer
            }
        } else if self.baseline == self.candidate && least == largest {
            Direction::Same
        } else {
            Direction::Unsteady
        }
    }

    fn text(&self, name: &str) -> String {
        let side = |[least, largest]: [u64; 2]| {
            if least == largest {
                least.to_string()
            } else {
                format!("{least} to {largest}")
            }
        };
        format!("{name} {} → {}", side(self.baseline), side(self.candidate))
    }
}

/// Whether a count may stand for durability: a kind that `fsync-counter` knows, or one whose name
/// says it.
pub(crate) fn is_sync(key: &str) -> bool {
    SYNCS.contains(&key) || key.contains("sync")
}

/// Of a gate that has counts on both sides.
pub(super) fn finding(evidence: &Evidence<'_>, policy: &Policy) -> Finding {
    let all = [Side::Baseline, Side::Candidate].map(|side| evidence.counts(side));
    let names: BTreeSet<&String> = all
        .iter()
        .flatten()
        .flat_map(|counts| counts.keys())
        .collect();
    let keys: Vec<(&str, Key)> = names
        .into_iter()
        .filter_map(|name| Some((name.as_str(), Key::of(evidence, name)?)))
        .collect();
    let direction = |name: &str, key: &Key| {
        key.direction(name, |count| {
            let what = Acknowledged::Count {
                key: name.to_owned(),
                count,
            };
            policy.acknowledges(evidence.gate, &what)
        })
    };
    let worst = keys
        .iter()
        .map(|(name, key)| direction(name, key))
        .max()
        .unwrap_or(Direction::Same);
    let those: Vec<String> = keys
        .iter()
        .filter(|(name, key)| direction(name, key) == worst)
        .map(|(name, key)| key.text(name))
        .collect();
    let those = those.join(", ");
    let (status, why) = match worst {
        Direction::Same => (Status::Equal, "the same counts".to_owned()),
        Direction::Fewer => (Status::Improved, format!("fewer: {those}")),
        Direction::Lost => (
            Status::Changed,
            format!("fewer syncs: {those}; durability may be lost"),
        ),
        Direction::Unsteady => (
            Status::TooNoisy,
            format!("the processes of a side do not agree: {those}"),
        ),
        Direction::More => (Status::Regressed, format!("more: {those}")),
    };
    let counts: BTreeMap<String, [u64; 2]> = keys
        .iter()
        .map(|(name, key)| ((*name).to_owned(), [key.baseline[1], key.candidate[1]]))
        .collect();
    Finding {
        counts,
        ..Finding::new(status, why)
    }
}
