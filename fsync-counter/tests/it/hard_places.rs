//! Syncs at moments when little is allowed: after `fork`, at the end of a thread, in a signal
//! handler; and the hook's own part in it, which allocates nothing.

use std::cell::RefCell;
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use fsync_counter::{Action, FsyncCounter, Incomplete, Scope, SyncCounts, stub_under};
use tempfile::tempdir;

use crate::allocations;
use crate::alone::alone;
use crate::c_library as c;

/// Runs `f` in a child made by `fork`; how it ended, as `waitpid` says. A child that hangs is
/// killed by its alarm.
pub(crate) fn in_fork(f: impl FnOnce()) -> c_int {
    // SAFETY: the child only syncs, allocates (which the C library allows it) and exits.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: takes a number.
        unsafe { libc::alarm(20) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(f)).is_err());
        // SAFETY: does not return.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// At some of these forks another thread is in the middle of a hook: the child must not wait for
/// it.
#[test]
fn a_forked_child_syncs_and_closes_and_opens_scopes() {
    alone(
        "hard_places::a_forked_child_syncs_and_closes_and_opens_scopes",
        || {
            let dir = tempdir().unwrap();
            let _disk = stub_under(dir.path());
            let mut inherited: Vec<Option<FsyncCounter>> = (0..12)
                .map(|_| Some(FsyncCounter::under(dir.path())))
                .collect();
            let over = AtomicBool::new(false);
            thread::scope(|threads| {
                for n in 0..3 {
                    let file = File::create(dir.path().join(n.to_string())).unwrap();
                    let over = &over;
                    threads.spawn(move || {
                        while !over.load(Ordering::Relaxed) {
                            file.sync_all().unwrap();
                        }
                    });
                }
                let ended = (0..100)
                    .map(|_| in_fork(|| close_and_open_scopes(dir.path(), &mut inherited)))
                    .find(|status| *status != 0);
                over.store(true, Ordering::Relaxed);
                assert_eq!(ended, None, "14 is the alarm: the child hung");
            });
        },
    );
}

fn close_and_open_scopes(dir: &Path, inherited: &mut [Option<FsyncCounter>]) {
    let file = File::create(dir.join("child")).unwrap();
    file.sync_all().unwrap();
    inherited[0].as_ref().unwrap().reset();
    for scope in inherited {
        *scope = None;
    }
    for _ in 0..12 {
        let seen = Scope::under(dir).observe(|| file.sync_all().unwrap());
        assert_eq!(seen.counts(), SyncCounts::new().files(1));
    }
}

fn open_durably(path: &Path) {
    let flags = libc::O_WRONLY | libc::O_DSYNC;
    let path = c::path(path);
    // SAFETY: the path is a C string.
    drop(c::opened(unsafe { libc::open(path.as_ptr(), flags) }));
}

/// The child's descriptors and ids are its own, also where it has the numbers of its parent's.
#[test]
fn a_forked_child_is_seen_as_itself() {
    alone("hard_places::a_forked_child_is_seen_as_itself", || {
        let dir = tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let file = File::create(root.join("parent")).unwrap();
        let by_path = FsyncCounter::under(&root);
        let by_thread = FsyncCounter::thread();
        file.sync_all().unwrap();
        let status = in_fork(|| {
            let fd = file.as_raw_fd();
            c::close(fd);
            let file = File::create(root.join("child")).unwrap();
            assert_eq!(file.as_raw_fd(), fd);
            file.sync_all().unwrap();
            for counter in [&by_path, &by_thread] {
                let events = counter.events();
                assert_eq!(events.len(), 2);
                assert_eq!(events[1].path, Some(root.join("child")));
                assert_eq!(events[1].process, std::process::id());
                assert_eq!(events[1].thread, std::process::id());
            }
            let renamed = root.join("renamed");
            let by_entry = FsyncCounter::under(&root).with_entries();
            std::fs::rename(root.join("child"), &renamed).unwrap();
            open_durably(&renamed);
            assert_eq!(by_entry.events()[0].path.as_ref(), Some(&renamed));
            assert_eq!(by_entry.events()[0].process, std::process::id());
            let path = Some(renamed.clone());
            assert_eq!(by_path.incomplete(), [Incomplete::DurableOpen { path }]);
            std::fs::rename(&renamed, root.join("child")).unwrap();
            // Also after a scope of its own.
            let again = Scope::under(&root).observe(|| file.sync_all().unwrap());
            assert_eq!(again.events()[0].path, Some(root.join("child")));
            assert_eq!(again.events()[0].process, std::process::id());
        });
        assert_eq!(status, 0);
        assert_eq!(by_path.file_syncs(), 1);
        assert_eq!(by_path.incomplete(), []);
    });
}

