//! The ways to decide, side by side: perfbudget's gate and the bare timing in one process,
//! criterion and divan each in a program of their own.

use std::fs;
use std::io;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use perfbudget::{Budget, Class, Gate, MULTIPLIER_ENV, Record, Verdict};
use serde::{Deserialize, Serialize};

use crate::ops::{self, Op};
use crate::results::{Cell, Excuse, GateRun, Round, Variant};

/// A tool that estimates, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// criterion 0.8.2.
    Criterion,
    /// divan 0.1.21.
    Divan,
}

impl Tool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Criterion, Self::Divan];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Criterion => "criterion",
            Self::Divan => "divan",
        }
    }
}

/// The variables that tell criterion's and divan's program what to run.
const OP_ENV: &str = "NOISE_STUDY_OP";
const AMOUNT_ENV: &str = "NOISE_STUDY_AMOUNT";
/// Where criterion's program leaves its estimates.
const DIRECTORY_ENV: &str = "NOISE_STUDY_DIRECTORY";

/// criterion's settings, shortened from 3 s, 5 s and 100 samples, so that a cell can have more
/// than one.
pub const CRITERION_WARM_UP: Duration = Duration::from_millis(100);
/// The time that it is to sample for.
pub const CRITERION_MEASUREMENT: Duration = Duration::from_millis(500);
/// Its samples.
pub const CRITERION_SAMPLES: usize = 10;
/// divan's samples, of one run each: as many as a gate has.
pub const DIVAN_SAMPLES: u32 = 11;

/// A command free of what would change what gates do and say.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove(perfbudget::DIR_ENV)
        .env_remove(perfbudget::DENY_ENV)
        .env_remove(MULTIPLIER_ENV)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs gates of one cell in this process, `runs` of them or until `time` is over, one at least.
/// The limit is kept to the nanosecond only where the factor divides it.
#[must_use]
pub fn gates(cell: Cell, amount: u64, limit_ns: u64, runs: u32, time: Duration) -> Vec<GateRun> {
    let class = cell.op.class();
    let base = Duration::from_nanos(limit_ns / u64::from(class.factor()));
    let budget = match class {
        Class::Cold => Budget::cold(base),
        Class::Warm => Budget::warm(base),
    };
    let mut op = cell.op.prepare(amount);
    op.run();
    let parent = parent_id();
    let begun = Instant::now();
    let mut results = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        op.run();
        let bare = nanoseconds(start.elapsed());
        let start = Instant::now();
        let record = Gate::new(format!("study/{cell}"), budget).check(|| op.run());
        let spent = nanoseconds(start.elapsed());
        results.push(GateRun {
            verdict: record.verdict,
            excuse: (record.verdict == Verdict::Undecided).then(|| excuse(&record)),
            rounds: rounds(&record),
            bare,
            spent,
            record: is_worth_keeping(cell.variant, record.verdict)
                .then(|| serde_json::to_value(&record).expect("a record is JSON")),
        });
        // A study that was killed leaves no process at work.
        if begun.elapsed() >= time || parent_id() != parent {
            break;
        }
    }
    results
}

fn rounds(record: &Record) -> Vec<Round> {
    let of = |round: &perfbudget::record::RoundTimes| Round {
        wall: round.wall_ns,
        lo: round.lo_ns,
        hi: round.hi_ns,
    };
    record.rounds.iter().map(of).collect()
}

/// Why a gate is undecided: what it would have decided had a hypervisor taken nothing from it, and
/// had others used no CPU meanwhile.
fn excuse(record: &Record) -> Excuse {
    let mut record = record.clone();
    for round in &mut record.rounds {
        round.delays.steal_ns = 0;
    }
    if record.verdict_anew() == Some(Verdict::Over) {
        return Excuse::Steal;
    }
    for round in &mut record.rounds {
        round.delays.foreign_cpu_ns = Some(0);
    }
    if record.verdict_anew() == Some(Verdict::Over) {
        return Excuse::Others;
    }
    Excuse::Unknown
}

/// Whether a verdict is an error, not just a lack of proof.
#[must_use]
pub fn is_wrong(variant: Variant, verdict: Verdict) -> bool {
    match variant {
        Variant::Unchanged | Variant::Tight => verdict == Verdict::Over,
        Variant::Slow => matches!(verdict, Verdict::Within | Verdict::Contended),
    }
}

