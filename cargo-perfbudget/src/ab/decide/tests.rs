//! The contract, row by row.

use super::*;
use crate::ab::fixtures::{Histories, around, spread, times};
use crate::ab::history::{Outcome, Repetition, Side};
use crate::ab::policy::{Acknowledgement, Calibration, Neutral};
use crate::ab::statistics::simulation::Random;

const GATE: &str = "outbox/drain-25";

fn policy() -> Policy {
    Policy::default()
}

fn of_two(baseline: &[f64], candidate: &[f64]) -> Decision {
    Histories::default()
        .sides(GATE, baseline, candidate)
        .decide(Method::Paired, &policy())
}

fn only(decision: &Decision) -> &GateDecision {
    assert_eq!(decision.gates.len(), 1, "{decision:?}");
    &decision.gates[0]
}

fn status(decision: &Decision) -> (Status, Effect, Verdict) {
    let gate = only(decision);
    (gate.status, gate.effect, decision.decision)
}

#[test]
fn a_change_that_is_shown_and_large_enough_is_one() {
    let base = around(1000.0, 12);
    let slower = of_two(&base, &around(1080.0, 12));
    assert_eq!(
        status(&slower),
        (Status::Regressed, Effect::Reject, Verdict::Rejected)
    );
    let change = only(&slower).change.expect("some");
    assert!((change.percent - 8.0).abs() < 0.01, "{change:?}");
    assert!(
        change.low_percent > 7.0 && change.high_percent < 9.0,
        "{change:?}"
    );
    assert!((change.p - 2.0 / 4096.0).abs() < 1e-9, "{change:?}");
    assert!(
        (only(&slower).wall.expect("some").baseline_ns / change.baseline_ns - 1.25).abs() < 1e-9
    );
    let faster = of_two(&base, &around(920.0, 12));
    assert_eq!(
        status(&faster),
        (Status::Improved, Effect::Pass, Verdict::Accepted)
    );
}

#[test]
fn no_change_is_neutral_when_all_of_the_interval_says_so() {
    let same = of_two(&around(1000.0, 12), &around(1001.0, 12));
    assert_eq!(
        status(&same),
        (Status::Neutral, Effect::Pass, Verdict::Accepted)
    );
    // A true change of 4 % is below the threshold of 5 %.
    let small = of_two(&around(1000.0, 12), &around(1040.0, 12));
    assert_eq!(status(&small).0, Status::Neutral);
    assert!(
        only(&small).why.contains("is within ± 5 %"),
        "{}",
        only(&small).why
    );
}

#[test]
fn what_cannot_be_known_is_inconclusive() {
    // The same scatter backwards: as many ratios up as down, by several per cent.
    let base = spread(1000.0, 12, 0.1);
    let other: Vec<f64> = base.iter().rev().copied().collect();
    let decision = of_two(&base, &other);
    assert_eq!(
        status(&decision),
        (
            Status::TooNoisy,
            Effect::Inconclusive,
            Verdict::Inconclusive
        )
    );
    let why = &only(&decision).why;
    assert!(
        why.contains("allows no change as well as one of more than 5 %"),
        "{why}"
    );
    // Shown, less than the threshold, and its interval reaches beyond it.
    let noise: Vec<f64> = spread(1.0, 12, 0.02);
    let candidate: Vec<f64> = noise.iter().map(|noise| 1045.0 * noise).collect();
    let decision = of_two(&[1000.0; 12], &candidate);
    let why = &only(&decision).why;
    assert_eq!(only(&decision).status, Status::TooNoisy);
    assert!(why.contains("is less than 5 %, but its interval"), "{why}");
}

#[test]
fn repetitions_that_vary_too_much_decide_nothing() {
    let decision = of_two(&around(1000.0, 12), &spread(2000.0, 12, 0.2));
    assert_eq!(only(&decision).status, Status::TooNoisy);
    assert!(only(&decision).why.starts_with("the repetitions vary by "));
    let mut loose = policy();
    loose.max_cv_percent = 25.0;
    let decision = Histories::default()
        .sides(GATE, &around(1000.0, 12), &spread(2000.0, 12, 0.2))
        .decide(Method::Paired, &loose);
    assert_eq!(only(&decision).status, Status::Regressed);
}

