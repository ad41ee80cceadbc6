//! Durability without a sync: noticed, and told as the reason why a count may be too low.

use std::ffi::{c_int, c_long};
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use fsync_counter::{FsyncCounter, Incomplete, Scope, SyncCounts};
use tempfile::tempdir;

use crate::alone::alone;
use crate::c_library as c;

fn opened_durably(path: &Path) -> Incomplete {
    Incomplete::DurableOpen {
        path: Some(path.to_owned()),
    }
}

fn written_durably(path: &Path) -> Incomplete {
    Incomplete::DurableWrite {
        path: Some(path.to_owned()),
    }
}

fn open_with(path: &Path, flags: c_int) -> File {
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
}

/// Opens the file of that name in a directory with these flags.
type Open = fn(&Path, &str, c_int) -> File;

/// Every way through the C library to open a file.
const WAYS_TO_OPEN: [(&str, Open); 11] = [
    ("std", |dir, name, flags| {
        let access = flags & libc::O_ACCMODE;
        OpenOptions::new()
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .custom_flags(flags & !libc::O_ACCMODE)
            .open(dir.join(name))
            .unwrap()
    }),
    ("open", |dir, name, flags| {
        let path = c::path(&dir.join(name));
        // SAFETY: the path is a C string.
        c::opened(unsafe { libc::open(path.as_ptr(), flags) })
    }),
    ("open64", |dir, name, flags| {
        let path = c::path(&dir.join(name));
        // SAFETY: the path is a C string.
        c::opened(unsafe { libc::open64(path.as_ptr(), flags) })
    }),
    ("openat", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        // SAFETY: the name is a C string.
        c::opened(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) })
    }),
    ("openat64", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        // SAFETY: the name is a C string.
        c::opened(unsafe { libc::openat64(dir.as_raw_fd(), name.as_ptr(), flags) })
    }),
    ("__open_2", |dir, name, flags| {
        let path = c::path(&dir.join(name));
        // SAFETY: the path is a C string.
        c::opened(unsafe { c::fortified::__open_2(path.as_ptr(), flags) })
    }),
    ("__open64_2", |dir, name, flags| {
        let path = c::path(&dir.join(name));
        // SAFETY: the path is a C string.
        c::opened(unsafe { c::fortified::__open64_2(path.as_ptr(), flags) })
    }),
    ("__openat_2", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        // SAFETY: the name is a C string.
        c::opened(unsafe { c::fortified::__openat_2(dir.as_raw_fd(), name.as_ptr(), flags) })
    }),
    ("__openat64_2", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        // SAFETY: the name is a C string.
        c::opened(unsafe { c::fortified::__openat64_2(dir.as_raw_fd(), name.as_ptr(), flags) })
    }),
    ("syscall(SYS_openat)", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        let fd = dir.as_raw_fd();
        // SAFETY: the name is a C string.
        c::opened(unsafe { libc::syscall(libc::SYS_openat, fd, name.as_ptr(), flags) })
    }),
    ("syscall(SYS_openat2)", |dir, name, flags| {
        let (dir, name) = (File::open(dir).unwrap(), c::path(name.as_ref()));
        let how = [u64::try_from(flags).unwrap(), 0, 0];
        let (fd, size) = (dir.as_raw_fd(), size_of_val(&how));
        let (name, how) = (name.as_ptr(), how.as_ptr());
        // SAFETY: the name is a C string, and the three words are an `open_how`.
        c::opened(unsafe { libc::syscall(libc::SYS_openat2, fd, name, how, size) })
    }),
];

#[test]
fn each_way_to_open_a_file_durably_is_told_to_those_whose_it_is() {
    let (dir, elsewhere) = (tempdir().unwrap(), tempdir().unwrap());
    let root = dir.path().canonicalize().unwrap();
    fs::write(root.join("file"), "").unwrap();
    for (way, open) in WAYS_TO_OPEN {
        for flags in [libc::O_DSYNC | libc::O_WRONLY, libc::O_SYNC | libc::O_RDWR] {
            let by_thread = FsyncCounter::thread();
            let by_path = FsyncCounter::under(&root);
            let of_another = FsyncCounter::under(elsewhere.path());
            let mut file = open(&root, "file", flags);
            let told = [opened_durably(&root.join("file"))];
            assert_eq!(by_thread.incomplete(), told, "{way}");
            assert_eq!(by_path.incomplete(), told, "{way}");
            assert_eq!(of_another.incomplete(), [], "{way}");
            // It is no sync, and the file works.
            file.write_all(b"text").unwrap();
            assert_eq!(by_path.counts(), SyncCounts::new(), "{way}");
            assert_eq!(by_path.events().len(), 0, "{way}");
        }
        let plain = Scope::under(&root).observe(|| open(&root, "file", libc::O_RDWR));
        assert_eq!(plain.incomplete(), [], "{way}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_oldest_system_call_to_open_is_watched_too() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("file");
    let seen = Scope::under(dir.path()).observe(|| {
        let path = c::path(&path);
        let flags = libc::O_DSYNC | libc::O_WRONLY | libc::O_CREAT;
        // SAFETY: the path is a C string.
        c::opened(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), flags, 0o600) })
    });
    assert_eq!(seen.incomplete(), [opened_durably(&path)]);
}

