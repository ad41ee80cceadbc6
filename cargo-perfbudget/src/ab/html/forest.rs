//! The forest plot: the change of each timed gate with its interval, on one axis.
//!
//! A row is text beside a drawing as wide as there is room: places on the axis are in per cent of
//! it, so that lines and letters keep their size at any width.

use std::fmt::Write;

use crate::ab::decision::{Change, Decision, GateDecision};
use crate::ab::policy::Policy;
use crate::ab::text::percent;

use super::escape::Text;
use super::figures::place;
use super::marks;

/// Ends that an axis may have, in per cent; beyond the last a change is an arrow.
const ENDS: [f64; 9] = [2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0];

/// So much longer than most need an axis may be.
const PRESSED: f64 = 3.0;

/// Half of the axis.
fn end(decision: &Decision, policy: &Policy) -> f64 {
    let reach = |change: &Change| change.low_percent.abs().max(change.high_percent.abs());
    let gates = decision.gates.iter();
    let mut reaches: Vec<f64> = gates
        .filter_map(|gate| gate.change.as_ref())
        .map(reach)
        .filter(|reach| reach.is_finite())
        .collect();
    reaches.sort_by(f64::total_cmp);
    let most = reaches.get(reaches.len().saturating_sub(1) * 3 / 4);
    let roles = decision.gates.iter().map(|gate| gate.role);
    let band = roles
        .map(|role| policy.threshold_percent(role))
        .fold(1.0, f64::max);
    let wanted = most.copied().unwrap_or(0.0).max(band * 1.5);
    // All of them, unless one that changed by a multiple would press the others together.
    let all = reaches
        .last()
        .copied()
        .filter(|all| *all <= wanted * PRESSED);
    let wanted = all.unwrap_or(0.0).max(wanted);
    let found = ENDS.into_iter().find(|end| *end >= wanted);
    found.unwrap_or(ENDS[ENDS.len() - 1])
}

/// The plot; nothing where no gate has a change.
pub(super) fn plot(decision: &Decision) -> String {
    let policy = &decision.policy;
    let with_change = |gate: &&GateDecision| gate.change.is_some();
    let gates: Vec<&GateDecision> = decision.gates.iter().filter(with_change).collect();
    if gates.is_empty() {
        return String::new();
    }
    let end = end(decision, policy);
    let mut html = String::from(
        "<section aria-labelledby=\"changes\"><h2 id=\"changes\">Changes</h2>\n\
         <p class=\"note\">Candidate against baseline, each gate's own time. Left is faster, right \
         is slower.</p>\n",
    );
    html.push_str(&legend());
    html.push_str("<div class=\"forest\">\n");
    for gate in gates {
        html.push_str(&row(gate, policy, end));
    }
    html.push_str(&axis(end));
    html.push_str("</div></section>\n");
    html
}

fn legend() -> String {
    format!(
        "<ul class=\"legend\"><li>{}change and interval</li><li>{}baseline against itself</li>\
         <li>{}within the threshold</li></ul>\n",
        swatch(
            "<line x1=\"1\" x2=\"27\" y1=\"8\" y2=\"8\" class=\"interval\"/>\
             <circle cx=\"14\" cy=\"8\" r=\"4.5\" class=\"point\"/>"
        ),
        swatch(
            "<line x1=\"1\" x2=\"27\" y1=\"8\" y2=\"8\" class=\"control\"/>\
             <line x1=\"14\" x2=\"14\" y1=\"4\" y2=\"12\" class=\"control\"/>"
        ),
        swatch("<rect x=\"1\" y=\"1\" width=\"26\" height=\"14\" class=\"band\"/>"),
    )
}

fn swatch(inner: &str) -> String {
    format!("<svg width=\"28\" height=\"16\" aria-hidden=\"true\">{inner}</svg>")
}

