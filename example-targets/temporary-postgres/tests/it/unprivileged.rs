//! The same as a user who is not root, when the tests run as root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use temporary_postgres::{TEMPLATES_ENV, left_out};

use crate::owner::{Owner, Role, entries};
use crate::support::{Processes, one};

/// The id of a user whom every system has; `initdb` asks for its own name.
fn somebody() -> u32 {
    let output = Command::new("id").args(["-u", "nobody"]).output().unwrap();
    let id = String::from_utf8(output.stdout).unwrap();
    id.trim().parse().unwrap()
}

#[test]
fn somebody_else_runs_the_server_as_itself() {
    // Who is not root is somebody in every other test.
    if left_out() || !geteuid().is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The build may be where only root can go.
    let binary = base.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let clusters = base.path().join("clusters");
    fs::create_dir(&clusters).unwrap();
    let somebody = somebody();
    chown(&clusters, Some(somebody), Some(somebody)).unwrap();

    let mut command = Command::new(&binary);
    command.uid(somebody).gid(somebody).current_dir(&clusters);
    let mut owner = Owner::spawn(
        command,
        Role::Keeps,
        [
            ("TMPDIR", clusters.as_os_str()),
            (TEMPLATES_ENV, OsStr::new("")),
        ],
    );
    let (_, server, url) = owner.cluster();
    let user = fs::metadata(format!("/proc/{server}")).unwrap().uid();
    assert_eq!(user, somebody);
    assert_eq!(one(&url, "SELECT 1"), "1");
    let processes = Processes::below(owner.process.id());
    owner.kill();
    processes.wait();
    assert_eq!(entries(&clusters), [""; 0].map(Path::new));
}