#[test]
fn what_can_not_write_or_was_refused_is_not_told() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let seen = Scope::thread().observe(|| {
        let read_only = |flags| {
            OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(&path)
        };
        read_only(libc::O_SYNC).unwrap();
        read_only(libc::O_SYNC | libc::O_PATH).unwrap();
        let path = c::path(&path);
        let flags = libc::O_DSYNC | libc::O_WRONLY;
        // SAFETY: the path is a C string.
        c::opened(unsafe { libc::open(path.as_ptr(), flags | libc::O_PATH) });
        let exclusive = flags | libc::O_CREAT | libc::O_EXCL;
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::open(path.as_ptr(), exclusive, 0o600) }, -1);
        let how = [u64::MAX, 0, 0];
        let (path, how) = (path.as_ptr(), how.as_ptr());
        // SAFETY: the path is a C string, and the three words are an `open_how`.
        let refused = unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, how, 24) };
        assert_eq!(refused, -1);
        // SAFETY: the kernel refuses an address that is not readable.
        let refused = unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, 1, 24) };
        assert_eq!((refused, c::errno()), (-1, libc::EFAULT));
    });
    assert_eq!(seen.incomplete(), []);
}

#[test]
fn a_file_without_a_name_is_told_where_it_was_made() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let seen = Scope::under(&root).observe(|| open_with(&root, libc::O_TMPFILE | libc::O_DSYNC));
    let [Incomplete::DurableOpen { path: Some(path) }] = seen.incomplete() else {
        panic!("{:?}", seen.incomplete());
    };
    assert_eq!(path.parent(), Some(root.as_path()));
}

/// What the page of the crate says of descriptors that were open before.
#[test]
fn a_descriptor_does_not_come_to_be_durable_later() {
    let file = tempfile::tempfile().unwrap();
    // SAFETY: of an open descriptor.
    let status = || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    let before = status();
    // SAFETY: of an open descriptor.
    let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, before | libc::O_SYNC) };
    assert_eq!((set, status()), (0, before));
}

#[test]
fn another_thread_is_told_by_path_and_not_by_thread() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("file");
    fs::write(&path, "").unwrap();
    let by_thread = FsyncCounter::thread();
    let by_path = FsyncCounter::under(dir.path());
    thread::scope(|threads| {
        threads.spawn(|| open_with(&path, libc::O_DSYNC));
    });
    assert_eq!(by_path.incomplete(), [opened_durably(&path)]);
    assert_eq!(by_thread.incomplete(), []);
}

#[test]
fn a_file_is_told_once_and_many_files_are_told_as_far_as_there_is_room() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let counter = FsyncCounter::under(&root);
    let paths: Vec<PathBuf> = (0..33).map(|n| root.join(n.to_string())).collect();
    for path in &paths {
        fs::write(path, "").unwrap();
        open_with(path, libc::O_DSYNC);
        open_with(path, libc::O_SYNC);
    }
    let mut told: Vec<Incomplete> = paths[..32]
        .iter()
        .map(|path| opened_durably(path))
        .collect();
    told.push(Incomplete::DurableOpen { path: None });
    assert_eq!(counter.incomplete(), told);
    counter.reset();
    assert_eq!(counter.incomplete(), []);
    open_with(&paths[32], libc::O_DSYNC);
    assert_eq!(counter.incomplete(), [opened_durably(&paths[32])]);
}

type WriteWith = unsafe extern "C" fn(c_int, *const libc::iovec, c_int, i64, c_int) -> isize;

