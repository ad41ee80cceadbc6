//! `report.html`: the decision and why, the changes, and every repetition, on one page that needs
//! nothing but itself.
//!
//! There is no script in it and nothing is loaded; it can be sent to somebody as it is. What a
//! program or a name says is text on it, never markup.

mod escape;
mod figures;
mod forest;
mod marks;
mod series;

use std::fmt::Write;

use crate::ab::decision::{Decision, Effect, GateDecision, Method};
use crate::ab::history::{Outcome, Repetition};
use crate::ab::text::{self, counted, percent, time};

use escape::Text;

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(crate) fn page(decision: &Decision, repetitions: &[Repetition]) -> String {
    let verdict = marks::verdict(decision.decision);
    let mut html = String::new();
    _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{word}: {candidate} against {baseline}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n",
        word = verdict.word,
        candidate = Text(&decision.candidate.name),
        baseline = Text(&decision.baseline.name),
    );
    html.push_str(&head(decision));
    html.push_str(&forest::plot(decision));
    html.push_str(&overview(decision));
    html.push_str("<section aria-labelledby=\"gates\"><h2 id=\"gates\">Gate by gate</h2>\n");
    for gate in &decision.gates {
        let of_gate: Vec<&Repetition> = repetitions
            .iter()
            .filter(|repetition| repetition.gate == gate.gate)
            .collect();
        html.push_str(&section(gate, &of_gate));
    }
    html.push_str("</section>\n");
    html.push_str(&foot(decision));
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn head(decision: &Decision) -> String {
    let verdict = marks::verdict(decision.decision);
    let mut html = String::new();
    _ = write!(
        html,
        "<header class=\"{class}\"><h1><span class=\"badge\">{icon}</span>{word}</h1>\n\
         <dl class=\"sides\"><div><dt>candidate</dt><dd>{candidate}</dd></div>\
         <div><dt>baseline</dt><dd>{baseline}</dd></div></dl>\n",
        class = verdict.class,
        icon = verdict.icon,
        word = verdict.word,
        candidate = Text(&decision.candidate.name),
        baseline = Text(&decision.baseline.name),
    );
    _ = writeln!(html, "<p class=\"tally\">{}</p>", tally(&decision.gates));
    html.push_str("<ul class=\"reasons\">");
    for reason in &decision.reasons {
        _ = write!(html, "<li>{}</li>", paragraph(reason));
    }
    html.push_str("</ul>\n");
    if !decision.warnings.is_empty() {
        html.push_str("<div class=\"warnings\"><h2>To be said against it</h2><ul>");
        for warning in &decision.warnings {
            _ = write!(html, "<li>{}</li>", paragraph(warning));
        }
        html.push_str("</ul></div>\n");
    }
    html.push_str("</header>\n");
    html
}

/// How many gates have which effect.
fn tally(gates: &[GateDecision]) -> String {
    let effects = [
        (Effect::Reject, "rejects", "reject"),
        (Effect::Inconclusive, "is inconclusive", "are inconclusive"),
        (Effect::Pass, "passes", "pass"),
        (Effect::Skipped, "is skipped", "are skipped"),
    ];
    let of_effect = effects.iter().filter_map(|(effect, one, several)| {
        let n = gates.iter().filter(|gate| gate.effect == *effect).count();
        (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { several }))
    });
    let parts: Vec<String> = of_effect.collect();
    let gates = counted(gates.len(), "gate", "gates");
    if parts.is_empty() {
        gates
    } else {
        format!("{gates}: {}", parts.join(", "))
    }
}

/// Text of one line as it is, and of more lines, as a program printed them, in their lines.
fn paragraph(text: &str) -> String {
    match text.split_once('\n') {
        None => Text(text).to_string(),
        Some((first, rest)) => format!("{}<pre tabindex=\"0\">{}</pre>", Text(first), Text(rest)),
    }
}