#[test]
fn fewer_than_six_or_too_few_for_the_level_are_insufficient() {
    let sides = |n: u32, gates: u32, method| {
        let mut histories = Histories::default();
        for gate in 0..gates {
            let gate = format!("a/{gate}");
            histories = histories.sides(&gate, &around(1000.0, n), &around(1200.0, n));
        }
        histories.decide(method, &policy()).gates[0].clone()
    };
    assert_eq!(
        sides(5, 1, Method::Paired).status,
        Status::InsufficientSamples
    );
    assert_eq!(sides(6, 1, Method::Paired).status, Status::Regressed);
    assert_eq!(
        sides(3, 1, Method::Welch).status,
        Status::InsufficientSamples
    );
    assert_eq!(sides(4, 1, Method::Welch).status, Status::Regressed);
    // 2 / 2^6 = 0.031 is not 0.05 / 2, and 2 / C(8, 4) = 0.029 is not either.
    let paired = sides(6, 2, Method::Paired);
    assert_eq!(paired.status, Status::InsufficientSamples);
    assert!(
        paired
            .why
            .contains("6 blocks with both sides, of at least 7 at the level 2.50e-2"),
        "{}",
        paired.why
    );
    assert!(paired.change.is_none());
    let welch = sides(4, 2, Method::Welch);
    assert_eq!(welch.status, Status::InsufficientSamples);
    assert!(
        welch.why.contains("of at least 5 on each side"),
        "{}",
        welch.why
    );
    assert_eq!(sides(7, 2, Method::Paired).status, Status::Regressed);
}

/// Six processes a side in three blocks are three comparisons.
#[test]
fn what_counts_are_blocks() {
    let mut histories = Histories::default();
    for block in 0..3 {
        for _ in 0..2 {
            histories.add(
                GATE,
                Side::Baseline,
                block,
                times(1000.0 + f64::from(block)),
            );
            histories.add(GATE, Side::Candidate, block, times(1200.0));
        }
    }
    let decision = histories.decide(Method::Paired, &policy());
    assert_eq!(only(&decision).status, Status::InsufficientSamples);
    assert_eq!(only(&decision).repetitions, [6, 6]);
    assert_eq!(
        histories.decide(Method::Welch, &policy()).gates[0].status,
        Status::Regressed
    );
}

#[test]
fn processes_of_a_block_are_one_by_the_mean_of_their_logs() {
    let mut histories = Histories::default();
    for block in 0..8 {
        for (side, own_ns) in [
            (Side::Baseline, 1000.0),
            (Side::Candidate, 1100.0),
            (Side::Candidate, 1210.0),
            (Side::Baseline, 1000.0),
        ] {
            histories.add(GATE, side, block, times(own_ns));
        }
    }
    let decision = histories.decide(Method::Paired, &policy());
    let change = only(&decision).change.expect("some");
    // The middle of 1.1 and 1.1² is 1.1^1.5.
    assert!(
        (change.percent - (1.1_f64.powf(1.5) - 1.0) * 100.0).abs() < 1e-9,
        "{change:?}"
    );
}

/// The machine slows down over the run by more than the change is: the blocks don't mind.
#[test]
fn drift_is_no_change() {
    let drift = |typical: f64| -> Vec<f64> {
        let noise = around(typical, 12);
        (0..12_u8)
            .map(|i| noise[usize::from(i)] * (1.0 + 0.02 * f64::from(i)))
            .collect()
    };
    let decision = of_two(&drift(1000.0), &drift(1000.0));
    assert_eq!(only(&decision).status, Status::Neutral);
    let decision = of_two(&drift(1000.0), &drift(1080.0));
    assert_eq!(only(&decision).status, Status::Regressed);
}

#[test]
fn a_block_with_one_side_is_left_out_and_said() {
    let decision = of_two(&around(1000.0, 12), &around(1080.0, 10));
    assert_eq!(only(&decision).status, Status::Regressed);
    assert_eq!(
        decision.warnings,
        ["outbox/drain-25: 2 blocks without one of the sides: left out of the change"]
    );
}

#[test]
fn a_control_that_changes_makes_the_gate_too_noisy() {
    let with_control = |control: f64| {
        Histories::default()
            .sides(GATE, &around(1000.0, 12), &around(1080.0, 12))
            .times(GATE, Side::Control, &around(control, 12))
            .decide(Method::Paired, &policy())
    };
    let good = with_control(1002.0);
    assert_eq!(only(&good).status, Status::Regressed);
    assert!(only(&good).control.expect("some").percent.abs() < 1.0);
    let bad = with_control(1060.0);
    assert_eq!(only(&bad).status, Status::TooNoisy);
    let why = &only(&bad).why;
    assert!(
        why.starts_with("the control, the baseline against itself, changed by +6.00 %"),
        "{why}"
    );
    // Shown, but no change that would count.
    assert_eq!(only(&with_control(1040.0)).status, Status::Regressed);
}

