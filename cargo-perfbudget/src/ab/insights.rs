//! `insights.md`: what to do next, and why.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::compare::REPETITIONS_MAX;
use super::decide::{GONE_AS_WELL, OTHER_PACE, is_sync};
use super::decision::{Decision, Effect, GateDecision, Method, Status, Verdict};
use super::policy::Expect;
use super::{sequential, statistics, table, text};

/// Times as many repetitions as there were, beyond which repetitions are no cure.
const TIMES_MAX: f64 = 20.0;

/// What would move a gate, what is most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Repair,
    Mend,
    Undo,
    Acknowledge,
    Find,
    Quieten,
    Repeat,
    Rethink,
}

impl Action {
    fn title(self) -> &'static str {
        match self {
            Self::Repair => "Repair what did not run",
            Self::Mend => "Mend what is slower",
            Self::Undo => "Find what is done more often",
            Self::Acknowledge => {
                "Look at the syncs that are gone, and acknowledge them or put them back"
            }
            Self::Find => "Find the metric that is missing",
            Self::Quieten => "Measure on a quieter machine",
            Self::Repeat => "Measure more repetitions",
            Self::Rethink => "Think again: what was expected to improve did not",
        }
    }
}

/// As Markdown.
pub(crate) fn insights(decision: &Decision) -> String {
    let mut text = format!("# {}\n\n", capitalised(decision.decision.name()));
    _ = writeln!(
        text,
        "{} → {}; {}.\n",
        named(&decision.baseline),
        named(&decision.candidate),
        method(decision)
    );
    let mut actions: BTreeMap<Action, Vec<String>> = BTreeMap::new();
    for gate in &decision.gates {
        if let Some((action, line)) = action(gate, decision) {
            actions.entry(action).or_default().push(line);
        }
    }
    text.push_str("## Next\n\n");
    if actions.is_empty() {
        let next = match decision.decision {
            Verdict::Accepted => "Nothing: every gate that counts passed.",
            _ => "Nothing that a gate says; see why below.",
        };
        _ = writeln!(text, "{next}\n");
    }
    for (action, lines) in &actions {
        _ = writeln!(text, "**{}.**\n", action.title());
        for line in lines {
            _ = writeln!(text, "- {}", line.trim_end());
        }
        text.push('\n');
    }
    text.push_str("## Why\n\n");
    for reason in &decision.reasons {
        _ = writeln!(text, "- {reason}");
    }
    _ = write!(text, "\n## Gates\n\n{}", table::markdown(&decision.gates));
    if !decision.warnings.is_empty() {
        text.push_str("\n## Warnings\n\n");
        for warning in &decision.warnings {
            _ = writeln!(text, "- {warning}");
        }
    }
    text
}

/// What to do about one gate, unless it passes.
fn action(gate: &GateDecision, decision: &Decision) -> Option<(Action, String)> {
    if !matches!(gate.effect, Effect::Reject | Effect::Inconclusive) {
        return None;
    }
    let policy = &decision.policy;
    let (action, advice) = match gate.status {
        Status::BadStatus if gate.why.starts_with("the candidate left no record") => (
            Action::Repair,
            format!(
                "run its test on the candidate; if the gate is gone on purpose, add to {}",
                acknowledgement(gate, "removed = true")
            ),
        ),
        Status::BadStatus if gate.why.contains(GONE_AS_WELL) => (
            Action::Repair,
            format!(
                "if it is gone on purpose, add to {}",
                acknowledgement(gate, "removed = true")
            ),
        ),
        Status::BadStatus => (Action::Repair, "run its test on that side".to_owned()),
        Status::Regressed if gate.counts.is_empty() => {
            (Action::Mend, "profile it on both sides".to_owned())
        }
        Status::Regressed => (
            Action::Undo,
            "the message of the gate's test lists what was counted".to_owned(),
        ),
        Status::Changed => (Action::Acknowledge, lost(gate)),
        Status::MissingMetric if gate.repetitions[0] == 0 && gate.repetitions[1] > 0 => (
            Action::Find,
            format!(
                "if the gate is new, add to {}",
                acknowledgement(gate, "added = true")
            ),
        ),
        Status::MissingMetric => (Action::Find, "see why it was not measured".to_owned()),
        Status::InsufficientSamples => (Action::Repeat, needed(decision)),
        Status::TooNoisy => noisy(gate, decision),
        Status::Neutral => (
            Action::Rethink,
            format!(
                "an improvement is at least {} %: the change does less, or the gate does not see \
                 it",
                policy.threshold_percent(gate.role)
            ),
        ),
        Status::Improved | Status::Equal => return None,
    };
    let line = format!(
        "`{}` ({}): {}. {}",
        gate.gate,
        gate.role.name(),
        gate.why,
        sentence(&advice)
    );
    Some((action, line))
}

