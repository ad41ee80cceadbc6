//! The C library's `syscall`: syncs through it are seen, everything else passes through.

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use fsync_counter::{Operation, Scope, SyncCounts};
use tempfile::tempdir;

use crate::alone::alone;
use crate::c_library as c;

#[test]
fn a_sync_by_number_is_seen() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let fd = file.as_raw_fd();
    let map = memmap2::MmapMut::map_anon(4096).unwrap();
    let page = map.as_ptr();
    let seen = Scope::thread().observe(|| {
        // SAFETY: a sync of an open descriptor.
        assert_eq!(unsafe { libc::syscall(libc::SYS_fsync, fd) }, 0);
        // SAFETY: a sync of an open descriptor.
        assert_eq!(unsafe { libc::syscall(libc::SYS_fdatasync, fd) }, 0);
        // SAFETY: a sync of an open descriptor.
        let range = unsafe { libc::syscall(libc::SYS_sync_file_range, fd, 0_i64, 0_i64, 0_u32) };
        assert_eq!(range, 0);
        // SAFETY: a sync of memory that is mapped.
        let memory = unsafe { libc::syscall(libc::SYS_msync, page, 4096_usize, libc::MS_SYNC) };
        assert_eq!(memory, 0);
    });
    assert_eq!(seen.counts(), SyncCounts::new().files(2).other(1).weak(1));
    let operations: Vec<_> = seen.events().iter().map(|event| event.operation).collect();
    assert_eq!(
        operations,
        [
            Operation::Fsync,
            Operation::Fdatasync,
            Operation::SyncFileRange,
            Operation::Msync
        ]
    );
}

#[test]
fn a_sync_of_everything_by_number_is_seen() {
    alone(
        "system_call::a_sync_of_everything_by_number_is_seen",
        || {
            let _disk = fsync_counter::stub();
            let seen = Scope::thread().observe(|| {
                // SAFETY: takes nothing.
                assert_eq!(unsafe { libc::syscall(libc::SYS_sync) }, 0);
                // SAFETY: a descriptor is only a number to it.
                assert_eq!(unsafe { libc::syscall(libc::SYS_syncfs, -1) }, 0);
            });
            assert_eq!(seen.counts(), SyncCounts::new().other(2));
        },
    );
}

#[test]
fn a_refused_sync_by_number_sets_errno() {
    let null = File::open("/dev/null").unwrap();
    // SAFETY: a sync of an open descriptor.
    let answer = unsafe { libc::syscall(libc::SYS_fsync, null.as_raw_fd()) };
    assert_eq!((answer, c::errno()), (-1, libc::EINVAL));
}

#[test]
fn calls_without_arguments_pass_through() {
    // SAFETY: takes nothing.
    let process = unsafe { libc::syscall(libc::SYS_getpid) };
    assert_eq!(process, c_long::from(std::process::id()));
    c::set_errno(libc::ENOTTY);
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) };
    assert_eq!(c::errno(), libc::ENOTTY);
}

#[test]
fn a_refused_call_sets_errno() {
    let missing = c"/nowhere/at/all".as_ptr();
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, missing, libc::O_RDONLY) };
    assert_eq!((fd, c::errno()), (-1, libc::ENOENT));
    // SAFETY: no system call has this number.
    let nothing = unsafe { libc::syscall(100_000) };
    assert_eq!((nothing, c::errno()), (-1, libc::ENOSYS));
}

#[test]
fn six_arguments_arrive() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, [[b'a'; 4096], [b'b'; 4096]].concat()).unwrap();
    let file = File::open(path).unwrap();
    // The last argument, the offset, selects the second page.
    // SAFETY: a fresh mapping, at a place that the kernel chooses.
    let page = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            std::ptr::null_mut::<c_void>(),
            4096_usize,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            4096_i64,
        )
    };
    assert!(page > 0, "{}", io::Error::last_os_error());
    let page = page as *const u8;
    // SAFETY: mapped for reading just now.
    assert_eq!(unsafe { page.read() }, b'b');
    // SAFETY: the mapping is not used again.
    let unmapped = unsafe { libc::syscall(libc::SYS_munmap, page, 4096_usize) };
    assert_eq!(unmapped, 0);
}

/// A waiter and a waker, both by `syscall`, as the locks of many libraries do.
#[test]
fn a_futex_wakes() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    fn futex(operation: c_int, value: u32) -> c_long {
        let no_timeout = std::ptr::null::<libc::timespec>();
        // SAFETY: the word is a static.
        unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation, value, no_timeout) }
    }

    // A word that is not as expected is no reason to wait, and nobody is there to wake.
    assert_eq!((futex(libc::FUTEX_WAIT, 7), c::errno()), (-1, libc::EAGAIN));
    assert_eq!(futex(libc::FUTEX_WAKE, 1), 0);
    thread::scope(|threads| {
        let waiter = threads.spawn(|| {
            while WORD.load(Ordering::SeqCst) == 0 {
                if futex(libc::FUTEX_WAIT, 0) == -1 {
                    assert!([libc::EAGAIN, libc::EINTR].contains(&c::errno()));
                }
            }
        });
        WORD.store(1, Ordering::SeqCst);
        while !waiter.is_finished() {
            assert!(futex(libc::FUTEX_WAKE, 1) >= 0);
            thread::yield_now();
        }
    });
}
