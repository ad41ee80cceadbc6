//! Walltime gates: measured where the build is optimised, run once where it is not.

use std::cell::Cell;
use std::time::Duration;

use perfbudget::{Budget, Gate, Verdict};

use crate::child::{Run, is_child};

const LONG: Budget = Budget::warm(Duration::from_secs(1));

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_runs_the_operation_once_and_says_so() {
    let (setups, runs) = (Cell::new(0), Cell::new(0));
    let record = Gate::new("tests/once", LONG)
        .batch(8)
        .setup(|| setups.set(setups.get() + 1))
        .check(|()| runs.set(runs.get() + 1));
    assert_eq!((setups.get(), runs.get()), (1, 1));
    assert_eq!(record.verdict, Verdict::NotMeasured);
    assert_eq!(
        record.not_measured.as_deref(),
        Some("this is a debug build")
    );
    assert!(record.samples.is_empty() && record.wall_ns.is_none());
}

#[test]
fn child_passes() {
    if is_child() {
        Gate::new("tests/passes", LONG).run(|| ());
    }
}

#[cfg(debug_assertions)]
#[test]
fn what_a_run_denies_fails() {
    let run = Run::new();
    assert!(run.test("walltime::child_passes", &[]).passed);
    let denying = [("PERFBUDGET_DENY", "contended,not_measured")];
    let output = run.test("walltime::child_passes", &denying);
    assert!(!output.passed);
    assert!(
        output
            .text
            .contains("gate tests/passes was not measured, which this run denies"),
        "{}",
        output.text
    );
    let mistyped = [("PERFBUDGET_DENY", "not-measured")];
    assert!(run.test("walltime::child_passes", &mistyped).passed);
    let warnings = run.record("tests/passes").warnings;
    assert!(
        warnings[0].contains("\"not-measured\" is ignored"),
        "{warnings:?}"
    );
}

#[test]
fn a_gate_that_its_floor_sets_is_marked() {
    let small = Budget::warm(Duration::from_micros(10));
    let record = Gate::new("tests/floored", small).check(|| ());
    assert!(
        record.warnings[0].contains("100 times its base unseen"),
        "{:?}",
        record.warnings
    );
    let record = Gate::new("tests/batched", small).batch(100).check(|| ());
    assert_eq!(record.warnings, [""; 0]);
}

/// Busy for at least this long by the clock that measures.
#[cfg(not(debug_assertions))]
fn take(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// In an optimised build: the gate's whole way to a red test.
#[cfg(not(debug_assertions))]
#[test]
fn red_code_over_its_limit_fails_in_three_rounds() {
    let rounds = Cell::new(0);
    let record = Gate::new("tests/over", Budget::warm(Duration::from_micros(350))).check(|| {
        rounds.set(rounds.get() + 1);
        take(Duration::from_millis(2));
    });
    assert_eq!(record.verdict, Verdict::Over, "{record:?}");
    assert_eq!(rounds.get(), 3 * 12);
    assert_eq!(record.rounds.len(), 3);
    assert_eq!(record.samples.len(), 11);
    assert!(record.samples.iter().all(|s| s.wall_ns >= 2_000_000));
}

#[cfg(not(debug_assertions))]
#[test]
fn red_is_not_what_is_within() {
    let runs = Cell::new(0);
    let record = Gate::new("tests/within", LONG).check(|| {
        runs.set(runs.get() + 1);
        take(Duration::from_micros(50));
    });
    assert_eq!(record.verdict, Verdict::Within);
    assert_eq!(runs.get(), 12, "a passing gate costs one round");
    assert!(record.headroom().is_some_and(|h| h > 100.0));
}
