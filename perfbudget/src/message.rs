//! What a gate says, made from its record alone.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::budget::Class;
use crate::record::{Host, Nanoseconds, Record, SampleTimes};
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
    } else if let Some(source) = multiplier_source(record) {
        _ = write!(text, "\n  multiplier {source}");
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
    let meanwhile = meanwhile(host);
    if !meanwhile.is_empty() {
        lines.entry("meanwhile", &meanwhile.join(", "));
    }
    if let Some(fixtures) = &host.fixtures {
        lines.entry("fixtures", fixtures);
    }
    for warning in &record.warnings {
        lines.entry("warning", warning);
    }
    lines.entry("alone", command);
    lines.0
}

/// What the machine did while the gate measured.
fn meanwhile(host: &Host) -> Vec<String> {
    let mut facts = Vec::new();
    match host.alone {
        Some(true) => facts.push("no other gate measured".to_owned()),
        Some(false) => facts.push("other gates may have measured".to_owned()),
        None => {}
    }
    if let (Some(voluntary), Some(involuntary)) =
        (host.voluntary_switches, host.involuntary_switches)
    {
        facts.push(format!(
            "its thread left its CPU {voluntary} times to wait and {involuntary} times for others"
        ));
    }
    if let Some(steal) = host.steal_ns.filter(|ns| *ns > 0) {
        facts.push(format!("{} stolen by a hypervisor", Nanoseconds(steal)));
    }
    if let Some(cpus) = host.quota_cpus {
        let throttled = Nanoseconds(host.throttled_ns.unwrap_or(0));
        facts.push(format!("{throttled} stopped by a quota of {cpus} CPUs"));
    }
    facts
}

fn walltime(lines: &mut Lines, record: &Record) {
    lines.0 = format!("gate {} {}\n\n", record.gate, headline(record));
    if record.verdict == Verdict::Over {
        lines.entry("cause", &cause_of_over(record));
    }
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
    if let Some(source) = multiplier_source(record) {
        lines.entry("multiplier", &source);
    }
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
    if let Some(others) = others(record) {
        lines.entry("others", &others);
    }
    if let Some(allocator) = record.allocator.as_deref() {
        lines.entry("allocator", allocator);
    }
}

/// What the bounds were made from, where there was anything to take out.
fn others(record: &Record) -> Option<String> {
    let waited: u64 = record.samples.iter().filter_map(|s| s.run_delay_ns).sum();
    let own: u64 = record.samples.iter().filter_map(|s| s.own_cpu_ns).sum();
    let delays = &record.rounds.last()?.delays;
    let mut text = format!(
        "it waited {} for a CPU in the last round",
        Nanoseconds(waited)
    );
    if own > 0 {
        _ = write!(
            text,
            ", during which its own other tasks had one for {}",
            Nanoseconds(own)
        );
    }
    if let (Some(foreign), Some(source)) = (delays.foreign_cpu_ns, &delays.foreign_source) {
        _ = write!(
            text,
            "; others had at most {} ({source})",
            Nanoseconds(foreign)
        );
    }
    record
        .samples
        .iter()
        .any(|s| s.run_delay_ns.is_some())
        .then_some(text)
}