/// The entries for syncs that fell, ready to paste.
fn lost(gate: &GateDecision) -> String {
    let fell =
        |(key, [baseline, candidate]): &(&String, &[u64; 2])| is_sync(key) && candidate < baseline;
    let entries: Vec<String> = gate
        .counts
        .iter()
        .filter(fell)
        .map(|(key, [_, candidate])| {
            acknowledgement(gate, &format!("key = {key:?}\n  count = {candidate}"))
        })
        .collect();
    format!(
        "find which sync is gone, and what a crash without it leaves; if nothing is lost, add to {}",
        entries.join("\n  and ")
    )
}

fn acknowledgement(gate: &GateDecision, what: &str) -> String {
    format!(
        "`perfbudget.toml`:\n\n  ```toml\n  [[policy.acknowledge]]\n  gate = {:?}\n  {what}\n  ```\n",
        gate.gate
    )
}

fn needed(decision: &Decision) -> String {
    let level = decision.family.alpha_each;
    let more = match decision.method {
        Method::Paired => format!(
            "{} with both sides are enough, with at least 6 repetitions of each",
            text::counted(statistics::blocks_needed(level) as usize, "block", "blocks")
        ),
        Method::Welch => format!(
            "{} repetitions on each side are enough",
            statistics::repetitions_needed(level).max(4)
        ),
    };
    let alone = sequential::level(decision.policy.alpha, 1, decision.family.looks);
    if level < alone {
        return format!("{more}; fewer gates need fewer, as they share the level");
    }
    more
}

/// The four kinds of noise: of repetitions, of the control, of a core that was another beside one
/// side, and of an interval that is too wide.
fn noisy(gate: &GateDecision, decision: &Decision) -> (Action, String) {
    let policy = &decision.policy;
    if !gate.counts.is_empty() {
        let advice = "make what it counts the same in every run, or count less";
        return (Action::Repair, advice.to_owned());
    }
    let threshold = policy.threshold_percent(gate.role);
    let quieten = "stop what else runs there, or compare on a machine of its own";
    let is_varying = gate
        .max_cv_percent
        .is_some_and(|cv| cv > policy.max_cv_percent);
    let is_uncontrolled = gate.why.starts_with("the control");
    if !is_varying && !is_uncontrolled && gate.why.starts_with(OTHER_PACE) {
        let advice = "find whether the candidate slows the core itself (wide vector instructions, a \
                      thread that it leaves behind); if it does not, compare again on a machine of \
                      its own";
        return (Action::Quieten, advice.to_owned());
    }
    let Some(change) = gate.change.filter(|_| !is_varying && !is_uncontrolled) else {
        return (Action::Quieten, quieten.to_owned());
    };
    // A change below the threshold has to be shown to be within it, another to be one at all.
    let room = if change.percent.abs() < threshold {
        threshold - change.percent.abs()
    } else {
        change.percent.abs()
    };
    let half_width = (change.high_percent - change.low_percent) / 2.0;
    let times = (half_width / room).powi(2);
    if times > TIMES_MAX {
        let advice =
            format!("{quieten}; repetitions alone would have to be {times:.0} times as many");
        return (Action::Quieten, advice);
    }
    let times = times.ceil().max(2.0);
    let option = match decision.method {
        Method::Paired => more_repetitions(gate, times),
        Method::Welch => String::new(),
    };
    let advice = format!(
        "about {times:.0} times as many repetitions would decide it, if the change is what it \
         seems{option}"
    );
    (Action::Repeat, advice)
}

/// How `compare` is asked for so many times as many.
fn more_repetitions(gate: &GateDecision, times: f64) -> String {
    let most = gate.repetitions.iter().max().copied().unwrap_or(0);
    let repetitions = f64::from(most) * times;
    let in_a_pass = f64::from(REPETITIONS_MAX);
    if repetitions <= in_a_pass {
        format!(": `--max-repetitions {repetitions:.0}`")
    } else {
        let runs = (repetitions / in_a_pass).ceil();
        format!(": `--max-repetitions {in_a_pass:.0} --runs {runs:.0}`")
    }
}

fn method(decision: &Decision) -> String {
    let family = decision.family;
    let how = match decision.method {
        Method::Paired => "the sides took turns",
        Method::Welch => {
            "the sides were measured apart: what changed between them is in the change"
        }
    };
    let expected = match decision.policy.expect {
        Expect::Improvement => "an improvement is expected",
        Expect::NoRegression => "no regression is expected",
    };
    if family.gates == 0 {
        return format!("{expected}; {how}");
    }
    format!(
        "{expected}; {how}; intervals of {} % ({} % for {} and {})",
        text::three_digits((1.0 - family.alpha_each) * 100.0),
        text::three_digits((1.0 - decision.policy.alpha) * 100.0),
        text::counted(family.gates as usize, "gate", "gates"),
        text::counted(family.looks as usize, "look", "looks"),
    )
}