#[test]
fn a_process_that_failed_is_never_left_out() {
    let failed = || Outcome::Failed {
        why: "it ended with signal 11".to_owned(),
    };
    for (side, name) in [
        (Side::Candidate, "the candidate"),
        (Side::Baseline, "the baseline"),
        (Side::Control, "the control"),
    ] {
        let decision = Histories::default()
            .sides(GATE, &around(1000.0, 12), &around(900.0, 12))
            .and(GATE, side, failed())
            .decide(Method::Paired, &policy());
        assert_eq!(
            status(&decision),
            (Status::BadStatus, Effect::Reject, Verdict::Rejected)
        );
        let why = &only(&decision).why;
        assert!(
            why.starts_with(name) && why.contains("failed in 1 of 1"),
            "{why}"
        );
        assert!(why.ends_with(": it ended with signal 11"), "{why}");
    }
}

#[test]
fn times_that_are_none_are_failures() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let decision = Histories::default()
            .sides(GATE, &around(1000.0, 12), &around(1000.0, 12))
            .and(GATE, Side::Candidate, times(bad))
            .decide(Method::Welch, &policy());
        assert_eq!(only(&decision).status, Status::BadStatus, "{bad}");
    }
}

#[test]
fn a_gate_of_one_side_is_said_and_can_be_declared() {
    let base = Histories::default().sides("a/kept", &around(1000.0, 12), &around(1000.0, 12));
    let lost = base
        .clone()
        .times("a/old", Side::Baseline, &around(1000.0, 12));
    let new = base.times("a/new", Side::Candidate, &around(1000.0, 12));
    let of = |histories: &Histories, policy: &Policy| {
        let decision = histories.decide(Method::Paired, policy);
        let gate = decision
            .gates
            .iter()
            .find(|gate| gate.gate != "a/kept")
            .expect("there");
        (gate.status, gate.effect, decision.decision)
    };
    assert_eq!(
        of(&lost, &policy()),
        (Status::BadStatus, Effect::Reject, Verdict::Rejected)
    );
    assert_eq!(
        of(&new, &policy()),
        (
            Status::MissingMetric,
            Effect::Inconclusive,
            Verdict::Inconclusive
        )
    );
    let guarded = Policy {
        guardrail: vec!["a/*".into()],
        ..policy()
    };
    assert_eq!(
        of(&new, &guarded),
        (Status::MissingMetric, Effect::Skipped, Verdict::Accepted)
    );
    let declared = |gate: &str, what| Policy {
        acknowledge: vec![Acknowledgement {
            gate: gate.to_owned(),
            what,
        }],
        ..policy()
    };
    let skipped = (Status::MissingMetric, Effect::Skipped, Verdict::Accepted);
    assert_eq!(
        of(&lost, &declared("a/old", Acknowledged::Removed)),
        skipped
    );
    assert_eq!(of(&new, &declared("a/new", Acknowledged::Added)), skipped);
    // Also where it fails on the baseline, which is one reason to take it out.
    let failed = || Outcome::Failed {
        why: "boom".to_owned(),
    };
    let broken = Histories::default()
        .sides(GATE, &around(1000.0, 12), &around(1000.0, 12))
        .and("a/old", Side::Baseline, failed());
    assert_eq!(
        of(&broken, &declared("a/old", Acknowledged::Removed)),
        skipped
    );
    assert_eq!(of(&broken, &policy()).0, Status::BadStatus);
    let broken = Histories::default()
        .sides(GATE, &around(1000.0, 12), &around(1000.0, 12))
        .and("a/new", Side::Candidate, failed());
    assert_eq!(
        of(&broken, &declared("a/new", Acknowledged::Added)).0,
        Status::BadStatus
    );
    // Each for its own side only.
    assert_eq!(
        of(&lost, &declared("a/old", Acknowledged::Added)).0,
        Status::BadStatus
    );
    assert_eq!(
        of(&new, &declared("a/new", Acknowledged::Removed)).1,
        Effect::Inconclusive
    );
}

