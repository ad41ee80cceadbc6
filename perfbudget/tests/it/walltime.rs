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
    let why = record.not_measured.as_deref().unwrap_or_default();
    assert!(
        why.starts_with("this is a debug build; build the gates with"),
        "{why}"
    );
    assert!(record.samples.is_empty() && record.wall_ns.is_none());
}

#[cfg(debug_assertions)]
const CHILD_PASSES_LINE: u32 = line!() + 5;

#[test]
fn child_passes() {
    if is_child() {
        Gate::new("tests/passes", LONG).setup(|| ()).run(|()| ());
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
    for text in [
        "gate tests/passes was not measured, which this run denies",
        // The line of the gate's `run`, not one of this crate's.
        &format!("tests/it/walltime.rs:{}:", CHILD_PASSES_LINE),
    ] {
        assert!(
            output.text.contains(text),
            "{text} is not in:\n{}",
            output.text
        );
    }
    let mistyped = [("PERFBUDGET_DENY", "not-measured")];
    assert!(run.test("walltime::child_passes", &mistyped).passed);
    let warnings = run.record("tests/passes").warnings;
    assert!(
        warnings[0].contains("\"not-measured\" is ignored"),
        "{warnings:?}"
    );
}

#[test]
fn child_is_floored() {
    if is_child() {
        let small = Budget::warm(Duration::from_micros(10));
        Gate::new("tests/floored", small).batch(4).run(|| ());
        Gate::new("tests/batched", small).batch(34).run(|| ());
    }
}

#[test]
fn a_gate_that_its_floor_sets_is_marked() {
    let run = Run::new();
    assert!(run.test("walltime::child_is_floored", &[]).passed);
    let warnings = run.record("tests/floored").warnings;
    assert!(
        warnings[0].contains("25 times its base unseen; a batch of 34 or more"),
        "{warnings:?}"
    );
    let warnings = run.record("tests/batched").warnings;
    // Both are in a test that no filter for gates finds.
    let misnamed = "its test walltime::child_is_floored is not named perf_…";
    assert!(
        warnings.last().is_some_and(|w| w.starts_with(misnamed)),
        "{warnings:?}"
    );
    assert!(!warnings[0].contains("sets its limit"), "{warnings:?}");
}

/// An optimised build shows the whole way to a red test. In processes of their own, so that a
/// multiplier in the environment of the tests is not theirs.
#[cfg(not(debug_assertions))]
mod timed {
    use super::*;

    /// Busy for at least this long by the clock that measures.
    fn take(time: Duration) {
        let start = std::time::Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn red_child_is_over() {
        if is_child() {
            let rounds = Cell::new(0);
            let budget = Budget::warm(Duration::from_micros(350));
            let record = Gate::new("tests/over", budget).check(|| {
                rounds.set(rounds.get() + 1);
                take(Duration::from_millis(2));
            });
            assert_eq!(record.verdict, Verdict::Over);
            assert_eq!(rounds.get(), 3 * 12);
            Gate::new("tests/over-and-out", budget).run(|| take(Duration::from_millis(2)));
        }
    }

    #[test]
    fn red_child_is_within() {
        if is_child() {
            let runs = Cell::new(0);
            let record = Gate::new("tests/within", LONG).check(|| {
                runs.set(runs.get() + 1);
                take(Duration::from_micros(50));
            });
            assert_eq!(record.verdict, Verdict::Within);
            assert_eq!(runs.get(), 12, "a passing gate costs one round");
        }
    }

    #[test]
    fn red_code_over_its_limit_fails_in_three_rounds() {
        let run = Run::new();
        let output = run.test("walltime::timed::red_child_is_over", &[]);
        assert!(!output.passed);
        let text = &output.text;
        assert!(
            text.contains("gate tests/over-and-out is over its budget"),
            "{text}"
        );
        let record = run.record("tests/over");
        assert_eq!((record.rounds.len(), record.samples.len()), (3, 11));
        assert!(record.samples.iter().all(|s| s.wall_ns >= 2_000_000));
        assert!(record.headroom().is_some_and(|headroom| headroom < 1.0));
    }

    #[test]
    fn red_is_not_what_is_within() {
        let run = Run::new();
        let output = run.test("walltime::timed::red_child_is_within", &[]);
        assert!(output.passed, "{}", output.text);
        assert!(
            run.record("tests/within")
                .headroom()
                .is_some_and(|h| h > 100.0)
        );
    }

    #[test]
    fn red_the_pace_is_read_where_it_is_asked_for() {
        let paces = |value: &str| {
            let run = Run::new();
            let asked = [("PERFBUDGET_PACE", value)];
            run.test("walltime::timed::red_child_is_over", &asked);
            let record = run.record("tests/over");
            let paces = record.rounds.iter().map(|round| round.pace_ns);
            paces.collect::<Vec<_>>()
        };
        assert_eq!(paces(""), [None; 3]);
        let has_work = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        let are_there: Vec<bool> = paces("1").iter().map(Option::is_some).collect();
        assert_eq!(are_there, [has_work; 3]);
    }

    #[test]
    fn red_coverage_is_not_timed() {
        let run = Run::new();
        let coverage = [("LLVM_PROFILE_FILE", "x.profraw")];
        assert!(run.test("walltime::child_passes", &coverage).passed);
        let record = run.record("tests/passes");
        assert_eq!(record.verdict, Verdict::NotMeasured);
    }
}