fn row(gate: &GateDecision, policy: &Policy, end: f64) -> String {
    let Some(change) = &gate.change else {
        return String::new();
    };
    let status = marks::status(gate.status);
    let mut html = String::new();
    _ = write!(
        html,
        "<div class=\"row {class}\"><div class=\"what\"><a href=\"#{id}\">{name}</a>\
         <span class=\"chip\">{icon}{word}</span></div>\n\
         <div class=\"figure\"><b>{change}</b> <span>{low} to {high}</span></div>\n",
        class = status.class,
        id = marks::id(gate),
        name = Text(&gate.gate),
        icon = status.icon,
        word = status.word,
        change = percent(change.percent),
        low = percent(change.low_percent),
        high = percent(change.high_percent),
    );
    let threshold = policy.threshold_percent(gate.role);
    let control = gate.control.as_ref();
    let said = control.map_or(String::new(), |control| {
        format!(
            " The baseline against itself: {}, from {} to {}.",
            percent(control.percent),
            percent(control.low_percent),
            percent(control.high_percent)
        )
    });
    let at = |value: f64| place(value, -end, end);
    _ = write!(
        html,
        "<svg class=\"plot\" role=\"img\" height=\"36\" width=\"100%\">\
         <title>{name}: {change}, from {low} to {high}: {word}</title>\
         <desc>The threshold is {threshold} % either way.{said}</desc>\n\
         <rect class=\"band\" x=\"{x:.2}%\" width=\"{width:.2}%\" y=\"0\" height=\"36\"/>\
         <line class=\"zero\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"36\"/>\n",
        name = Text(&gate.gate),
        change = percent(change.percent),
        low = percent(change.low_percent),
        high = percent(change.high_percent),
        word = status.word,
        x = at(-threshold),
        width = at(threshold) - at(-threshold),
    );
    if let Some(control) = control {
        _ = writeln!(
            html,
            "<line class=\"control\" x1=\"{:.2}%\" x2=\"{:.2}%\" y1=\"28\" y2=\"28\"/>\
             <line class=\"control\" x1=\"{:.2}%\" x2=\"{:.2}%\" y1=\"24\" y2=\"32\"/>",
            at(control.low_percent),
            at(control.high_percent),
            at(control.percent),
            at(control.percent),
        );
    }
    _ = writeln!(
        html,
        "<line class=\"interval\" x1=\"{:.2}%\" x2=\"{:.2}%\" y1=\"14\" y2=\"14\"/>\
         <circle class=\"point\" cx=\"{:.2}%\" cy=\"14\" r=\"5\"/>",
        at(change.low_percent),
        at(change.high_percent),
        at(change.percent),
    );
    // What is beyond the axis is an arrow at its end.
    if change.high_percent > end {
        html.push_str(&arrow("100%", "-10,8 0,14 -10,20"));
    }
    if change.low_percent < -end {
        html.push_str(&arrow("0", "10,8 0,14 10,20"));
    }
    html.push_str("</svg></div>\n");
    html
}

fn arrow(x: &str, points: &str) -> String {
    format!(
        "<svg x=\"{x}\" overflow=\"visible\"><polygon class=\"point\" points=\"{points}\"/></svg>"
    )
}

fn axis(end: f64) -> String {
    let mut html = String::from(
        "<div class=\"row axis\" aria-hidden=\"true\"><div class=\"what\"></div>\
         <div class=\"figure\"></div><svg class=\"plot\" height=\"24\" width=\"100%\">",
    );
    for (tick, anchor) in [
        (-end, "start"),
        (-end / 2.0, "middle"),
        (0.0, "middle"),
        (end / 2.0, "middle"),
        (end, "end"),
    ] {
        let x = place(tick, -end, end);
        _ = write!(
            html,
            "<line class=\"zero\" x1=\"{x:.1}%\" x2=\"{x:.1}%\" y1=\"0\" y2=\"5\"/>\
             <text x=\"{x:.1}%\" y=\"18\" text-anchor=\"{anchor}\">{}</text>",
            tick_text(tick),
        );
    }
    html.push_str("</svg></div>\n");
    html
}

/// `−2.5 %`, `0`, `+5 %`.
fn tick_text(tick: f64) -> String {
    if tick.abs() < f64::EPSILON {
        return "0".to_owned();
    }
    format!("{tick:+} %").replace('-', "−")
}