#[test]
fn a_gate_that_measured_nothing_has_no_metric() {
    let not_measured = || Outcome::NotMeasured {
        why: "a debug build".to_owned(),
    };
    let all = Histories::default()
        .times(GATE, Side::Baseline, &around(1000.0, 12))
        .and(GATE, Side::Candidate, not_measured())
        .decide(Method::Paired, &policy());
    assert_eq!(
        status(&all),
        (
            Status::MissingMetric,
            Effect::Inconclusive,
            Verdict::Inconclusive
        )
    );
    assert_eq!(
        only(&all).why,
        "the candidate measured nothing: a debug build"
    );
    let some = Histories::default()
        .sides(GATE, &around(1000.0, 12), &around(1000.0, 12))
        .and(GATE, Side::Candidate, not_measured())
        .decide(Method::Paired, &policy());
    assert_eq!(only(&some).status, Status::Neutral);
    assert!(some.warnings[0].contains("nothing in 1 of 13 processes: a debug build"));
    let mixed = Histories::default()
        .times(GATE, Side::Baseline, &around(1000.0, 12))
        .counts(GATE, Side::Candidate, &[("files", 1)])
        .decide(Method::Paired, &policy());
    assert_eq!(only(&mixed).status, Status::MissingMetric);
}

fn counted(baseline: &[(&str, u64)], candidate: &[(&str, u64)], policy: &Policy) -> Decision {
    Histories::default()
        .counts(GATE, Side::Baseline, baseline)
        .counts(GATE, Side::Candidate, candidate)
        .decide(Method::Paired, policy)
}

#[test]
fn counts_are_compared_exactly() {
    let of = |baseline: &[(&str, u64)], candidate: &[(&str, u64)]| {
        status(&counted(baseline, candidate, &policy()))
    };
    let equal = (Status::Equal, Effect::Pass, Verdict::Accepted);
    let more = (Status::Regressed, Effect::Reject, Verdict::Rejected);
    let lost = (Status::Changed, Effect::Inconclusive, Verdict::Inconclusive);
    let fewer = (Status::Improved, Effect::Pass, Verdict::Accepted);
    assert_eq!(
        of(&[("files", 2), ("dirs", 2)], &[("files", 2), ("dirs", 2)]),
        equal
    );
    assert_eq!(of(&[], &[]), equal);
    assert_eq!(of(&[("files", 2)], &[("files", 3)]), more);
    assert_eq!(of(&[("files", 2)], &[("files", 2), ("weak", 1)]), more);
    assert_eq!(
        of(&[("files", 2), ("dirs", 2)], &[("files", 2), ("dirs", 1)]),
        lost
    );
    assert_eq!(of(&[("files", 2), ("dirs", 2)], &[("files", 2)]), lost);
    assert_eq!(of(&[("wal_syncs", 2)], &[("wal_syncs", 1)]), lost);
    assert_eq!(of(&[("allocations", 9)], &[("allocations", 8)]), fewer);
    // The worst of several.
    assert_eq!(
        of(&[("files", 2), ("dirs", 1)], &[("files", 1), ("dirs", 2)]),
        more
    );
    assert_eq!(
        of(&[("files", 2), ("rows", 9)], &[("files", 1), ("rows", 8)]),
        lost
    );
    let decision = counted(&[("files", 2), ("dirs", 2)], &[("files", 2)], &policy());
    assert_eq!(only(&decision).counts["dirs"], [2, 0]);
    assert_eq!(
        only(&decision).why,
        "fewer syncs: dirs 2 → 0; durability may be lost"
    );
}

#[test]
fn a_lost_sync_passes_when_it_is_acknowledged_as_it_is() {
    let acknowledged = |key: &str, count| Policy {
        acknowledge: vec![Acknowledgement {
            gate: GATE.to_owned(),
            what: Acknowledged::Count {
                key: key.to_owned(),
                count,
            },
        }],
        ..policy()
    };
    let of = |policy: &Policy| {
        counted(
            &[("files", 2), ("dirs", 2)],
            &[("files", 2), ("dirs", 1)],
            policy,
        )
    };
    let fits = of(&acknowledged("dirs", 1));
    assert_eq!(
        status(&fits),
        (Status::Improved, Effect::Pass, Verdict::Accepted)
    );
    assert_eq!(fits.warnings, [""; 0]);
    for other in [acknowledged("dirs", 0), acknowledged("files", 1)] {
        let decision = of(&other);
        assert_eq!(only(&decision).status, Status::Changed);
        assert!(
            decision.warnings[0].contains("is not what was found"),
            "{decision:?}"
        );
    }
    // An increase can't be acknowledged.
    let more = counted(&[("dirs", 1)], &[("dirs", 2)], &acknowledged("dirs", 2));
    assert_eq!(only(&more).status, Status::Regressed);
}

