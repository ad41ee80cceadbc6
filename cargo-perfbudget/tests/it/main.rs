//! The command as a user meets it: its table, its files and its exit codes.

mod calibrate;
mod compare;
mod decide;
mod observe;
mod syncs;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory of records that are made here, and the command.
struct Records(TempDir);

impl Records {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn add(&self, run: &str, record: &Value) {
        let gate = record["gate"].as_str().expect("a name");
        let dir = self.path().join(run);
        std::fs::create_dir_all(&dir).expect("made");
        let file = dir.join(perfbudget::Record::file_name(gate));
        std::fs::write(file, record.to_string()).expect("written");
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn report(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"))
            .args(["perfbudget", "report"])
            .args(arguments)
            .env("PERFBUDGET_DIR", self.path())
            .env_remove("CLICOLOR_FORCE")
            .output()
            .expect("the command starts")
    }
}

/// Where this project's own crates are.
fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a workspace")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn base(gate: &str, test: &str, verdict: &str) -> Value {
    json!({
        "schema": "perfbudget.record.v1", "gate": gate, "tier": 2, "class": null, "base_ns": null,
        "batch": null, "factor": null, "floor_ns": null, "multiplier": null, "limit_ns": null,
        "wall_ns": null, "lo_ns": null, "hi_ns": null, "bounds": null, "samples": [],
        "rounds": [], "verdict": verdict, "not_measured": null, "allocator": null,
        "counts": {"files": 2, "dirs": 2}, "expected": {"files": 2, "dirs": 2}, "evidence": [],
        "host": {"os": "linux", "kernel": "6.18.0", "arch": "x86_64", "cpu": "AMD EPYC",
                 "cores": 2, "load_1m": 0.1, "build": "opt-level 3", "fixtures": "tmpfs"},
        "warnings": [],
        "test": {"path": test, "binary": "outbox::perf", "package": "outbox",
                 "file": "outbox/tests/perf.rs", "line": 7},
        "run_id": "run-1", "at": "2026-11-21T04:00:00Z",
    })
}

fn walltime(gate: &str, test: &str, verdict: &str, wall_us: u64) -> Value {
    let mut record = base(gate, test, verdict);
    let fields = json!({
        "tier": 1, "class": "warm", "base_ns": 120_000, "batch": 8, "factor": 3,
        "floor_ns": 1_000_000, "multiplier": 1.0, "limit_ns": 2_880_000, "counts": {},
        "expected": {}, "allocator": "glibc",
        "wall_ns": {"trimmed_mean": wall_us * 1000, "median": wall_us * 1000,
                    "min": wall_us * 900, "max": wall_us * 1100, "cv_percent": 1.5},
    });
    for (key, value) in fields.as_object().expect("an object") {
        record[key] = value.clone();
    }
    record
}

/// Three gates that pass.
fn green() -> Records {
    let records = Records::new();
    records.add("run-1", &base("outbox/drain-syncs", "perf_syncs", "exact"));
    records.add(
        "run-1",
        &walltime("outbox/drain-25", "perf_drain", "within", 640),
    );
    let mut not_measured = walltime("outbox/commit", "perf_commit", "not_measured", 0);
    not_measured["wall_ns"] = Value::Null;
    not_measured["not_measured"] = "this is a debug build".into();
    records.add("run-1", &not_measured);
    records
}

/// The same with one over, one that differs and one that warns.
fn red() -> Records {
    let records = green();
    records.add(
        "run-1",
        &walltime("outbox/slow", "perf_slow", "over", 17_300),
    );
    let mut differs = base("outbox/lost-sync", "perf_lost_sync", "differs");
    differs["counts"] = json!({"files": 2});
    records.add("run-1", &differs);
    let mut warned = walltime("outbox/small", "perf_small", "within", 3);
    warned["warnings"] = json!(["the floor of 1ms sets its limit"]);
    records.add("run-1", &warned);
    records
}