/// Where the folder of links is gone, because a program closes what it does not know, its number
/// may be anything.
#[test]
fn a_program_may_close_descriptors_that_it_does_not_know() {
    alone(
        "hard_places::a_program_may_close_descriptors_that_it_does_not_know",
        || {
            let dir = tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            let file = File::create(root.join("file")).unwrap();
            let seen = |what: &str| {
                let seen = Scope::under(&root).observe(|| file.sync_all().unwrap());
                assert_eq!(seen.counts(), SyncCounts::new().files(1), "{what}");
                assert_eq!(seen.events()[0].path, Some(root.join("file")), "{what}");
            };
            seen("as it is");
            // SAFETY: nobody owns these descriptors but the hook, which is prepared for it.
            assert_eq!(unsafe { libc::close_range(500, c_int::MAX as u32, 0) }, 0);
            seen("closed");
            // SAFETY: as above, and the descriptor of the directory is open.
            unsafe { libc::dup2(File::open("/proc").unwrap().as_raw_fd(), 500) };
            seen("another directory");
        },
    );
}

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

#[test]
fn a_sync_while_a_thread_is_torn_down_is_counted() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let counter = FsyncCounter::under(dir.path());
    // The thread's state that was last in use is the first to go: the hook's, if it could.
    thread::spawn(move || {
        let another = file.try_clone().unwrap();
        LAST.set(Some(Last(file)));
        another.sync_all().unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(counter.counts(), SyncCounts::new().files(2));
}

static HANDLED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn sync_in_handler(_signal: c_int) {
    let _answer = c::fsync(HANDLED.load(Ordering::SeqCst));
}

/// Once between syncs, and once in the middle of one: the hook is entered a second time.
#[test]
fn a_sync_in_a_signal_handler_is_counted() {
    fn raise() {
        // SAFETY: the handler below is installed.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    }
    alone("hard_places::a_sync_in_a_signal_handler_is_counted", || {
        let dir = tempdir().unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        HANDLED.store(file.as_raw_fd(), Ordering::SeqCst);
        let handler: extern "C" fn(c_int) = sync_in_handler;
        // SAFETY: the handler does nothing but a sync.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };

        for by_path in [true, false] {
            let counter = if by_path {
                FsyncCounter::under(dir.path())
            } else {
                FsyncCounter::thread()
            };
            raise();
            assert_eq!(counter.file_syncs(), 1);
            counter.at_sync(2, Action::Call(raise));
            file.sync_all().unwrap();
            assert_eq!(counter.counts(), SyncCounts::new().files(3));
        }
    });
}

/// Signals that arrive at any instruction of a hook, hundreds of them.
#[test]
fn signals_at_any_moment_lose_no_sync() {
    static HANDLED_TIMES: AtomicI32 = AtomicI32::new(0);
    extern "C" fn handler(signal: c_int) {
        let errno = c::errno();
        sync_in_handler(signal);
        HANDLED_TIMES.fetch_add(1, Ordering::SeqCst);
        c::set_errno(errno);
    }
    fn set_timer(every_us: i64) {
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: every_us,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // SAFETY: `timer` outlives the call; a null pointer asks for no answer.
        let set =
            unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }
    alone("hard_places::signals_at_any_moment_lose_no_sync", || {
        let dir = tempdir().unwrap();
        let _disk = stub_under(dir.path());
        let file = File::create(dir.path().join("file")).unwrap();
        HANDLED.store(file.as_raw_fd(), Ordering::SeqCst);
        let handler: extern "C" fn(c_int) = handler;
        let counter = FsyncCounter::under(dir.path());
        // SAFETY: the handler does nothing but a sync.
        unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
        set_timer(200);
        let mut own = 0;
        while HANDLED_TIMES.load(Ordering::SeqCst) < 300 {
            file.sync_all().unwrap();
            own += 1;
        }
        set_timer(0);
        let handled = HANDLED_TIMES.load(Ordering::SeqCst);
        assert_eq!(counter.file_syncs(), own + u64::try_from(handled).unwrap());
    });
}

#[test]
fn a_hook_allocates_nothing() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let folder = File::open(dir.path()).unwrap();
    let pipe = std::io::pipe().unwrap();
    let map = memmap2::MmapMut::map_anon(4096).unwrap();
    let armed = FsyncCounter::under(dir.path());
    armed.at_sync(3, Action::Errno(libc::EIO));
    let _by_thread = FsyncCounter::thread();
    let _stubbed = stub_under(dir.path());

    let before = allocations::requests_of_this_thread();
    for _ in 0..1_500 {
        let _answer = c::fsync(file.as_raw_fd());
        let _answer = c::fdatasync(folder.as_raw_fd());
        let _answer = c::fsync(pipe.0.as_raw_fd());
    }
    let _answer = c::msync(map.as_ptr().cast_mut().cast(), 4096, libc::MS_SYNC);
    let _answer = c::sync_file_range(file.as_raw_fd(), 0);
    assert_eq!(allocations::requests_of_this_thread(), before);
    assert_eq!(
        armed.counts(),
        SyncCounts::new().files(1_500).dirs(1_500).weak(1)
    );

    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations::requests_of_this_thread(), before + 2);
}

