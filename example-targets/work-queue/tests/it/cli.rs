//! The command as its users meet it.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use perfbudget::tmpfs_dir;
use serde_json::Value;

fn work_queue(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_work-queue"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

#[test]
fn bench_prints_one_object_and_nothing_else() {
    let directory = tmpfs_dir();
    let db = directory.as_ref().join("queue.db");
    let db = db.to_str().expect("a name");
    let output = work_queue(&[
        "bench",
        "queue-noop",
        "--store",
        "sqlite",
        "--instances",
        "20",
        "--loop-size",
        "4",
        "--workers",
        "2",
        "--seconds",
        "60",
        "--no-raw-limit",
        "--json",
        "--db",
        db,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["instances_completed"], 20);
    assert_eq!(report["actions"], 20 * 13);
    assert_eq!(report["hit_the_deadline"], false);
    assert!(report["actions_per_second"].as_f64() > Some(0.0));
    for key in [
        "round_trip_average_ms",
        "round_trip_p95_ms",
        "action_p95_ms",
        "batch_p99_ms",
    ] {
        assert!(report[key].as_f64() > Some(0.0), "{key}: {report}");
    }
    let queries = report["queries"].as_array().expect("a table");
    let apply = queries.iter().find(|query| query["query"] == "apply");
    assert_eq!(apply.expect("timed")["rows"], 20 * 13);

    // What it made is kept, and can be asked about.
    let status = work_queue(&["status", "--db", db, "--json"]);
    assert!(status.status.success(), "{}", text(&status.stderr));
    let counts: Value = serde_json::from_slice(&status.stdout).expect("one object");
    assert_eq!(counts["completed"], 20);
    assert_eq!(counts["actions"], 0);
    let status = work_queue(&["status", "--db", db]);
    assert_eq!(
        text(&status.stdout),
        "instances: 0 waiting, 0 running, 20 completed, 0 failed\nactions: 0 ready or running\n"
    );
}

#[test]
fn a_deadline_ends_it_within_two_seconds() {
    let directory = tmpfs_dir();
    let db = directory.as_ref().join("queue.db");
    let begun = Instant::now();
    let output = work_queue(&[
        "bench",
        "queue-noop",
        "--instances",
        "100000000",
        "--seconds",
        "0.5",
        "--no-raw-limit",
        "--db",
        db.to_str().expect("a name"),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        begun.elapsed() < Duration::from_millis(500 + 2_000),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        text(&output.stdout).contains("stopped by the deadline"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_says_what_is_in_a_file_and_what_is_wrong_with_it() {
    let directory = tmpfs_dir();
    let file = directory.as_ref().join("album.json");
    let path = file.to_str().expect("a name");
    let check = |definition: &str| {
        std::fs::write(&file, definition).expect("written");
        work_queue(&["check", path])
    };
    let good = check(
        r#"{ "name": "album", "nodes": [
            { "name": "thumbnail", "action": "make", "over": { "at": "/pictures" } },
            { "name": "page", "action": "lay-out", "after": [{ "node": "thumbnail" }] },
            { "name": "letter", "action": "send",
              "after": [{ "node": "page", "when": { "at": "/size", "is": ["large"] } }] } ] }"#,
    );
    assert_eq!(
        text(&good.stdout),
        "album: 3 nodes, actions lay-out, make, send\n"
    );
    for (definition, what) in [
        ("{", "album.json: EOF while parsing"),
        (
            r#"{"name": "a", "nodes": [], "edges": []}"#,
            "unknown field `edges`",
        ),
        (
            r#"{"name": "a", "nodes": []}"#,
            "workflow \"a\" has no nodes",
        ),
        (
            r#"{"name": "a", "nodes": [{"name": "x", "action": "y", "after": [{"node": "x"}]}]}"#,
            "wait for each other: x after x",
        ),
    ] {
        let bad = check(definition);
        assert_eq!(bad.status.code(), Some(1), "{definition}");
        assert!(text(&bad.stderr).contains(what), "{}", text(&bad.stderr));
        assert_eq!(text(&bad.stdout), "");
    }
}

#[test]
fn arguments_that_cannot_be_right_are_usage_errors() {
    for arguments in [
        &["bench", "queue-noop", "--instances", "0"][..],
        &["bench", "queue-noop", "--loop-size", "0"],
        &["bench", "queue-noop", "--seconds", "-1"],
        &["bench", "queue-noop", "--seconds", "NaN"],
        &["bench", "queue-noop", "--store", "mysql"],
        &["bench", "queue-noop", "--db", "a", "--url", "b"],
        &["bench"],
        &[],
    ] {
        let output = work_queue(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let nowhere = work_queue(&["status"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("--db FILE or --url URL"));
    let missing = work_queue(&["status", "--db", "/nonexistent/queue.db"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/queue.db: there is no such file"));
    let unreachable = work_queue(&["status", "--url", "postgresql:///x?host=/nonexistent"]);
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(
        text(&unreachable.stderr).contains("/nonexistent"),
        "{}",
        text(&unreachable.stderr)
    );
}