#[test]
fn a_green_run_is_a_table_and_exits_with_0() {
    let output = green().report(&[]);
    insta::assert_snapshot!(out(&output));
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn multipliers_that_were_worked_out_are_a_range() {
    let records = green();
    let multiplied = |gate: &str, multiplier: f64| {
        let mut record = walltime(gate, "perf_drain", "within", 640);
        record["multiplier"] = multiplier.into();
        record["multiplier_source"] = "auto: cpu work 1.93 ms here".into();
        records.add("run-1", &record);
    };
    multiplied("outbox/drain-25", 1.6);
    multiplied("outbox/commit", 1.6);
    let text = out(&records.report(&[]));
    assert!(text.contains(" · multiplier 1.6 (auto) · "), "{text}");
    multiplied("outbox/commit", 1.93);
    let text = out(&records.report(&[]));
    assert!(
        text.contains(" · multiplier 1.6 … 1.93 (auto) · "),
        "{text}"
    );
}

#[test]
fn a_red_run_exits_with_3() {
    let output = red().report(&["--run-id", "run-1"]);
    insta::assert_snapshot!(out(&output));
    assert_eq!(code(&output), 3);
}

#[test]
fn the_latest_run_is_reported_without_an_id() {
    let records = red();
    // A directory's time of change has the resolution of a tick: the order is made certain.
    let older = std::fs::File::open(records.path().join("run-1")).expect("opened");
    older
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("set");
    records.add("run-2", &base("outbox/alone", "perf_alone", "exact"));
    let output = records.report(&[]);
    assert!(out(&output).contains("run run-2"), "{}", out(&output));
    assert_eq!(code(&output), 0);
}

#[test]
fn markdown_is_appended() {
    let records = red();
    let file = records.file("summary.md", "before\n\n");
    let output = records.report(&["--run-id", "run-1", "--markdown", file.to_str().unwrap()]);
    assert_eq!(code(&output), 3);
    insta::assert_snapshot!(std::fs::read_to_string(file).expect("read"));
}

#[test]
fn json_is_one_object_with_the_records() {
    let output = green().report(&["--json"]);
    let report: Value = serde_json::from_str(&out(&output)).expect("JSON alone on stdout");
    assert_eq!(report["gates"].as_array().expect("gates").len(), 3);
    assert_eq!(report["run_id"], "run-1");
    assert_eq!(report["passed"], true);
    assert_eq!(report["gates"][1]["gate"], "outbox/drain-25");
}

#[test]
fn a_test_that_left_no_record_fails_the_run() {
    let records = green();
    let all = "perf_syncs: test\nperf_drain: test\nperf_commit: test\n";
    let list = records.file("expected.txt", all);
    let output = records.report(&[
        "--run-id",
        "run-1",
        "--expected-libtest",
        list.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 0, "{}", out(&output));

    let list = records.file("expected.txt", &format!("{all}perf_lost: test\n"));
    let output = records.report(&[
        "--run-id",
        "run-1",
        "--expected-libtest",
        list.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 3);
    let text = out(&output);
    assert!(
        text.contains("no record: perf_lost should have left one"),
        "{text}"
    );
    assert!(
        text.contains("2 passed, 0 failed, 1 not measured, 1 missing"),
        "{text}"
    );
}

#[test]
fn a_run_of_no_gates_at_all_is_no_pass() {
    let records = Records::new();
    let list = records.file("expected.txt", "");
    let list = list.to_str().unwrap();
    let output = records.report(&["--run-id", "x", "--expected-libtest", list]);
    assert_eq!(code(&output), 3, "{}", out(&output));
}

#[test]
fn a_run_without_any_record_is_all_missing() {
    let records = Records::new();
    let list = records.file(
        "expected.json",
        r#"{"rust-suites":{"outbox::perf":{"testcases":{
            "perf_a":{"filter-match":{"status":"matches"}}}}}}"#,
    );
    let output = records.report(&[
        "--run-id",
        "x",
        "--expected-nextest",
        list.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 3);
    assert!(
        out(&output).contains("perf_a in outbox::perf"),
        "{}",
        out(&output)
    );
}

#[test]
fn a_file_that_is_no_record_is_named_and_fails_the_run() {
    let records = green();
    records.file("run-1/broken.json", "{\"schema\": ");
    let output = records.report(&["--run-id", "run-1"]);
    assert_eq!(code(&output), 3);
    assert!(out(&output).contains("broken.json"), "{}", out(&output));
}

#[test]
fn what_is_not_there_is_said_with_a_cure() {
    let records = Records::new();
    let output = records.report(&["--run-id", "run-9"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("\"run-9\" left none in"),
        "{}",
        err(&output)
    );
    let output = records.report(&[]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("run the gates first"),
        "{}",
        err(&output)
    );
    let output = records.report(&["--dir", "/nowhere"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("/nowhere"), "{}", err(&output));
}

#[test]
fn a_gate_that_began_and_left_no_record_fails_the_run() {
    let records = green();
    records.file(
        "run-1/outbox.broken-off.claim",
        r#"{"path":"perf_x","file":"outbox/tests/perf.rs","line":9}"#,
    );
    let output = records.report(&["--run-id", "run-1"]);
    assert_eq!(code(&output), 3);
    let text = out(&output);
    let line = "no record: the gate outbox/broken-off at outbox/tests/perf.rs:9 began";
    assert!(text.contains(line) && text.contains("1 missing"), "{text}");
}

#[test]
fn a_run_is_found_from_below_its_project() {
    let project = TempDir::new().expect("a directory");
    let below = project.path().join("crates/deep");
    std::fs::create_dir_all(&below).expect("made");
    let run = project.path().join("target/perfbudget/run-1");
    std::fs::create_dir_all(&run).expect("made");
    let record = base("outbox/alone", "perf_alone", "exact");
    std::fs::write(run.join("outbox.alone.json"), record.to_string()).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"))
        .arg("report")
        .current_dir(below)
        .env_remove("PERFBUDGET_DIR")
        .output()
        .expect("the command starts");
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn a_dash_prints_the_markdown() {
    let output = green().report(&["--markdown", "-"]);
    assert!(
        out(&output).starts_with("### Performance gates"),
        "{}",
        out(&output)
    );
}

#[test]
fn bad_arguments_exit_with_2_and_help_with_0() {
    let records = Records::new();
    assert_eq!(code(&records.report(&["--no-such-option"])), 2);
    let both = ["--expected-nextest", "a", "--expected-libtest", "b"];
    assert_eq!(code(&records.report(&both)), 2);
    let help = records.report(&["--help"]);
    assert_eq!(code(&help), 0);
    assert!(out(&help).contains("Exit codes:"), "{}", out(&help));
}

/// Cargo's alias starts the tool without the word that Cargo itself would pass.
#[test]
fn the_word_perfbudget_may_be_missing() {
    let records = green();
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"))
        .args(["report", "--dir"])
        .arg(records.path())
        .output()
        .expect("the command starts");
    assert_eq!(code(&output), 0, "{}", err(&output));
}