/// Whether somebody will want to know why: a wrong verdict, and guilt that was not proved.
fn is_worth_keeping(variant: Variant, verdict: Verdict) -> bool {
    is_wrong(variant, verdict) || variant == Variant::Slow && verdict == Verdict::Undecided
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets a tool estimate; `directory` is for what it writes.
///
/// # Errors
/// When its program fails or says nothing that can be understood.
pub fn estimate(tool: Tool, op: Op, amount: u64, directory: &Path) -> io::Result<f64> {
    let program = ops::program().with_file_name(match tool {
        Tool::Criterion => "by-criterion",
        Tool::Divan => "by-divan",
    });
    let output = command(&program)
        .env(OP_ENV, op.name())
        .env(AMOUNT_ENV, amount.to_string())
        .env(DIRECTORY_ENV, directory)
        .output()?;
    let failed = || io::Error::other(format!("{} failed with {op}", tool.name()));
    if !output.status.success() {
        return Err(failed());
    }
    match tool {
        Tool::Criterion => {
            let path = directory.join(op.name()).join("new/estimates.json");
            criterion_estimate(&fs::read_to_string(path)?)
        }
        Tool::Divan => divan_median(&String::from_utf8_lossy(&output.stdout), DIVAN_BENCHMARK),
    }
    .ok_or_else(failed)
}

/// The operation that this program was started for, in criterion's and divan's programs.
#[must_use]
pub fn asked_for() -> (Op, u64) {
    let of = |name| std::env::var(name).unwrap_or_default();
    let name = of(OP_ENV);
    let op = Op::ALL.into_iter().find(|op| op.name() == name);
    let amount = of(AMOUNT_ENV).parse();
    match (op, amount) {
        (Some(op), Ok(amount)) => (op, amount),
        _ => panic!("this program is started by the noise study, with {OP_ENV} and {AMOUNT_ENV}"),
    }
}

/// Where criterion's program is to leave its estimates.
#[must_use]
pub fn directory_asked_for() -> std::path::PathBuf {
    std::env::var_os(DIRECTORY_ENV).unwrap_or_default().into()
}

/// criterion's point estimate, in nanoseconds, from its `estimates.json`: the slope where there is
/// one, else the mean, as it prints.
fn criterion_estimate(json: &str) -> Option<f64> {
    let estimates: serde_json::Value = serde_json::from_str(json).ok()?;
    ["slope", "mean"]
        .into_iter()
        .find_map(|name| estimates.get(name)?.get("point_estimate")?.as_f64())
}

/// The name of the one benchmark in divan's program.
const DIVAN_BENCHMARK: &str = "operation";

/// divan's median, in nanoseconds, from the table that it prints: the third of the figures behind
/// the benchmark's name.
fn divan_median(table: &str, name: &str) -> Option<f64> {
    let figures = table
        .lines()
        .find_map(|line| line.split_once("─ ")?.1.strip_prefix(name))?;
    let median = figures.split('│').nth(2)?;
    let (number, unit) = median.trim().split_once(' ')?;
    let nanoseconds = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_slope_comes_before_its_mean() {
        let both = r#"{"mean":{"point_estimate":7.5},"slope":{"point_estimate":5.25}}"#;
        assert_eq!(
            criterion_estimate(both).map(f64::to_bits),
            Some(5.25_f64.to_bits())
        );
        let mean = r#"{"mean":{"point_estimate":7.5},"slope":null}"#;
        assert_eq!(
            criterion_estimate(mean).map(f64::to_bits),
            Some(7.5_f64.to_bits())
        );
        assert_eq!(criterion_estimate("{}"), None);
    }

    #[test]
    fn divans_median_is_the_third_figure() {
        let table = "\
Timer precision: 10 ns
by_divan       fastest       │ slowest       │ median        │ mean          │ samples │ iters
╰─ cpu         4.987 ms      │ 5.311 ms      │ 5.021 ms      │ 5.067 ms      │ 11      │ 11
";
        let median = divan_median(table, "cpu").expect("a median");
        assert!((median - 5_021_000.0).abs() < 1e-3, "{median}");
        assert_eq!(divan_median(table, "sleep"), None);
    }

    #[test]
    fn an_error_is_a_false_failure_or_a_false_pass() {
        assert!(is_wrong(Variant::Tight, Verdict::Over));
        assert!(is_wrong(Variant::Slow, Verdict::Contended));
        assert!(!is_wrong(Variant::Slow, Verdict::Undecided));
        assert!(!is_wrong(Variant::Unchanged, Verdict::Undecided));
    }
}