#[test]
fn counts_that_differ_between_processes_are_ranges() {
    let of = |baseline: [u64; 2], candidate: [u64; 2]| {
        let mut histories = Histories::default();
        for (side, both) in [(Side::Baseline, baseline), (Side::Candidate, candidate)] {
            for (block, n) in (0..).zip(both) {
                let counts = [("rows".to_owned(), n)].into();
                histories.add(GATE, side, block, Outcome::Counts { counts });
            }
        }
        let decision = histories.decide(Method::Paired, &policy());
        only(&decision).status
    };
    assert_eq!(of([1, 2], [1, 2]), Status::TooNoisy);
    assert_eq!(of([1, 2], [2, 3]), Status::TooNoisy);
    assert_eq!(of([1, 2], [3, 4]), Status::Regressed);
    assert_eq!(of([3, 4], [1, 2]), Status::Improved);
}

#[test]
fn effects_are_those_of_the_contract() {
    use Effect::{Inconclusive, Pass, Reject, Skipped};
    for (status, improvement, no_regression, guardrail) in [
        (Status::BadStatus, Reject, Reject, Reject),
        (Status::MissingMetric, Inconclusive, Inconclusive, Skipped),
        (
            Status::InsufficientSamples,
            Inconclusive,
            Inconclusive,
            Inconclusive,
        ),
        (Status::TooNoisy, Inconclusive, Inconclusive, Inconclusive),
        (Status::Neutral, Inconclusive, Pass, Pass),
        (Status::Improved, Pass, Pass, Pass),
        (Status::Regressed, Reject, Reject, Reject),
        (Status::Changed, Inconclusive, Inconclusive, Inconclusive),
        (Status::Equal, Pass, Pass, Pass),
    ] {
        let of = |role, expect| effect_of(status, role, expect);
        assert_eq!(
            of(Role::Primary, Expect::Improvement),
            improvement,
            "{status:?}"
        );
        assert_eq!(
            of(Role::Primary, Expect::NoRegression),
            no_regression,
            "{status:?}"
        );
        for expect in [Expect::Improvement, Expect::NoRegression] {
            assert_eq!(of(Role::Guardrail, expect), guardrail, "{status:?}");
        }
    }
}

#[test]
fn an_improvement_wants_a_primary_that_improved() {
    let expecting = |primary: &[&str]| Policy {
        expect: Expect::Improvement,
        primary: primary.iter().map(ToString::to_string).collect(),
        ..policy()
    };
    let histories = Histories::default()
        .sides("a/faster", &around(1000.0, 12), &around(900.0, 12))
        .sides("a/same", &around(1000.0, 12), &around(1000.0, 12))
        .counts("a/syncs", Side::Baseline, &[("files", 1)])
        .counts("a/syncs", Side::Candidate, &[("files", 1)]);
    let decision = |primary: &[&str]| histories.decide(Method::Paired, &expecting(primary));
    assert_eq!(decision(&["a/faster"]).decision, Verdict::Accepted);
    assert_eq!(
        decision(&["a/faster", "a/syncs"]).decision,
        Verdict::Accepted
    );
    assert_eq!(
        decision(&["a/faster", "a/same"]).decision,
        Verdict::Inconclusive
    );
    for none in [&["a/syncs"][..], &["b/*"]] {
        let decision = decision(none);
        assert_eq!(decision.decision, Verdict::Inconclusive, "{none:?}");
        assert!(
            decision.reasons[0].starts_with("no primary improved"),
            "{decision:?}"
        );
    }
    assert!(decision(&["b/*"]).warnings[0].contains("no gate here fits \"b/*\""));
    assert!(decision(&[]).warnings[0].contains("policy.primary names no gate"));
}

#[test]
fn nothing_is_no_pass() {
    let decision = Histories::default().decide(Method::Paired, &policy());
    assert_eq!(decision.decision, Verdict::Inconclusive);
    assert_eq!(decision.reasons.len(), 1);
}

#[test]
fn rejections_come_first_and_the_rest_is_not_hidden() {
    let decision = Histories::default()
        .sides("a/few", &around(1000.0, 3), &around(1000.0, 3))
        .sides("b/slower", &around(1000.0, 12), &around(1200.0, 12))
        .sides("c/same", &around(1000.0, 12), &around(1000.0, 12))
        .decide(Method::Paired, &policy());
    assert_eq!(decision.decision, Verdict::Rejected);
    assert_eq!(decision.reasons.len(), 2);
    assert!(decision.reasons[0].starts_with("b/slower (primary) is regressed: +20.0 %"));
    assert!(decision.reasons[1].starts_with("a/few (primary) is insufficient_samples: 3"));
}

