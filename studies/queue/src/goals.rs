//! The figures that the queue is to reach, and whether it does.

use std::fmt;

use shared::statistics::{median, most};

use crate::report::{Grouped, Ms, Ratio, mib};
use crate::results::{QueueRun, Results, Store};
use crate::study::{HUGE, LARGE, MIDDLE, REPETITIONS, neighbours};

/// What a store is to reach with [`MIDDLE`] instances.
pub struct Targets {
    /// Actions per second.
    pub rate: f64,
    /// What would be better still.
    pub stretch: f64,
    /// Of the raw limit.
    pub raw_ratio: f64,
    /// From ready to completed, 95 of 100.
    pub p95_ms: f64,
}

/// The targets of a store.
#[must_use]
pub const fn targets(store: Store) -> Targets {
    match store {
        Store::Sqlite => Targets {
            rate: 150_000.0,
            stretch: 300_000.0,
            raw_ratio: 0.50,
            p95_ms: 20.0,
        },
        Store::Postgres => Targets {
            rate: 60_000.0,
            stretch: 150_000.0,
            raw_ratio: 0.55,
            p95_ms: 30.0,
        },
    }
}

/// What a large number of instances is to keep of the rate of a small one.
pub const FLATNESS: [(u64, f64); 2] = [(LARGE, 0.9), (HUGE, 0.8)];

const MEMORY_BYTES: f64 = 400.0 * 1024.0 * 1024.0;

const EXIT_SECONDS: f64 = 2.0;

/// Whether a goal is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Reached,
    /// It is not.
    Missed,
    /// Nobody knows.
    NotMeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reached => "reached",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        })
    }
}

/// A figure to reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What is measured.
    pub figure: String,
    /// What it is to be.
    pub goal: String,
    /// What it is.
    pub measured: String,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// Whether it is a hope rather than a goal.
    pub is_stretch: bool,
}

/// All, of both stores.
#[must_use]
pub fn goals(results: &Results) -> Vec<Goal> {
    Store::ALL
        .into_iter()
        .flat_map(|store| of_store(results, store))
        .collect()
}

fn of_store(results: &Results, store: Store) -> Vec<Goal> {
    let Targets {
        rate,
        stretch,
        raw_ratio,
        p95_ms,
    } = targets(store);
    let middle = drained(results, store, MIDDLE);
    let of = |value: fn(&QueueRun) -> Option<f64>| -> Vec<f64> {
        middle.iter().filter_map(|run| value(run)).collect()
    };
    let rates = of(|run| Some(run.bench.actions_per_second));
    let ratios = of(|run| run.bench.raw_limit_ratio);
    let p95s = of(|run| Some(run.bench.action_p95_ms));
    let instances = Grouped(MIDDLE as f64);
    let mut all = vec![
        at_least(
            format!("{store}, {instances} instances: actions/s"),
            rate,
            &rates,
            |rate| Grouped(rate).to_string(),
        ),
        Goal {
            is_stretch: true,
            ..at_least(
                format!("{store}, {instances} instances: actions/s, stretch"),
                stretch,
                &rates,
                |rate| Grouped(rate).to_string(),
            )
        },
        at_least(
            format!("{store}, the same runs: rate ÷ raw limit"),
            raw_ratio,
            &ratios,
            |ratio| format!("{:.0} %", 100.0 * ratio),
        ),
        below(
            format!("{store}, the same runs: p95 from ready to completed"),
            p95_ms,
            median(&p95s),
            |ms| Ms(ms).to_string(),
        ),
    ];
    for (instances, least) in FLATNESS {
        let figure = format!(
            "{store}, {} instances: rate ÷ rate with 1,000",
            Grouped(instances as f64)
        );
        let ratios = flatness(results, store, instances);
        let mut goal = at_least(figure, least, &ratios, |ratio| Ratio(ratio).to_string());
        if let Some(run) = undrained(results, store, instances) {
            goal.measured = format!(
                "not drained: {} of {} instances in {:.0} s",
                Grouped(run.bench.instances_completed as f64),
                Grouped(instances as f64),
                run.bench.seconds
            );
            goal.verdict = Verdict::Missed;
        }
        all.push(goal);
    }
    let huge = results.runs(store, HUGE);
    let memory: Vec<f64> = huge
        .iter()
        .filter_map(|run| run.peak_memory_bytes)
        .map(|bytes| bytes as f64)
        .collect();
    all.push(below(
        format!("{store}, {} instances: client memory", Grouped(HUGE as f64)),
        MEMORY_BYTES,
        most(&memory),
        mib,
    ));
    let exits: Vec<f64> = results
        .deadline_runs(store)
        .iter()
        .map(|run| run.beyond_seconds())
        .collect();
    all.push(below(
        format!("{store}: exit after a deadline, the longest"),
        EXIT_SECONDS,
        most(&exits),
        |seconds| format!("{seconds:.2} s"),
    ));
    all
}

/// A median that is to be large.
fn at_least(figure: String, least: f64, values: &[f64], show: fn(f64) -> String) -> Goal {
    let middle = median(values);
    Goal {
        figure,
        goal: format!("≥ {}", show(least)),
        measured: if values.is_empty() {
            "–".to_owned()
        } else {
            format!("{} (n = {})", show(middle), values.len())
        },
        verdict: verdict(middle, middle >= least),
        is_stretch: false,
    }
}

/// A value that is to be small.
fn below(figure: String, limit: f64, value: f64, show: fn(f64) -> String) -> Goal {
    Goal {
        figure,
        goal: format!("< {}", show(limit)),
        measured: if value.is_nan() {
            "–".to_owned()
        } else {
            show(value)
        },
        verdict: verdict(value, value < limit),
        is_stretch: false,
    }
}

