//! Commands that are run for a gate behave as those of the standard library.
#![cfg(unix)]

use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use perfbudget::{command_output, command_status};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn how_it_ended_is_what_the_standard_library_says() {
    for script in ["exit 0", "exit 3", "kill -9 $$"] {
        let ours = command_status(&mut sh(script)).expect("it starts");
        let theirs = sh(script).status().expect("it starts");
        assert_eq!(ours, theirs, "{script}");
    }
    let killed = command_output(&mut sh("kill -9 $$")).expect("it starts");
    assert_eq!(killed.status.signal(), Some(9));
}

#[test]
fn both_outputs_are_captured_whatever_their_length() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; echo abcdefghij >&2; \
                  i=$((i+1)); done; echo done > /dev/stdout";
    let ours = command_output(&mut sh(script)).expect("it starts");
    let theirs = sh(script).output().expect("it starts");
    assert_eq!(ours, theirs);
    assert!(ours.stdout.len() > 200_000 && ours.stderr.len() > 200_000);
}

#[test]
fn what_holds_the_output_open_is_waited_for() {
    // Written by a child of the command after the command has ended.
    let script = "(read line < /dev/stdin; echo late) < \"$0\" & echo early";
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("line");
    std::fs::write(&file, "x\n").expect("written");
    let mut command = sh(script);
    let output = command_output(command.arg(&file)).expect("it starts");
    let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout)
        .expect("text")
        .lines()
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["early", "late"]);
}

#[test]
fn standard_input_is_what_was_given_and_ends() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"given").expect("written");
    file.rewind().expect("a file");
    let output = command_output(Command::new("cat").stdin(file)).expect("it starts");
    assert_eq!(output.stdout, b"given");
    // A pipe that nobody writes to is closed, as `Child::wait` closes it.
    let status = command_status(Command::new("cat").stdin(Stdio::piped())).expect("it starts");
    assert!(status.success());
}

#[test]
fn a_command_that_can_not_start_says_why_and_can_be_used_again() {
    let mut command = Command::new("/nonexistent");
    for _ in 0..2 {
        let error = command_output(&mut command).expect_err("it is not there");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let error = command_status(&mut command).expect_err("it is not there");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
    let mut twice = sh("echo again");
    for _ in 0..2 {
        assert_eq!(
            command_output(&mut twice).expect("it starts").stdout,
            b"again\n"
        );
    }
}

#[test]
fn nothing_is_left_of_it() {
    command_status(&mut sh("true")).expect("it starts");
    let mut ended = String::new();
    let pids = command_output(&mut sh("echo $$"))
        .expect("it starts")
        .stdout;
    let pid = String::from_utf8(pids).expect("digits");
    if let Ok(mut stat) = std::fs::File::open(format!("/proc/{}/stat", pid.trim())) {
        stat.read_to_string(&mut ended).expect("text");
    }
    assert!(!ended.contains(") Z "), "a zombie: {ended}");
}