#[test]
fn all_gates_with_times_share_the_level_whatever_becomes_of_them() {
    let decision = Histories::default()
        .sides("a/one", &around(1000.0, 12), &around(1000.0, 12))
        .sides("a/few", &around(1000.0, 1), &around(1000.0, 1))
        .times("a/old", Side::Baseline, &around(1000.0, 12))
        .counts("a/syncs", Side::Baseline, &[])
        .counts("a/syncs", Side::Candidate, &[])
        .decide(Method::Paired, &policy());
    assert_eq!(decision.family.gates, 3);
    assert!((decision.family.alpha_each - 0.05 / 3.0).abs() < 1e-15);
}

#[test]
fn a_gate_in_both_roles_is_judged_by_both_thresholds() {
    let both = Policy {
        primary: vec!["*".into()],
        guardrail: vec!["*".into()],
        ..policy()
    };
    let decision = Histories::default()
        .sides(GATE, &around(1000.0, 12), &around(1040.0, 12))
        .decide(Method::Paired, &both);
    let statuses: Vec<_> = decision.gates.iter().map(|g| (g.role, g.status)).collect();
    assert_eq!(
        statuses,
        [
            (Role::Primary, Status::Neutral),
            (Role::Guardrail, Status::Regressed)
        ]
    );
    assert_eq!(decision.decision, Verdict::Rejected);
    assert_eq!(decision.family.gates, 1);
}

#[test]
fn what_weakens_a_decision_is_a_warning() {
    let bounded = Outcome::Times {
        own_ns: 1000.0,
        exact: false,
        wall_ns: 1400.0,
        pace_ns: None,
    };
    let not_ready = Policy {
        calibration: Some(Calibration {
            observed: None,
            groups: None,
            runs: None,
            ready: false,
        }),
        ..policy()
    };
    let decision = Histories::default()
        .sides(GATE, &around(1000.0, 12), &around(1000.0, 11))
        .and(GATE, Side::Candidate, bounded)
        .decide(Method::Welch, &not_ready);
    assert_eq!(
        decision.warnings,
        [
            "the policy's calibration says that it is not ready",
            "outbox/drain-25: in 1 of 12 processes of the candidate the code's own time is known \
             only as an upper bound",
        ]
    );
}

/// `neutral = "threshold"` is the older rule: of the change alone, however little is known of it.
#[test]
fn the_two_rules_for_neutral_differ_where_little_is_known() {
    let base = spread(1000.0, 12, 0.1);
    let other: Vec<f64> = base.iter().rev().copied().collect();
    let histories = Histories::default().sides(GATE, &base, &other);
    let of = |neutral| {
        let policy = Policy {
            neutral,
            primary_threshold_percent: 6.0,
            ..policy()
        };
        histories.decide(Method::Welch, &policy).gates[0].status
    };
    assert_eq!(of(Neutral::Threshold), Status::Neutral);
    assert_eq!(of(Neutral::Equivalence), Status::TooNoisy);
}

/// Processes of a core whose pace changes, in the order of a comparison: of each the logs of its pace
/// and of its time.
fn paced(blocks: u32, mut process: impl FnMut(u32, Side) -> (f64, f64)) -> Histories {
    use Side::{Baseline, Candidate, Control};
    let mut histories = Histories::default();
    for block in 0..blocks {
        for side in [Baseline, Candidate, Control, Control, Candidate, Baseline] {
            let order = u32::try_from(histories.0.len()).expect("few");
            let (pace, log) = process(order, side);
            let own_ns = 1000.0 * log.exp();
            let result = Outcome::Times {
                own_ns,
                exact: true,
                wall_ns: own_ns,
                pace_ns: Some(10_000.0 * pace.exp()),
            };
            histories.add(GATE, side, block, result);
        }
    }
    histories
}

/// Scattered from -0.5 to 0.5, the same in every run.
fn scattered(n: u32) -> f64 {
    (f64::from(n) * 0.618_033_988_75).fract() - 0.5
}

/// A pace that is up to 20 % more or less, of which the code has 0.7, and noise of 1 %.
fn up_and_down(order: u32) -> (f64, f64) {
    let pace = 0.4 * scattered(1 + order);
    (pace, 0.7 * pace + 0.01 * scattered(7 * (1 + order)))
}

