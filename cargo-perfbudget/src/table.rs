//! A report as a table: for a terminal, and as Markdown for a CI summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use perfbudget::record::Nanoseconds;
use perfbudget::{Class, Record, Verdict};

use crate::report::Report;

const COLUMNS: [&str; 7] = [
    "gate", "tier", "measured", "limit", "headroom", "verdict", "warnings",
];
const VERDICT: usize = 5;
const BAR_CELLS: usize = 12;

/// The report as aligned columns with coloured verdicts; the colours are for a stream that takes
/// out what its reader can't show.
pub(crate) fn terminal(report: &Report) -> String {
    let rows: Vec<Row> = report.gates.iter().map(Row::of).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| width(&row.cells[column]));
            cells.chain([width(COLUMNS[column])]).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::from("\n");
    let bold = Style::new().bold();
    _ = write!(text, "{bold}");
    push_row(
        &mut text,
        &COLUMNS.map(str::to_owned),
        &widths,
        Style::new(),
    );
    _ = write!(text, "{bold:#}");
    for row in &rows {
        push_row(&mut text, &row.cells, &widths, row.style);
    }
    text.push('\n');
    let problem = style_of(Verdict::Over);
    for line in problems(report) {
        _ = writeln!(text, "{problem}{line}{problem:#}");
    }
    let caution = style_of(Verdict::Undecided);
    for line in warnings(report) {
        _ = writeln!(text, "{caution}{line}{caution:#}");
    }
    _ = writeln!(text, "{}", summary(report));
    text
}

/// The same as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::from("### Performance gates\n\n");
    _ = writeln!(text, "| {} |", COLUMNS.join(" | "));
    _ = writeln!(text, "|{}", "---|".repeat(COLUMNS.len()));
    for row in report.gates.iter().map(Row::of) {
        let mut cells = row.cells.map(|cell| cell.trim().replace('|', "\\|"));
        if row.fails {
            cells[VERDICT] = format!("**{}**", cells[VERDICT]);
        }
        _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
    for line in problems(report) {
        _ = writeln!(text, "- **{line}**");
    }
    for line in warnings(report) {
        _ = writeln!(text, "- {line}");
    }
    _ = writeln!(text, "\n{}", summary(report));
    text
}

struct Row {
    cells: [String; COLUMNS.len()],
    style: Style,
    fails: bool,
}

impl Row {
    fn of(gate: &Record) -> Self {
        let tier = match gate.class {
            Some(Class::Cold) => "1 cold".to_owned(),
            Some(Class::Warm) => "1 warm".to_owned(),
            None => gate.tier.to_string(),
        };
        let (measured, limit) = if gate.tier == 2 {
            (
                listed(&gate.counts, &gate.expected),
                listed(&gate.expected, &gate.counts),
            )
        } else {
            (
                time(gate, gate.wall_ns.map(|wall| wall.trimmed_mean)),
                time(gate, gate.limit_ns),
            )
        };
        Self {
            cells: [
                gate.gate.clone(),
                tier,
                measured,
                limit,
                gate.headroom().map_or(String::new(), bar),
                gate.verdict.to_string(),
                match warnings_of(gate).len() {
                    0 => String::new(),
                    n => n.to_string(),
                },
            ],
            style: style_of(gate.verdict),
            fails: gate.verdict.is_failure(),
        }
    }
}

/// The time of a sample, as that of its operations where it has several.
fn time(gate: &Record, sample_ns: Option<u64>) -> String {
    match (sample_ns, gate.batch) {
        (None, _) => "—".to_owned(),
        (Some(ns), Some(batch @ 2..)) => {
            format!("{batch} × {}", Nanoseconds(ns / u64::from(batch)))
        }
        (Some(ns), _) => Nanoseconds(ns).to_string(),
    }
}

/// The counts, with a zero for what only the other side has.
fn listed(counts: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>) -> String {
    let keys: BTreeSet<&String> = counts.keys().chain(other.keys()).collect();
    if keys.is_empty() {
        return "nothing".to_owned();
    }
    let count = |key: &&String| format!("{} {key}", counts.get(*key).copied().unwrap_or(0));
    keys.iter().map(count).collect::<Vec<_>>().join(", ")
}

