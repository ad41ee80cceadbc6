//! Planted defects turn their gate red, with a message that names the cause.
//!
//! Each runs the real gate, in a process of its own with the defect in its environment.

use std::process::Command;

use tempfile::TempDir;

use crate::planted::PLANTED_ENV;

struct Run {
    passed: bool,
    text: String,
}

fn run_gate(test: &str, defect: Option<&str>) -> Run {
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
        // The control must be green on a slow machine too; the planted slowness is far beyond.
        .env("PERF_BUDGET_MULTIPLIER", "4.0");
    if let Some(defect) = defect {
        command.env(PLANTED_ENV, defect);
    }
    let output = command.output().expect("this binary starts");
    Run {
        passed: output.status.success(),
        text: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

const SYNCS: &str = "gates::perf_queue_complete_syncs";
const STATEMENTS: &str = "gates::perf_queue_complete_statements";

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

/// The control: without a defect the same processes are green.
#[test]
fn red_without_a_defect_is_green() {
    for test in [SYNCS, STATEMENTS] {
        let run = run_gate(test, None);
        assert!(run.passed, "{}", run.text);
    }
}

#[test]
fn red_completions_that_are_written_one_by_one() {
    let run = run_gate(SYNCS, Some("one-by-one"));
    assert_names(&run, &["queue/complete-syncs", "files", "25"]);
}

#[test]
fn red_a_row_that_is_read_per_action() {
    let run = run_gate(STATEMENTS, Some("row-per-action"));
    assert_names(&run, &["queue/complete-statements", "statements"]);
}

#[test]
fn red_a_transaction_that_is_split() {
    let run = run_gate(SYNCS, Some("split"));
    assert_names(&run, &["queue/complete-syncs", "files"]);
}
