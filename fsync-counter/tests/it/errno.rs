//! `errno` is the caller's: a call that succeeds leaves it, one that fails sets it. (The C
//! library's own `remove` changes it when it removes a directory. That is allowed, too.)

use std::ffi::{CString, c_int, c_void};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

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

/// Opens, writes, renames and removes by every function, with this `errno` before.
fn change_with(errno: i32, dir: &Path) {
    let [file, renamed, folder] =
        ["file", "renamed", "folder"].map(|name| c::path(&dir.join(name)));
    let [file, renamed, folder]: [&CString; 3] = [&file, &renamed, &folder];
    let here = libc::AT_FDCWD;
    let durably = libc::O_WRONLY | libc::O_CREAT | libc::O_DSYNC;
    let again = libc::O_WRONLY | libc::O_SYNC;
    let (path, to, folder) = (file.as_ptr(), renamed.as_ptr(), folder.as_ptr());
    let opened = |fd: c_int| {
        assert_eq!(c::errno(), errno);
        drop(c::opened(fd));
        0
    };
    // SAFETY: the paths are C strings, here and below.
    let calls: [&dyn Fn() -> c_int; 16] = [
        &|| opened(unsafe { libc::open(path, durably, 0o600) }),
        // SAFETY: see above.
        &|| opened(unsafe { libc::open64(path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { libc::openat(here, path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { libc::openat64(here, path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { c::fortified::__open_2(path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { c::fortified::__open64_2(path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { c::fortified::__openat_2(here, path, again) }),
        // SAFETY: see above.
        &|| opened(unsafe { c::fortified::__openat64_2(here, path, again) }),
        // SAFETY: see above.
        &|| unsafe { libc::rename(path, to) },
        // SAFETY: see above.
        &|| unsafe { libc::renameat(here, to, here, path) },
        // SAFETY: see above.
        &|| unsafe { libc::renameat2(here, path, here, to, libc::RENAME_NOREPLACE) },
        // SAFETY: see above.
        &|| unsafe { libc::unlink(to) },
        // SAFETY: see above.
        &|| opened(unsafe { libc::open(path, durably, 0o600) }),
        // SAFETY: see above.
        &|| unsafe { libc::unlinkat(here, path, 0) },
        // SAFETY: see above.
        &|| unsafe { libc::mkdir(folder, 0o700) },
        // SAFETY: see above.
        &|| unsafe { libc::remove(folder) },
    ];
    for (at, call) in calls.iter().enumerate() {
        c::set_errno(errno);
        assert_eq!(call(), 0, "{at}: {}", std::io::Error::last_os_error());
        assert_eq!(c::errno(), errno, "{at}");
    }
    fs::create_dir(dir.join("folder")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    let file = File::options().write(true).open(dir.join("file")).unwrap();
    let parts = [std::io::IoSlice::new(b"text")];
    for flags in [0, libc::RWF_DSYNC] {
        c::set_errno(errno);
        // SAFETY: an `IoSlice` has the layout of an `iovec`.
        let written =
            unsafe { libc::pwritev2(file.as_raw_fd(), parts.as_ptr().cast(), 1, 0, flags) };
        assert_eq!((written, c::errno()), (4, errno));
    }
    c::set_errno(errno);
    // SAFETY: see above.
    let removed = unsafe { libc::rmdir(folder) };
    assert_eq!((removed, c::errno()), (0, errno));
    // SAFETY: see above.
    let removed = unsafe { libc::rmdir(folder) };
    assert_eq!((removed, c::errno()), (-1, libc::ENOENT));
    // SAFETY: see above.
    let removed = unsafe { libc::remove(path) };
    assert_eq!((removed, c::errno()), (0, libc::ENOENT));
}

#[test]
fn what_opens_and_changes_names_leaves_errno_too() {
    let dir = tempdir().unwrap();
    let check = || {
        for errno in [0, libc::ENOTTY] {
            change_with(errno, dir.path());
        }
    };
    check();
    let _by_thread = FsyncCounter::thread();
    check();
    let _with_entries = FsyncCounter::under(dir.path()).with_entries();
    check();
}
