//! All hard places at once: threads that start and end, syncs while they are torn down, signals
//! at any moment, forks, panics, actions, scopes that open and close. Nothing is lost, nothing is
//! counted twice, nothing hangs.
//!
//! `hard_places.rs` has each by itself. `make thread-sanitizer` runs this file under
//! ThreadSanitizer.

use std::cell::RefCell;
use std::ffi::c_int;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;

use fsync_counter::{Action, FsyncCounter, Scope, SyncCounts, stub_under};
use tempfile::tempdir;

use crate::alone::alone;
use crate::c_library as c;
use crate::hard_places::in_fork;

const THREADS: usize = 6;
const GENERATIONS: usize = 12;
const ROUNDS: usize = 60;

/// Syncs its file when its thread ends.
struct Last(File);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.sync_all().unwrap();
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

static SIGNALLED: AtomicI32 = AtomicI32::new(-1);
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn sync_in_handler(_signal: c_int) {
    let errno = c::errno();
    let answer = c::fsync(SIGNALLED.load(Ordering::SeqCst));
    if answer.is_ok() {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    c::set_errno(errno);
}

/// A life of a thread, in a directory of its own. Returns the syncs that it issued, the one of
/// its end included.
fn live(own: &Path) -> u64 {
    fs::create_dir(own).unwrap();
    let file = File::create(own.join("file")).unwrap();
    let folder = File::open(own).unwrap();
    LAST.set(Some(Last(file.try_clone().unwrap())));
    let counter = FsyncCounter::under(own);
    let mut expected = SyncCounts::new();
    for round in 0..ROUNDS {
        match round % 6 {
            0 => {
                let seen = Scope::under(own).observe(|| file.sync_all().unwrap());
                assert_eq!(seen.counts(), SyncCounts::new().files(1));
            }
            1 => {
                let panicked = catch_unwind(|| {
                    Scope::under(own).observe(|| {
                        file.sync_data().unwrap();
                        panic!("in the middle of a scope");
                    })
                });
                assert!(panicked.is_err());
            }
            2 => {
                let next = expected.files + expected.dirs + 1;
                counter.at_sync(next, Action::Errno(libc::EIO));
                let error = file.sync_all().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
            }
            3 => {
                folder.sync_all().unwrap();
                expected.dirs += 1;
                expected.files -= 1;
            }
            4 => {
                fs::rename(own.join("file"), own.join("renamed")).unwrap();
                file.sync_all().unwrap();
                fs::rename(own.join("renamed"), own.join("file")).unwrap();
            }
            _ => {
                // Overlapping, and closed in the order in which they were opened.
                let first = FsyncCounter::thread();
                let second = FsyncCounter::under(own);
                file.sync_all().unwrap();
                // A handler's may be among the thread's.
                assert!(first.file_syncs() >= 1);
                drop(first);
                assert_eq!(second.file_syncs(), 1);
            }
        }
        expected.files += 1;
        assert_eq!(counter.counts(), expected, "round {round}");
    }
    expected.files + expected.dirs + 1
}

/// What a child of the process does in the middle of it all.
fn sync_in_child(dir: &Path) {
    let file = File::create(dir.join("child")).unwrap();
    for _ in 0..3 {
        let seen = Scope::under(dir).observe(|| file.sync_all().unwrap());
        assert_eq!(seen.counts(), SyncCounts::new().files(1));
    }
}

#[test]
fn nothing_is_lost_while_everything_happens_at_once() {
    alone(
        "stress::nothing_is_lost_while_everything_happens_at_once",
        || {
            let dir = tempdir().unwrap();
            let dir = dir.path().canonicalize().unwrap();
            let _disk = stub_under(&dir);
            let signals = dir.join("signals");
            fs::create_dir(&signals).unwrap();
            let signalled = File::create(signals.join("file")).unwrap();
            SIGNALLED.store(signalled.as_raw_fd(), Ordering::SeqCst);
            let all = FsyncCounter::under(&dir);
            let of_signals = FsyncCounter::under(&signals);
            let handler: extern "C" fn(c_int) = sync_in_handler;
            // SAFETY: the handler does nothing but a sync.
            unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };

            let mut issued = 0;
            for generation in 0..GENERATIONS {
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let own = dir.join(format!("{generation}-{thread}"));
                        thread::spawn(move || live(&own))
                    })
                    .collect();
                // Also while they are being made, and while they are torn down.
                while threads.iter().any(|thread| !thread.is_finished()) {
                    for thread in &threads {
                        // SAFETY: the handle is not joined yet, so that the thread is still known.
                        unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
                    }
                    let status = in_fork(|| sync_in_child(&dir));
                    assert_eq!(status, 0, "14 is the alarm: the child hung");
                }
                // Joined, and not only waited for: what ends a thread has happened then.
                for thread in threads {
                    issued += thread.join().unwrap();
                }
            }

            let handled = HANDLED.load(Ordering::SeqCst);
            assert!(handled > 0);
            assert_eq!(of_signals.counts(), SyncCounts::new().files(handled));
            assert_eq!(all.counts().total(), issued + handled);
            assert_eq!(all.incomplete(), []);
        },
    );
}
