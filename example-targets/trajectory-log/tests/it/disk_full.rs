//! A disk that fills up and becomes free again: told, and nothing is lost.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trajectory_log::{
    Accepted, Config, Durability, Error, SqliteStorage, Storage, StorageError, TrajectoryLogger,
    TrajectoryReader, Turn,
};

use crate::storage::{directory, runtime};

const DIRECTORY_ENV: &str = "TRAJECTORY_FULL_DIRECTORY";
const HOW_ENV: &str = "TRAJECTORY_FULL_HOW";

/// A turn of a page and a half.
fn turn(number: u32) -> Turn {
    Turn::new("run", number, "tool", format!("{number:06} ").repeat(1_000))
}

fn written(path: &Path) -> Vec<u32> {
    let turns = TrajectoryReader::open(path)
        .unwrap()
        .turns_of("run")
        .unwrap();
    for logged in &turns {
        assert_eq!(logged.turn, turn(logged.turn.turn));
    }
    turns.iter().map(|logged| logged.turn.turn).collect()
}

/// Logs until the disk is full, sees that it is told and that nothing is lost, makes it free again,
/// and sees everything there, once.
fn fill_and_free(logger: &TrajectoryLogger, path: &Path, make_free: impl FnOnce()) {
    runtime().block_on(async {
        let mut acknowledged = 0;
        let mut logged = 0;
        let error = loop {
            assert!(logged < 5_000, "the disk does not fill up");
            logger.log_turn(turn(logged)).await.unwrap();
            logged += 1;
            if logged % 5 == 0 {
                match logger.flush().await {
                    Ok(()) => acknowledged = logged,
                    Err(error) => break error,
                }
            }
        };
        let kept = (logged - acknowledged) as usize;
        let Error::NotWritten { kept: told, source } = &error else {
            panic!("{error:?}");
        };
        assert!(*told <= kept && *told > 0, "{told} of {kept}");
        assert!(source.is_transient());
        assert!(
            error.cure().unwrap().starts_with("free some space"),
            "{error:?}"
        );

        // More is accepted, and the writer goes on trying.
        let failed = logger.status().failed_attempts;
        while logger.status().failed_attempts < failed + 2 {
            logger.flush().await.unwrap_err();
        }
        for _ in 0..20 {
            logger.log_turn(turn(logged)).await.unwrap();
            logged += 1;
        }
        assert!(written(path).len() >= acknowledged as usize);
        make_free();
        logger.flush().await.unwrap();
        logger.log_turn(turn(logged)).await.unwrap();
        logger.close().await.unwrap();
        assert_eq!(written(path), (0..=logged).collect::<Vec<_>>());
    });
}

/// SQLite's own limit, which a test can take back.
struct Limited {
    storage: SqliteStorage,
    is_full: Arc<AtomicBool>,
}

impl Storage for Limited {
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        let pages = if self.is_full.load(Ordering::SeqCst) {
            40
        } else {
            1_000_000
        };
        let connection = self.storage.connection();
        let set: i64 = connection
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))
            .unwrap();
        assert!(set >= pages);
        self.storage.write(turns, to_disk)
    }

    fn always_writes_to_disk(&self) -> bool {
        self.storage.always_writes_to_disk()
    }
}

#[test]
fn a_database_that_may_not_grow() {
    for durability in ["wal/full", "wal/normal", "delete/extra"] {
        let durability: Durability = durability.parse().unwrap();
        let directory = directory();
        let path = directory.path().join("log.db");
        let is_full = Arc::new(AtomicBool::new(true));
        let storage = Limited {
            storage: SqliteStorage::open(&path, durability).unwrap(),
            is_full: Arc::clone(&is_full),
        };
        let logger = TrajectoryLogger::with_seams(storage, Config::default(), |_| ()).unwrap();
        fill_and_free(&logger, &path, || is_full.store(false, Ordering::SeqCst));
    }
}

/// Not a test of its own: the child process of the others, on a disk or with a limit of its own.
#[test]
fn child_on_a_full_disk() {
    let Some(directory) = std::env::var_os(DIRECTORY_ENV) else {
        return;
    };
    let path = Path::new(&directory).join("log.db");
    let storage = SqliteStorage::open(&path, Durability::default()).unwrap();
    let logger = TrajectoryLogger::with_seams(storage, Config::default(), |_| ()).unwrap();
    if std::env::var(HOW_ENV).unwrap() == "limit" {
        let set = |current| {
            let maximum = getrlimit(Resource::Fsize).maximum;
            setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
        };
        set(Some(300_000));
        fill_and_free(&logger, &path, || set(None));
    } else {
        let other_data = path.with_file_name("other-data");
        fs::write(&other_data, vec![7; 1 << 20]).unwrap();
        fill_and_free(&logger, &path, || fs::remove_file(&other_data).unwrap());
    }
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
fn a_file_that_may_not_grow() {
    let directory = directory();
    let script = "trap '' XFSZ; exec \"$@\"";
    assert_passes(child(&["env"], script, directory.path(), "limit"));
}

/// A file system of 2 MiB of which another program's data takes half, where this user may mount
/// one (in a name space of its own, which goes with the child).
#[test]
fn a_disk_that_is_full() {
    let directory = directory();
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let may_mount = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(directory.path())
        .output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: this user can't mount a file system of its own");
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs '{}' && exec \"$@\"",
        directory.path().display()
    );
    assert_passes(child(&unshare, &script, directory.path(), "disk"));
}
