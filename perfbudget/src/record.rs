//! Records: the JSON that a gate leaves behind.
//!
//! The types of `perfbudget.record.v1`, shared with the tools that read them. A record has
//! everything that its failure message says, so that a verdict can be understood, and made again,
//! from the record alone. Times are whole nanoseconds.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::budget::Class;
use crate::verdict::{Verdict, verdict};

/// The schema that this version writes.
pub const SCHEMA: &str = "perfbudget.record.v1";

/// What one gate measured and decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// The gate's name.
    pub gate: String,
    /// 1 for walltime, 2 for counts.
    pub tier: u8,
    /// The budget's class. Tier 1.
    pub class: Option<Class>,
    /// The observed time of one operation. Tier 1.
    pub base_ns: Option<u64>,
    /// Operations a sample. Tier 1.
    pub batch: Option<u32>,
    /// The class's factor. Tier 1.
    pub factor: Option<u32>,
    /// The floor, before the multiplier. Tier 1.
    pub floor_ns: Option<u64>,
    /// The multiplier of the run. Tier 1.
    pub multiplier: Option<f64>,
    /// How the multiplier came about, when it was worked out (`auto`). Tier 1.
    pub multiplier_source: Option<String>,
    /// What a sample may take. Tier 1.
    pub limit_ns: Option<u64>,
    /// Elapsed time in the round that decided. Tier 1, when measured.
    pub wall_ns: Option<WallTime>,
    /// The code's own time in that round: at least this (trimmed mean).
    pub lo_ns: Option<u64>,
    /// The code's own time in that round: at most this (trimmed mean).
    pub hi_ns: Option<u64>,
    /// Why `lo_ns` and `hi_ns` are what they are, where they are no better than wall.
    pub bounds: Option<String>,
    /// Whether the gate says that others do its work
    /// ([`served_elsewhere`](crate::Gate::served_elsewhere)).
    #[serde(default)]
    pub served_elsewhere: bool,
    /// The samples of that round in the order taken.
    #[serde(default)]
    pub samples: Vec<SampleTimes>,
    /// All rounds, that one last.
    #[serde(default)]
    pub rounds: Vec<RoundTimes>,
    /// What was decided.
    pub verdict: Verdict,
    /// Why nothing was measured, when the verdict is `not_measured`.
    pub not_measured: Option<String>,
    /// The allocator that was kept from put-off work, `"none"` where it is not known. Warm.
    pub allocator: Option<String>,
    /// What was counted; zeros are left out. Tier 2.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// What the code says; zeros are left out. Tier 2.
    #[serde(default)]
    pub expected: BTreeMap<String, u64>,
    /// Lines that explain the counts. Tier 2.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// The machine and the build.
    #[serde(default)]
    pub host: Host,
    /// What there is to say against this result.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The test that the gate stands in.
    #[serde(default)]
    pub test: TestPlace,
    /// The run that it belongs to.
    pub run_id: String,
    /// When it was decided, UTC, RFC 3339.
    pub at: String,
}

/// A round's elapsed time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WallTime {
    /// Mean of the middle 7 of 11 samples.
    pub trimmed_mean: u64,
    /// Median of the 11.
    pub median: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Sample standard deviation over mean of the 11, in per cent.
    pub cv_percent: f64,
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SampleTimes {
    /// Elapsed time.
    pub wall_ns: u64,
    /// Time that the measuring thread was ready to run but waited for a CPU, and the commands that
    /// it waited for ([`command_output`](crate::command_output)), where the kernel tells.
    pub run_delay_ns: Option<u64>,
    /// CPU time that our other tasks had meanwhile: the process's other threads, and children. Read
    /// only where there was run delay to set it against.
    pub own_cpu_ns: Option<u64>,
    /// CPU time that the measuring thread itself had, at least. Read as `own_cpu_ns` is.
    pub cpu_ns: Option<u64>,
    /// CPU time that others had from before it until before the next, where that can be read so
    /// often.
    pub foreign_cpu_ns: Option<u64>,
    /// CPU time that the machine had in the same time and the process's threads left over, at most:
    /// others had no more. Read where other threads of the process had a CPU in the warm-up, and
    /// those that an operation starts end with it.
    pub spare_cpu_ns: Option<u64>,
    /// Whether nobody else was at work on the machine when it began, so that the CPU time of others
    /// was known to the nanosecond then. Read as `spare_cpu_ns` is.
    pub begins_quiet: bool,
}

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoundTimes {
    /// Trimmed mean of wall.
    pub wall_ns: u64,
    /// Median of wall.
    pub wall_median_ns: u64,
    /// Trimmed mean of the lower bound.
    pub lo_ns: u64,
    /// Median of the lower bound.
    pub lo_median_ns: u64,
    /// Trimmed mean of the upper bound.
    pub hi_ns: u64,
    /// Median of the upper bound.
    pub hi_median_ns: u64,
    /// Trimmed mean of the time that fixed work took just before and just after each sample: how
    /// fast the core went. Read where [`PACE_ENV`](crate::PACE_ENV) asks for it, on x86-64 and
    /// 64-bit Arm.
    pub pace_ns: Option<u64>,
    /// Its samples in the order taken.
    pub samples: Vec<SampleTimes>,
    /// What else was read, from which the bounds were made.
    pub delays: Delays,
}

