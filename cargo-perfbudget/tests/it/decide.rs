//! `decide` and `calibrate` on stored histories: tables, artifacts, exit codes, and what is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{code, err, out};

/// A directory with histories that are made here, and the command.
struct Stored(TempDir);

/// Twelve processes around a typical time that differ by about a per cent.
fn around(typical: f64) -> Vec<f64> {
    [
        0.2, -1.1, 0.9, -0.4, 1.3, -0.8, 0.5, -1.4, 0.1, 1.0, -0.2, -0.6,
    ]
    .map(|per_cent| typical * (1.0 + per_cent / 100.0))
    .to_vec()
}

fn line(gate: &str, side: &str, of: &str, order: usize, result: &Value) -> String {
    let mut line = json!({
        "schema": "perfbudget.history.v1", "gate": gate, "side": side, "block": order,
        "order": order, "at": format!("2026-11-21T04:00:{order:02}Z"), "of": of,
    });
    for (key, value) in result.as_object().expect("an object") {
        line[key] = value.clone();
    }
    format!("{line}\n")
}

fn times(gate: &str, side: &str, times_ns: &[f64]) -> String {
    let of = if side == "candidate" { "bbb" } else { "aaa" };
    let lines = times_ns.iter().enumerate().map(|(order, ns)| {
        let result = json!({"outcome": "times", "own_ns": ns, "exact": true, "wall_ns": ns * 1.1});
        line(gate, side, of, order, &result)
    });
    lines.collect()
}

fn counts(gate: &str, side: &str, counts: &Value) -> String {
    line(
        gate,
        side,
        "x",
        0,
        &json!({"outcome": "counts", "counts": counts}),
    )
}

impl Stored {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    /// Of one gate: both sides.
    fn of(baseline_ns: &[f64], candidate_ns: &[f64]) -> Self {
        let stored = Self::new();
        stored.file(
            "a.jsonl",
            &times("outbox/drain-25", "baseline", baseline_ns),
        );
        stored.file(
            "b.jsonl",
            &times("outbox/drain-25", "candidate", candidate_ns),
        );
        stored
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("read")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"))
            .arg("perfbudget")
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("CLICOLOR_FORCE")
            .output()
            .expect("the command starts")
    }

    fn decide(&self, more: &[&str]) -> Output {
        let mut arguments = vec!["decide", "--baseline", "a.jsonl", "--candidate", "b.jsonl"];
        arguments.extend(more);
        self.run(&arguments)
    }
}

#[test]
fn no_change_is_accepted_with_a_table_and_0() {
    let output = Stored::of(&around(1e6), &around(1.001e6)).decide(&[]);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (0, ""),
        "{}",
        out(&output)
    );
    insta::assert_snapshot!(out(&output));
}

#[test]
fn a_regression_is_rejected_with_3() {
    let output = Stored::of(&around(1e6), &around(1.1e6)).decide(&[]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    insta::assert_snapshot!(out(&output));
    let output = Stored::of(&around(1e6), &around(0.9e6)).decide(&["--expect", "improvement"]);
    assert_eq!(code(&output), 0, "{}", out(&output));
}

#[test]
fn what_is_not_known_is_inconclusive_with_4() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    let output = stored.decide(&["--expect", "improvement"]);
    assert_eq!(code(&output), 4, "{}", out(&output));
    stored.file(
        "b.jsonl",
        &times("outbox/drain-25", "candidate", &around(1e6)[..3]),
    );
    let output = stored.decide(&[]);
    assert_eq!(code(&output), 4);
    assert!(
        out(&output).contains("insufficient_samples"),
        "{}",
        out(&output)
    );
}

