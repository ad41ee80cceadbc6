//! What a sync was asked of: file, directory, other, unknown; and the calls that promise nothing.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use fsync_counter::{Action, FileClass, FsyncCounter, Operation, Outcome, Scope, SyncCounts, stub};
use memmap2::MmapMut;
use tempfile::{TempDir, tempdir};

use crate::alone::alone;
use crate::c_library as c;

/// A file of one page with that name, in a directory of its own, mapped.
fn mapped_file(name: &str) -> (TempDir, MmapMut) {
    let dir = tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, [0; 4096]).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    // SAFETY: no other process knows the file.
    let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    (dir, map)
}

fn address(map: &MmapMut) -> *mut c_void {
    map.as_ptr().cast_mut().cast()
}

/// Both scopes that tests in parallel can use: counts by thread, counts by path.
fn by_thread_and_path(dir: &TempDir, f: impl FnOnce()) -> (SyncCounts, SyncCounts) {
    let path = FsyncCounter::under(dir.path());
    let thread = FsyncCounter::thread();
    f();
    (thread.counts(), path.counts())
}

#[test]
fn pipes_and_sockets_are_other_and_stand_nowhere() {
    let (pipe, _writer) = io::pipe().unwrap();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let counter = FsyncCounter::under("/");
    let seen = Scope::thread().observe(|| {
        for fd in [pipe.as_raw_fd(), socket.as_raw_fd()] {
            let refused = c::fsync(fd).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        }
    });
    assert_eq!(seen.counts(), SyncCounts::new().other(2));
    for event in seen.events() {
        assert_eq!(event.class, FileClass::Other);
        assert_eq!(event.path, None);
        assert_eq!(event.outcome, Outcome::Failed(libc::EINVAL));
    }
    // Other tests sync files and devices meanwhile, but nothing else that has no path.
    for event in counter.events() {
        assert_ne!((event.class, event.path), (FileClass::Other, None));
    }
}

#[test]
fn a_device_is_other_at_its_path() {
    let null = File::open("/dev/null").unwrap();
    let seen = Scope::thread().observe(|| null.sync_all().unwrap_err());
    assert_eq!(seen.counts(), SyncCounts::new().other(1));
    assert_eq!(seen.events()[0].path.as_deref(), Some("/dev/null".as_ref()));
}

#[test]
fn a_closed_descriptor_is_unknown() {
    alone("classes::a_closed_descriptor_is_unknown", || {
        let dir = tempdir().unwrap();
        let fd = c::closed_descriptor();
        for scope in [Scope::thread(), Scope::process(), Scope::under(dir.path())] {
            let seen = scope.observe(|| {
                assert_eq!(c::fsync(fd).unwrap_err().raw_os_error(), Some(libc::EBADF));
            });
            assert_eq!(seen.counts(), SyncCounts::new().unknown(1));
            let events = seen.events();
            assert_eq!(events[0].class, FileClass::Unknown(libc::EBADF));
            assert_eq!(events[0].outcome, Outcome::Failed(libc::EBADF));
            assert_eq!(events[0].path, None);
        }
        let counter = FsyncCounter::under(dir.path());
        let _refused = c::fdatasync(fd);
        assert_eq!(counter.unknown_syncs(), 1);
    });
}

#[test]
fn calls_without_durability_are_weak_and_nothing_else() {
    let (dir, map) = mapped_file("mapped");
    let file = File::open(dir.path().join("mapped")).unwrap();
    let (thread, path) = by_thread_and_path(&dir, || {
        map.flush_async().unwrap();
        c::msync(address(&map), map.len(), 0).unwrap();
        c::sync_file_range(file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE).unwrap();
    });
    assert_eq!(thread, SyncCounts::new().weak(3));
    assert_eq!(path, SyncCounts::new().weak(3));
    assert_eq!(path.total(), 0);
}

#[test]
fn weak_calls_have_no_number() {
    let (dir, map) = mapped_file("mapped");
    let counter = FsyncCounter::under(dir.path());
    counter.at_sync(1, Action::Errno(libc::EIO));
    map.flush_async().unwrap();
    map.flush_async().unwrap();
    assert_eq!(map.flush().unwrap_err().raw_os_error(), Some(libc::EIO));
}