fn width(change: Change) -> f64 {
    change.high_percent - change.low_percent
}

#[test]
fn what_goes_along_with_the_pace_is_taken_out() {
    let histories = paced(12, |order, side| {
        let (pace, log) = up_and_down(order);
        let slower = if side == Side::Candidate { 0.06 } else { 0.0 };
        (pace, log + slower)
    });
    for method in [Method::Paired, Method::Welch] {
        let decision = histories.decide(method, &policy());
        let gate = only(&decision);
        assert_eq!(gate.status, Status::Regressed, "{}", gate.why);
        let change = gate.change.expect("some");
        assert!((change.percent - 6.18).abs() < 0.7, "{change:?}");
        assert!(gate.max_cv_percent < Some(2.0), "{gate:?}");
        let pace = gate.pace.expect("it was measured");
        assert!((pace.slope - 0.7).abs() < 0.05, "{pace:?}");
        assert_eq!(pace.differs_percent, None);
        assert!(pace.max_cv_percent > Some(6.0), "{pace:?}");
        let as_measured = pace.change.expect("some");
        assert!(width(as_measured) > 4.0 * width(change), "{as_measured:?}");
        // The control is brought to the same pace.
        let control = gate.control.expect("some");
        assert!(width(control) < 2.0, "{control:?}");
    }
}

#[test]
fn a_calibration_is_of_what_is_left_when_the_pace_is_taken_out() {
    let histories = paced(12, |order, _| up_and_down(order));
    let [of_it] = &aa_change(&histories.0)[..] else {
        panic!("one gate");
    };
    assert!(of_it.percent.abs() < 0.5 && of_it.max_cv_percent < 1.0);
}

/// What is taken out is the same whichever side processes are of, and however much one is slower.
#[test]
fn neither_an_exchange_of_the_sides_nor_a_change_moves_what_is_taken_out() {
    let slope = |exchanged: u32, slower: f64| {
        let histories = paced(12, |order, side| {
            let side = match side {
                Side::Baseline if order / 6 % exchanged == 0 => Side::Candidate,
                Side::Candidate if order / 6 % exchanged == 0 => Side::Baseline,
                side => side,
            };
            let (pace, log) = up_and_down(order);
            let slower = if side == Side::Candidate { slower } else { 0.0 };
            (pace + slower / 3.0, log + slower)
        });
        let decision = histories.decide(Method::Paired, &policy());
        only(&decision).pace.expect("some").slope
    };
    let of_one = slope(100, 0.0);
    for (exchanged, slower) in [(2, 0.0), (3, 0.0), (100, 0.3), (2, 0.3)] {
        assert!((slope(exchanged, slower) - of_one).abs() < 1e-9);
    }
}

#[test]
fn times_stay_as_they_are_where_the_pace_is_not_known_or_says_nothing() {
    let of = |change: fn(&mut Repetition)| {
        let mut histories = paced(12, |order, _| up_and_down(order));
        for repetition in &mut histories.0 {
            change(repetition);
        }
        let decision = histories.decide(Method::Paired, &policy());
        let gate = only(&decision);
        (gate.pace.is_some(), gate.max_cv_percent.expect("some"))
    };
    let (is_levelled, cv) = of(|_| ());
    assert!(is_levelled && cv < 1.0, "{cv}");
    let changes: [fn(&mut Repetition); 5] = [
        // One process did not measure it.
        |r| {
            if let (5, Outcome::Times { pace_ns, .. }) = (r.order, &mut r.result) {
                *pace_ns = None;
            }
        },
        // The core was always as fast.
        |r| {
            if let Outcome::Times { pace_ns, .. } = &mut r.result {
                *pace_ns = Some(10_000.0);
            }
        },
        // The code is faster on a slower core.
        |r| {
            if let Outcome::Times { pace_ns, .. } = &mut r.result {
                *pace_ns = pace_ns.map(|pace| 1e8 / pace);
            }
        },
        // A pace of its own.
        |r| {
            if let Outcome::Times { pace_ns, .. } = &mut r.result {
                *pace_ns = Some(10_000.0 + 1_000.0 * scattered(11 * r.order));
            }
        },
        // One process of each side in a block: nothing to compare within.
        |r| r.block = r.order / 3,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let (is_levelled, cv) = of(change);
        assert!(!is_levelled && cv > 5.0, "{n}: {cv}");
    }
}