/// What was read of a round to know how long others delayed it. Times are nanoseconds of the whole
/// round, warm-up, setups and drops included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Delays {
    /// Run delay of our tasks besides those in the samples, where it is known for all of them.
    pub other_tasks_delay_ns: Option<u64>,
    /// CPU time that others had: at most this.
    pub foreign_cpu_ns: Option<u64>,
    /// Where that was read.
    pub foreign_source: Option<String>,
    /// How far the CPU time of others in a sample may lag behind: what is missing is in the samples
    /// that begin within this time.
    pub foreign_lag_ns: u64,
    /// On how many CPUs it may lag.
    pub foreign_lag_cpus: usize,
    /// What may still be missing when the last sample is over.
    pub foreign_missing_ns: u64,
    /// CPU time that the machine had and our tasks left over: others had no more.
    pub spare_cpu_ns: Option<u64>,
    /// Run delay of all tasks of the machine.
    pub machine_delay_ns: Option<u64>,
    /// Time that a cgroup's quota kept us from running.
    pub throttled_ns: u64,
    /// Time that a hypervisor gave to others, of which it is sure that it fell into the round.
    pub steal_ns: u64,
    /// How far the CPU time of a sample's other tasks may lag behind.
    pub own_cpu_slack_ns: u64,
    /// CPU time that our other tasks had.
    pub own_cpu_ns: u64,
    /// Why nothing is taken out of wall for the upper bound.
    pub hi_is_wall: Option<String>,
}

/// The machine and the build that a gate ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Host {
    /// The operating system's name.
    pub os: String,
    /// The kernel's release, where the system tells.
    pub kernel: Option<String>,
    /// The architecture's name.
    pub arch: String,
    /// The CPU's model, where the system tells.
    pub cpu: Option<String>,
    /// CPUs that the process may use.
    pub cores: usize,
    /// Runnable tasks on average over the last minute, where the system tells.
    pub load_1m: Option<f64>,
    /// CPUs that a cgroup's quota allows, where there is one.
    pub quota_cpus: Option<f64>,
    /// Time that the quota kept us from running while the gate measured. Nanoseconds.
    pub throttled_ns: Option<u64>,
    /// Time that a hypervisor gave to others while the gate measured, of all CPUs together, in the
    /// system's steps (mostly of 10 ms). Nanoseconds.
    pub steal_ns: Option<u64>,
    /// Times that the measuring thread left its CPU to wait for something.
    pub voluntary_switches: Option<u64>,
    /// Times that it was made to leave it to others.
    pub involuntary_switches: Option<u64>,
    /// Whether the gate measured in its turn: no other gate of the machine did at that time.
    pub alone: Option<bool>,
    /// How the code was built: `opt-level 3`, `debug assertions`, instrumentation.
    pub build: String,
    /// The file system of [`tmpfs_dir`](crate::tmpfs_dir), once a test has asked for one.
    pub fixtures: Option<String>,
}

/// Where a gate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TestPlace {
    /// The test's name with its modules, as the test runner prints it.
    pub path: String,
    /// The test binary: nextest's id of it where there is one.
    pub binary: Option<String>,
    /// The package, where Cargo tells.
    pub package: Option<String>,
    /// The source file.
    pub file: String,
    /// The line in it.
    pub line: u32,
}

impl Record {
    /// Reads a record back.
    ///
    /// # Errors
    /// When the file can't be read, is not JSON of this shape, or is of another schema; the text
    /// names the file.
    pub fn read(path: &Path) -> Result<Self, ReadRecordError> {
        let failed = |cause| ReadRecordError {
            path: path.display().to_string(),
            cause,
        };
        let text = fs::read(path).map_err(|error| failed(error.into()))?;
        let record: Self = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        if record.schema != SCHEMA {
            return Err(failed(
                format!("its schema is {:?}, not {SCHEMA:?}", record.schema).into(),
            ));
        }
        Ok(record)
    }

