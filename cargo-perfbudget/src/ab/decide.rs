//! From the repetitions of both sides to a decision: `docs/ab-decisions.md` is its contract.

mod counts;
mod evidence;
mod pace;
mod times;

use std::collections::BTreeSet;

use super::decision::{
    Change, Decision, Effect, Family, GateDecision, Method, Pace, Role, SCHEMA, Status, Subject,
    Verdict,
};
use super::history::Repetition;
use super::policy::{Acknowledged, Expect, Policy, is_match};
use super::sequential;
pub(crate) use counts::is_sync;
pub(crate) use evidence::GONE_AS_WELL;
pub(crate) use times::{OTHER_PACE, aa_change};

use evidence::Evidence;

/// What is decided on.
#[derive(Clone, Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) method: Method,
    pub(crate) baseline: Subject,
    pub(crate) candidate: Subject,
    /// Of all gates and sides.
    pub(crate) repetitions: &'a [Repetition],
    /// How many looks were planned before the first repetition; 1 where the number of repetitions
    /// was fixed.
    pub(crate) looks: u32,
    /// When: UTC, RFC 3339.
    pub(crate) at: String,
}

/// What a gate's times are judged by.
#[derive(Clone, Copy, Debug)]
struct Terms<'a> {
    policy: &'a Policy,
    method: Method,
    family: Family,
}

/// What was found about a gate, before its role says what that means.
#[derive(Clone, Debug)]
struct Finding {
    status: Status,
    why: String,
    /// Of what somebody has declared, whatever the role.
    effect: Option<Effect>,
    change: Option<Change>,
    wall: Option<Change>,
    control: Option<Change>,
    max_cv_percent: Option<f64>,
    pace: Option<Pace>,
    counts: std::collections::BTreeMap<String, [u64; 2]>,
    warnings: Vec<String>,
}