#[test]
fn a_mapped_file_is_a_file_at_its_path() {
    let (dir, map) = mapped_file("a b\nc");
    let path = dir.path().join("a b\nc").canonicalize().unwrap();
    let seen = Scope::under(dir.path()).observe(|| {
        map.flush().unwrap();
        fs::remove_file(&path).unwrap();
        map.flush().unwrap();
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(2));
    for event in seen.events() {
        assert_eq!(event.operation, Operation::Msync);
        assert_eq!(event.class, FileClass::File);
        assert_eq!(event.path.as_ref(), Some(&path));
    }
    let (thread, _) = by_thread_and_path(&dir, || map.flush().unwrap());
    assert_eq!(thread, SyncCounts::new().files(1));
}

#[test]
fn a_part_of_a_mapping_is_found() {
    let dir = tempdir().unwrap();
    let file = File::create_new(dir.path().join("mapped")).unwrap();
    file.set_len(64 * 4096).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(dir.path().join("mapped"))
        .unwrap();
    // SAFETY: no other process knows the file.
    let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    let seen = Scope::under(dir.path()).observe(|| map.flush_range(40 * 4096, 100).unwrap());
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
}

#[test]
fn anonymous_memory_is_other_and_stands_nowhere() {
    let private = MmapMut::map_anon(4096).unwrap();
    let shared = c::shared_page();
    let dir = tempdir().unwrap();
    // What the kernel calls shared anonymous memory.
    let root = FsyncCounter::under("/dev/zero");
    let (thread, path) = by_thread_and_path(&dir, || {
        private.flush().unwrap();
        c::msync(shared, 4096, libc::MS_SYNC).unwrap();
    });
    assert_eq!(thread, SyncCounts::new().other(2));
    assert_eq!(path, SyncCounts::new());
    assert_eq!(root.counts(), SyncCounts::new());
}

#[test]
fn memory_that_is_not_mapped_is_unknown() {
    alone("classes::memory_that_is_not_mapped_is_unknown", || {
        let dir = tempdir().unwrap();
        let (thread, path) = by_thread_and_path(&dir, || {
            let nowhere = std::ptr::without_provenance_mut(4096);
            let refused = c::msync(nowhere, 4096, libc::MS_SYNC).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ENOMEM));
        });
        assert_eq!(thread, SyncCounts::new().unknown(1));
        assert_eq!(path, SyncCounts::new().unknown(1));
    });
}

/// Stubbed: nobody wants the disks of the whole machine written out for a test.
#[test]
fn whole_file_systems_are_other_and_unknown_to_a_path_scope() {
    alone(
        "classes::whole_file_systems_are_other_and_unknown_to_a_path_scope",
        || {
            let _disk = stub();
            let dir = tempdir().unwrap();
            let here = File::open(dir.path()).unwrap();
            let whole = || {
                c::sync();
                c::syncfs(here.as_raw_fd()).unwrap();
            };
            for scope in [Scope::thread(), Scope::process()] {
                assert_eq!(scope.observe(whole).counts(), SyncCounts::new().other(2));
            }
            let seen = Scope::under(dir.path()).observe(whole);
            assert_eq!(seen.counts(), SyncCounts::new().unknown(2));
            let operations: Vec<_> = seen.events().iter().map(|event| event.operation).collect();
            assert_eq!(operations, [Operation::Sync, Operation::Syncfs]);
        },
    );
}

#[test]
fn an_unlinked_file_counts_under_its_last_path() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let path = root.join("first");
    let file = File::create(&path).unwrap();
    fs::rename(&path, root.join("last")).unwrap();
    fs::remove_file(root.join("last")).unwrap();
    let seen = Scope::under(&root).observe(|| file.sync_all().unwrap());
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
    assert_eq!(seen.events()[0].path, Some(root.join("last")));
}

#[test]
fn a_removed_directory_counts_under_its_last_path() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("gone");
    fs::create_dir(&path).unwrap();
    let counter = FsyncCounter::under(&path);
    let gone = File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    gone.sync_all().unwrap();
    assert_eq!(counter.counts(), SyncCounts::new().dirs(1));
    assert_eq!(counter.events()[0].path, Some(path));
}

#[test]
fn a_name_that_really_ends_in_deleted_is_kept() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a (deleted)");
    let file = File::create(&path).unwrap();
    let seen = Scope::under(&path).observe(|| file.sync_all().unwrap());
    assert_eq!(seen.counts(), SyncCounts::new().files(1));
    assert_eq!(seen.events()[0].path.as_ref(), Some(&path));

    let counter = FsyncCounter::under(&path);
    fs::remove_file(&path).unwrap();
    file.sync_all().unwrap();
    assert_eq!(counter.file_syncs(), 1);
    assert_eq!(counter.events()[0].path.as_ref(), Some(&path));
}
