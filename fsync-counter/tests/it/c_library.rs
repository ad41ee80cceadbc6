//! The C library's functions as C code calls them, with their answers as results.

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn answered(answer: c_int) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn fsync(fd: c_int) -> io::Result<()> {
    // SAFETY: a descriptor is only a number to it.
    answered(unsafe { libc::fsync(fd) })
}

pub(crate) fn fdatasync(fd: c_int) -> io::Result<()> {
    // SAFETY: as for `fsync`.
    answered(unsafe { libc::fdatasync(fd) })
}

pub(crate) fn syncfs(fd: c_int) -> io::Result<()> {
    // SAFETY: as for `fsync`.
    answered(unsafe { libc::syncfs(fd) })
}

pub(crate) fn sync() {
    // SAFETY: takes nothing.
    unsafe { libc::sync() };
}

pub(crate) fn sync_file_range(fd: c_int, flags: c_uint) -> io::Result<()> {
    // SAFETY: as for `fsync`.
    answered(unsafe { libc::sync_file_range(fd, 0, 0, flags) })
}

pub(crate) fn msync(address: *mut c_void, length: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: writes memory out and changes none; what is not mapped is refused.
    answered(unsafe { libc::msync(address, length, flags) })
}

/// A page of anonymous memory that a child would share. It stays mapped.
pub(crate) fn shared_page() -> *mut c_void {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, at a place that the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    page
}

/// The number of a descriptor that was open a moment ago. Only for tests that run alone: another
/// thread might get it.
pub(crate) fn closed_descriptor() -> c_int {
    let fd = File::open("/").expect("the root opens").into_raw_fd();
    close(fd);
    fd
}

/// A copy of the descriptor with a high number, which no other thread gets when it is closed: the
/// kernel gives the lowest.
pub(crate) fn high_copy(file: &File) -> c_int {
    // SAFETY: the descriptor is open while it is borrowed.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 900) };
    assert!(fd >= 900, "{}", io::Error::last_os_error());
    fd
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: whoever calls this owns the descriptor, and does not use it again but to see it
    // refused.
    answered(unsafe { libc::close(fd) }).expect("an open descriptor closes");
}

/// Functions that the `libc` crate does not declare: glibc's for `_FORTIFY_SOURCE`.
pub(crate) mod fortified {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub(crate) fn __open_2(path: *const c_char, flags: c_int) -> c_int;
        pub(crate) fn __open64_2(path: *const c_char, flags: c_int) -> c_int;
        pub(crate) fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
        pub(crate) fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    }
}

pub(crate) fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte")
}

/// Owns a descriptor that was just returned, or says why there is none.
#[track_caller]
pub(crate) fn opened(answer: impl TryInto<c_int>) -> File {
    let fd = answer.try_into().unwrap_or(-1);
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the caller has just been given it, and gives it away.
    unsafe { File::from_raw_fd(fd) }
}

/// The C library's own function of that name, behind the hook.
///
/// # Safety
/// `F` is the type of a pointer to that function.
pub(crate) unsafe fn own<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    // SAFETY: the name is a C string.
    let hooked = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!found.is_null(), "the C library has no {name:?}");
    assert_ne!(found, hooked, "{name:?} is not hooked");
    // SAFETY: of the same size; that it is such a pointer is the caller's promise.
    unsafe { std::mem::transmute_copy(&found) }
}

pub(crate) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: always succeeds; the pointer is this thread's and valid while it runs.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    unsafe { *place = errno };
}

/// A sync of a descriptor by a system call in machine code, as no C library has it.
pub(crate) fn fsync_by_hand(fd: c_int) -> i64 {
    let answer: i64;
    // SAFETY: the architecture's convention for system calls; a descriptor is only a number to it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_fsync => answer,
            in("rdi") fd,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") libc::SYS_fsync,
            inlateout("x0") i64::from(fd) => answer,
            options(nostack),
        );
    }
    answer
}