impl Finding {
    fn new(status: Status, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
            effect: None,
            change: None,
            wall: None,
            control: None,
            max_cv_percent: None,
            pace: None,
            counts: std::collections::BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// Decides. The same repetitions and the same policy always have the same decision.
pub(crate) fn decide(comparison: &Comparison<'_>, policy: &Policy) -> Decision {
    let evidence = Evidence::by_gate(comparison.repetitions);
    let timed = evidence.iter().filter(|gate| gate.has_times()).count();
    let gates = u32::try_from(timed).unwrap_or(u32::MAX);
    let looks = comparison.looks.max(1);
    let terms = Terms {
        policy,
        method: comparison.method,
        family: Family {
            gates,
            looks,
            alpha_each: sequential::level(policy.alpha, gates, looks),
        },
    };
    let mut warnings = about_the_policy(policy, &evidence);
    let mut gates = Vec::new();
    for gate in &evidence {
        for role in policy.roles(gate.gate) {
            let finding = gate.finding(terms, role);
            for warning in &finding.warnings {
                let warning = format!("{}: {warning}", gate.gate);
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            gates.push(gate_decision(gate, role, policy.expect, finding));
        }
    }
    // Stable: by name within a role.
    gates.sort_by_key(|gate| gate.role == Role::Guardrail);
    let (decision, reasons) = verdict(&gates, policy.expect);
    Decision {
        schema: SCHEMA.to_owned(),
        decision,
        reasons,
        policy: policy.clone(),
        baseline: comparison.baseline.clone(),
        candidate: comparison.candidate.clone(),
        method: comparison.method,
        family: terms.family,
        gates,
        warnings,
        at: comparison.at.clone(),
    }
}

fn gate_decision(
    gate: &Evidence<'_>,
    role: Role,
    expect: Expect,
    finding: Finding,
) -> GateDecision {
    let effect = finding.effect;
    GateDecision {
        gate: gate.gate.to_owned(),
        role,
        status: finding.status,
        effect: effect.unwrap_or_else(|| effect_of(finding.status, role, expect)),
        why: finding.why,
        change: finding.change,
        wall: finding.wall,
        control: finding.control,
        max_cv_percent: finding.max_cv_percent,
        pace: finding.pace,
        repetitions: gate.repetitions(),
        counts: finding.counts,
    }
}

/// The contract's table.
fn effect_of(status: Status, role: Role, expect: Expect) -> Effect {
    match (status, role, expect) {
        (Status::Improved | Status::Equal, ..) => Effect::Pass,
        (Status::Regressed | Status::BadStatus, ..) => Effect::Reject,
        (Status::Neutral, Role::Guardrail, _) | (Status::Neutral, _, Expect::NoRegression) => {
            Effect::Pass
        }
        (Status::MissingMetric, Role::Guardrail, _) => Effect::Skipped,
        _ => Effect::Inconclusive,
    }
}

/// The decision, and why: what counts most comes first.
fn verdict(gates: &[GateDecision], expect: Expect) -> (Verdict, Vec<String>) {
    let with = |effect| gates.iter().filter(move |gate| gate.effect == effect);
    let sentence = |gate: &GateDecision| {
        format!(
            "{} ({}) is {}: {}",
            gate.gate,
            gate.role.name(),
            gate.status.name(),
            gate.why
        )
    };
    let mut reasons: Vec<String> = with(Effect::Reject).map(sentence).collect();
    let is_rejected = !reasons.is_empty();
    reasons.extend(with(Effect::Inconclusive).map(sentence));
    if is_rejected {
        return (Verdict::Rejected, reasons);
    }
    // Counts that stay the same pass, and a glob may fit nothing: what passes is not all improved.
    let is_improved = gates
        .iter()
        .any(|gate| gate.role == Role::Primary && gate.status == Status::Improved);
    if expect == Expect::Improvement && !is_improved {
        reasons.push("no primary improved, which is what the policy expects".to_owned());
    }
    if with(Effect::Pass).next().is_none() {
        reasons
            .push("no gate passed: there is nothing that the decision could stand on".to_owned());
    }
    if reasons.is_empty() {
        let passed = with(Effect::Pass).count();
        let what = match expect {
            Expect::Improvement => {
                "every primary improved or kept its counts, and no guardrail \
                                    regressed"
            }
            Expect::NoRegression => "no gate regressed",
        };
        let skipped = match with(Effect::Skipped).count() {
            0 => String::new(),
            n => format!("; {n} skipped"),
        };
        reasons.push(format!("{what} ({passed} passed{skipped})"));
        return (Verdict::Accepted, reasons);
    }
    (Verdict::Inconclusive, reasons)
}

/// What the policy says in vain.
fn about_the_policy(policy: &Policy, evidence: &[Evidence<'_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    if policy.check_ready(false).is_err() {
        warnings.push("the policy's calibration says that it is not ready".to_owned());
    }
    let names: BTreeSet<&str> = evidence.iter().map(|gate| gate.gate).collect();
    for (key, globs) in [
        ("primary", &policy.primary),
        ("guardrail", &policy.guardrail),
    ] {
        for glob in globs {
            if !names.iter().any(|name| is_match(glob, name)) {
                warnings.push(format!("policy.{key}: no gate here fits {glob:?}"));
            }
        }
    }
    if policy.expect == Expect::Improvement && policy.primary.is_empty() && names.len() > 1 {
        warnings.push(
            "policy.primary names no gate, so every gate is expected to improve that is no \
             guardrail: name those that the change is about"
                .to_owned(),
        );
    }
    for entry in &policy.acknowledge {
        let gate = evidence.iter().find(|gate| gate.gate == entry.gate);
        let is_used = gate.is_some_and(|gate| match &entry.what {
            Acknowledged::Count { key, count } => gate.fell_to(key, *count),
            Acknowledged::Added => gate.is_added(),
            Acknowledged::Removed => gate.is_removed(),
        });
        if !is_used && gate.is_some() {
            let what = match &entry.what {
                Acknowledged::Count { key, count } => format!("{key} = {count}"),
                Acknowledged::Added => "added".to_owned(),
                Acknowledged::Removed => "removed".to_owned(),
            };
            warnings.push(format!(
                "policy.acknowledge: {} ({what}) is not what was found",
                entry.gate
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
