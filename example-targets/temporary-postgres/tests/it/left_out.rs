//! Where there is no server: left out in sight of the runner, or failing where one is required.

use std::ffi::OsStr;
use std::fs;

use temporary_postgres::{BIN_ENV, LEFT_OUT_ENV, REQUIRE_ENV};

use crate::owner::{Owner, Role};

/// What an owner without a server says, and what it leaves in the file.
fn without_a_server(required: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left-out");
    let mut owner = Owner::start(
        Role::Tries,
        [
            (BIN_ENV, folder.path().as_os_str()),
            (REQUIRE_ENV, OsStr::new(required)),
            (LEFT_OUT_ENV, file.as_os_str()),
        ],
    );
    let answer = owner.line();
    assert!(owner.end().success());
    (answer, fs::read_to_string(file).unwrap_or_default())
}

#[test]
fn a_test_that_is_left_out_leaves_a_line() {
    for not_required in ["", "0"] {
        let (left_out, lines) = without_a_server(not_required);
        assert_eq!(left_out, "true");
        let place = lines.trim_end().rsplit_once(':').unwrap();
        assert!(place.0.ends_with("tests/it/owner.rs"), "{lines}");
        assert_eq!(lines.lines().count(), 1);
    }
}

#[test]
fn a_test_that_is_required_is_not_left_out() {
    assert_eq!(without_a_server("1"), ("false".to_owned(), String::new()));
}