fn verdict(value: f64, is_reached: bool) -> Verdict {
    match (value.is_nan(), is_reached) {
        (true, _) => Verdict::NotMeasured,
        (false, true) => Verdict::Reached,
        (false, false) => Verdict::Missed,
    }
}

/// The runs that executed everything.
#[must_use]
pub fn drained(results: &Results, store: Store, instances: u64) -> Vec<&QueueRun> {
    let mut runs = results.runs(store, instances);
    runs.retain(|run| run.bench.is_drained());
    runs
}

/// A run that did not execute everything.
fn undrained(results: &Results, store: Store, instances: u64) -> Option<&QueueRun> {
    let runs = results.runs(store, instances);
    runs.into_iter().find(|run| !run.bench.is_drained())
}

/// Of each run with so many instances: its rate over the mean of the small runs just before and
/// after it.
#[must_use]
pub fn flatness(results: &Results, store: Store, instances: u64) -> Vec<f64> {
    let rate_of = |name: &str| {
        results
            .queue_runs()
            .find(|(task, run)| *task == name && run.bench.is_drained())
            .map(|(_, run)| run.bench.actions_per_second)
    };
    results
        .queue_runs()
        .filter(|(_, run)| {
            run.store == store && run.bench.instances == instances && run.bench.is_drained()
        })
        .filter_map(|(name, run)| {
            let small: Vec<f64> = neighbours(name)?
                .iter()
                .filter_map(|n| rate_of(n))
                .collect();
            let mean = small.iter().sum::<f64>() / small.len() as f64;
            (!small.is_empty()).then(|| run.bench.actions_per_second / mean)
        })
        .collect()
}

/// Whether a goal's figures rest on fewer runs than they should.
#[must_use]
pub fn has_too_few(results: &Results) -> bool {
    Store::ALL.into_iter().any(|store| {
        let n = drained(results, store, MIDDLE).len();
        n > 0 && n < REPETITIONS as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{header, run, task};
    use crate::results::{DeadlineRun, Outcome};

    fn results(tasks: Vec<(String, Outcome)>) -> Results {
        Results {
            header: header(),
            server: None,
            postgres_left_out: None,
            peers_left_out: None,
            tasks,
        }
    }

    fn queue(name: &str, instances: u64, rate: f64) -> (String, Outcome) {
        task(name, Outcome::Queue(run(Store::Sqlite, instances, rate)))
    }

    fn verdict_of(results: &Results, figure: &str) -> (Verdict, String) {
        let goals = goals(results);
        let goal = goals
            .iter()
            .find(|goal| goal.figure == figure)
            .unwrap_or_else(|| panic!("{figure} in {goals:?}"));
        (goal.verdict, goal.measured.clone())
    }

    const RATE: &str = "SQLite, 10,000 instances: actions/s";

    #[test]
    fn the_words_follow_the_data() {
        for (rates, verdict, measured) in [
            (
                &[149_000.0, 150_000.0, 151_000.0][..],
                Verdict::Reached,
                "150,000 (n = 3)",
            ),
            (
                &[149_000.0, 149_999.0, 151_000.0],
                Verdict::Missed,
                "149,999 (n = 3)",
            ),
            (&[], Verdict::NotMeasured, "–"),
        ] {
            let tasks = rates
                .iter()
                .enumerate()
                .map(|(n, rate)| queue(&format!("round-{n}/sqlite/10000"), MIDDLE, *rate))
                .collect();
            assert_eq!(
                verdict_of(&results(tasks), RATE),
                (verdict, measured.to_owned())
            );
        }
    }

    #[test]
    fn a_large_run_is_held_against_its_neighbours() {
        let tasks = vec![
            queue("round-1/sqlite/1000", 1_000, 100_000.0),
            queue("round-1/sqlite/50000", LARGE, 99_000.0),
            queue("round-1/sqlite/1000-after", 1_000, 120_000.0),
            queue("round-3/sqlite/1000", 1_000, 10_000.0),
        ];
        let results = results(tasks);
        let ratios = flatness(&results, Store::Sqlite, LARGE);
        assert!(
            ratios.len() == 1 && (ratios[0] - 0.9).abs() < 1e-9,
            "{ratios:?}"
        );
        let figure = "SQLite, 50,000 instances: rate ÷ rate with 1,000";
        assert_eq!(verdict_of(&results, figure).0, Verdict::Reached);
    }

    #[test]
    fn what_was_not_drained_reaches_nothing() {
        let mut unfinished = run(Store::Sqlite, HUGE, 900_000.0);
        unfinished.bench.hit_the_deadline = true;
        unfinished.bench.instances_completed = 400_000;
        unfinished.bench.seconds = 480.0;
        let results = results(vec![
            queue("long/sqlite/1000", 1_000, 100_000.0),
            task("long/sqlite/500000", Outcome::Queue(unfinished)),
        ]);
        assert_eq!(
            verdict_of(
                &results,
                "SQLite, 500,000 instances: rate ÷ rate with 1,000"
            ),
            (
                Verdict::Missed,
                "not drained: 400,000 of 500,000 instances in 480 s".to_owned()
            )
        );
    }

    #[test]
    fn the_slowest_exit_counts() {
        let exit = |name: &str, wall_seconds| {
            let run = DeadlineRun {
                store: Store::Sqlite,
                deadline_seconds: 5.0,
                wall_seconds,
                bench: run(Store::Sqlite, HUGE, 1e5).bench,
            };
            task(name, Outcome::Deadline(run))
        };
        let results = results(vec![
            exit("deadline-1/sqlite", 5.1),
            exit("deadline-2/sqlite", 7.25),
        ]);
        assert_eq!(
            verdict_of(&results, "SQLite: exit after a deadline, the longest"),
            (Verdict::Missed, "2.25 s".to_owned())
        );
    }
}
