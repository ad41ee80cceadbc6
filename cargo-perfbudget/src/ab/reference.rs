//! A decision of another tool, reproduced row by row from histories with its figures.
//!
//! The tool compares by `neutral = "threshold"`. `docs/ab-decisions.md` has the table that is made
//! here, with what `equivalence` says of the same histories.

use std::fmt::Write as _;
use std::path::Path;

use super::decision::{Decision, Effect, Method, Role, Status, Verdict};
use super::fixtures::Histories;
use super::policy::{Expect, Neutral, Policy};
use super::{insights, table, text};

const FANOUT: &str = "high-cardinality-fanout";
const KEYED: &str = "keyed-pk-subscriptions";
const STREAMS: &str = "many-streams-writer-throughput";

/// Milliseconds: two runs of five repetitions on each side, drawn so that change, variation and p
/// are those of the decision.
fn histories() -> Histories {
    let mut histories = Histories::default();
    for (gate, baseline, candidate) in [
        (
            FANOUT,
            [
                363.4, 331.9, 429.8, 425.7, 398.3, 385.3, 393.9, 362.8, 361.5, 358.8,
            ],
            [
                410.2, 405.1, 362.6, 421.7, 413.0, 412.8, 362.0, 360.9, 379.8, 389.5,
            ],
        ),
        (
            KEYED,
            [
                409.7, 292.9, 713.6, 204.2, 163.5, 226.8, 299.0, 251.5, 599.3, 361.9,
            ],
            [
                218.9, 200.1, 618.9, 401.3, 608.7, 234.5, 455.4, 408.0, 536.2, 373.3,
            ],
        ),
        (
            STREAMS,
            [
                567.0, 577.9, 574.7, 601.5, 595.2, 557.5, 596.9, 582.0, 605.8, 614.0,
            ],
            [
                981.3, 618.2, 584.8, 631.3, 651.7, 611.2, 752.6, 644.9, 648.9, 640.8,
            ],
        ),
    ] {
        let ns = |ms: [f64; 10]| ms.map(|ms| ms * 1e6);
        histories = histories.sides(gate, &ns(baseline), &ns(candidate));
    }
    histories
}

fn decided(neutral: Neutral) -> Decision {
    let policy = Policy {
        expect: Expect::Improvement,
        primary_threshold_percent: 28.5,
        max_regression_percent: 21.5,
        max_cv_percent: 21.5,
        alpha: 0.05,
        neutral,
        primary: vec!["*".to_owned()],
        guardrail: vec!["keyed-*".to_owned()],
        ..Policy::default()
    };
    histories().decide(Method::Welch, &policy)
}

#[test]
fn the_table_of_the_reference_is_reproduced_row_by_row() {
    let decision = decided(Neutral::Threshold);
    let rows: Vec<_> = decision
        .gates
        .iter()
        .map(|gate| {
            let change = gate.change.expect("all have one");
            let ms = |ns: f64| format!("{:.0} ms", ns / 1e6);
            (
                gate.role,
                gate.gate.as_str(),
                ms(change.baseline_ns),
                ms(change.candidate_ns),
                text::percent(change.percent),
                text::three_digits(gate.max_cv_percent.expect("some")),
                gate.status,
                gate.effect,
            )
        })
        .collect();
    let row = |role, gate, [baseline, candidate, change, cv]: [&str; 4], status| {
        let text = str::to_owned;
        let (baseline, candidate) = (text(baseline), text(candidate));
        (
            role,
            gate,
            baseline,
            candidate,
            text(change),
            text(cv),
            status,
            Effect::Inconclusive,
        )
    };
    let keyed = ["318 ms", "377 ms", "+18.5 %", "50.5"];
    assert_eq!(
        rows,
        [
            row(
                Role::Primary,
                FANOUT,
                ["380 ms", "391 ms", "+2.92 %", "8.20"],
                Status::Neutral
            ),
            row(Role::Primary, KEYED, keyed, Status::TooNoisy),
            row(
                Role::Primary,
                STREAMS,
                ["587 ms", "669 ms", "+14.0 %", "17.1"],
                Status::Neutral
            ),
            row(Role::Guardrail, KEYED, keyed, Status::TooNoisy),
        ]
    );
    // Theirs: 0.529, 0.432, 0.000325. Of ten on a side the p are 0.5288, 0.4359, 0.000325.
    for (gate, p) in decision.gates.iter().zip([0.529, 0.432, 0.000_325, 0.432]) {
        let found = gate.change.expect("some").p;
        assert!((found / p - 1.0).abs() < 0.01, "{}: {found}", gate.gate);
    }
    assert_eq!(decision.decision, Verdict::Inconclusive);
    let insights = insights::insights(&decision);
    for line in [
        "Measure on a quieter machine.",
        "(guardrail): the repetitions vary by 50.5 %",
    ] {
        assert!(insights.contains(line), "{insights}");
    }
    for gate in [FANOUT, STREAMS] {
        assert!(
            insights.contains(&format!("`{gate}` (primary): the change of +")),
            "{insights}"
        );
    }
}

#[test]
fn equivalence_does_not_call_it_neutral_when_little_is_known() {
    let decision = decided(Neutral::Equivalence);
    let statuses: Vec<_> = decision.gates.iter().map(|gate| gate.status).collect();
    assert_eq!(
        statuses,
        [
            Status::Neutral,
            Status::TooNoisy,
            Status::TooNoisy,
            Status::TooNoisy
        ]
    );
    assert_eq!(decision.decision, Verdict::Inconclusive);
}

/// The rows of the page are these rows.
#[test]
fn the_page_shows_this_table() {
    let mut expected = String::new();
    for (rule, neutral) in [
        ("threshold", Neutral::Threshold),
        ("equivalence", Neutral::Equivalence),
    ] {
        let decision = decided(neutral);
        _ = write!(
            expected,
            "`neutral = \"{rule}\"`: **{}**\n\n{}\n",
            decision.decision.name(),
            table::markdown(&decision.gates)
        );
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ab-decisions.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let block = page
        .split_once("<!-- reference: begin -->\n\n")
        .and_then(|(_, rest)| rest.split_once("\n<!-- reference: end -->"))
        .map(|(block, _)| block);
    assert_eq!(
        block,
        Some(expected.trim_end_matches('\n').to_owned() + "\n").as_deref()
    );
}
