//! A disk that is really full: each write of a commit, a compaction, a drain and a sweep meets a
//! file system without room, and a file that may not grow.
//!
//! `disk_faults.rs` lets every effect fail by itself, at the seam. Here the kernel refuses, in
//! the middle of a write as likely as not, and what is left of the file is what it left.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use outbox::{Error, Event, Outbox};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::support::{DAY, HandClock, left_out, names};

const DIRECTORY_ENV: &str = "OUTBOX_FULL_DIRECTORY";
const HOW_ENV: &str = "OUTBOX_FULL_HOW";

/// What is in the outbox when the disk is found full.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Of each record and of the line that is damaged: about a block, or small.
    line_bytes: usize,
    /// Turns in the ledger.
    consumed: usize,
    is_damaged: bool,
    /// The next commit rewrites the inbox.
    compacts: bool,
}

/// Between them each of the five files is once the one that does not fit.
fn befores(line_bytes: usize) -> [Before; 4] {
    let plain = Before {
        line_bytes,
        consumed: 0,
        is_damaged: false,
        compacts: false,
    };
    [
        plain,
        Before {
            consumed: 200,
            ..plain
        },
        Before {
            is_damaged: true,
            ..plain
        },
        Before {
            compacts: true,
            ..plain
        },
    ]
}

fn event(child: &str, signal: &str, summary_bytes: usize) -> Event {
    Event::new(child, signal).with_summary("x".repeat(summary_bytes))
}

fn prepare(root: &Path, before: Before, clock: &HandClock) -> Outbox {
    let outbox =
        Outbox::with_seams(root, "parent", crate::support::UnsyncedDisk, clock.clone()).unwrap();
    for number in 0..before.consumed {
        let event = Event::new(format!("old-{number}"), "1");
        outbox.commit(event).unwrap();
    }
    outbox.drain().unwrap();
    outbox.commit(Event::new("forgotten", "1")).unwrap();
    clock.forward(8 * DAY);
    if before.compacts {
        for signal in ["1", "2"] {
            outbox.commit(event("a", signal, 32_000)).unwrap();
        }
    }
    for child in ["a", "b"] {
        outbox
            .commit(event(child, "last", before.line_bytes))
            .unwrap();
    }
    if before.is_damaged {
        let mut inbox = File::options()
            .append(true)
            .open(outbox.path().join("inbox.jsonl"))
            .unwrap();
        inbox
            .write_all(&[&vec![b'y'; before.line_bytes * 3][..], b"\n"].concat())
            .unwrap();
    }
    outbox
}

/// Notes the file that an operation could not write.
fn note<T>(result: Result<T, Error>, files: &mut BTreeSet<String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Io { path, source, .. })
            if matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::FileTooLarge
            ) =>
        {
            let name = path.file_name().unwrap();
            files.insert(name.to_string_lossy().into_owned());
            None
        }
        Err(error) => panic!("not for want of room: {error:?}"),
    }
}

/// Uses an outbox while there is no room, and then while there is: nothing is lost and nothing
/// delivered twice. Returns the files that did not fit.
fn survives(
    root: &Path,
    before: Before,
    take_room: impl FnOnce(),
    give_room: impl FnOnce(),
) -> BTreeSet<String> {
    let clock = HandClock::new();
    let outbox = prepare(root, before, &clock);
    let mut files = BTreeSet::new();
    take_room();
    let late = event("late", "1", before.line_bytes);
    let committed = note(outbox.commit(late), &mut files).is_some();
    let pending = names(&outbox.pending().unwrap());
    let is_pending = pending.contains(&"late=1".into());
    let swept = note(outbox.sweep(), &mut files);
    let first = note(outbox.drain(), &mut files);
    let again = note(outbox.drain(), &mut files);
    give_room();

    assert_eq!(is_pending, committed, "{before:?}: {files:?}");
    let mut delivered = Vec::new();
    for drained in [first, again].into_iter().flatten() {
        delivered.extend(names(&drained));
    }
    delivered.extend(names(&outbox.drain().unwrap()));
    delivered.sort();
    let mut expected = vec!["a=last", "b=last"];
    expected.extend(committed.then_some("late=1"));
    assert_eq!(delivered, expected, "{before:?}: {files:?}");
    assert!(outbox.drain().unwrap().is_empty());
    let dead = outbox.dead_letters().unwrap();
    let whole = dead.iter().filter(|letter| letter.at.is_some());
    assert_eq!(
        whole.count(),
        1 + usize::from(before.is_damaged),
        "{before:?}: {swept:?}"
    );
    files
}

/// A file of other data, as large as the file system lets it be, less so many blocks.
fn fill_but(path: &Path, blocks: u64) {
    let mut ballast = File::create(path).unwrap();
    let mut length = 0;
    while ballast.write_all(&[7; 4_096]).is_ok() {
        length += 4_096;
    }
    ballast.set_len(length - blocks * 4_096).unwrap();
}

/// Not a test of its own: the child process of the others, on a disk or with a limit of its own.
#[test]
fn child_on_a_full_disk() {
    let Some(directory) = std::env::var_os(DIRECTORY_ENV) else {
        return;
    };
    let directory = Path::new(&directory);
    let is_limit = std::env::var(HOW_ENV).unwrap() == "limit";
    let mut files = BTreeSet::new();
    let mut rooms = 0;
    let mut room = |before: Before, room: u64| {
        let root = TempDir::new_in(directory).unwrap();
        let ballast = directory.join("other-data");
        let limit = |current| {
            let maximum = getrlimit(Resource::Fsize).maximum;
            setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
        };
        files.append(&mut if is_limit {
            survives(root.path(), before, || limit(Some(room)), || limit(None))
        } else {
            let give = || fs::remove_file(&ballast).unwrap();
            survives(root.path(), before, || fill_but(&ballast, room), give)
        });
        rooms += 1;
    };
    if is_limit {
        for before in befores(100) {
            (0..3_000).step_by(23).for_each(|bytes| room(before, bytes));
        }
        for before in befores(100) {
            let larger = (3_000..100_000).step_by(2_999);
            larger.for_each(|bytes| room(before, bytes));
        }
    } else {
        for before in befores(3_000) {
            (0..40).for_each(|blocks| room(before, blocks));
        }
    }
    let expected = [
        "dead-letters.jsonl",
        "inbox.jsonl",
        "inbox.tmp",
        "ledger.tmp",
        "wal.tmp",
    ];
    assert_eq!(files, expected.map(String::from).into());
    assert!(rooms > 150, "{rooms}");
}

/// The child, by way of a shell that prepares for it.
fn child(shell: &[&str], script: &str, directory: &Path, how: &str) -> Command {
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .args(["sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk_full::child_on_a_full_disk", "--nocapture"])
        .env(DIRECTORY_ENV, directory)
        .env(HOW_ENV, how);
    command
}

#[track_caller]
fn assert_passes(mut child: Command) {
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A limit on the size of files, by which a write fails half-way (`EFBIG`). Its signal is ignored.
#[test]
fn a_file_that_may_not_grow_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; exec \"$@\"";
    assert_passes(child(&["env"], script, directory.path(), "limit"));
}

/// A file system of 1 MiB of which other data takes all but some blocks (`ENOSPC`), where this
/// user may mount one: in a name space of its own, which goes with the child.
#[test]
fn a_file_system_without_room_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let may_mount = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(directory.path())
        .output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        left_out("this user may not mount a file system of its own");
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs '{}' && exec \"$@\"",
        directory.path().display()
    );
    assert_passes(child(&unshare, &script, directory.path(), "disk"));
}