/// What goes along more than any core can slow code is not the core's doing.
#[test]
fn no_more_than_twice_the_pace_is_taken_out() {
    let histories = paced(12, |order, _| {
        let (pace, log) = up_and_down(order);
        (pace / 6.0, log)
    });
    let decision = histories.decide(Method::Paired, &policy());
    let pace = only(&decision).pace.expect("some");
    assert!((pace.slope - 2.0).abs() < 1e-12, "{pace:?}");
}

/// Code that slows the core itself may not be excused by that.
#[test]
fn where_the_pace_differs_between_the_sides_times_at_one_pace_must_agree() {
    let of = |slower_core: f64, slower_code: f64| {
        let histories = paced(12, |order, side| {
            let is_candidate = side == Side::Candidate;
            let slower = |by: f64| if is_candidate { by } else { 0.0 };
            let (pace, log) = up_and_down(order);
            let core = slower(slower_core);
            (
                0.1 * pace + core,
                0.1 * log + 0.7 * core + slower(slower_code),
            )
        });
        only(&histories.decide(Method::Paired, &policy())).clone()
    };
    let excused = of(0.2, 0.0);
    assert_eq!(excused.status, Status::TooNoisy, "{}", excused.why);
    assert!(
        excused
            .why
            .starts_with("fixed work beside the candidate took 12"),
        "{}",
        excused.why
    );
    // Slower by itself, and by the core as well: all of it counts.
    let both = of(0.1, 0.1);
    assert_eq!(both.status, Status::Regressed);
    let change = both.change.expect("some");
    assert!((change.percent - 18.5).abs() < 1.0, "{change:?}");
    let differs = both.pace.and_then(|pace| pace.differs_percent);
    assert!(
        (differs.expect("it does") - 10.5).abs() < 1.0,
        "{differs:?}"
    );
    assert_eq!(of(0.0, 0.1).status, Status::Regressed);
    assert_eq!(of(0.0, 0.0).status, Status::Neutral);
}

/// A core that goes at two speeds, by turns that last for some processes, and code of which that is
/// not quite all: intervals miss as seldom as they say, whatever the change, and what changed is
/// found where the times as they were measured show nothing.
#[test]
fn a_core_of_two_speeds_makes_no_errors_and_hides_nothing() {
    const RUNS: u32 = 1000;
    let mut random = Random::new(7);
    let mut core_is_slow = false;
    let mut run = |slower: f64| {
        let histories = paced(8, |_, side| {
            if random.uniform() < 0.3 {
                core_is_slow = !core_is_slow;
            }
            let pace = if core_is_slow { 0.4 } else { 0.0 } + 0.03 * random.normal();
            let change = if side == Side::Candidate { slower } else { 0.0 };
            (pace, 0.6 * pace + change + 0.01 * random.normal())
        });
        let narrow = Policy {
            primary_threshold_percent: 2.0,
            max_cv_percent: 40.0,
            ..policy()
        };
        only(&histories.decide(Method::Paired, &narrow)).clone()
    };
    for slower in [0.0_f64, 0.04, 0.3] {
        let (mut missed, mut wrong, mut found, mut found_as_measured) = (0, 0, 0, 0);
        for _ in 0..RUNS {
            let gate = run(slower);
            let change = gate.change.expect("some");
            let truth = slower.exp_m1() * 100.0;
            let pace = gate.pace.expect("some");
            // Where the pace differs by chance, so do the times that were measured beside it.
            let misses = change.low_percent > truth || change.high_percent < truth;
            missed += u32::from(misses && pace.differs_percent.is_none());
            wrong += u32::from(match gate.status {
                Status::Regressed => slower == 0.0,
                Status::Improved => true,
                Status::Neutral => slower > 0.0,
                _ => false,
            });
            found += u32::from(gate.status == Status::Regressed);
            let as_measured = pace.change.expect("some");
            found_as_measured += u32::from(as_measured.low_percent > 0.0);
        }
        // 0.05, and three standard errors.
        let share = |n: u32| f64::from(n) / f64::from(RUNS);
        assert!(share(missed) < 0.05 + 0.021, "{slower}: {missed}");
        assert!(share(wrong) < 0.05, "{slower}: {wrong}");
        if slower > 0.0 {
            assert!(share(found) > 0.9, "{slower}: {found}");
        }
        if (0.01..0.1).contains(&slower) {
            assert!(share(found_as_measured) < 0.5, "{found_as_measured}");
        }
    }
}
