//! What a gate says, made from its record alone.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::budget::Class;
use crate::record::{Nanoseconds, Record, SampleTimes};
use crate::verdict::Verdict;

/// The line of a gate that passes.
pub(crate) fn one_line(record: &Record) -> String {
    let mut text = format!("gate {}: {}", record.gate, record.verdict);
    if let (Some(wall), Some(limit)) = (record.wall_ns, record.limit_ns) {
        _ = write!(
            text,
            ", {} of {}",
            Nanoseconds(wall.trimmed_mean),
            Nanoseconds(limit)
        );
    }
    if let Some(headroom) = record.headroom() {
        _ = write!(text, " (headroom {})", times(headroom));
    }
    if record.tier == 2 {
        let counts: Vec<String> = record
            .counts
            .iter()
            .map(|(k, n)| format!("{k} {n}"))
            .collect();
        _ = write!(text, ", {}", or_nothing(&counts.join(", ")));
    }
    if let Some(why) = &record.not_measured {
        _ = write!(text, ": {why}");
    }
    for warning in &record.warnings {
        _ = write!(text, "\n  warning: {warning}");
    }
    text
}

/// The text of a gate that fails. `command` runs it alone.
pub(crate) fn failure(record: &Record, command: &str) -> String {
    let mut lines = Lines::default();
    match record.tier {
        2 => counts(&mut lines, record),
        _ => walltime(&mut lines, record),
    }
    let host = &record.host;
    let mut machine = format!(
        "{}, {} cores, {} {}",
        host.cpu.as_deref().unwrap_or(&host.arch),
        host.cores,
        host.os,
        host.kernel.as_deref().unwrap_or("")
    );
    if let Some(load) = host.load_1m {
        _ = write!(machine, ", load {load}");
    }
    lines.entry("host", &format!("{machine}; {}", host.build));
    if let Some(fixtures) = &host.fixtures {
        lines.entry("fixtures", fixtures);
    }
    for warning in &record.warnings {
        lines.entry("warning", warning);
    }
    lines.entry("alone", command);
    lines.0
}

fn walltime(lines: &mut Lines, record: &Record) {
    lines.0 = format!("gate {} {}\n\n", record.gate, headline(record));
    if let Some(why) = &record.not_measured {
        lines.entry("because", why);
        return;
    }
    let (Some(wall), Some(limit)) = (record.wall_ns, record.limit_ns) else {
        return;
    };
    let batch = record.batch.unwrap_or(1);
    let mut measured = format!(
        "{}, median {} (trimmed mean of {})",
        Nanoseconds(wall.trimmed_mean),
        Nanoseconds(wall.median),
        record.samples.len()
    );
    if batch > 1 {
        let each = wall.trimmed_mean / u64::from(batch);
        _ = write!(measured, "; {batch} operations of {}", Nanoseconds(each));
    }
    lines.entry("measured", &measured);
    lines.entry(
        "limit",
        &format!("{} = {}", Nanoseconds(limit), limit_formula(record, batch)),
    );
    if let Some(headroom) = record.headroom() {
        lines.entry(
            "headroom",
            &format!(
                "{}: limit ÷ measured; below 1 the gate is over",
                times(headroom)
            ),
        );
    }
    lines.entry(
        "samples",
        &format!(
            "{}  {} … {}, CV {:.1} %",
            strip(&record.samples),
            Nanoseconds(wall.min),
            Nanoseconds(wall.max),
            wall.cv_percent
        ),
    );
    let rounds: Vec<String> = record
        .rounds
        .iter()
        .map(|round| Nanoseconds(round.wall_ns).to_string())
        .collect();
    lines.entry("rounds", &rounds.join(", "));
    if let (Some(lo), Some(hi)) = (record.lo_ns, record.hi_ns) {
        let why = match &record.bounds {
            Some(why) => format!(" ({why})"),
            None => String::new(),
        };
        lines.entry(
            "its own",
            &format!("{} … {}{why}", Nanoseconds(lo), Nanoseconds(hi)),
        );
    }
    if let Some(allocator) = record.allocator.as_deref() {
        lines.entry("allocator", allocator);
    }
}

fn headline(record: &Record) -> &'static str {
    match record.verdict {
        Verdict::Over => "is over its budget",
        Verdict::Contended => "could only be measured on a busy machine, which this run denies",
        Verdict::Undecided => "is neither within nor over its budget, which this run denies",
        Verdict::NotMeasured => "was not measured, which this run denies",
        Verdict::Within => "is within its budget",
        Verdict::Exact => "does the work that its code says",
        Verdict::Differs => "does not do the work that its code says",
    }
}

fn limit_formula(record: &Record, batch: u32) -> String {
    let class = match record.class {
        Some(Class::Cold) => "cold",
        _ => "warm",
    };
    let mut base = Nanoseconds(record.base_ns.unwrap_or(0)).to_string();
    if batch > 1 {
        _ = write!(base, " × {batch} operations");
    }
    format!(
        "max({base} × {} ({class}), {}) × {:?}",
        record.factor.unwrap_or(0),
        Nanoseconds(record.floor_ns.unwrap_or(0)),
        record.multiplier.unwrap_or(1.0)
    )
}

/// The samples in the order taken, each a bar of its share of the largest.
fn strip(samples: &[SampleTimes]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = samples.iter().map(|s| s.wall_ns).max().unwrap_or(0).max(1);
    samples
        .iter()
        .map(|sample| {
            let share = u128::from(sample.wall_ns) * 7 / u128::from(largest);
            BARS[usize::try_from(share).unwrap_or(7).min(7)]
        })
        .collect()
}

fn counts(lines: &mut Lines, record: &Record) {
    lines.0 = format!("gate {} {}\n\n", record.gate, headline(record));
    _ = writeln!(lines.0, "  {:<12}{:>10}{:>10}", "", "expected", "observed");
    let keys: BTreeSet<&String> = record.expected.keys().chain(record.counts.keys()).collect();
    let (mut more, mut fewer) = (false, false);
    for key in keys {
        let expected = record.expected.get(key).copied().unwrap_or(0);
        let observed = record.counts.get(key).copied().unwrap_or(0);
        let difference = if observed > expected {
            more = true;
            format!("  {} more", observed - expected)
        } else if observed < expected {
            fewer = true;
            format!("  {} fewer", expected - observed)
        } else {
            String::new()
        };
        _ = writeln!(
            lines.0,
            "  {key:<12}{expected:>10}{observed:>10}{difference}"
        );
    }
    lines.0.push('\n');
    if more {
        lines.entry(
            "more",
            "something is done again, or once for each record instead of once for all",
        );
    }
    if fewer {
        lines.entry(
            "fewer",
            "something is no longer done; a sync that is missing is durability that is lost",
        );
    }
    for (position, line) in record.evidence.iter().enumerate() {
        lines.entry(if position == 0 { "observed" } else { "" }, line);
    }
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2} ×")
    } else {
        format!("{ratio:.0} ×")
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// Labelled lines, the labels in a column.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn entry(&mut self, label: &str, text: &str) {
        _ = writeln!(self.0, "  {label:<12}{text}");
    }
}