fn named(subject: &super::decision::Subject) -> String {
    if subject.of.is_empty() || subject.of == subject.name {
        return format!("`{}`", subject.name);
    }
    format!("`{}` (`{}`)", subject.name, subject.of)
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "." };
    format!("{}{end}", capitalised(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ab::fixtures::{Histories, around, spread};
    use crate::ab::history::{Outcome, Side};
    use crate::ab::policy::Policy;

    fn of(histories: &Histories, expect: Expect) -> String {
        let policy = Policy {
            expect,
            ..Policy::default()
        };
        insights(&histories.decide(Method::Paired, &policy))
    }

    #[test]
    fn every_gate_that_did_not_pass_has_its_next_action() {
        let backwards = |times: &[f64]| times.iter().rev().copied().collect::<Vec<_>>();
        let (some, much) = (spread(1000.0, 14, 0.1), spread(1000.0, 14, 0.3));
        let failed = Outcome::Failed {
            why: "it ended with 101".to_owned(),
        };
        let histories = Histories::default()
            .sides("a/same", &around(1000.0, 14), &around(1000.0, 14))
            .sides("a/slower", &around(1000.0, 14), &around(1300.0, 14))
            .sides("a/few", &around(1000.0, 2), &around(1000.0, 2))
            .sides("a/unsure", &some, &backwards(&some))
            .sides("a/noisy", &much, &backwards(&much))
            .sides("a/uncontrolled", &around(1000.0, 14), &around(1000.0, 14))
            .times("a/uncontrolled", Side::Control, &around(1200.0, 14))
            .times("a/lost", Side::Baseline, &around(1000.0, 14))
            .and("a/lost-and-failed", Side::Baseline, failed.clone())
            .times("a/new", Side::Candidate, &around(1000.0, 14))
            .sides("a/failed", &around(1000.0, 14), &around(1000.0, 14))
            .and("a/failed", Side::Candidate, failed)
            .counts("b/more", Side::Baseline, &[("files", 1)])
            .counts("b/more", Side::Candidate, &[("files", 2)])
            .counts("b/fewer", Side::Baseline, &[("dirs", 2), ("files", 1)])
            .counts("b/fewer", Side::Candidate, &[("files", 1)]);
        insta::assert_snapshot!(of(&histories, Expect::NoRegression));
    }

    #[test]
    fn a_core_that_is_slower_beside_the_candidate_is_no_matter_of_repetitions() {
        let histories =
            Histories::default().sides("a/same", &around(1000.0, 14), &around(1000.0, 14));
        let mut decision = histories.decide(Method::Paired, &Policy::default());
        let gate = &mut decision.gates[0];
        (gate.status, gate.effect) = (Status::TooNoisy, Effect::Inconclusive);
        gate.why = format!("{OTHER_PACE} 120 % of the time");
        let text = insights(&decision);
        assert!(
            text.contains("Find whether the candidate slows the core itself"),
            "{text}"
        );
        assert!(!text.contains("--max-repetitions"), "{text}");
    }

    #[test]
    fn more_than_one_pass_can_have_is_asked_for_in_passes() {
        let histories =
            Histories::default().sides("a/same", &around(1000.0, 14), &around(1000.0, 14));
        let decision = histories.decide(Method::Paired, &Policy::default());
        let gate = &decision.gates[0];
        assert_eq!(more_repetitions(gate, 3.0), ": `--max-repetitions 42`");
        let passes = ": `--max-repetitions 1000 --runs 2`";
        assert_eq!(more_repetitions(gate, 72.0), passes);
    }

    #[test]
    fn counts_have_no_intervals() {
        let histories = Histories::default()
            .counts("b/same", Side::Baseline, &[("files", 1)])
            .counts("b/same", Side::Candidate, &[("files", 1)]);
        let text = of(&histories, Expect::NoRegression);
        assert!(text.contains("; the sides took turns.\n"), "{text}");
    }

    #[test]
    fn what_was_to_improve_and_did_not_is_said() {
        let histories =
            Histories::default().sides("a/same", &around(1000.0, 14), &around(1000.0, 14));
        let text = of(&histories, Expect::Improvement);
        assert!(text.contains("**Think again: what was expected"), "{text}");
        assert!(text.contains("An improvement is at least 5 %"), "{text}");
        let text = of(&histories, Expect::NoRegression);
        assert!(
            text.contains("## Next\n\nNothing: every gate that counts passed."),
            "{text}"
        );
    }
}
