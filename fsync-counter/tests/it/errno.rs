//! `errno` is the caller's: a sync that succeeds leaves it, one that fails sets it.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;

use fsync_counter::FsyncCounter;
use tempfile::tempdir;

use crate::c_library as c;

/// All that succeed, with this `errno` before.
fn succeed_with(errno: i32, file: &File, page: *mut c_void) {
    let fd = file.as_raw_fd();
    let calls: [&dyn Fn(); 4] = [
        &|| c::fsync(fd).unwrap(),
        &|| c::fdatasync(fd).unwrap(),
        &|| c::sync_file_range(fd, libc::SYNC_FILE_RANGE_WRITE).unwrap(),
        &|| c::msync(page, 4096, libc::MS_ASYNC).unwrap(),
    ];
    for call in calls {
        c::set_errno(errno);
        call();
        assert_eq!(c::errno(), errno);
    }
}

#[test]
fn success_leaves_errno_and_failure_sets_it() {
    let dir = tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let null = File::open("/dev/null").unwrap();
    let map = memmap2::MmapMut::map_anon(4096).unwrap();
    let page = map.as_ptr().cast_mut().cast();

    let check = || {
        for errno in [0, libc::ENOTTY] {
            succeed_with(errno, &file, page);
        }
        c::set_errno(libc::ENOTTY);
        c::fsync(null.as_raw_fd()).unwrap_err();
        assert_eq!(c::errno(), libc::EINVAL);
    };
    check();
    let _by_thread = FsyncCounter::thread();
    check();
    let _by_path = FsyncCounter::under(dir.path());
    check();
}