/// All gates, one a row; on a narrow screen, one a card.
fn overview(decision: &Decision) -> String {
    if decision.gates.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<section aria-labelledby=\"all\"><h2 id=\"all\">All gates</h2>\n<table class=\"cards\">\
         <thead><tr>",
    );
    const COLUMNS: [&str; 8] = [
        "gate",
        "status",
        "baseline",
        "candidate",
        "change",
        "of wall",
        "max CV",
        "processes",
    ];
    for column in COLUMNS {
        _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for gate in &decision.gates {
        let status = marks::status(gate.status);
        _ = write!(
            html,
            "<tr class=\"{class}\"><th scope=\"row\"><a href=\"#{id}\">{name}</a> \
             <small>{role}</small></th>\
             <td data-label=\"status\"><span class=\"chip\">{icon}{word}</span> \
             <small>{effect}</small></td>",
            class = status.class,
            id = marks::id(gate),
            name = Text(&gate.gate),
            role = gate.role.name(),
            icon = status.icon,
            word = status.word,
            effect = marks::effect(gate.effect),
        );
        let change = gate.change.as_ref();
        let figures = if change.is_none() && !gate.counts.is_empty() {
            let of = |side: usize| {
                let counts = gate
                    .counts
                    .iter()
                    .map(|(key, n)| format!("{} {key}", n[side]));
                counts.collect::<Vec<_>>().join(", ")
            };
            [of(0), of(1), String::new()]
        } else {
            [
                change.map(|c| time(c.baseline_ns)).unwrap_or_default(),
                change.map(|c| time(c.candidate_ns)).unwrap_or_default(),
                change.map(|c| percent(c.percent)).unwrap_or_default(),
            ]
        };
        let wall = gate.wall.as_ref().map(|c| percent(c.percent));
        let cv = gate.max_cv_percent.map(|cv| format!("{cv:.1} %"));
        let [baseline, candidate, change] = figures;
        for (label, text) in [
            ("baseline", baseline),
            ("candidate", candidate),
            ("change", change),
            ("of wall", wall.unwrap_or_default()),
            ("max CV", cv.unwrap_or_default()),
            (
                "processes",
                format!("{} | {}", gate.repetitions[0], gate.repetitions[1]),
            ),
        ] {
            let empty = if text.is_empty() {
                " class=\"none\""
            } else {
                ""
            };
            _ = write!(
                html,
                "<td data-label=\"{label}\"{empty}>{}</td>",
                Text(text)
            );
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></section>\n");
    html
}

fn section(gate: &GateDecision, repetitions: &[&Repetition]) -> String {
    let status = marks::status(gate.status);
    let mut html = String::new();
    _ = write!(
        html,
        "<article id=\"{id}\" class=\"{class}\"><h3>{name} \
         <span class=\"chip\">{icon}{word}</span></h3>\n<div class=\"why\">{why}</div>\n",
        id = marks::id(gate),
        class = status.class,
        name = Text(&gate.gate),
        icon = status.icon,
        word = status.word,
        why = paragraph(&gate.why),
    );
    if !gate.counts.is_empty() {
        html.push_str(
            "<table class=\"list\"><thead><tr><th scope=\"col\">count</th>\
             <th scope=\"col\">baseline</th><th scope=\"col\">candidate</th></tr></thead><tbody>",
        );
        for (key, [baseline, candidate]) in &gate.counts {
            let differs = if baseline == candidate {
                ""
            } else {
                " class=\"differs\""
            };
            _ = write!(
                html,
                "<tr{differs}><th scope=\"row\">{}</th><td>{baseline}</td><td>{candidate}</td></tr>",
                Text(key)
            );
        }
        html.push_str("</tbody></table>\n");
    }
    if let Some(pace) = &gate.pace {
        _ = writeln!(html, "<p>{}</p>", Text(text::levelled(gate, pace)));
    }
    html.push_str(&series::plot(&gate.gate, repetitions));
    if let Some(failed) = first_failure(repetitions) {
        let side = series::side(failed.0);
        _ = writeln!(html, "<p>The {side}: {}</p>", paragraph(failed.1));
    }
    if !repetitions.is_empty() {
        _ = write!(
            html,
            "<details><summary>{}</summary>\n{}</details>\n",
            counted(repetitions.len(), "process", "processes"),
            series::table(repetitions)
        );
    }
    html.push_str("</article>\n");
    html
}

fn first_failure<'a>(
    repetitions: &[&'a Repetition],
) -> Option<(crate::ab::history::Side, &'a str)> {
    repetitions
        .iter()
        .find_map(|repetition| match &repetition.result {
            Outcome::Failed { why } => Some((repetition.side, why.as_str())),
            _ => None,
        })
}

fn foot(decision: &Decision) -> String {
    let policy = &decision.policy;
    let method = match decision.method {
        Method::Paired => {
            "Both sides took turns in one run; compared are blocks: the interval and the test are \
             of their log ratios."
        }
        Method::Welch => {
            "Two stored histories: Welch's interval of the logs, and the Mann–Whitney test."
        }
    };
    format!(
        "<footer><h2>How to read this</h2>\n<p>{method} A process is one repetition. The error rate \
         of {alpha} % is held for all gates together, so an interval here is wider than that of a \
         gate alone. A primary's change counts from {primary} %, a guardrail's from {guardrail} \
         %; repetitions that vary by more than {cv} % decide nothing. The code's own time is what \
         it took without what it is known to have waited for a CPU for others' sake.</p>\n\
         <p>{at}, cargo-perfbudget {version}</p></footer>\n",
        alpha = figure(policy.alpha * 100.0),
        primary = figure(policy.primary_threshold_percent),
        guardrail = figure(policy.max_regression_percent),
        cv = figure(policy.max_cv_percent),
        at = Text(&decision.at),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A number without the digits that binary fractions bring.
fn figure(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ab::decision::{Change, Family, Pace, Role, SCHEMA, Status, Subject, Verdict};
    use crate::ab::history::{self, Side};
    use crate::ab::policy::Policy;

    fn change(percent: f64, half: f64) -> Change {
        Change {
            baseline_ns: 412_640.0,
            candidate_ns: 412_640.0 * (1.0 + percent / 100.0),
            percent,
            low_percent: percent - half,
            high_percent: percent + half,
            p: 0.001,
        }
    }

    fn gate(name: &str, status: Status, effect: Effect) -> GateDecision {
        GateDecision {
            gate: name.to_owned(),
            role: Role::Primary,
            status,
            effect,
            why: "because".to_owned(),
            change: None,
            wall: None,
            control: None,
            max_cv_percent: None,
            pace: None,
            repetitions: [6, 6],
            counts: BTreeMap::new(),
        }
    }

    fn timed(name: &str, status: Status, effect: Effect, change: Change) -> GateDecision {
        GateDecision {
            change: Some(change),
            wall: Some(change),
            control: Some(self::change(0.2, 0.9)),
            max_cv_percent: Some(1.4),
            ..gate(name, status, effect)
        }
    }

    fn decision(gates: Vec<GateDecision>) -> Decision {
        let subject = |name: &str| Subject {
            name: name.to_owned(),
            of: name.to_owned(),
        };
        Decision {
            schema: SCHEMA.to_owned(),
            decision: Verdict::Rejected,
            reasons: vec!["outbox/drain-25 regressed\nas it printed".to_owned()],
            policy: Policy::default(),
            baseline: subject("main (0123456789)"),
            candidate: subject("<script>alert(1)</script>"),
            method: Method::Paired,
            family: Family {
                gates: 2,
                looks: 3,
                alpha_each: 0.008,
            },
            gates,
            warnings: vec!["a & b".to_owned()],
            at: "2026-11-21T04:00:00Z".to_owned(),
        }
    }

    fn repetition(gate: &str, order: u32, side: Side, result: Outcome) -> Repetition {
        Repetition {
            schema: history::SCHEMA.to_owned(),
            gate: gate.to_owned(),
            side,
            block: order / 6,
            order,
            at: "2026-11-21T04:00:00Z".to_owned(),
            of: "it".to_owned(),
            result,
        }
    }

    fn times(own_ns: f64, exact: bool) -> Outcome {
        Outcome::Times {
            own_ns,
            exact,
            wall_ns: own_ns * 1.1,
            pace_ns: None,
        }
    }

    /// What is opened is closed, in its order; void elements aside.
    fn assert_balanced(html: &str) {
        const VOID: [&str; 3] = ["!doctype", "meta", "br"];
        let mut open: Vec<&str> = Vec::new();
        for tag in html.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            if let Some(name) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "of {open:?}");
            } else if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0]);
    }

    fn example() -> String {
        let mut drain = timed(
            "outbox/drain-25",
            Status::Regressed,
            Effect::Reject,
            change(10.2, 1.5),
        );
        drain.pace = Some(Pace {
            slope: 0.634,
            differs_percent: None,
            change: Some(change(4.1, 9.0)),
            max_cv_percent: Some(13.4),
        });
        let mut syncs = gate("outbox/drain-syncs", Status::Changed, Effect::Inconclusive);
        syncs.counts = BTreeMap::from([("dirs".to_owned(), [2, 1]), ("files".to_owned(), [2, 2])]);
        let broken = gate("outbox/broken", Status::BadStatus, Effect::Reject);
        let far = timed(
            "outbox/far",
            Status::TooNoisy,
            Effect::Inconclusive,
            change(700.0, 900.0),
        );
        let sides = [Side::Baseline, Side::Candidate, Side::Control];
        let mut repetitions: Vec<Repetition> = (0..24)
            .map(|n| {
                let side = sides[n as usize % 3];
                let slower = if side == Side::Candidate {
                    40_000.0
                } else {
                    0.0
                };
                let own = 412_640.0 + f64::from(n) * 500.0 + slower;
                repetition("outbox/drain-25", n, side, times(own, n != 7))
            })
            .collect();
        let why = "it left no record\n  | panicked at <boom>".to_owned();
        let failed = Outcome::Failed { why };
        repetitions.push(repetition("outbox/broken", 25, Side::Candidate, failed));
        page(&decision(vec![drain, far, syncs, broken]), &repetitions)
    }

    #[test]
    fn the_page_is_whole_and_says_everything_in_words() {
        let html = example();
        assert_balanced(&html);
        for part in [
            "<h1><span class=\"badge\">",
            "Rejected",
            "regressed\n",
            "<title>outbox/drain-25: +10.2 %, from +8.70 % to +11.7 %: regressed</title>",
            "<desc>The threshold is 5 % either way. The baseline against itself: +0.20 %",
            "24 processes in the order in which they were run",
            "<p>The core went now faster, now slower, as fixed work beside the samples shows: for \
             each per cent that the work took longer, the code took 0.63 % longer. As measured: \
             variation 13.4 %, change +4.10 % (-4.90 … +13.1 %). At one pace: ",
            "the baseline has a median of ",
            "class=\"candidate inexact\"",
            "<tr class=\"differs\"><th scope=\"row\">dirs</th><td>2</td><td>1</td></tr>",
            "2 dirs, 2 files",
            "a &amp; b",
            "<summary>24 processes</summary>",
            "<summary>1 process</summary>",
            // The axis is that of most, and what is beyond is an arrow.
            ">+15 %</text>",
            "<svg x=\"100%\" overflow=\"visible\"><polygon",
            "4 gates: 2 reject, 2 are inconclusive",
            "The candidate: it left no record<pre tabindex=\"0\">  | panicked at &lt;boom&gt;</pre>",
        ] {
            let part = part.trim_end();
            assert!(html.contains(part), "{part}");
        }
        // For who wants to look at it.
        if let Some(path) = std::env::var_os("PERFBUDGET_EXAMPLE_REPORT") {
            std::fs::write(path, &html).expect("written");
        }
    }

    /// The gate that rejects is the one to look at.
    #[test]
    fn a_change_that_is_not_far_beyond_the_others_is_on_the_axis() {
        let of = |largest: f64| {
            let small = || change(1.0, 1.5);
            let gates = [small(), small(), change(largest, 2.0)].map(|change| {
                let name = format!("a/by-{}", change.percent);
                timed(&name, Status::Neutral, Effect::Pass, change)
            });
            page(&decision(gates.to_vec()), &[])
        };
        let all = of(11.0);
        assert!(all.contains(">+15 %</text>") && !all.contains("<polygon"));
        let most = of(60.0);
        assert!(most.contains(">+10 %</text>") && most.contains("<polygon"));
    }

    #[test]
    fn a_pace_that_differs_is_said() {
        let mut gate = gate("outbox/drain-25", Status::TooNoisy, Effect::Inconclusive);
        gate.pace = Some(Pace {
            slope: 0.634,
            differs_percent: Some(22.0),
            change: None,
            max_cv_percent: None,
        });
        let html = page(&decision(vec![gate]), &[]);
        assert!(html.contains(
            "the code took 0.63 % longer. That is not taken out here, as beside the candidate the \
             work took 122 % of the time that it took beside the baseline.</p>"
        ));
    }

    #[test]
    fn nothing_is_loaded_and_no_text_is_markup() {
        let html = example();
        for part in [
            "<script", "src=", "http:", "https:", "@import", "url(", "<boom>",
        ] {
            assert!(!html.contains(part), "{part}");
        }
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    }

    #[test]
    fn each_gate_has_one_place_that_others_lead_to() {
        let html = example();
        for link in html.split("href=\"#").skip(1) {
            let (id, _) = link.split_once('"').expect("an end");
            assert_eq!(html.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }

    #[test]
    fn a_decision_about_nothing_is_a_page_too() {
        let html = page(&decision(Vec::new()), &[]);
        assert_balanced(&html);
        assert!(!html.contains("<svg class=\"plot\""));
    }
}
