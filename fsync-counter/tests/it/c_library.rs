//! The C library's functions as C code calls them, with their answers as results.

use std::ffi::{c_int, c_uint, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

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
