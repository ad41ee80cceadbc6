//! An independent witness of what reaches the kernel, where it is installed.

use std::fs;
use std::process::Command;

use crate::alone::{assert_passed, child_under};

/// The sync calls that reach the kernel while a child runs that test, by name; `None`, and a line
/// that says so, where there is no strace or it is not allowed to trace.
pub(crate) fn syncs_of(test: &str, environment: &[(&str, &str)]) -> Option<Vec<String>> {
    let lines = lines_of(test, SYNCS, environment)?;
    Some(lines.iter().filter_map(|line| call_in(line)).collect())
}

pub(crate) const SYNCS: &str = "fsync,fdatasync,msync,sync,syncfs,sync_file_range";

/// strace's lines about these calls, each with the id of its thread first.
pub(crate) fn lines_of(
    test: &str,
    calls: &str,
    environment: &[(&str, &str)],
) -> Option<Vec<String>> {
    if !can_trace() {
        eprintln!("SKIPPED: strace is not installed or may not trace here");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-o").arg(&trace);
    let mut command = child_under(strace, test);
    command.envs(environment.iter().copied());
    assert_passed(&command.output().expect("strace starts"));
    let trace = fs::read_to_string(trace).expect("strace's output is text");
    Some(trace.lines().map(str::to_owned).collect())
}

fn can_trace() -> bool {
    Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The call that begins in a line such as `123  fsync(4</tmp/a>) = 0`. A call that another
/// thread's interrupts has a second line, `123  <... fsync resumed>) = 0`.
pub(crate) fn call_in(line: &str) -> Option<String> {
    let (_process, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then(|| name.to_owned())
}
