//! Syncs that succeed without the disk. The kernel refuses to sync `/dev/null` (`EINVAL`): where
//! that succeeds, it was not asked.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::catch_unwind;
use std::thread;

use fsync_counter::{FsyncCounter, Outcome, Scope, SyncCounts, stub, stub_thread, stub_under};
use tempfile::tempdir;

use crate::alone::alone;
use crate::c_library as c;

/// Whether the calling thread's syncs are stubbed, for a file at no interesting path.
fn is_stubbed() -> bool {
    match File::open("/dev/null").unwrap().sync_all() {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
            false
        }
    }
}

#[test]
fn a_thread_stub_answers_its_thread_only() {
    assert!(!is_stubbed());
    let guard = stub_thread();
    assert!(is_stubbed());
    assert!(!thread::spawn(is_stubbed).join().unwrap());
    drop(guard);
    assert!(!is_stubbed());
}

#[test]
fn a_process_stub_answers_every_thread_and_also_what_has_no_descriptor() {
    alone(
        "stubs::a_process_stub_answers_every_thread_and_also_what_has_no_descriptor",
        || {
            let closed = c::closed_descriptor();
            let guard = stub();
            assert!(is_stubbed());
            assert!(thread::spawn(is_stubbed).join().unwrap());
            for call in [c::fsync, c::fdatasync, c::syncfs] {
                call(closed).unwrap();
            }
            c::sync_file_range(closed, 0).unwrap();
            let nowhere = std::ptr::without_provenance_mut(4096);
            c::msync(nowhere, 4096, libc::MS_SYNC).unwrap();
            drop(guard);
            assert!(!is_stubbed());
            assert!(!thread::spawn(is_stubbed).join().unwrap());
            c::fsync(closed).unwrap_err();
        },
    );
}

#[test]
fn a_path_stub_answers_its_path_only_on_every_thread() {
    let guard = stub_under("/dev/null");
    assert!(is_stubbed());
    assert!(thread::spawn(is_stubbed).join().unwrap());
    File::open("/dev/zero").unwrap().sync_all().unwrap_err();
    // It may be dropped by any thread.
    thread::spawn(move || drop(guard)).join().unwrap();
    assert!(!is_stubbed());
}

#[test]
fn a_path_stub_leaves_alone_what_it_cannot_place() {
    alone(
        "stubs::a_path_stub_leaves_alone_what_it_cannot_place",
        || {
            let closed = c::closed_descriptor();
            let _disk = stub_under("/");
            assert!(is_stubbed());
            for call in [c::fsync, c::fdatasync, c::syncfs] {
                assert_eq!(call(closed).unwrap_err().raw_os_error(), Some(libc::EBADF));
            }
            assert_eq!(
                c::sync_file_range(closed, 0).unwrap_err().raw_os_error(),
                Some(libc::EBADF)
            );
        },
    );
}

#[test]
fn what_is_stubbed_is_counted() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let sync = || {
        file.sync_all().unwrap();
        File::open(dir.path()).unwrap().sync_all().unwrap();
    };
    let check = |scope: Scope| {
        let seen = scope.observe(sync);
        assert_eq!(seen.counts(), SyncCounts::new().files(1).dirs(1));
        for event in seen.events() {
            assert_eq!(event.outcome, Outcome::Stubbed);
        }
    };
    for scope in [Scope::thread(), Scope::under(dir.path())] {
        let by_thread = stub_thread();
        check(scope.clone());
        drop(by_thread);
        let by_path = stub_under(dir.path());
        check(scope);
        drop(by_path);
    }
}

#[test]
fn what_a_process_stub_answers_is_counted() {
    alone("stubs::what_a_process_stub_answers_is_counted", || {
        let _disk = stub();
        let closed = c::closed_descriptor();
        let seen = Scope::process().observe(|| {
            assert!(is_stubbed());
            c::fsync(closed).unwrap();
        });
        assert_eq!(seen.counts(), SyncCounts::new().other(1).unknown(1));
        for event in seen.events() {
            assert_eq!(event.outcome, Outcome::Stubbed);
        }
    });
}

#[test]
fn thread_and_path_stubs_nest() {
    let outer = stub_thread();
    let inner = stub_thread();
    drop(outer);
    assert!(is_stubbed());
    let path = stub_under("/dev/null");
    drop(inner);
    assert!(is_stubbed());
    let again = stub_under("/dev");
    drop(path);
    assert!(is_stubbed());
    drop(again);
    assert!(!is_stubbed());
}

#[test]
fn process_stubs_nest() {
    alone("stubs::process_stubs_nest", || {
        let outer = stub();
        let inner = stub();
        drop(outer);
        assert!(is_stubbed());
        drop(inner);
        assert!(!is_stubbed());
    });
}

#[test]
fn a_panic_leaves_no_stub_behind() {
    alone("stubs::a_panic_leaves_no_stub_behind", || {
        let panicking: [fn(); 3] = [
            || {
                let _disk = stub();
                assert!(is_stubbed());
                panic!("on purpose");
            },
            || {
                let _disk = stub_thread();
                assert!(is_stubbed());
                panic!("on purpose");
            },
            || {
                let _disk = stub_under("/dev/null");
                assert!(is_stubbed());
                panic!("on purpose");
            },
        ];
        for f in panicking {
            let panic = catch_unwind(f).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
            assert!(!is_stubbed());
        }
    });
}

#[test]
fn a_stub_keeps_errno() {
    let null = File::open("/dev/null").unwrap();
    let counter = FsyncCounter::thread();
    let _disk = stub_thread();
    c::set_errno(libc::ENOTTY);
    c::fsync(null.as_raw_fd()).unwrap();
    assert_eq!(c::errno(), libc::ENOTTY);
    assert_eq!(counter.counts().other, 1);
}
