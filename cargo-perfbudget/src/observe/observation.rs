//! What was observed of one gate in several processes, and what there is to say against it.

use std::collections::{BTreeMap, BTreeSet};

use perfbudget::record::{Host, Nanoseconds, TestPlace};
use perfbudget::{Class, Record, Verdict};
use serde::Serialize;

use super::base::{self, Given, Terms};

/// One gate, by its tier.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Observation {
    Time(TimeObservation),
    Counts(CountObservation),
}

/// What every observation says.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    pub(crate) gate: String,
    pub(crate) tier: u8,
    pub(crate) test: TestPlace,
    pub(crate) host: Host,
    /// The day, UTC.
    pub(crate) date: String,
    pub(crate) warnings: Vec<String>,
    /// What to write beside the test.
    pub(crate) line: String,
}

/// A walltime gate. Times are of one operation.
#[derive(Debug, Serialize)]
pub(crate) struct TimeObservation {
    #[serde(flatten)]
    pub(crate) about: About,
    pub(crate) class: Class,
    pub(crate) batch: u32,
    pub(crate) processes: Vec<Process>,
    pub(crate) median_ns: f64,
    pub(crate) min_ns: f64,
    pub(crate) max_ns: f64,
    pub(crate) cv_percent: Option<f64>,
    /// The base that the code has, and the one that was observed.
    pub(crate) present: Given,
    pub(crate) observed: Given,
    /// The least batch with which the floor does not set the limit.
    pub(crate) batch_above_floor: u64,
}

/// One process: trimmed means of its round that decided.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Process {
    /// The code's own time.
    pub(crate) own_ns: f64,
    pub(crate) wall_ns: f64,
    pub(crate) verdict: Verdict,
}

/// A count gate.
#[derive(Debug, Serialize)]
pub(crate) struct CountObservation {
    #[serde(flatten)]
    pub(crate) about: About,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) expected: BTreeMap<String, u64>,
    pub(crate) processes: usize,
}

/// Why a gate's records can't be made an observation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum NoObservation {
    #[error("failed to observe {gate}: it was not measured\n{why}")]
    NotMeasured { gate: String, why: String },
    #[error("failed to observe {gate}: a record of it has no {field}")]
    Incomplete { gate: String, field: &'static str },
}

impl Observation {
    /// From the records of one gate, one a process; there is at least one.
    pub(crate) fn of(
        gate: &str,
        test: TestPlace,
        records: &[Record],
    ) -> Result<Self, NoObservation> {
        let incomplete = |field| NoObservation::Incomplete {
            gate: gate.to_owned(),
            field,
        };
        let last = records.last().ok_or_else(|| incomplete("process"))?;
        let about = About {
            gate: gate.to_owned(),
            tier: last.tier,
            test,
            host: last.host.clone(),
            date: last.at.chars().take(10).collect(),
            warnings: Vec::new(),
            line: String::new(),
        };
        if let Some(record) = records.iter().find(|r| r.verdict == Verdict::NotMeasured) {
            return Err(NoObservation::NotMeasured {
                gate: gate.to_owned(),
                why: record.not_measured.clone().unwrap_or_default(),
            });
        }
        if last.tier == 2 {
            return Ok(Self::Counts(CountObservation::of(about, last, records)));
        }
        TimeObservation::of(about, last, records)
            .map(Self::Time)
            .map_err(incomplete)
    }

    pub(crate) fn about(&self) -> &About {
        match self {
            Self::Time(observation) => &observation.about,
            Self::Counts(observation) => &observation.about,
        }
    }
}