    /// How many times the limit is what was measured; a gate catches a regression larger than
    /// this. `None` when nothing was measured.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn headroom(&self) -> Option<f64> {
        let wall = self.wall_ns?.trimmed_mean;
        Some(self.limit_ns? as f64 / (wall.max(1)) as f64)
    }

    /// The verdict, decided anew from what was read: the samples and delays of each round, the
    /// limit, the counts. `None` when the record does not hold what that takes.
    ///
    /// A stored verdict that is another one was decided by other rules than this version's.
    #[must_use]
    pub fn verdict_anew(&self) -> Option<Verdict> {
        if self.not_measured.is_some() {
            return Some(Verdict::NotMeasured);
        }
        match self.tier {
            1 => {
                let limit = Duration::from_nanos(self.limit_ns?);
                let figures: Vec<_> = self
                    .rounds
                    .iter()
                    .filter(|round| !round.samples.is_empty())
                    .map(|round| bounds::figures(&round.samples, &round.delays))
                    .collect();
                (figures.len() == self.rounds.len())
                    .then(|| verdict(&figures, limit))
                    .flatten()
            }
            2 if self.expected == self.counts => Some(Verdict::Exact),
            2 => Some(Verdict::Differs),
            _ => None,
        }
    }

    /// The name of the gate's file in the directory of its run.
    #[must_use]
    pub fn file_name(gate: &str) -> String {
        format!("{}.json", gate.replace('/', "."))
    }

    /// The name of the file that a gate leaves in the directory of its run from its beginning to
    /// its record: one that stays is a gate that did not come to its end. It holds the JSON of a
    /// [`TestPlace`].
    #[must_use]
    pub fn claim_file_name(gate: &str) -> String {
        format!("{}.claim", gate.replace('/', "."))
    }

    /// Writes the record to a file that is complete whenever it can be seen.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .prefix(".record")
            .tempfile_in(directory)?;
        // At once: the serializer writes every word by itself.
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.persist(directory.join(Self::file_name(&self.gate)))?;
        Ok(())
    }
}

/// Why a record could not be read.
#[derive(Debug)]
pub struct ReadRecordError {
    path: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for ReadRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read the record {}", self.path)
    }
}

impl std::error::Error for ReadRecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// A duration as a record holds it; what is longer than 584 years is that.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds for people: three significant digits and a unit.
///
/// ```
/// use perfbudget::record::Nanoseconds;
///
/// assert_eq!(Nanoseconds(412_640).to_string(), "413 µs");
/// assert_eq!(Nanoseconds(2_880_000).to_string(), "2.88 ms");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanoseconds(pub u64);

impl fmt::Display for Nanoseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
        #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
        let nanoseconds = self.0 as f64;
        // The unit is chosen by what three digits round to: 999 600 ns is 1.00 ms.
        let (size, unit) = UNITS
            .into_iter()
            .find(|(size, _)| nanoseconds >= size * 0.9995)
            .unwrap_or((1.0, "ns"));
        let value = nanoseconds / size;
        let decimals = match value {
            _ if unit == "ns" => 0,
            v if v < 9.995 => 2,
            v if v < 99.95 => 1,
            _ => 0,
        };
        f.pad(&format!("{value:.decimals$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_have_three_digits_and_a_unit() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (1, "1 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (99_960, "100 µs"),
            (999_600, "1.00 ms"),
            (12_600_000, "12.6 ms"),
            (1_500_000_000, "1.50 s"),
            (u64::MAX, "18446744074 s"),
        ] {
            assert_eq!(Nanoseconds(nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn a_verdict_is_decided_anew_from_the_parts_not_from_itself() {
        let sample = |wall_ms: u64, run_delay_ms: u64| SampleTimes {
            wall_ns: wall_ms * 1_000_000,
            run_delay_ns: Some(run_delay_ms * 1_000_000),
            own_cpu_ns: Some(0),
            cpu_ns: Some(0),
            foreign_cpu_ns: None,
            spare_cpu_ns: None,
            begins_quiet: false,
        };
        let round = |wall_ms, run_delay_ms| RoundTimes {
            samples: vec![sample(wall_ms, run_delay_ms); 11],
            delays: Delays {
                other_tasks_delay_ns: Some(0),
                ..Delays::default()
            },
            ..RoundTimes::default()
        };
        let decided = |rounds| {
            let record = Record {
                tier: 1,
                limit_ns: Some(10_000_000),
                verdict: Verdict::Exact,
                rounds,
                ..crate::gate::blank()
            };
            record.verdict_anew()
        };
        assert_eq!(decided(vec![round(9, 0)]), Some(Verdict::Within));
        assert_eq!(decided(vec![round(30, 25)]), Some(Verdict::Contended));
        let over = vec![round(30, 0), round(30, 5), round(30, 0)];
        assert_eq!(decided(over), Some(Verdict::Over));
        // Rounds without their samples, as an earlier version wrote them, and too few of them.
        let without = RoundTimes {
            wall_ns: 9_000_000,
            ..RoundTimes::default()
        };
        assert_eq!(decided(vec![without]), None);
        assert_eq!(decided(vec![round(30, 0)]), None);
        assert_eq!(decided(Vec::new()), None);
        let counts = Record {
            tier: 2,
            counts: [("files".to_owned(), 2)].into(),
            verdict: Verdict::Exact,
            ..crate::gate::blank()
        };
        assert_eq!(counts.verdict_anew(), Some(Verdict::Differs));
    }

    #[test]
    fn a_record_of_another_schema_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.json");
        let record = Record {
            schema: "perfbudget.record.v9".into(),
            ..crate::gate::blank()
        };
        fs::write(&path, serde_json::to_vec(&record).expect("JSON")).expect("written");
        let error = Record::read(&path).expect_err("not this schema");
        assert!(error.to_string().contains("x.json"), "{error}");
        let cause = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        assert!(cause.contains("perfbudget.record.v9"), "{cause}");
    }
}