#[test]
fn what_is_noted_beside_syncs_allocates_nothing_either() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let [old, new] = ["old", "new"].map(|name| c::path(&root.join(name)));
    let create = libc::O_WRONLY | libc::O_CREAT | libc::O_DSYNC;
    let parts = [std::io::IoSlice::new(b"text")];
    let by_path = FsyncCounter::under(&root).with_entries();
    let by_thread = FsyncCounter::thread().with_entries();

    let before = allocations::requests_of_this_thread();
    // Until both have no room left.
    for _ in 0..600 {
        // SAFETY: the path is a C string.
        let file = c::opened(unsafe { libc::open(old.as_ptr(), create, 0o600) });
        let (fd, parts) = (file.as_raw_fd(), parts.as_ptr().cast());
        // SAFETY: an `IoSlice` has the layout of an `iovec`.
        let written = unsafe { libc::pwritev2(fd, parts, 1, 0, libc::RWF_SYNC) };
        // SAFETY: the paths are C strings.
        let renamed = unsafe { libc::rename(old.as_ptr(), new.as_ptr()) };
        // SAFETY: the path is a C string.
        let removed = unsafe { libc::unlink(new.as_ptr()) };
        assert_eq!((written, renamed, removed), (4, 0, 0));
    }
    assert_eq!(allocations::requests_of_this_thread(), before);

    for counter in [by_path, by_thread] {
        assert_eq!(counter.events().overflowed(), 1200 - 1024);
        let path = || Some(root.join("old"));
        let (opened, written) = (path(), path());
        let told = [
            Incomplete::DurableOpen { path: opened },
            Incomplete::DurableWrite { path: written },
        ];
        assert_eq!(counter.incomplete(), told);
    }
}
