//! A decision as a table: for a terminal, and as Markdown.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::decision::{Decision, Effect, GateDecision, Verdict};
use super::text;

/// What stands over the columns.
pub(crate) const COLUMNS: [&str; 10] = [
    "role",
    "gate",
    "baseline",
    "candidate",
    "change",
    "interval",
    "max CV",
    "p",
    "status",
    "effect",
];
const EFFECT: usize = 9;
/// These stand to the right, so that their units are beneath each other.
const FIGURES: std::ops::RangeInclusive<usize> = 2..=7;
const NONE: &str = "—";

/// A gate's figures, in the order of [`COLUMNS`].
pub(crate) fn cells(gate: &GateDecision) -> [String; COLUMNS.len()] {
    let of_change = |text: &dyn Fn(&super::decision::Change) -> String| {
        gate.change.as_ref().map_or_else(|| NONE.to_owned(), text)
    };
    let side = |position: usize| {
        if gate.counts.is_empty() {
            return of_change(&|change| {
                text::time([change.baseline_ns, change.candidate_ns][position])
            });
        }
        let count = gate
            .counts
            .iter()
            .map(|(key, n)| format!("{} {key}", n[position]));
        count.collect::<Vec<_>>().join(", ")
    };
    let cv = gate.max_cv_percent;
    [
        gate.role.name().to_owned(),
        gate.gate.clone(),
        side(0),
        side(1),
        of_change(&|change| text::percent(change.percent)),
        of_change(&|change| text::interval(change.low_percent, change.high_percent)),
        cv.map_or_else(
            || NONE.to_owned(),
            |cv| format!("{} %", text::three_digits(cv)),
        ),
        of_change(&|change| text::p(change.p)),
        gate.status.name().to_owned(),
        gate.effect.name().to_owned(),
    ]
}

/// Aligned columns with coloured effects; the colours are for a stream that takes out what its
/// reader can't show.
pub(crate) fn terminal(decision: &Decision) -> String {
    let rows: Vec<_> = decision
        .gates
        .iter()
        .map(|gate| (cells(gate), gate.effect))
        .collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|(cells, _)| width(&cells[column]));
            cells.chain([width(COLUMNS[column])]).max().unwrap_or(0)
        })
        .collect();
    let bold = Style::new().bold();
    let mut text = format!("\n{bold}");
    push_row(
        &mut text,
        &COLUMNS.map(str::to_owned),
        &widths,
        Style::new(),
    );
    _ = write!(text, "{bold:#}");
    for (cells, effect) in &rows {
        push_row(&mut text, cells, &widths, style_of(*effect));
    }
    let style = style_of(match decision.decision {
        Verdict::Accepted => Effect::Pass,
        Verdict::Rejected => Effect::Reject,
        Verdict::Inconclusive => Effect::Inconclusive,
    });
    _ = writeln!(text, "\n{style}{}{style:#}", decision.decision.name());
    for reason in &decision.reasons {
        _ = writeln!(text, "  {reason}");
    }
    let caution = style_of(Effect::Inconclusive);
    for warning in &decision.warnings {
        _ = writeln!(text, "{caution}warning: {warning}{caution:#}");
    }
    text
}

/// The same figures as Markdown, the names of gates as code.
pub(crate) fn markdown(gates: &[GateDecision]) -> String {
    let mut text = format!(
        "| {} |\n|{}\n",
        COLUMNS.join(" | "),
        "---|".repeat(COLUMNS.len())
    );
    for gate in gates {
        let mut cells = cells(gate).map(|cell| cell.replace('|', "\\|"));
        if gate.effect == Effect::Reject {
            cells[EFFECT] = format!("**{}**", cells[EFFECT]);
        }
        _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn style_of(effect: Effect) -> Style {
    let colour = match effect {
        Effect::Pass => AnsiColor::Green,
        Effect::Reject => AnsiColor::Red,
        Effect::Inconclusive | Effect::Skipped => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(colour.into()))
}

fn push_row(text: &mut String, cells: &[String], widths: &[usize], style: Style) {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        let padding = " ".repeat(widths[column] - width(cell));
        _ = if FIGURES.contains(&column) {
            write!(line, "{padding}{cell}  ")
        } else if column == EFFECT {
            write!(line, "{style}{cell}{style:#}{padding}  ")
        } else {
            write!(line, "{cell}{padding}  ")
        };
    }
    _ = writeln!(text, "{}", line.trim_end());
}

/// Every character used here is one column wide.
fn width(text: &str) -> usize {
    text.chars().count()
}