/// In multiples, which say more than two times beside each other.
#[expect(clippy::cast_precision_loss, reason = "ratios for people")]
fn cause_of_over(record: &Record) -> String {
    let own = record.lo_ns.unwrap_or(0) as f64;
    let limit = record.limit_ns.unwrap_or(0).max(1) as f64;
    let base = record.base_ns.unwrap_or(0) as f64 * f64::from(record.batch.unwrap_or(1));
    format!(
        "the code takes {} its limit and {} its base, in {} rounds of {}",
        times(own / limit),
        times(own / base.max(1.0)),
        record.rounds.len(),
        record.samples.len()
    )
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

/// The multiplier and how it came about, when it was worked out.
fn multiplier_source(record: &Record) -> Option<String> {
    let (multiplier, source) = (record.multiplier?, record.multiplier_source.as_ref()?);
    Some(format!("{multiplier:?}, {source}"))
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

/// The names in `AllocationCounts`.
const OF_THE_ALLOCATOR: [&str; 5] = [
    "allocations",
    "reallocations",
    "deallocations",
    "bytes",
    "peak_bytes",
];

fn counts(lines: &mut Lines, record: &Record) {
    lines.0 = format!("gate {} {}\n\n", record.gate, headline(record));
    let keys: BTreeSet<&String> = record.expected.keys().chain(record.counts.keys()).collect();
    let width = keys.iter().map(|key| key.len() + 1).fold(12, usize::max);
    _ = writeln!(
        lines.0,
        "  {:<width$}{:>10}{:>10}",
        "", "expected", "observed"
    );
    let (mut more, mut fewer, mut less_memory) = (false, false, false);
    for key in keys {
        let expected = record.expected.get(key).copied().unwrap_or(0);
        let observed = record.counts.get(key).copied().unwrap_or(0);
        let difference = if observed > expected {
            more = true;
            format!("  {} more", observed - expected)
        } else if observed < expected {
            if OF_THE_ALLOCATOR.contains(&key.as_str()) {
                less_memory = true;
            } else {
                fewer = true;
            }
            format!("  {} fewer", expected - observed)
        } else {
            String::new()
        };
        _ = writeln!(
            lines.0,
            "  {key:<width$}{expected:>10}{observed:>10}{difference}"
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
    if less_memory {
        lines.entry(
            "fewer",
            "less is asked of the allocator: see that the work is still done, and state the new count",
        );
    }
    if record.counts.is_empty() {
        lines.entry(
            "observed",
            "nothing at all: is it the right path that is watched, and do other threads do the work?",
        );
    }
    for (position, line) in record.evidence.iter().enumerate() {
        lines.entry(if position == 0 { "observed" } else { "" }, line);
    }
}

/// A ratio with its sign: `2.31 ×`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::blank;
    use crate::record::{Delays, RoundTimes, TestPlace, WallTime};

    const COMMAND: &str = "cargo nextest run --cargo-profile perf -p outbox -E 'test(=perf_x)'";

    fn host() -> Host {
        Host {
            os: "linux".into(),
            kernel: Some("6.18.0".into()),
            arch: "x86_64".into(),
            cpu: Some("AMD EPYC".into()),
            cores: 2,
            load_1m: Some(0.25),
            build: "opt-level 3".into(),
            fixtures: Some("tmpfs".into()),
            quota_cpus: Some(1.5),
            throttled_ns: Some(3_000_000),
            steal_ns: Some(20_000_000),
            voluntary_switches: Some(4),
            involuntary_switches: Some(61),
            alone: Some(true),
        }
    }

    /// A drain at 2.16 ms instead of 120 µs, eight a sample.
    fn over() -> Record {
        let wall_us = [
            17_200, 17_300, 17_100, 17_400, 30_100, 17_200, 17_300, 17_200, 17_200, 16_900, 17_500,
        ];
        let round = |ns| RoundTimes {
            wall_ns: ns,
            wall_median_ns: ns,
            lo_ns: ns,
            lo_median_ns: ns,
            hi_ns: ns,
            hi_median_ns: ns,
            pace_ns: None,
            samples: Vec::new(),
            delays: Delays {
                foreign_cpu_ns: Some(31_000_000),
                foreign_source: Some("/proc/stat".into()),
                ..Delays::default()
            },
        };
        Record {
            gate: "outbox/drain-25".into(),
            tier: 1,
            class: Some(Class::Warm),
            base_ns: Some(120_000),
            batch: Some(8),
            factor: Some(3),
            floor_ns: Some(1_000_000),
            multiplier: Some(1.0),
            limit_ns: Some(2_880_000),
            wall_ns: Some(WallTime {
                trimmed_mean: 17_257_142,
                median: 17_200_000,
                min: 16_900_000,
                max: 30_100_000,
                cv_percent: 21.2,
            }),
            lo_ns: Some(17_257_142),
            hi_ns: Some(17_257_142),
            bounds: Some("no better than wall: its children are not waited for".into()),
            samples: wall_us
                .map(|us| SampleTimes {
                    wall_ns: us * 1000,
                    run_delay_ns: Some(12_000),
                    own_cpu_ns: Some(us * 100),
                    cpu_ns: Some(us * 999),
                    foreign_cpu_ns: None,
                    spare_cpu_ns: None,
                    begins_quiet: false,
                })
                .to_vec(),
            rounds: vec![round(16_800_000), round(17_100_000), round(17_257_142)],
            verdict: Verdict::Over,
            allocator: Some("glibc".into()),
            host: host(),
            test: TestPlace::default(),
            ..blank()
        }
    }

    fn differs() -> Record {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, n)| ((*k).into(), *n)).collect();
        Record {
            gate: "outbox/drain-syncs".into(),
            tier: 2,
            verdict: Verdict::Differs,
            expected: counts(&[("files", 2), ("dirs", 2)]),
            counts: counts(&[("files", 27), ("weak", 1)]),
            evidence: vec!["#1 fsync file wal.tmp".into(), "… and 27 more".into()],
            host: host(),
            ..blank()
        }
    }

    #[test]
    fn a_walltime_failure_says_what_is_known() {
        insta::assert_snapshot!(failure(&over(), COMMAND));
    }

    const SOURCE: &str = "auto: cpu work 1.93 ms here, 1.21 ms where the bases were observed \
                          (perfbudget.toml, AMD EPYC, 2026-11-21)";

    #[test]
    fn a_multiplier_that_was_worked_out_says_how() {
        let over = Record {
            multiplier: Some(1.6),
            multiplier_source: Some(SOURCE.into()),
            limit_ns: Some(4_608_000),
            ..over()
        };
        let within = Record {
            verdict: Verdict::Within,
            limit_ns: Some(200_000_000),
            warnings: vec!["its fixtures are not in memory".into()],
            ..over.clone()
        };
        insta::assert_snapshot!([failure(&over, COMMAND), one_line(&within)].join("\n"));
    }

    #[test]
    fn fewer_allocations_are_not_lost_durability() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, n)| ((*k).into(), *n)).collect();
        let record = Record {
            gate: "outbox/drain-allocations".into(),
            expected: counts(&[("allocations", 121), ("reallocations", 9)]),
            counts: counts(&[("allocations", 118), ("reallocations", 10)]),
            evidence: Vec::new(),
            ..differs()
        };
        insta::assert_snapshot!(failure(&record, COMMAND));
    }

    #[test]
    fn a_count_failure_says_which_way_and_shows_the_evidence() {
        insta::assert_snapshot!(failure(&differs(), COMMAND));
    }

    #[test]
    fn what_a_run_denies_says_so() {
        let record = Record {
            verdict: Verdict::NotMeasured,
            not_measured: Some("this is a debug build".into()),
            warnings: vec!["PERF_BUDGET_MULTIPLIER is ignored".into()],
            ..over()
        };
        insta::assert_snapshot!(failure(&record, COMMAND));
    }

    #[test]
    fn a_pass_is_one_line_and_its_warnings() {
        let within = Record {
            verdict: Verdict::Within,
            limit_ns: Some(200_000_000),
            warnings: vec!["its fixtures are not in memory".into()],
            ..over()
        };
        let exact = Record {
            verdict: Verdict::Exact,
            ..differs()
        };
        insta::assert_snapshot!([one_line(&within), one_line(&exact)].join("\n"));
    }
}
