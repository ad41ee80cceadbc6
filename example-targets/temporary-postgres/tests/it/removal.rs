//! However it ends, nothing is left: no process, no directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use temporary_postgres::{BIN_ENV, TEMPLATES_ENV, TemporaryPostgres, left_out};

use crate::owner::{Owner, Role, entries};
use crate::support::{Processes, one};

#[test]
fn dropped() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let postgres = TemporaryPostgres::builder()
        .inside(base.path())
        .start()
        .unwrap();
    let processes = Processes::below(postgres.server_pid().unwrap());
    assert!(
        processes.count("postgres") > 1,
        "a server and its processes"
    );
    assert_eq!(entries(base.path()), [postgres.socket_directory()]);
    drop(postgres);
    assert_eq!(processes.running(), [""; 0]);
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

#[test]
fn after_a_panic() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let mut processes = None;
    catch_unwind(AssertUnwindSafe(|| {
        let postgres = TemporaryPostgres::builder()
            .inside(base.path())
            .start()
            .unwrap();
        processes = Some(Processes::below(postgres.server_pid().unwrap()));
        panic!("as a test fails");
    }))
    .unwrap_err();
    assert_eq!(processes.unwrap().running(), [""; 0]);
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

#[test]
fn after_its_owner_was_killed() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let mut owner = Owner::start(Role::Keeps, [("TMPDIR", base.path().as_os_str())]);
    let (directory, _, url) = owner.cluster();
    assert_eq!(one(&url, "SELECT 1"), "1");
    let processes = Processes::below(owner.process.id());
    assert!(processes.count("postgres") > 1 && processes.count("sh") == 1);
    assert!(directory.starts_with(base.path().canonicalize().unwrap()));
    assert_eq!(processes.shared_memory().len(), 1);
    owner.kill();
    processes.wait();
    assert_eq!(processes.shared_memory(), [""; 0]);
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

/// A test runner kills the group of a test that takes too long, and so does a terminal.
#[test]
fn after_its_owners_group_was_killed() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.process_group(0);
    let environment = [("TMPDIR", base.path().as_os_str())];
    let mut owner = Owner::spawn(command, Role::Keeps, environment);
    owner.cluster();
    let processes = Processes::below(owner.process.id());
    assert_eq!(processes.shared_memory().len(), 1);
    kill_process_group(Pid::from_child(&owner.process), Signal::KILL).unwrap();
    processes.wait();
    assert_eq!(processes.shared_memory(), [""; 0]);
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

#[test]
fn dropped_while_the_server_is_suspended() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let postgres = TemporaryPostgres::builder()
        .inside(base.path())
        .start()
        .unwrap();
    let server = postgres.server_pid().unwrap();
    let processes = Processes::below(server);
    let server = Pid::from_raw(server.try_into().unwrap()).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    drop(postgres);
    assert_eq!(processes.running(), [""; 0]);
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

#[test]
fn when_the_process_that_shared_it_ends() {
    if left_out() {
        return;
    }
    let base = open_directory();
    let mut owner = Owner::start(Role::Shares, [("TMPDIR", base.path().as_os_str())]);
    let (_, _, url) = owner.cluster();
    assert_eq!(one(&url, "SELECT 1"), "1");
    let processes = Processes::below(owner.process.id());
    assert!(owner.end().success());
    processes.wait();
    assert_eq!(entries(base.path()), [""; 0].map(Path::new));
}

/// An installation whose `initdb` says that it has begun, and does not end.
#[test]
fn after_its_owner_was_killed_in_initdb() {
    let base = open_directory();
    let programs = base.path().join("programs");
    let clusters = base.path().join("clusters");
    for directory in [&programs, &clusters] {
        fs::create_dir(directory).unwrap();
    }
    let begun = base.path().join("begun");
    let made = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(&begun)
        .status();
    assert!(made.unwrap().success());
    let script = |name: &str, text: &str| {
        let path = programs.join(name);
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("postgres", "echo 'postgres (PostgreSQL) 99'");
    script("psql", "exit 1");
    // Reads from what its owner's end holds open for ever.
    let begun_path = begun.display();
    script(
        "initdb",
        &format!(
            "mkdir data; echo begun >'{begun_path}'; while :; do read -r line <'{begun_path}'; done"
        ),
    );
    let owner = Owner::start(
        Role::Keeps,
        [
            (BIN_ENV, programs.as_os_str()),
            ("TMPDIR", clusters.as_os_str()),
            (TEMPLATES_ENV, OsStr::new("")),
        ],
    );
    assert_eq!(fs::read_to_string(&begun).unwrap(), "begun\n");
    assert!(entries(&clusters)[0].join("data").is_dir());
    let processes = Processes::below(owner.process.id());
    assert_eq!(processes.count("initdb"), 1);
    owner.kill();
    processes.wait();
    assert_eq!(entries(&clusters), [""; 0].map(Path::new));
}

/// Which the server's user may enter, also when this is root.
fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}
