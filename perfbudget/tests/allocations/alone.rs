//! Tests of what the whole process does: this binary, started anew for one of its tests.

use std::env;
use std::fs;
use std::process::{self, Command};
use std::thread;

/// Set in the child: the test that it is there for.
const ALONE_ENV: &str = "PERFBUDGET_TEST_ALONE";

/// Runs `body` in a process in which nothing else allocates. `test` is the caller's own name, with
/// its module.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if env::var(ALONE_ENV).is_ok_and(|alone| alone == test) {
        until_the_main_thread_waits();
        return body();
    }
    let output = Command::new(env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE_ENV, test)
        .output()
        .expect("this binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("test result: ok. 1 passed"),
        "the child ended with {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The test harness's main thread starts that of the test, and then allocates once more as it
/// begins to wait for it. Where the system does not tell, it is left to chance.
fn until_the_main_thread_waits() {
    let path = format!("/proc/self/task/{}/stat", process::id());
    while let Ok(stat) = fs::read_to_string(&path) {
        // The state follows the name, which is in parentheses; S is waiting.
        let state = stat.rsplit(") ").next();
        if state.is_some_and(|state| state.starts_with('S')) {
            return;
        }
        thread::yield_now();
    }
}
