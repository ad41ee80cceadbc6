//! The lines that explain a count.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process;
use std::thread;

use fsync_counter::{Action, FileClass, FsyncCounter, Operation, Outcome, Scope, stub_thread};
use tempfile::tempdir;

use crate::c_library as c;

/// The kernel's id of the calling thread.
fn thread_id() -> u32 {
    // SAFETY: takes nothing.
    u32::try_from(unsafe { libc::gettid() }).unwrap()
}

#[test]
fn events_stand_in_order_with_all_that_is_known() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let file = File::create(root.join("file")).unwrap();
    let folder = File::open(&root).unwrap();

    let counter = FsyncCounter::under(&root);
    counter.at_sync(2, Action::Errno(libc::EIO));
    file.sync_data().unwrap();
    file.sync_all().unwrap_err();
    let other_thread = thread::scope(|threads| {
        let other = threads.spawn(|| {
            let _disk = stub_thread();
            folder.sync_all().unwrap();
            thread_id()
        });
        other.join().unwrap()
    });

    let events = counter.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.operation, event.class, event.outcome, event.thread))
        .collect();
    assert_eq!(
        told,
        [
            (
                Operation::Fdatasync,
                FileClass::File,
                Outcome::Succeeded,
                thread_id()
            ),
            (
                Operation::Fsync,
                FileClass::File,
                Outcome::Failed(libc::EIO),
                thread_id()
            ),
            (
                Operation::Fsync,
                FileClass::Directory,
                Outcome::Stubbed,
                other_thread
            ),
        ]
    );
    assert_ne!(other_thread, thread_id());
    assert!(
        events
            .windows(2)
            .all(|two| two[0].sequence < two[1].sequence)
    );
    assert!(events.iter().all(|event| event.process == process::id()));
    let paths: Vec<_> = events
        .iter()
        .map(|event| event.path.clone().unwrap())
        .collect();
    assert_eq!(paths, [root.join("file"), root.join("file"), root.clone()]);
    assert_eq!(
        events[1].to_string(),
        format!(
            "#{} fsync file {} (failed, errno {})",
            events[1].sequence,
            root.join("file").display(),
            libc::EIO
        )
    );
}

#[test]
fn a_sync_that_the_kernel_refused_says_so() {
    let null = File::open("/dev/null").unwrap();
    let counter = FsyncCounter::thread();
    null.sync_all().unwrap_err();
    assert_eq!(counter.events()[0].outcome, Outcome::Failed(libc::EINVAL));
}

#[test]
fn an_event_has_the_flags_of_its_call() {
    let file = tempfile::tempfile().unwrap();
    let map = memmap2::MmapMut::map_anon(4096).unwrap();
    let page = map.as_ptr().cast_mut().cast();
    let seen = Scope::thread().observe(|| {
        let both = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        c::sync_file_range(file.as_raw_fd(), both).unwrap();
        c::msync(page, 4096, libc::MS_SYNC | libc::MS_INVALIDATE).unwrap();
        c::msync(page, 4096, libc::MS_ASYNC).unwrap();
        c::msync(page, 4096, 0).unwrap();
        c::fsync(file.as_raw_fd()).unwrap();
    });
    let told: Vec<_> = seen
        .events()
        .iter()
        .map(|event| (event.operation, event.flags))
        .collect();
    assert_eq!(
        told,
        [
            (Operation::SyncFileRange, 6),
            (Operation::Msync, 6),
            (Operation::MsyncAsync, 1),
            (Operation::MsyncAsync, 0),
            (Operation::Fsync, 0),
        ]
    );
}

#[test]
fn events_beyond_the_room_are_counted_and_the_earliest_stay() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let folder = File::open(dir.path()).unwrap();
    let _disk = stub_thread();

    let counter = FsyncCounter::under(dir.path());
    for _ in 0..1024 {
        file.sync_all().unwrap();
    }
    assert_eq!(counter.events().overflowed(), 0);
    for _ in 0..76 {
        folder.sync_all().unwrap();
    }

    let events = counter.events();
    assert_eq!((counter.file_syncs(), counter.dir_syncs()), (1024, 76));
    assert_eq!((events.len(), events.overflowed()), (1024, 76));
    for event in &events {
        assert_eq!(event.class, FileClass::File);
        assert_eq!(event.outcome, Outcome::Stubbed);
    }
    assert!(
        events
            .to_string()
            .ends_with("… and 76 more that did not fit\n")
    );
    counter.reset();
    assert_eq!(counter.events().overflowed(), 0);
}

#[test]
fn a_sync_that_has_not_returned_is_pending() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static LEAVE: AtomicBool = AtomicBool::new(false);
    fn wait_to_be_seen() {
        ENTERED.store(true, Ordering::SeqCst);
        while !LEAVE.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }

    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Call(wait_to_be_seen));
    thread::scope(|threads| {
        let syncing = threads.spawn(|| c::fsync(file.as_raw_fd()).unwrap());
        while !ENTERED.load(Ordering::SeqCst) {
            assert!(!syncing.is_finished());
            thread::yield_now();
        }
        assert_eq!(counter.file_syncs(), 1);
        assert_eq!(counter.events()[0].outcome, Outcome::Pending);
        LEAVE.store(true, Ordering::SeqCst);
    });
    assert_eq!(counter.events()[0].outcome, Outcome::Succeeded);
}
