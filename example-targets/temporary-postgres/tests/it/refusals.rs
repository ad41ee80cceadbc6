//! What can't be done says so, and how it could.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use temporary_postgres::{BIN_ENV, Error, TemporaryPostgres, left_out};

use crate::owner::{Owner, Role, entries};

#[test]
fn a_folder_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = Owner::start(Role::Tries, [(BIN_ENV, folder.path().as_os_str())]);
    owner.line();
    assert_eq!(
        owner.line(),
        format!(
            "failed to find a PostgreSQL server in {BIN_ENV}={}, which has not all of initdb, \
             postgres, psql|  install one (apt-get install postgresql, brew install postgresql), \
             or name the folder of its programs in {BIN_ENV}",
            folder.path().display()
        )
    );
    assert!(owner.end().success());
}

#[test]
fn an_installation_that_does_not_run() {
    let base = tempfile::tempdir().unwrap();
    for program in ["initdb", "postgres", "psql"] {
        let path = base.path().join(program);
        fs::write(&path, "#!/bin/sh\necho no such library >&2\nexit 127\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut owner = Owner::start(Role::Tries, [(BIN_ENV, base.path().as_os_str())]);
    assert_eq!(owner.line(), "false", "it is installed, and broken");
    let error = owner.line();
    assert!(
        error.contains("for its version: no such library|"),
        "{error}"
    );
    assert!(owner.end().success());
}

/// The cluster's directory is removed again in each case.
fn refused(base: &Path, builder: temporary_postgres::Builder) -> Error {
    let error = builder.inside(base).start().map(drop).unwrap_err();
    assert_eq!(entries(base), [""; 0].map(Path::new));
    error
}

#[test]
fn settings_that_are_not_for_the_caller() {
    for name in [
        "fsync",
        "Synchronous_Commit",
        " full-page-writes",
        "listen_addresses",
    ] {
        let builder = TemporaryPostgres::builder().setting(name, "off");
        let error = builder.start().map(drop).unwrap_err();
        assert!(matches!(error, Error::SettingRefused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("set {name}: ")), "{text}");
    }
}

#[test]
fn a_setting_that_the_server_does_not_take() {
    if left_out() {
        return;
    }
    let base = directory(0o755);
    let error = refused(
        base.path(),
        TemporaryPostgres::builder().setting("shared_buffers", "much"),
    );
    let text = error.to_string();
    assert!(
        text.starts_with("start the server (exit status: 1)"),
        "{text}"
    );
    assert!(
        text.contains("invalid value for parameter \"shared_buffers\": \"much\""),
        "{text}"
    );
}

#[test]
fn a_path_too_long_for_a_socket() {
    if left_out() {
        return;
    }
    let base = directory(0o755);
    let long = base.path().join("a".repeat(100));
    fs::create_dir(&long).unwrap();
    let error = refused(&long, TemporaryPostgres::builder());
    let text = error.to_string();
    assert!(matches!(error, Error::SocketPathTooLong { .. }), "{text}");
    assert!(text.contains("(at most 107 are allowed)"), "{text}");
}

#[test]
fn a_directory_that_is_not_there() {
    if left_out() {
        return;
    }
    let base = directory(0o755);
    let error = TemporaryPostgres::builder()
        .inside(base.path().join("none"))
        .start()
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Directory { .. }), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
}

/// As root: one that the server's user can't enter. Else: one that this user can't write to.
#[test]
fn a_directory_that_is_not_for_this_user() {
    if left_out() {
        return;
    }
    if rustix::process::geteuid().is_root() {
        let base = directory(0o700);
        let error = refused(base.path(), TemporaryPostgres::builder());
        let text = format!("{error:?}");
        assert!(matches!(error, Error::Run { .. }), "{text}");
        assert!(text.contains("enter that directory"), "{text}");
        assert!(
            text.ends_with("because: Permission denied (os error 13)"),
            "{text}"
        );
    } else {
        let base = directory(0o500);
        let error = refused(base.path(), TemporaryPostgres::builder());
        let text = error.to_string();
        assert!(matches!(error, Error::Directory { .. }), "{text}");
        assert!(text.contains("Permission denied"), "{text}");
    }
}

/// An `initdb` that fails: the directory is made for a user who can write nothing there.
#[test]
fn an_initdb_that_fails() {
    let base = directory(0o755);
    let programs = base.path().join("programs");
    let clusters = base.path().join("clusters");
    for path in [&programs, &clusters] {
        fs::create_dir(path).unwrap();
    }
    for (program, text) in [
        ("postgres", "echo 'postgres (PostgreSQL) 99'"),
        (
            "initdb",
            "echo first; echo initdb: error: out of luck >&2; exit 3",
        ),
        ("psql", "exit 1"),
    ] {
        let path = programs.join(program);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut owner = Owner::start(
        Role::Tries,
        [
            (BIN_ENV, programs.as_os_str()),
            ("TMPDIR", clusters.as_os_str()),
            (temporary_postgres::TEMPLATES_ENV, OsStr::new("")),
        ],
    );
    owner.line();
    assert_eq!(
        owner.line(),
        "failed to make a cluster with initdb (exit status: 3):|first|initdb: error: out of \
         luck|  see what initdb says"
    );
    assert!(owner.end().success());
    assert_eq!(entries(&clusters), [""; 0].map(Path::new));
}

fn directory(mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    directory
}
