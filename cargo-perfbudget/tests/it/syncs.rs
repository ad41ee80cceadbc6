//! `syncs`: any program, as a user of a shell meets it.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{code, err, out};

fn syncs(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-perfbudget"));
    command
        .args(["perfbudget", "syncs"])
        .args(arguments)
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    syncs(arguments).output().expect("the command starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|error| panic!("{error}: {}", err(output)))
}

/// A directory with a file, and a shell command on it.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join("file"), "text").expect("written");
        Self(dir)
    }

    fn script(&self, script: &str) -> String {
        let dir = self.0.path().display();
        format!("cd '{dir}' && {script}")
    }
}

const THREE: &str = "echo said; sync file; sync -d file; sync -f file; exit 7";

#[test]
fn a_command_keeps_its_output_and_its_exit_code() {
    let fixture = Fixture::new();
    let output = run(&["--", "sh", "-c", &fixture.script(THREE)]);
    assert_eq!(code(&output), 7);
    assert_eq!(out(&output), "said\n");
    let report = err(&output);
    let file = fixture.0.path().canonicalize().expect("it is there");
    let line = |kind: &str| {
        report
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(kind))
            .unwrap_or_else(|| panic!("no line for {kind}: {report}"))
            .to_owned()
    };
    for kind in ["fsync", "fdatasync"] {
        let line = line(kind);
        assert!(line.trim_start().starts_with("1 "), "{line}");
        assert!(line.contains(" file "), "{line}");
        assert!(
            line.ends_with(&format!("{}/file", file.display())),
            "{line}"
        );
        assert!(line.contains("s  "), "a time: {line}");
    }
    assert!(line("syncfs").contains(" other "), "{report}");
    assert!(report.contains("3 syncs: 2 files, 1 other · "), "{report}");
    assert!(report.contains(" in them, of "), "{report}");
}

#[test]
fn json_is_alone_on_standard_output() {
    let fixture = Fixture::new();
    let output = run(&["--json", "--", "sh", "-c", &fixture.script(THREE)]);
    assert_eq!(code(&output), 7);
    assert!(err(&output).contains("said\n"), "{}", err(&output));
    let report = json(&output);
    let numbers = [
        "total", "files", "dirs", "other", "unknown", "weak", "failed",
    ];
    let numbers = numbers.map(|name| report[name].as_u64().expect("a number"));
    assert_eq!(numbers, [3, 2, 0, 1, 0, 0, 0]);
    assert_eq!(report["exit_code"], 7);
    assert_eq!(report["incomplete"], serde_json::json!([]));
    let events = report["events"].as_array().expect("a list");
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("fsync"), Some("fdatasync"), Some("syncfs")]);
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"));
    let sum: f64 = events
        .iter()
        .filter_map(|event| event["seconds"].as_f64())
        .sum();
    let whole = report["seconds_in_syncs"].as_f64().expect("a number");
    assert!((sum - whole).abs() < 1e-6, "{sum} {whole}");
    assert!(whole > 0.0 && whole < report["seconds"].as_f64().expect("a number"));
}

#[test]
fn without_the_time_the_program_syncs_itself() {
    let fixture = Fixture::new();
    let output = run(&[
        "--json",
        "--no-time",
        "--",
        "sh",
        "-c",
        &fixture.script(THREE),
    ]);
    let report = json(&output);
    assert_eq!(report["total"], 3);
    assert_eq!(report["seconds_in_syncs"], Value::Null);
    assert_eq!(report["events"][0]["outcome"], "not seen");
}

#[test]
fn the_report_goes_to_a_file_and_what_is_printed_stays_where_it_was() {
    let fixture = Fixture::new();
    let file = fixture.0.path().join("report");
    let path = file.to_str().expect("text");
    let script = fixture.script(THREE);
    let output = run(&["--json", "-o", path, "--", "sh", "-c", &script]);
    assert_eq!(
        (out(&output).as_str(), err(&output).as_str()),
        ("said\n", "")
    );
    let report: Value = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
    assert_eq!(report["total"], 3);

    let missing = fixture.0.path().join("no/report");
    let path = missing.to_str().expect("text");
    let output = run(&[
        "-o",
        path,
        "--",
        "sh",
        "-c",
        &fixture.script("touch started"),
    ]);
    assert_eq!(code(&output), 125);
    assert!(err(&output).contains(path), "{}", err(&output));
    assert!(!fixture.0.path().join("started").exists());
}

