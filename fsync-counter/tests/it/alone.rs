//! Tests that need a process to themselves, also under `cargo test`: the test runs this binary
//! again with only itself in it.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// Set in the child: the test that it is there for.
const ALONE: &str = "FSYNC_COUNTER_ALONE";

/// Runs `body` in a child process that runs no other test. `test` is the caller's own name, with
/// its module.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if is_child(test) {
        body();
    } else {
        assert_passed(&child(test).output().expect("this binary starts again"));
    }
}

/// Whether this process is the child of that test.
pub(crate) fn is_child(test: &str) -> bool {
    env::var(ALONE).is_ok_and(|alone| alone == test)
}

/// This binary with only that test in it.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    command.args(arguments(test)).env(ALONE, test);
    command
}

/// This binary with only that test in it, run by a program that takes its command line last.
pub(crate) fn child_under(mut program: Command, test: &str) -> Command {
    program
        .arg(env::current_exe().expect("the path of this binary"))
        .args(arguments(test))
        .env(ALONE, test);
    program
}

fn arguments(test: &str) -> [&str; 4] {
    [test, "--exact", "--nocapture", "--test-threads=1"]
}

/// That the child ran its one test, and the test passed.
#[track_caller]
pub(crate) fn assert_passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("test result: ok. 1 passed"),
        "the child ended with {} (signal {:?})\n{text}\n{}",
        output.status,
        output.status.signal(),
        String::from_utf8_lossy(&output.stderr)
    );
}
