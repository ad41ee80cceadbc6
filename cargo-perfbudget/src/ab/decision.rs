//! What was decided, and of what: `decision.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of `schema`.
pub(crate) const SCHEMA: &str = "perfbudget.decision.v1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) schema: String,
    pub(crate) decision: Verdict,
    /// Why, one sentence each, the most important first.
    pub(crate) reasons: Vec<String>,
    pub(crate) policy: crate::ab::policy::Policy,
    pub(crate) baseline: Subject,
    pub(crate) candidate: Subject,
    /// `paired` of a comparison in one run, `welch` of stored histories.
    pub(crate) method: Method,
    /// What the level of the intervals comes from.
    pub(crate) family: Family,
    /// Primaries first, in the order of their names. A gate in both roles is there twice.
    pub(crate) gates: Vec<GateDecision>,
    pub(crate) warnings: Vec<String>,
    pub(crate) at: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Accepted,
    Rejected,
    /// It can't be known from this.
    Inconclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// Sides that took turns: signed ranks of the blocks' log ratios.
    Paired,
    /// Sides that did not: Welch's interval of the logs, and Mann–Whitney.
    Welch,
}

/// The tests among which the policy's `alpha` is shared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Family {
    /// Gates that have times, whatever became of them.
    pub(crate) gates: u32,
    /// Planned looks at each.
    pub(crate) looks: u32,
    /// The share of each look at each gate: its interval has the level 1 - `alpha_each`.
    pub(crate) alpha_each: f64,
}

/// One side: what it is called, and its commit, directory or command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) of: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateDecision {
    pub(crate) gate: String,
    pub(crate) role: Role,
    pub(crate) status: Status,
    pub(crate) effect: Effect,
    pub(crate) why: String,
    /// Of the code's own time, for walltime gates.
    pub(crate) change: Option<Change>,
    /// The same of elapsed time; decides nothing.
    pub(crate) wall: Option<Change>,
    /// The same of the baseline against itself.
    pub(crate) control: Option<Change>,
    /// The larger of the two sides' variations.
    pub(crate) max_cv_percent: Option<f64>,
    /// What went along with the pace of the core, and is taken out of `change`, `control` and
    /// `max_cv_percent`, unless the pace differs between the sides.
    pub(crate) pace: Option<Pace>,
    /// Processes with a metric: baseline, candidate.
    pub(crate) repetitions: [u32; 2],
    /// Counts of count gates by key: baseline, candidate; the largest where processes differ.
    pub(crate) counts: BTreeMap<String, [u64; 2]>,
}

/// Relative change of candidate against baseline, with its interval at the family's level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Typical values, nanoseconds an operation: the geometric means of the sides. `percent` is
    /// of the repetitions and not of these two, unless the method is `welch`.
    pub(crate) baseline_ns: f64,
    pub(crate) candidate_ns: f64,
    pub(crate) percent: f64,
    pub(crate) low_percent: f64,
    pub(crate) high_percent: f64,
    /// Two-sided, of the rank test.
    pub(crate) p: f64,
}

/// How a gate's times go along with the pace of the core that they were measured on: with the time
/// of fixed work beside the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Per cent that a time is longer by for a per cent that the fixed work is.
    pub(crate) slope: f64,
    /// By how much the work took longer beside the candidate than beside the baseline, where that is
    /// shown: then nothing is taken out.
    pub(crate) differs_percent: Option<f64>,
    /// The change with it: of the times as they were measured.
    pub(crate) change: Option<Change>,
    /// The larger variation with it.
    pub(crate) max_cv_percent: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// What the comparison is about.
    Primary,
    /// What must not suffer from it.
    Guardrail,
}

#[expect(
    clippy::enum_variant_names,
    reason = "bad_status is the contract's word"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// A side failed to run, or left no record.
    BadStatus,
    /// There is nothing to compare.
    MissingMetric,
    InsufficientSamples,
    TooNoisy,
    Neutral,
    Improved,
    Regressed,
    /// A count fell that may stand for durability.
    Changed,
    /// A count gate whose counts are the same.
    Equal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    Pass,
    Reject,
    Inconclusive,
    Skipped,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// Of the commands that decide.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Rejected => 3,
            Self::Inconclusive => 4,
        }
    }
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Guardrail => "guardrail",
        }
    }
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadStatus => "bad_status",
            Self::MissingMetric => "missing_metric",
            Self::InsufficientSamples => "insufficient_samples",
            Self::TooNoisy => "too_noisy",
            Self::Neutral => "neutral",
            Self::Improved => "improved",
            Self::Regressed => "regressed",
            Self::Changed => "changed",
            Self::Equal => "equal",
        }
    }
}

impl Effect {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reject => "reject",
            Self::Inconclusive => "inconclusive",
            Self::Skipped => "skipped",
        }
    }
}