impl TimeObservation {
    /// The error is the field that is missing.
    fn of(mut about: About, last: &Record, records: &[Record]) -> Result<Self, &'static str> {
        let class = last.class.ok_or("class")?;
        let terms = Terms {
            batch: last.batch.ok_or("batch")?.max(1),
            factor: last.factor.ok_or("factor")?,
            floor_ns: last.floor_ns.ok_or("floor_ns")?,
        };
        let processes = records
            .iter()
            .map(|record| Process::of(record, terms.batch))
            .collect::<Result<Vec<_>, _>>()?;
        let own: Vec<f64> = processes.iter().map(|process| process.own_ns).collect();
        let median_ns = base::median(&own);
        let base_ns = base::rounded(median_ns);
        about.line = base::line(
            &about.gate,
            class,
            median_ns,
            &format!(
                "median of {}, {}, {}",
                counted(processes.len(), "process", "processes"),
                machine(&about.host),
                about.date
            ),
        );
        let mut observation = Self {
            about,
            class,
            batch: terms.batch,
            median_ns,
            min_ns: own.iter().copied().fold(f64::INFINITY, f64::min),
            max_ns: own.iter().copied().fold(0.0, f64::max),
            cv_percent: base::cv_percent(&own),
            present: terms.give(last.base_ns.ok_or("base_ns")?, median_ns),
            observed: terms.give(base_ns, median_ns),
            batch_above_floor: terms.batch_above_floor(base_ns),
            processes,
        };
        observation.about.warnings = observation.warnings(records);
        Ok(observation)
    }

    /// The largest over the smallest.
    pub(crate) fn spread(&self) -> f64 {
        self.max_ns / self.min_ns.max(f64::MIN_POSITIVE)
    }

    fn warnings(&self, records: &[Record]) -> Vec<String> {
        const SPREAD_MAX: f64 = 1.25;
        const WAITING_MAX: f64 = 1.05;
        let mut warnings = Vec::new();
        let waited = |process: &&Process| process.wall_ns > process.own_ns * WAITING_MAX;
        let waiting = self.processes.iter().filter(waited).count();
        if waiting > 0 {
            let longest = self
                .processes
                .iter()
                .map(|p| p.wall_ns / p.own_ns.max(1e-9));
            warnings.push(format!(
                "the machine was busy: in {waiting} of {} wall was longer than the code's own time, \
                 by up to {:.0} %; observe again on a quiet one",
                counted(self.processes.len(), "process", "processes"),
                (longest.fold(1.0, f64::max) - 1.0) * 100.0
            ));
        }
        if self.spread() > SPREAD_MAX {
            warnings.push(format!(
                "the processes differ by {:.2} ×: observe again on a quiet machine; if it stays, \
                 it is the code that varies",
                self.spread()
            ));
        }
        let loads = records.iter().filter_map(|record| record.host.load_1m);
        let load = loads.fold(0.0, f64::max);
        // The test itself is one task: above this something else wants the CPU that it is on.
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        if load > self.about.host.cores.max(1) as f64 {
            warnings.push(format!(
                "the load was {load:.1} on {} (the build before it is part of that): observe again",
                counted(self.about.host.cores, "core", "cores")
            ));
        }
        if self.about.host.build.contains("opt-level 1") {
            warnings.push("it was built with opt-level 1: a release has more".to_owned());
        }
        warnings.extend(of_records(records));
        warnings
    }
}

impl Process {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a test")]
    fn of(record: &Record, batch: u32) -> Result<Self, &'static str> {
        let wall = record.wall_ns.ok_or("wall_ns")?.trimmed_mean;
        let own = record.hi_ns.ok_or("hi_ns")?;
        let each = |sample: u64| sample as f64 / f64::from(batch);
        Ok(Self {
            own_ns: each(own),
            wall_ns: each(wall),
            verdict: record.verdict,
        })
    }
}

impl CountObservation {
    fn of(mut about: About, last: &Record, records: &[Record]) -> Self {
        let pairs = last.counts.iter().map(|(key, n)| format!("({key:?}, {n})"));
        about.line = format!(
            ".exactly([{}], observed)",
            pairs.collect::<Vec<_>>().join(", ")
        );
        let distinct: BTreeSet<_> = records.iter().map(|record| &record.counts).collect();
        if distinct.len() > 1 {
            let each = records.iter().map(|record| listed(&record.counts));
            about.warnings.push(format!(
                "the processes counted different things: {}",
                each.collect::<Vec<_>>().join(" | ")
            ));
        }
        about.warnings.extend(of_records(records));
        Self {
            about,
            counts: last.counts.clone(),
            expected: last.expected.clone(),
            processes: records.len(),
        }
    }
}

