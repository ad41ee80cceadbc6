//! Planted defects turn their gate red, with a message that names the cause.
//!
//! Each runs the real gate, in a process of its own with the defect in its environment. Walltime
//! can only be shown in a build that is timed, so that these exist in optimised builds only.

use std::process::Command;

use perfbudget::{Record, Verdict};
use tempfile::TempDir;

use crate::planted::PLANTED_ENV;

/// What a gate's test said, and its record if it came so far.
struct Run {
    passed: bool,
    text: String,
    record: Option<Record>,
}

fn run_gate(test: &str, gate: &str, defect: Option<&str>) -> Run {
    let records = TempDir::new().expect("a directory");
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", test, "--nocapture"]);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("NEXTEST") || name.starts_with("PERF") {
            command.env_remove(variable);
        }
    }
    command
        .env("PERFBUDGET_DIR", records.path())
        .env("PERFBUDGET_RUN_ID", "red")
        // The control must be green on a slow machine too.
        .env("PERF_BUDGET_MULTIPLIER", "4.0");
    if let Some(defect) = defect {
        command
            .env(PLANTED_ENV, defect)
            .env("PERF_BUDGET_MULTIPLIER", "1.0")
            .env("PERFBUDGET_DENY", "undecided");
    }
    let output = command.output().expect("this binary starts");
    let path = records.path().join("red").join(Record::file_name(gate));
    Run {
        passed: output.status.success(),
        text: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        record: path
            .exists()
            .then(|| Record::read(&path).expect("a record")),
    }
}

#[track_caller]
fn assert_names(run: &Run, causes: &[&str]) {
    assert!(!run.passed, "the gate did not fail:\n{}", run.text);
    for cause in causes {
        assert!(
            run.text.contains(cause),
            "{cause:?} is not in:\n{}",
            run.text
        );
    }
}

/// Over its budget, in three rounds. On a machine that is busy the work of two threads can't be
/// proved guilty, and may be undecided; what it never is, is green.
#[track_caller]
fn assert_is_over(test: &str, gate: &str, defect: &str) {
    let run = run_gate(test, gate, Some(defect));
    let record = run.record.as_ref().expect("a record");
    match record.verdict {
        Verdict::Over => assert_names(&run, &[&format!("gate {gate} is over its budget")]),
        verdict => assert_eq!(verdict, Verdict::Undecided, "{}", run.text),
    }
    assert!(!run.passed, "{}", run.text);
    assert_eq!(record.rounds.len(), 3);
}

/// The control: without a defect the same processes are green.
#[test]
fn red_without_a_defect_is_green() {
    for (test, gate) in [
        (
            "gates::perf_trajectory_batch_syncs",
            "trajectory/batch-syncs",
        ),
        (
            "gates::perf_trajectory_batch_transactions",
            "trajectory/batch-transactions",
        ),
        ("gates::perf_trajectory_log_turn", "trajectory/log-turn"),
        ("gates::perf_trajectory_flush_10", "trajectory/flush-10"),
        (
            "gates::perf_trajectory_longest_gap",
            "trajectory/longest-gap",
        ),
    ] {
        let run = run_gate(test, gate, None);
        assert!(run.passed, "{}", run.text);
        assert!(run.record.is_some());
    }
}

#[test]
fn red_a_sync_a_turn_is_named() {
    let run = run_gate(
        "gates::perf_trajectory_batch_syncs",
        "trajectory/batch-syncs",
        Some("transaction-a-turn"),
    );
    assert_names(
        &run,
        &[
            "gate trajectory/batch-syncs does not do the work that its code says",
            "once for each record instead of once for all",
            "files                1        10  9 more",
            "log.db-wal",
        ],
    );
    assert_eq!(run.record.expect("a record").verdict, Verdict::Differs);
}

#[test]
fn red_a_transaction_a_turn_is_named() {
    let run = run_gate(
        "gates::perf_trajectory_batch_transactions",
        "trajectory/batch-transactions",
        Some("transaction-a-turn"),
    );
    assert_names(
        &run,
        &[
            "gate trajectory/batch-transactions does not do the work that its code says",
            "once for each record instead of once for all",
            "commits               1        10  9 more",
        ],
    );
    assert_eq!(run.record.expect("a record").verdict, Verdict::Differs);
}

#[test]
fn red_a_slow_write_is_over_its_budget() {
    assert_is_over(
        "gates::perf_trajectory_flush_10",
        "trajectory/flush-10",
        "slow-write",
    );
}

#[test]
fn red_a_slow_caller_is_over_its_budget() {
    assert_is_over(
        "gates::perf_trajectory_log_turn",
        "trajectory/log-turn",
        "slow-caller",
    );
}

#[test]
fn red_a_runtime_that_is_blocked_is_over_its_budget() {
    assert_is_over(
        "gates::perf_trajectory_longest_gap",
        "trajectory/longest-gap",
        "writes-by-itself",
    );
}