/// The limit as a bar: filled as far as it is used up, then how many times it is what was
/// measured.
fn bar(headroom: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a few cells"
    )]
    let filled = ((BAR_CELLS as f64 / headroom).round() as usize).clamp(0, BAR_CELLS);
    let times = if headroom < 9.95 {
        format!("{headroom:.1}")
    } else {
        format!("{headroom:.0}")
    };
    format!(
        "{}{} {times:>4} ×",
        "█".repeat(filled),
        "░".repeat(BAR_CELLS - filled)
    )
}

fn style_of(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Within | Verdict::Exact => AnsiColor::Green,
        Verdict::Over | Verdict::Differs => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// Figures stand to the right, so that their units are beneath each other; the verdict alone has
/// the style.
fn push_row(text: &mut String, cells: &[String], widths: &[usize], style: Style) {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        let padding = " ".repeat(widths[column] - width(cell));
        _ = match COLUMNS[column] {
            "measured" | "limit" => write!(line, "{padding}{cell}  "),
            "verdict" => write!(line, "{style}{cell}{style:#}{padding}  "),
            _ => write!(line, "{cell}{padding}  "),
        };
    }
    _ = writeln!(text, "{}", line.trim_end());
}

/// Every character used here is one column wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn problems(report: &Report) -> Vec<String> {
    let missing = report.missing.iter().map(|test| {
        format!("no record: {test} should have left one (it failed before its gate began, has no gate, or another test has replaced its record)")
    });
    let unfinished = report
        .unfinished
        .iter()
        .map(|gate| format!("no record: the gate {gate} began and did not come to its end"));
    missing
        .chain(unfinished)
        .chain(report.unreadable.iter().cloned())
        .collect()
}

fn warnings(report: &Report) -> Vec<String> {
    let gates = report.gates.iter();
    gates
        .flat_map(|gate| {
            let warnings = warnings_of(gate).into_iter();
            warnings.map(|warning| format!("warning: {}: {warning}", gate.gate))
        })
        .collect()
}

fn warnings_of(gate: &Record) -> Vec<String> {
    let not_measured = gate.not_measured.iter();
    not_measured
        .map(|why| format!("not measured: {why}"))
        .chain(gate.warnings.iter().cloned())
        .collect()
}

fn summary(report: &Report) -> String {
    let count = |is: fn(Verdict) -> bool| report.gates.iter().filter(|g| is(g.verdict)).count();
    let passed = count(|v| matches!(v, Verdict::Within | Verdict::Exact));
    let failed = count(Verdict::is_failure);
    let gates = match report.gates.len() {
        1 => "1 gate".to_owned(),
        n => format!("{n} gates"),
    };
    let mut text = format!("{gates}: {passed} passed, {failed} failed");
    for (n, name) in [
        (count(|v| v == Verdict::Contended), "contended"),
        (count(|v| v == Verdict::Undecided), "undecided"),
        (count(|v| v == Verdict::NotMeasured), "not measured"),
    ] {
        if n > 0 {
            _ = write!(text, ", {n} {name}");
        }
    }
    let missing = report.missing.len() + report.unfinished.len();
    if missing > 0 {
        _ = write!(text, ", {missing} missing");
    }
    if let Some(gate) = report.gates.first() {
        let host = &gate.host;
        _ = write!(
            text,
            " · {}, {} cores",
            host.cpu.as_deref().unwrap_or(&host.arch),
            host.cores
        );
    }
    text.push_str(&multipliers(report));
    _ = write!(text, " · run {}", report.run_id);
    if let Some(gate) = report.gates.iter().max_by(|a, b| a.at.cmp(&b.at)) {
        _ = write!(text, ", {}", gate.at);
    }
    if !report.expectation_is_known {
        text.push_str(
            "\nof the records alone: a test that failed before its gate began is not missed \
             (see --expected-nextest)",
        );
    }
    text
}

/// One for all gates; a range where each was worked out by its own process.
fn multipliers(report: &Report) -> String {
    let numbers = || report.gates.iter().filter_map(|gate| gate.multiplier);
    let Some(least) = numbers().reduce(f64::min) else {
        return String::new();
    };
    let largest = numbers().fold(least, f64::max);
    let mut text = format!(" · multiplier {least:?}");
    if largest > least {
        _ = write!(text, " … {largest:?}");
    }
    let sources = |gate: &Record| gate.multiplier_source.is_some();
    if report.gates.iter().any(sources) {
        text.push_str(" (auto)");
    }
    text
}