#[test]
fn a_durable_write_is_told() {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("file");
    let file = File::create(&path).unwrap();
    let parts = [IoSlice::new(b"te"), IoSlice::new(b"xt")];
    let hooked: [WriteWith; 2] = [libc::pwritev2, libc::pwritev64v2];
    let by_function = |function: WriteWith| {
        let file = &file;
        move |flags: c_int| {
            // SAFETY: an `IoSlice` has the layout of an `iovec`, and both live.
            unsafe { function(file.as_raw_fd(), parts.as_ptr().cast(), 2, 0, flags) }
        }
    };
    let by_call = |flags: c_int| {
        let (fd, parts) = (file.as_raw_fd(), parts.as_ptr());
        // SAFETY: as above.
        let written = unsafe { libc::syscall(libc::SYS_pwritev2, fd, parts, 2, 0, 0, flags) };
        isize::try_from(written).unwrap()
    };
    let ways: [&dyn Fn(c_int) -> isize; 3] =
        [&by_function(hooked[0]), &by_function(hooked[1]), &by_call];
    for write in ways {
        for flags in [libc::RWF_DSYNC, libc::RWF_SYNC] {
            let by_thread = FsyncCounter::thread();
            let by_path = FsyncCounter::under(&path);
            assert_eq!(write(flags), 4);
            assert_eq!(by_thread.incomplete(), [written_durably(&path)]);
            assert_eq!(by_path.incomplete(), [written_durably(&path)]);
            assert_eq!(by_path.counts(), SyncCounts::new());
        }
        let not_durable = Scope::thread().observe(|| {
            assert_eq!(write(0), 4);
            assert_eq!(write(libc::RWF_APPEND), 4);
            assert_eq!(write(libc::RWF_DSYNC | 1 << 30), -1);
        });
        assert_eq!(not_durable.incomplete(), []);
    }
}

/// What such a call returns, and what each scope is told that may have missed something by it.
fn told_of(call: impl Fn() -> c_long) -> (c_long, [Vec<Incomplete>; 3]) {
    let dir = tempdir().unwrap();
    let by_path = FsyncCounter::under(dir.path());
    let by_thread = FsyncCounter::thread();
    let by_process = FsyncCounter::process();
    let of_another = thread::spawn(FsyncCounter::thread).join().unwrap();
    let answer = call();
    assert_eq!(of_another.incomplete(), []);
    let told = [by_path, by_thread, by_process].map(|counter| counter.incomplete());
    (answer, told)
}

/// A kernel may not allow rings: then nothing is told.
#[test]
fn a_ring_is_told_to_every_scope() {
    alone("durable::a_ring_is_told_to_every_scope", || {
        let set_up = |parameters: *mut u8| {
            // SAFETY: a null pointer, or that of as many bytes as the kernel writes.
            unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters) }
        };
        let refused = told_of(|| set_up(std::ptr::null_mut()));
        assert_eq!(refused, (-1, [vec![], vec![], vec![]]));

        let (fd, told) = told_of(|| set_up([0_u8; 512].as_mut_ptr()));
        if fd == -1 {
            eprintln!("SKIPPED: no io_uring here");
            assert_eq!(told, [vec![], vec![], vec![]]);
            return;
        }
        drop(c::opened(fd));
        let ring = || vec![Incomplete::IoUring];
        assert_eq!(told, [ring(), ring(), ring()]);
    });
}

#[test]
fn asynchronous_io_is_told_to_every_scope() {
    alone("durable::asynchronous_io_is_told_to_every_scope", || {
        // SAFETY: the kernel refuses an address that is not writable.
        let refused = told_of(|| unsafe { libc::syscall(libc::SYS_io_setup, 1, 1_usize) });
        assert_eq!(refused, (-1, [vec![], vec![], vec![]]));

        let mut context = 0_usize;
        let place = &raw mut context;
        // SAFETY: the kernel writes a word to the place.
        let (answer, told) = told_of(|| unsafe { libc::syscall(libc::SYS_io_setup, 1, place) });
        if answer == -1 {
            eprintln!("SKIPPED: no asynchronous I/O here");
            assert_eq!(told, [vec![], vec![], vec![]]);
            return;
        }
        // SAFETY: the context was made just now.
        assert_eq!(unsafe { libc::syscall(libc::SYS_io_destroy, context) }, 0);
        let aio = || vec![Incomplete::Aio];
        assert_eq!(told, [aio(), aio(), aio()]);
    });
}

#[test]
fn a_process_scope_is_told_of_every_thread() {
    alone("durable::a_process_scope_is_told_of_every_thread", || {
        let dir = tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("file");
        fs::write(&path, "").unwrap();
        let counter = FsyncCounter::process();
        thread::scope(|threads| {
            threads.spawn(|| open_with(&path, libc::O_DSYNC));
        });
        assert_eq!(counter.incomplete(), [opened_durably(&path)]);
        assert_eq!(counter.counts(), SyncCounts::new());
    });
}

/// The events of a scope have all their room, however many files were opened so.
#[test]
fn notices_take_no_room_from_events() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    let file = File::create(&path).unwrap();
    let _disk = fsync_counter::stub_thread();
    let counter = FsyncCounter::under(dir.path());
    for _ in 0..1024 {
        open_with(&path, libc::O_DSYNC);
        file.sync_data().unwrap();
    }
    assert_eq!(counter.events().len(), 1024);
    assert_eq!(counter.events().overflowed(), 0);
    assert_eq!(counter.incomplete().len(), 1);
}
