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
        // The control must be green on a slow machine too; the planted slowness is far beyond.
        .env("PERF_BUDGET_MULTIPLIER", "4.0");
    if let Some(defect) = defect {
        command.env(PLANTED_ENV, defect);
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

/// The control: without a defect the same processes are green.
#[test]
fn red_without_a_defect_is_green() {
    for (test, gate) in [
        ("gates::perf_outbox_drain_25", "outbox/drain-25"),
        ("gates::perf_outbox_drain_syncs", "outbox/drain-syncs"),
        (
            "gates::perf_outbox_drain_allocations",
            "outbox/drain-allocations",
        ),
    ] {
        let run = run_gate(test, gate, None);
        assert!(run.passed, "{}", run.text);
        assert!(run.record.is_some());
    }
}

#[test]
fn red_a_slowed_drain_is_over_its_budget() {
    let run = run_gate(
        "gates::perf_outbox_drain_25",
        "outbox/drain-25",
        Some("slow-drain"),
    );
    assert_names(
        &run,
        &["gate outbox/drain-25 is over its budget", "8 operations of"],
    );
    let record = run.record.expect("a record");
    assert_eq!(record.verdict, Verdict::Over);
    assert_eq!(record.rounds.len(), 3);
}

#[test]
fn red_a_sync_per_record_is_named() {
    let run = run_gate(
        "gates::perf_outbox_drain_syncs",
        "outbox/drain-syncs",
        Some("sync-per-record"),
    );
    assert_names(
        &run,
        &[
            "gate outbox/drain-syncs does not do the work that its code says",
            "once for each record instead of once for all",
            "files                2         7  5 more",
            "fsync file",
        ],
    );
    assert_eq!(run.record.expect("a record").verdict, Verdict::Differs);
}

#[test]
fn red_an_allocation_per_record_is_named() {
    let run = run_gate(
        "gates::perf_outbox_drain_allocations",
        "outbox/drain-allocations",
        Some("copy-per-record"),
    );
    assert_names(
        &run,
        &[
            "gate outbox/drain-allocations does not do the work that its code says",
            "once for each record instead of once for all",
            "allocations           14        17  3 more",
        ],
    );
    assert_eq!(run.record.expect("a record").verdict, Verdict::Differs);
}

#[test]
fn red_a_dropped_directory_sync_is_named() {
    for (test, gate) in [
        ("gates::perf_outbox_drain_syncs", "outbox/drain-syncs"),
        ("gates::perf_outbox_recovery_syncs", "outbox/recovery-syncs"),
    ] {
        let run = run_gate(test, gate, Some("no-directory-sync"));
        assert_names(
            &run,
            &[
                "does not do the work that its code says",
                "dirs                 2         0  2 fewer",
                "durability that is lost",
                "fsync file",
                "wal.tmp",
            ],
        );
        assert_eq!(run.record.expect("a record").verdict, Verdict::Differs);
    }
}