#[test]
fn the_artifacts_are_the_decision_the_insights_and_both_histories() {
    let stored = Stored::of(&around(1e6), &around(1.1e6));
    let syncs = |side: &str, n: u64| counts("outbox/drain-syncs", side, &json!({"dirs": n}));
    let (mut a, mut b) = (stored.read("a.jsonl"), stored.read("b.jsonl"));
    _ = write!(a, "{}", syncs("baseline", 2));
    _ = write!(b, "{}", syncs("candidate", 1));
    stored.file("a.jsonl", &a);
    stored.file("b.jsonl", &b);
    let output = stored.decide(&["--out", "artifacts"]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert_eq!(
        stored
            .read("artifacts/baseline/history.jsonl")
            .lines()
            .count(),
        13
    );
    let decision: Value =
        serde_json::from_str(&stored.read("artifacts/decision.json")).expect("JSON");
    assert_eq!(decision["decision"], "rejected");
    assert_eq!(decision["gates"][1]["status"], "changed");
    insta::assert_snapshot!(stored.read("artifacts/insights.md"));

    // The histories are what they were: deciding on them again is the same decision.
    let again = stored.run(&[
        "decide",
        "--baseline",
        "artifacts/baseline/history.jsonl",
        "--candidate",
        "artifacts/candidate/history.jsonl",
        "--json",
    ]);
    let again: Value = serde_json::from_str(&out(&again)).expect("JSON alone on stdout");
    assert_eq!(again["gates"], decision["gates"]);
}

#[test]
fn the_policy_is_that_of_the_nearest_file_or_of_the_one_that_is_named() {
    let stored = Stored::of(&around(1e6), &around(1.1e6));
    stored.file(
        "perfbudget.toml",
        "[policy]\nprimary_threshold_percent = 20\n",
    );
    assert_eq!(code(&stored.decide(&[])), 0);
    stored.file("strict.toml", "[policy]\nprimary_threshold_percent = 1\n");
    assert_eq!(code(&stored.decide(&["--policy", "strict.toml"])), 3);
    stored.file("perfbudget.toml", "[policy]\n\nalpha = 0.7\n");
    let output = stored.decide(&[]);
    assert_eq!(code(&output), 1);
    let text = err(&output);
    let message =
        "perfbudget.toml:3: policy.alpha: expected a positive number below 0.5, found 0.7";
    assert!(text.contains(message), "{text}");
    let output = stored.decide(&["--policy", "none.toml"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("none.toml"), "{}", err(&output));
}

#[test]
fn a_policy_that_is_not_ready_is_refused_unless_asked_for() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    stored.file(
        "perfbudget.toml",
        "[policy.calibration]\nruns = 3\nready = false\n",
    );
    let output = stored.decide(&["--out", "artifacts"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("not ready"), "{}", err(&output));
    assert!(!stored.path("artifacts").exists());
    let output = stored.decide(&["--allow-uncalibrated"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(
        out(&output).contains("warning: the policy's calibration"),
        "{}",
        out(&output)
    );
}

#[test]
fn a_line_that_is_no_repetition_is_named() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    let good = stored.read("b.jsonl");
    for (bad, message) in [
        (
            good[..good.len() - 9].to_owned(),
            "b.jsonl: line 12: it is cut off",
        ),
        (
            format!("{good}{{\"schema\":\"perfbudget.record.v1\"}}\n"),
            "b.jsonl: line 13: its schema is",
        ),
        (String::new(), "b.jsonl: it has no repetition"),
        (
            format!("{good}{}", stored.read("a.jsonl")),
            "b.jsonl: it has repetitions of the baseline and",
        ),
    ] {
        stored.file("b.jsonl", &bad);
        let output = stored.decide(&[]);
        assert_eq!(code(&output), 1, "{message}");
        assert!(err(&output).contains(message), "{}", err(&output));
    }
    std::fs::remove_file(stored.path("b.jsonl")).expect("removed");
    let output = stored.decide(&[]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("failed to read the history b.jsonl"),
        "{}",
        err(&output)
    );
}

/// Two histories of the same side are compared as they are named.
#[test]
fn the_side_is_that_of_the_argument() {
    let stored = Stored::new();
    stored.file(
        "a.jsonl",
        &times("outbox/drain-25", "baseline", &around(1e6)),
    );
    stored.file(
        "b.jsonl",
        &times("outbox/drain-25", "baseline", &around(1.2e6)),
    );
    assert_eq!(code(&stored.decide(&[])), 3);
}

#[test]
fn bad_arguments_exit_with_2_and_help_tells_the_exit_codes() {
    let stored = Stored::new();
    for arguments in [
        &["decide"][..],
        &["calibrate"],
        &["decide", "--baseline", "a"],
    ] {
        assert_eq!(code(&stored.run(arguments)), 2, "{arguments:?}");
    }
    assert_eq!(code(&stored.decide(&["--expect", "luck"])), 2);
    let help = stored.run(&["decide", "--help"]);
    assert_eq!(code(&help), 0);
    assert!(out(&help).contains("  4  inconclusive"), "{}", out(&help));
}

/// Runs of one code against itself, each a little different.
fn runs(stored: &Stored, n: u32) -> Vec<String> {
    let run = |run: u32| {
        let name = format!("runs/{run}");
        let typical = 1e6 * (1.0 + 0.001 * f64::from(run % 5));
        // The same code on both sides, named so.
        let side = |side: &str, typical: f64| {
            let text = times("outbox/drain-25", side, &around(typical));
            let at = format!("2026-11-{:02}T04", 1 + run);
            text.replace("bbb", "aaa").replace("2026-11-21T04", &at)
        };
        stored.file(
            &format!("{name}/baseline/history.jsonl"),
            &side("baseline", 1e6),
        );
        stored.file(
            &format!("{name}/candidate/history.jsonl"),
            &side("candidate", typical),
        );
        name
    };
    (0..n).map(run).collect()
}

fn calibrate(stored: &Stored, runs: &[String], more: &[&str]) -> Output {
    let mut arguments = vec!["calibrate", "--policy", "perfbudget.toml"];
    arguments.extend(runs.iter().map(String::as_str));
    arguments.extend(more);
    stored.run(&arguments)
}

#[test]
fn enough_runs_make_a_policy_that_is_ready() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    let runs = runs(&stored, 19);
    let output = calibrate(&stored, &runs, &[]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    insta::assert_snapshot!(out(&output));
    assert!(!stored.path("perfbudget.toml").exists());
    assert_eq!(code(&calibrate(&stored, &runs, &["--write"])), 0);
    let file = stored.read("perfbudget.toml");
    assert!(file.contains("max_regression_percent = 0.5"), "{file}");
    assert!(file.contains("ready = true"), "{file}");
    assert_eq!(code(&stored.decide(&[])), 4, "0.5 % can't be told by these");
}

#[test]
fn too_few_runs_make_a_policy_that_is_refused() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    let runs = runs(&stored, 18);
    let output = calibrate(&stored, &runs, &["--write"]);
    assert_eq!(code(&output), 4);
    let lack = "not ready: outbox/drain-25 has 18 runs of the 19 runs that alpha = 0.05 needs";
    assert!(out(&output).contains(lack), "{}", out(&output));
    let output = stored.decide(&[]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("18 runs a group"), "{}", err(&output));
}

#[test]
fn runs_that_are_no_runs_of_one_code_are_refused() {
    let stored = Stored::of(&around(1e6), &around(1e6));
    let both = stored.read("a.jsonl") + &stored.read("b.jsonl");
    stored.file("both.jsonl", &both);
    let of = |path: &str| calibrate(&stored, &[path.to_owned()], &[]);
    let output = of("both.jsonl");
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("baseline is aaa, candidate is bbb"),
        "{}",
        err(&output)
    );
    let output = of("a.jsonl");
    assert!(
        err(&output).contains("candidate is missing"),
        "{}",
        err(&output)
    );
    // With a control it is the baseline against itself.
    let control = times("outbox/drain-25", "control", &around(1e6));
    stored.file("both.jsonl", &(both + &control));
    let output = calibrate(&stored, &["both.jsonl".to_owned()], &["--json"]);
    let proposal: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(proposal["groups"][0]["runs"], 1, "{proposal}");
    let twice = calibrate(
        &stored,
        &["both.jsonl".to_owned(), "both.jsonl".to_owned()],
        &[],
    );
    assert!(
        err(&twice).contains("it is the run of both.jsonl again"),
        "{}",
        err(&twice)
    );
}

#[test]
fn a_directory_that_is_none_is_named() {
    let stored = Stored::new();
    std::fs::create_dir(stored.path("empty")).expect("made");
    let output = calibrate(&stored, &["empty".to_owned()], &[]);
    assert_eq!(code(&output), 1);
    let file = Path::new("empty/baseline/history.jsonl")
        .display()
        .to_string();
    assert!(err(&output).contains(&file), "{}", err(&output));
}
