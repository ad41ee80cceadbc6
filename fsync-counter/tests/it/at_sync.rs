//! What happens at the n-th sync.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fsync_counter::{Action, FsyncCounter, Outcome, SyncCounts, stub_under};
use tempfile::{TempDir, tempdir};

use crate::alone::{child, is_child};
use crate::c_library as c;

fn directory_with_file() -> (TempDir, File) {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    (dir, file)
}

#[test]
fn an_errno_fails_one_sync() {
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(2, Action::Errno(libc::ENOSPC));
    file.sync_all().unwrap();
    let refused = file.sync_all().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    file.sync_all().unwrap();
    assert_eq!(counter.counts(), SyncCounts::new().files(3));
    let outcomes: Vec<_> = counter.events().iter().map(|event| event.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Succeeded,
            Outcome::Failed(libc::ENOSPC),
            Outcome::Succeeded
        ]
    );
}

/// The standard library repeats what was interrupted: that is an attempt more.
#[test]
fn an_interrupted_sync_is_two_attempts() {
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Errno(libc::EINTR));
    file.sync_all().unwrap();
    assert_eq!(counter.file_syncs(), 2);
}

#[test]
fn an_errno_is_injected_into_a_stub_too() {
    let (dir, file) = directory_with_file();
    let _disk = stub_under(dir.path());
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Errno(libc::EIO));
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    file.sync_all().unwrap();
}

#[test]
fn a_wait_delays_one_sync_by_at_least_its_time() {
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    let delay = Duration::from_millis(30);
    counter.at_sync(1, Action::Wait(delay));
    let start = Instant::now();
    file.sync_all().unwrap();
    assert!(start.elapsed() >= delay);
    assert_eq!(counter.events()[0].outcome, Outcome::Succeeded);
}

/// The function closes the descriptor: the sync is refused because it comes after.
#[test]
fn a_call_comes_before_the_sync_is_forwarded() {
    static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
    let (dir, file) = directory_with_file();
    let fd = c::high_copy(&file);
    DESCRIPTOR.store(fd, Ordering::SeqCst);
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(
        2,
        Action::Call(|| c::close(DESCRIPTOR.load(Ordering::SeqCst))),
    );
    c::fsync(fd).unwrap();
    assert_eq!(c::fsync(fd).unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(counter.counts(), SyncCounts::new().files(2));
}

#[test]
fn a_called_function_may_sync_and_leaves_errno_alone() {
    fn sync_something() {
        c::fsync(-1).unwrap_err();
    }
    crate::alone::alone(
        "at_sync::a_called_function_may_sync_and_leaves_errno_alone",
        || {
            let (dir, file) = directory_with_file();
            let counter = FsyncCounter::under(dir.path());
            counter.at_sync(1, Action::Call(sync_something));
            c::set_errno(libc::ENOTTY);
            c::fsync(file.as_raw_fd()).unwrap();
            assert_eq!(c::errno(), libc::ENOTTY);
            assert_eq!(counter.counts(), SyncCounts::new().files(1).unknown(1));
        },
    );
}

#[test]
fn several_are_armed_at_once() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn call() {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(3, Action::Call(call));
    counter.at_sync(1, Action::Errno(libc::EIO));
    counter.at_sync(3, Action::Errno(libc::ENOSPC));
    counter.at_sync(3, Action::Errno(libc::EDQUOT));
    counter.at_sync(3, Action::Call(call));
    let answers = [(); 4].map(|()| file.sync_all().err().and_then(|error| error.raw_os_error()));
    assert_eq!(answers, [Some(libc::EIO), None, Some(libc::ENOSPC), None]);
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
}

/// Alone, because scopes of other tests, when they close, make room before those that are open.
#[test]
fn scopes_number_their_own_syncs() {
    crate::alone::alone("at_sync::scopes_number_their_own_syncs", || {
        let (dir, file) = directory_with_file();
        let folder = File::open(dir.path()).unwrap();
        let of_all = FsyncCounter::under(dir.path());
        let of_file = FsyncCounter::under(dir.path().join("file"));
        of_all.at_sync(3, Action::Errno(libc::EIO));
        of_file.at_sync(2, Action::Errno(libc::ENOSPC));
        folder.sync_all().unwrap();
        file.sync_all().unwrap();
        // Third of the one and second of the other: the scope that was opened first answers.
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
        file.sync_all().unwrap();
    });
}

#[test]
fn there_is_no_sync_zero() {
    let counter = FsyncCounter::thread();
    let panic = catch_unwind(|| counter.at_sync(0, Action::Errno(libc::EIO))).unwrap_err();
    assert_eq!(
        panic.downcast_ref(),
        Some(&"syncs are numbered from 1: there is no sync 0")
    );
}

#[test]
fn reset_disarms_and_numbers_from_one() {
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Errno(libc::EIO));
    counter.reset();
    file.sync_all().unwrap();
    file.sync_all().unwrap();
    counter.reset();
    counter.at_sync(2, Action::Errno(libc::EIO));
    file.sync_all().unwrap();
    file.sync_all().unwrap_err();
}

#[test]
fn a_closed_scope_acts_no_more() {
    let (dir, file) = directory_with_file();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Errno(libc::EIO));
    drop(counter);
    file.sync_all().unwrap();
}

/// Writes a file, syncs it, writes the next.
fn write_one_after_another(dir: &Path) {
    for n in 1..=3 {
        let file = File::create(dir.join(n.to_string())).unwrap();
        file.sync_all().unwrap();
    }
}

/// A crash test: the same program killed at each of its syncs in turn.
#[test]
fn a_process_is_killed_at_each_sync() {
    const TEST: &str = "at_sync::a_process_is_killed_at_each_sync";
    const DIRECTORY: &str = "FSYNC_COUNTER_DIRECTORY";
    const KILL_AT: &str = "FSYNC_COUNTER_KILL_AT";
    let given = |name| std::env::var(name).unwrap();

    if is_child(TEST) {
        let dir = PathBuf::from(given(DIRECTORY));
        let counter = FsyncCounter::under(&dir);
        counter.at_sync(
            given(KILL_AT).parse().unwrap(),
            Action::Call(|| process::abort()),
        );
        write_one_after_another(&dir);
        return;
    }
    for kill_at in 1..=4 {
        let dir = tempdir().unwrap();
        let ended = child(TEST)
            .env(DIRECTORY, dir.path())
            .env(KILL_AT, kill_at.to_string())
            .output()
            .unwrap();
        let written = fs::read_dir(dir.path()).unwrap().count();
        if kill_at <= 3 {
            assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
            assert_eq!(written, kill_at);
        } else {
            crate::alone::assert_passed(&ended);
            assert_eq!(written, 3);
        }
    }
}
