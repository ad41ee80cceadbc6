//! Tests that need a server where there is none.
//!
//! A test that is left out passes, and what a passing test prints is read by nobody. So it leaves
//! a line in a file that `make test` names and shows at its end.

use std::fs::File;
use std::io::{self, Write};
use std::panic::Location;
use std::path::PathBuf;

use crate::installation::is_installed;

/// Set to `1`, tests that need a server fail where there is none.
pub const REQUIRE_ENV: &str = "PERFBUDGET_REQUIRE_POSTGRES";
/// The file that gets a line for each test that is left out.
pub const LEFT_OUT_ENV: &str = "PERFBUDGET_LEFT_OUT";

/// Whether the test that asks is to return at once: there is no server, and none is required.
///
/// # Panics
///
/// When the file that [`LEFT_OUT_ENV`] names can't be written: a test must not be left out unseen.
#[must_use = "a test that is left out returns at once"]
#[track_caller]
pub fn left_out() -> bool {
    if is_installed() || std::env::var_os(REQUIRE_ENV).is_some_and(|value| value == "1") {
        return false;
    }
    let test = Location::caller();
    let line = format!("{}:{}\n", test.file(), test.line());
    eprint!("left out, no PostgreSQL server here: {line}");
    if let Some(file) = std::env::var_os(LEFT_OUT_ENV).filter(|file| !file.is_empty()) {
        let file = PathBuf::from(file);
        if let Err(error) = append(&file, &line) {
            panic!("failed to write {}: {error}", file.display());
        }
    }
    true
}

/// In one write, so that lines of several processes don't mix.
fn append(file: &PathBuf, line: &str) -> io::Result<()> {
    File::options()
        .create(true)
        .append(true)
        .open(file)?
        .write_all(line.as_bytes())
}
