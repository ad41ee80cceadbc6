//! An observation for people: what was measured, what it is worth, and the line to paste.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use perfbudget::Class;

use super::base::{Given, shown};
use super::observation::{
    About, CountObservation, Observation, Process, TimeObservation, counted, listed, machine,
    sample,
};

/// With colours, for a stream that takes out what its reader can't show.
pub(crate) fn text(observation: &Observation) -> String {
    let mut lines = Lines::default();
    match observation {
        Observation::Time(observation) => time(&mut lines, observation),
        Observation::Counts(observation) => counts(&mut lines, observation),
    }
    let about = observation.about();
    let caution = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    for warning in &about.warnings {
        lines.styled("warning", warning, caution);
    }
    let bold = Style::new().bold();
    _ = writeln!(lines.0, "\n{bold}{}{bold:#}", about.line);
    lines.0
}

fn time(lines: &mut Lines, observation: &TimeObservation) {
    let class = match observation.class {
        Class::Cold => "cold",
        Class::Warm => "warm",
    };
    lines.title(&observation.about, &format!("1 {class}"));
    let batch = observation.batch;
    let processes = counted(observation.processes.len(), "process", "processes");
    let each = if batch > 1 { " an operation" } else { "" };
    lines.entry(
        "measured",
        &format!(
            "{}{each}, median of {processes}",
            shown(observation.median_ns)
        ),
    );
    let mut spread = format!(
        "{}  {} … {}",
        strip(&observation.processes),
        shown(observation.min_ns),
        shown(observation.max_ns)
    );
    if let Some(cv) = observation.cv_percent {
        _ = write!(spread, " ({:.2} ×), CV {cv:.1} %", observation.spread());
    }
    lines.entry("processes", &spread);
    machine_and_date(lines, &observation.about);
    lines.entry("present", &given(observation.present, batch));
    lines.entry(
        "observed",
        &format!(
            "{}{}",
            given(observation.observed, batch),
            change(observation)
        ),
    );
    if observation.observed.is_floored {
        lines.entry(
            "floor",
            &format!(
                "it could grow to {:.0} times this unseen; .batch({}) or more gives it a limit of \
                 its own",
                observation.observed.headroom, observation.batch_above_floor
            ),
        );
    }
}

fn counts(lines: &mut Lines, observation: &CountObservation) {
    lines.title(&observation.about, "2");
    lines.entry(
        "counted",
        &format!(
            "{}, in {}",
            listed(&observation.counts),
            counted(observation.processes, "process", "processes")
        ),
    );
    if observation.counts == observation.expected {
        lines.entry("expected", "the same");
    } else {
        lines.entry(
            "expected",
            &format!(
                "{}: before you paste, which of the two is right?",
                listed(&observation.expected)
            ),
        );
    }
    lines.entry("base", "none: counts have no time to observe");
    machine_and_date(lines, &observation.about);
}

fn machine_and_date(lines: &mut Lines, about: &About) {
    let host = &about.host;
    let mut text = format!("{}, {}", machine(host), host.os);
    if let Some(kernel) = &host.kernel {
        _ = write!(text, " {kernel}");
    }
    if let Some(load) = host.load_1m {
        _ = write!(text, ", load {load}");
    }
    _ = write!(text, "; {}", host.build);
    if let Some(fixtures) = &host.fixtures {
        _ = write!(text, "; fixtures on {fixtures}");
    }
    lines.entry("machine", &text);
    lines.entry("date", &about.date);
}

fn given(given: Given, batch: u32) -> String {
    let by_floor = if given.is_floored { " (the floor)" } else { "" };
    format!(
        "base {}: limit {}{by_floor}, headroom {}",
        perfbudget::record::Nanoseconds(given.base_ns),
        sample(given.limit_ns, batch),
        times(given.headroom)
    )
}

/// How far the base moves, where it is the same order of size.
#[expect(clippy::cast_precision_loss, reason = "per cent for people")]
fn change(observation: &TimeObservation) -> String {
    let (present, observed) = (observation.present.base_ns, observation.observed.base_ns);
    let percent = (observed as f64 / present.max(1) as f64 - 1.0) * 100.0;
    if percent.abs() >= 100.0 || percent < -90.0 {
        return String::new();
    }
    match percent.round() {
        p if p > 0.0 => format!("; {p:.0} % more than now"),
        p if p < 0.0 => format!("; {:.0} % less than now", -p),
        _ => "; as now".to_owned(),
    }
}

/// The processes in their order, each a bar of its share of the largest.
fn strip(processes: &[Process]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = processes.iter().map(|p| p.own_ns).fold(0.0, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of eight"
    )]
    let bar = |process: &Process| {
        let share = process.own_ns * 7.0 / largest.max(f64::MIN_POSITIVE);
        BARS[(share as usize).min(7)]
    };
    processes.iter().map(bar).collect()
}

fn times(ratio: f64) -> String {
    if ratio < 9.95 {
        format!("{ratio:.1} ×")
    } else {
        format!("{ratio:.0} ×")
    }
}

/// Labelled lines, the labels in a column.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn title(&mut self, about: &About, tier: &str) {
        let test = &about.test;
        let bold = Style::new().bold();
        _ = write!(
            self.0,
            "\n{bold}{}{bold:#}  tier {tier}, {}",
            about.gate, test.path
        );
        if let Some(package) = &test.package {
            _ = write!(self.0, " in {package}");
        }
        _ = writeln!(self.0, ", {}:{}\n", test.file, test.line);
    }

    fn entry(&mut self, label: &str, text: &str) {
        self.styled(label, text, Style::new());
    }

    fn styled(&mut self, label: &str, text: &str, style: Style) {
        _ = writeln!(self.0, "  {style}{label:<12}{text}{style:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::tests::{busy, counted_things, observed, quiet};
    use super::*;

    fn plain(records: &[perfbudget::Record]) -> String {
        anstream::adapter::strip_str(&text(&observed(records))).to_string()
    }

    #[test]
    fn a_quiet_gate_is_its_figures_and_the_line() {
        insta::assert_snapshot!(plain(&quiet()));
    }

    #[test]
    fn a_busy_machine_and_the_floor_are_said() {
        insta::assert_snapshot!(plain(&busy()));
    }

    #[test]
    fn a_count_gate_says_what_it_counted() {
        insta::assert_snapshot!(plain(&counted_things()));
    }

    #[test]
    fn a_move_is_said_in_per_cent_where_it_is_small() {
        let moved = |present| {
            let Observation::Time(mut observation) = observed(&quiet()) else {
                panic!("these are times");
            };
            observation.present.base_ns = present;
            change(&observation)
        };
        assert_eq!(moved(84_800), "; as now");
        assert_eq!(moved(85_100), "; as now");
        assert_eq!(moved(80_000), "; 6 % more than now");
        assert_eq!(moved(90_000), "; 6 % less than now");
        assert_eq!(moved(1_000), "");
        assert_eq!(moved(10_000_000), "");
    }
}
