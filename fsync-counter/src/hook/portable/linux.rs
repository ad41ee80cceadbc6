//! Linux, where the portable hook runs for its own tests only.

use std::io::Write as _;

use libc::c_int;

use super::PATH_MAX;

pub(super) use libc::__errno_location as errno_location;

pub(super) fn thread_id() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    u32::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}

/// Writes the path of a descriptor; its length, 0 where there is none.
pub(super) fn path_of(fd: c_int, path: &mut [u8; PATH_MAX]) -> usize {
    let mut link = [0_u8; 40];
    if write!(&mut link[..39], "/proc/thread-self/fd/{fd}").is_err() {
        return 0;
    }
    // SAFETY: the link ends with a zero; the kernel writes at most as many bytes as there is room.
    let length =
        unsafe { libc::readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), PATH_MAX) };
    usize::try_from(length).unwrap_or(0)
}
