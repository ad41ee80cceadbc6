//! How a status, an effect and a verdict are shown: a word, a shape and a colour, never a colour
//! alone.

use crate::ab::decision::{Effect, GateDecision, Status, Verdict};

#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) word: &'static str,
    /// The colour's name in the style sheet.
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
}

const CHECK: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M3 8.5 6.5 12 13 4.5\"/></svg>";
const CROSS: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M4 4 12 12M12 4 4 12\"/></svg>";
const QUESTION: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M5 6a3 3 0 1 1 4.5 2.6C8.5 9.2 8 9.6 8 10.5M8 13.2v.3\"/></svg>";
const DASH: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M3 8H13\"/></svg>";
const DOWN: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M8 3v9.5M4 8.5 8 12.5 12 8.5\"/></svg>";
const UP: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
    <path d=\"M8 13V3.5M4 7.5 8 3.5 12 7.5\"/></svg>";

const fn mark(word: &'static str, class: &'static str, icon: &'static str) -> Mark {
    Mark { word, class, icon }
}

pub(super) fn verdict(verdict: Verdict) -> Mark {
    match verdict {
        Verdict::Accepted => mark("Accepted", "good", CHECK),
        Verdict::Rejected => mark("Rejected", "bad", CROSS),
        Verdict::Inconclusive => mark("Inconclusive", "open", QUESTION),
    }
}

pub(super) fn status(status: Status) -> Mark {
    match status {
        Status::BadStatus => mark("failed", "bad", CROSS),
        Status::MissingMetric => mark("not measured", "open", QUESTION),
        Status::InsufficientSamples => mark("too few repetitions", "open", QUESTION),
        Status::TooNoisy => mark("too noisy", "open", QUESTION),
        Status::Neutral => mark("neutral", "plain", DASH),
        Status::Improved => mark("improved", "good", DOWN),
        Status::Regressed => mark("regressed", "bad", UP),
        Status::Changed => mark("changed", "open", QUESTION),
        Status::Equal => mark("equal", "plain", DASH),
    }
}

pub(super) fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Pass => "passes",
        Effect::Reject => "rejects",
        Effect::Inconclusive => "inconclusive",
        Effect::Skipped => "skipped",
    }
}

/// Of a gate's own part of the page: a gate may be in a decision twice, once in each role.
pub(super) fn id(gate: &GateDecision) -> String {
    let letter = |c: char| match c {
        '/' => '.',
        c if c.is_alphanumeric() || c == '-' => c,
        _ => '_',
    };
    let name: String = gate.gate.chars().map(letter).collect();
    format!("gate-{}-{name}", gate.role.name())
}
