//! What a gate leaves behind.

use std::time::Duration;

use perfbudget::{Budget, Gate};
use serde_json::Value;

use crate::child::{Run, is_child};

#[test]
fn child_walltime() {
    if is_child() {
        let _fixture = perfbudget::tmpfs_dir();
        Gate::new("tests/walltime", Budget::cold(Duration::from_secs(1)))
            .batch(2)
            .run(|| 1 + 1);
    }
}

#[test]
fn child_counts() {
    if is_child() {
        Gate::counts("tests/counts").exactly([("files", 2)], [("files", 2)]);
    }
}

#[test]
fn a_record_has_the_keys_of_its_schema() {
    let run = Run::new();
    assert!(run.test("records::child_walltime", &[]).passed);
    assert!(run.test("records::child_counts", &[]).passed);
    for gate in ["tests/walltime", "tests/counts"] {
        let text = std::fs::read(run.record_path(gate)).expect("written");
        let record: Value = serde_json::from_slice(&text).expect("JSON");
        for key in [
            "schema",
            "gate",
            "tier",
            "class",
            "base_ns",
            "batch",
            "factor",
            "floor_ns",
            "multiplier",
            "multiplier_source",
            "limit_ns",
            "wall_ns",
            "lo_ns",
            "hi_ns",
            "samples",
            "rounds",
            "verdict",
            "allocator",
            "counts",
            "expected",
            "host",
            "warnings",
            "test",
            "run_id",
            "at",
        ] {
            assert!(record.get(key).is_some(), "{gate} has no {key}");
        }
        for key in ["path", "file", "line"] {
            assert!(
                record["test"].get(key).is_some(),
                "{gate} has no test.{key}"
            );
        }
        assert_eq!(record["schema"], "perfbudget.record.v1");
        assert_eq!(record["gate"], gate);
        assert_eq!(record["run_id"], "run");
        assert!(record["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    }
    let walltime = run.record("tests/walltime");
    assert_eq!(walltime.test.path, "records::child_walltime");
    assert_eq!(walltime.limit_ns, Some(10_000_000_000));
    assert!(walltime.host.fixtures.is_some());
    assert_eq!(run.record("tests/counts").counts["files"], 2);
}

#[test]
fn child_panics() {
    if is_child() {
        let gate = Gate::new("tests/panics", Budget::cold(Duration::from_secs(1)));
        gate.setup(|| panic!("in its setup")).run(|_: &mut ()| ());
    }
}

/// What the report knows it by.
#[test]
fn a_gate_that_does_not_come_to_its_end_leaves_its_claim_and_no_record() {
    let run = Run::new();
    let output = run.test("records::child_panics", &[]);
    assert!(!output.passed && output.text.contains("in its setup"));
    let named = "gate tests/panics: a panic before its verdict";
    assert!(output.text.contains(named), "{}", output.text);
    assert_eq!(run.files(), ["tests.panics.claim"]);
    let claim = run.dir.path().join("run/tests.panics.claim");
    let text = std::fs::read_to_string(claim).expect("a claim");
    assert!(text.contains("records.rs"), "{text}");
}

#[test]
fn a_relative_directory_and_an_impossible_run_id_are_warned_about() {
    let run = Run::new();
    let output = run.test_in(run.dir.path(), "records", "records::child_counts", &[]);
    assert!(output.passed, "{}", output.text);
    assert!(
        output.text.contains("PERFBUDGET_DIR is relative"),
        "{}",
        output.text
    );
    let variables = [("PERFBUDGET_RUN_ID", "a b")];
    let output = run.test("records::child_counts", &variables);
    assert!(
        output.text.contains("the run id \"a b\" is ignored"),
        "{}",
        output.text
    );
}

#[test]
fn a_record_that_cannot_be_written_is_said_and_fails_nothing() {
    let run = Run::new();
    let file = run.dir.path().join("a-file");
    std::fs::write(&file, "").expect("written");
    let output = run.test_in(run.dir.path(), &file, "records::child_counts", &[]);
    assert!(output.passed, "{}", output.text);
    assert!(
        output
            .text
            .contains("warning: failed to write its record to"),
        "{}",
        output.text
    );
}

#[test]
fn without_a_directory_nothing_is_written_and_the_output_says_so() {
    let run = Run::new();
    let output = run.test_in(run.dir.path(), "", "records::child_counts", &[]);
    assert!(output.passed, "{}", output.text);
    assert!(
        output.text.contains("no record: PERFBUDGET_DIR is not set"),
        "{}",
        output.text
    );
}

#[test]
fn nextests_run_id_comes_first_and_a_path_is_no_run_id() {
    let run = Run::new();
    let of_nextest = [("NEXTEST_RUN_ID", "of-nextest")];
    assert!(run.test("records::child_counts", &of_nextest).passed);
    assert!(run.dir.path().join("of-nextest").is_dir());
    let leading_out = [("PERFBUDGET_RUN_ID", "../out")];
    assert!(run.test("records::child_counts", &leading_out).passed);
    let runs = std::fs::read_dir(run.dir.path()).expect("read").count();
    assert_eq!(runs, 2, "a run id of its own stays below the directory");
}

/// The least that the contract of a record promises is read, by whoever wrote it.
#[test]
fn a_record_without_what_this_version_adds_is_read() {
    let run = Run::new();
    let path = run.dir.path().join("x.json");
    let text = r#"{"schema":"perfbudget.record.v1","gate":"x","tier":2,"counts":{"files":2},
        "expected":{"files":2},"host":{},"verdict":"exact","warnings":[],
        "test":{"path":"perf_x","file":"x.rs","line":1},"run_id":"r","at":"2026-11-21T00:00:00Z"}"#;
    std::fs::write(&path, text).expect("written");
    let record = perfbudget::Record::read(&path).expect("read");
    assert_eq!((record.gate.as_str(), record.counts["files"]), ("x", 2));
    assert_eq!(record.headroom(), None);
}

#[test]
fn an_invalid_multiplier_stands_in_the_record() {
    let run = Run::new();
    let output = run.test(
        "records::child_walltime",
        &[("PERF_BUDGET_MULTIPLIER", "1.0x")],
    );
    assert!(output.passed, "{}", output.text);
    let record = run.record("tests/walltime");
    assert_eq!(record.multiplier, Some(1.0));
    assert!(record.warnings[0].contains("\"1.0x\" is not a number"));
}