#[test]
fn no_syncs_and_what_may_hide_some_are_said() {
    let one = run(&["--", "sync", "/dev"]);
    assert!(err(&one).contains("1 sync: 1 dir · "), "{}", err(&one));
    let output = run(&["--", "true"]);
    assert_eq!(code(&output), 0);
    assert!(err(&output).contains("no syncs · "), "{}", err(&output));
    let fixture = Fixture::new();
    let script = fixture.script("dd if=/dev/zero of=file bs=1 count=1 oflag=dsync status=none");
    let output = run(&["--", "sh", "-c", &script]);
    assert!(err(&output).contains("may be too low: opened with O_SYNC or O_DSYNC: "));
    let report = json(&run(&["--json", "--", "sh", "-c", &script]));
    assert_eq!(report["incomplete"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_table_is_cut_and_the_events_are_listed() {
    let fixture = Fixture::new();
    let script = fixture.script("for n in 1 2 3; do touch $n; sync $n $n; done; sync 1");
    let report = err(&run(&["--top", "1", "--events", "--", "sh", "-c", &script]));
    assert!(report.contains("#7 fsync file "), "{report}");
    assert!(report.contains("      3  fsync "), "{report}");
    assert!(
        report.contains("      4  of 2 more lines; --top 0 shows all"),
        "{report}"
    );
    let report = err(&run(&["--top", "0", "--", "sh", "-c", &script]));
    assert!(
        !report.contains("more lines") && !report.contains("#1"),
        "{report}"
    );
}

#[test]
fn exit_codes_are_the_shells() {
    let fixture = Fixture::new();
    assert_eq!(code(&run(&["--", "sh", "-c", "kill -9 $$"])), 128 + 9);
    assert_eq!(code(&run(&["--", "sh", "-c", "exit 255"])), 255);

    let missing = run(&["--", "no-such-program-anywhere"]);
    assert_eq!(code(&missing), 127);
    assert_eq!(
        err(&missing),
        "error: no-such-program-anywhere: command not found\n"
    );

    let file = fixture.0.path().join("file");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("set");
    let refused = run(&["--", file.to_str().expect("text")]);
    assert_eq!(code(&refused), 126);
    assert!(
        err(&refused).contains("ermission denied"),
        "{}",
        err(&refused)
    );

    let bare = run(&[]);
    assert_eq!(code(&bare), 2);
    let usage = "Usage: cargo perfbudget syncs ";
    assert!(err(&bare).contains(usage), "{}", err(&bare));
    let help = run(&["--help"]);
    assert!(
        out(&help).contains("git commit") && out(&help).contains("127"),
        "{}",
        out(&help)
    );
}

/// Within a kernel scope there is no room for another.
#[test]
fn where_it_cannot_watch_it_runs_nothing() {
    let fixture = Fixture::new();
    let tool = env!("CARGO_BIN_EXE_cargo-perfbudget");
    let script = fixture.script(&format!("'{tool}' perfbudget syncs -- touch started"));
    let output = run(&["--", "sh", "-c", &script]);
    assert_eq!(code(&output), 125);
    assert!(
        err(&output).contains("no kernel scope here"),
        "{}",
        err(&output)
    );
    assert!(!fixture.0.path().join("started").exists());
}

/// A user who may have three threads: the tool needs a fourth for the command.
#[test]
fn without_a_thread_for_the_command_it_fails_as_a_tool() {
    const USER: &str = "61234";
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root, who may become a user without other processes");
        return;
    }
    let fixture = Fixture::new();
    fs::set_permissions(fixture.0.path(), PermissionsExt::from_mode(0o777)).expect("set");
    let started = fixture.0.path().join("started");
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--clear-groups", "--regid", USER, "--reuid", USER])
            .args(["prlimit", "--nproc=3"])
            .args([env!("CARGO_BIN_EXE_cargo-perfbudget"), "perfbudget"])
            .args(arguments)
            .output()
    };
    if !tool(&["--help"]).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no such user here, or the tool is where not everybody may start it");
        return;
    }
    let path = started.to_str().expect("text");
    let output = tool(&["syncs", "--", "touch", path]).expect("it starts again");
    assert_eq!(code(&output), 125, "{}", err(&output));
    assert!(err(&output).starts_with("error: "), "{}", err(&output));
    assert!(!started.exists());
}

/// What the command leaves behind belongs to it; an interrupt ends the waiting.
#[test]
fn what_is_left_behind_is_waited_for_or_interrupted() {
    let fixture = Fixture::new();
    // It goes on when its input ends.
    let script = fixture.script(
        "dd if=/dev/zero of=other bs=1 count=1 oflag=dsync status=none; \
         (read line; sync file) <&3 & echo started",
    );
    let shell = "exec 3<&0; ".to_owned() + &script;
    let start = || {
        syncs(&["--json", "--", "sh", "-c", &shell])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts")
    };
    let mut tool = start();
    drop(tool.stdin.take());
    let output = tool.wait_with_output().expect("it ends");
    assert_eq!(
        (code(&output), &json(&output)["total"]),
        (0, &Value::from(1))
    );

    let mut tool = start();
    let keeps_it_waiting = tool.stdin.take();
    let mut said = BufReader::new(tool.stderr.take().expect("a pipe")).lines();
    // First what the command says, then that it is waited for.
    let lines: Vec<_> = said
        .by_ref()
        .take(2)
        .map(|line| line.expect("text"))
        .collect();
    assert_eq!(lines[0], "started");
    assert!(
        lines[1].starts_with("waiting for what sh left behind"),
        "{}",
        lines[1]
    );
    let process = i32::try_from(tool.id()).expect("a process");
    let process = rustix::process::Pid::from_raw(process).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("sent");
    let output = tool.wait_with_output().expect("it ends");
    assert_eq!(
        (code(&output), &json(&output)["total"]),
        (0, &Value::from(0))
    );
    let report = json(&output);
    let incomplete = report["incomplete"].as_array().expect("a list");
    let [met, outlived] = incomplete.as_slice() else {
        panic!("two reasons: {incomplete:?}");
    };
    for (reason, part) in [(met, "O_DSYNC"), (outlived, "went on after it")] {
        assert!(reason.to_string().contains(part), "{reason}");
    }
    drop(keeps_it_waiting);
}

/// A request to end is the command's to follow.
#[test]
fn a_request_to_end_is_passed_on() {
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let mut tool = syncs(&["--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(tool.stdout.as_mut().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let process = i32::try_from(tool.id()).expect("a process");
    let process = rustix::process::Pid::from_raw(process).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(code(&tool.wait_with_output().expect("it ends")), 5);
}