/// What the gate itself warns about, each once. What it says of its present base and of the floor
/// is left out: the observation knows better.
fn of_records(records: &[Record]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for warning in records.iter().flat_map(|record| &record.warnings) {
        let is_of_the_base = ["its base is ", "the floor of "]
            .iter()
            .any(|start| warning.starts_with(start));
        if !is_of_the_base && !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    warnings
}

/// `2 dirs, 2 files`.
pub(crate) fn listed(counts: &BTreeMap<String, u64>) -> String {
    let texts: Vec<String> = counts.iter().map(|(key, n)| format!("{n} {key}")).collect();
    if texts.is_empty() {
        return "nothing".to_owned();
    }
    texts.join(", ")
}

/// `AMD EPYC, 2 cores`.
pub(crate) fn machine(host: &Host) -> String {
    format!(
        "{}, {}",
        host.cpu.as_deref().unwrap_or(&host.arch),
        counted(host.cores, "core", "cores")
    )
}

pub(crate) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

/// The time of a sample, as that of its operations where it has several.
pub(crate) fn sample(nanoseconds: u64, batch: u32) -> String {
    match batch {
        0 | 1 => Nanoseconds(nanoseconds).to_string(),
        batch => format!("{batch} × {}", Nanoseconds(nanoseconds / u64::from(batch))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(fields: &Value) -> Record {
        let mut record = json!({
            "schema": perfbudget::record::SCHEMA, "gate": "outbox/drain-25", "tier": 1,
            "class": "warm", "base_ns": 10_000, "batch": 8, "factor": 3, "floor_ns": 1_000_000,
            "multiplier": 1.0, "limit_ns": 1_000_000, "verdict": "within",
            "host": {"os": "linux", "kernel": "6.18.0", "arch": "x86_64", "cpu": "AMD EPYC",
                     "cores": 2, "load_1m": 0.25, "build": "opt-level 3", "fixtures": "tmpfs"},
            "test": {"path": "perf_drain_25", "package": "outbox",
                     "file": "outbox/tests/perf.rs", "line": 7},
            "run_id": "observed", "at": "2026-11-21T04:00:00Z",
        });
        for (key, value) in fields.as_object().expect("an object") {
            record[key] = value.clone();
        }
        serde_json::from_value(record).expect("a record")
    }

    /// Of a sample: the code's own time and wall, in nanoseconds.
    fn timed(own: u64, wall: u64, more: &Value) -> Record {
        let mut fields = json!({
            "lo_ns": own, "hi_ns": own,
            "wall_ns": {"trimmed_mean": wall, "median": wall, "min": wall, "max": wall,
                        "cv_percent": 1.0},
        });
        for (key, value) in more.as_object().expect("an object") {
            fields[key] = value.clone();
        }
        record(&fields)
    }

    pub(in crate::observe) fn observed(records: &[Record]) -> Observation {
        let last = records.last().expect("a record");
        Observation::of(&last.gate, last.test.clone(), records).expect("observed")
    }

    fn time(records: &[Record]) -> TimeObservation {
        match observed(records) {
            Observation::Time(observation) => observation,
            Observation::Counts(_) => panic!("these are times"),
        }
    }

    /// Six quiet processes of 8 × about 85 µs.
    pub(in crate::observe) fn quiet() -> Vec<Record> {
        [680_000, 676_000, 678_500, 684_000, 671_200, 679_000]
            .map(|ns| timed(ns, ns, &json!({})))
            .to_vec()
    }

    /// Two that differ, on a busy machine.
    pub(in crate::observe) fn busy() -> Vec<Record> {
        let host = json!({"os": "linux", "arch": "x86_64", "cores": 2, "load_1m": 3.5,
                          "build": "opt-level 1"});
        let warnings = [
            json!([
                "its base is 12 times what it takes",
                "its fixtures are not in memory"
            ]),
            json!([
                "the floor of 1ms sets its limit",
                "its fixtures are not in memory"
            ]),
        ];
        let more = |n: usize| {
            json!({"host": host, "batch": 1, "class": "cold", "factor": 5,
                   "warnings": warnings[n], "verdict": "over"})
        };
        vec![
            timed(100_000, 150_000, &more(0)),
            timed(130_000, 131_000, &more(1)),
        ]
    }

    /// One process on its own.
    pub(in crate::observe) fn counted_things() -> Vec<Record> {
        vec![record(&json!({
            "gate": "outbox/drain-syncs", "tier": 2, "class": null, "verdict": "differs",
            "counts": {"files": 2, "weak": 1}, "expected": {"dirs": 2, "files": 2},
        }))]
    }

    #[test]
    fn times_are_of_one_operation_and_their_middle_is_the_base() {
        let observation = time(&quiet());
        // (678 500 + 679 000) / 2 / 8
        assert!((observation.median_ns - 84_843.75).abs() < 1e-9);
        assert!((observation.min_ns - 83_900.0).abs() < 1e-9);
        assert!((observation.max_ns - 85_500.0).abs() < 1e-9);
        assert_eq!(observation.observed.base_ns, 84_800);
        assert_eq!(observation.about.warnings, [""; 0]);
    }

    #[test]
    fn the_base_is_the_codes_own_time_and_not_wall() {
        let records = [timed(800_000, 1_600_000, &json!({}))];
        let observation = time(&records);
        assert!((observation.median_ns - 100_000.0).abs() < 1e-9);
        let warning = &observation.about.warnings[0];
        assert!(
            warning.contains("in 1 of 1 process wall was longer"),
            "{warning}"
        );
        assert!(warning.contains("by up to 100 %"), "{warning}");
    }

    #[test]
    fn warnings_begin_where_they_should() {
        let warnings = |records: &[Record]| time(records).about.warnings.len();
        let of = |own, wall, load: f64| {
            let host = json!({"cores": 2, "load_1m": load, "build": "opt-level 3"});
            timed(own, wall, &json!({"host": host}))
        };
        assert_eq!(warnings(&[of(1_000_000, 1_050_000, 2.0)]), 0);
        assert_eq!(warnings(&[of(1_000_000, 1_051_000, 2.0)]), 1);
        assert_eq!(warnings(&[of(1_000_000, 1_000_000, 2.1)]), 1);
        let other = |ns| of(ns, ns, 0.0);
        assert_eq!(warnings(&[other(1_000_000), other(1_250_000)]), 0);
        assert_eq!(warnings(&[other(1_000_000), other(1_251_000)]), 1);
    }

    #[test]
    fn a_record_that_says_nothing_is_an_error() {
        let test = TestPlace::default;
        let not_measured = record(&json!({"verdict": "not_measured", "not_measured": "why not"}));
        let error = Observation::of("a/b", test(), &[not_measured]).expect_err("not measured");
        assert!(
            error.to_string().ends_with("it was not measured\nwhy not"),
            "{error}"
        );
        let error = Observation::of("a/b", test(), &[record(&json!({}))]).expect_err("no times");
        assert!(error.to_string().contains("wall_ns"), "{error}");
        assert!(Observation::of("a/b", test(), &[]).is_err());
    }

    #[test]
    fn counts_that_differ_between_processes_are_warned_about() {
        let of = |n: u64| record(&json!({"tier": 2, "verdict": "exact", "counts": {"rows": n}}));
        assert_eq!(observed(&[of(1), of(1)]).about().warnings, [""; 0]);
        let observation = observed(&[of(1), of(2)]);
        let warnings = &observation.about().warnings;
        assert!(warnings[0].ends_with("1 rows | 2 rows"), "{warnings:?}");
    }
}
