//! FreeBSD: where a descriptor leads, by `fcntl(2)`, `F_KINFO` (FreeBSD 13.2 and 14). Untested.

use std::mem::MaybeUninit;

use libc::c_int;

use super::PATH_MAX;

pub(super) use libc::__error as errno_location;

pub(super) fn thread_id() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    u32::try_from(unsafe { libc::pthread_getthreadid_np() }).unwrap_or(0)
}

/// Writes the path of a descriptor; its length, 0 where the kernel does not tell.
pub(super) fn path_of(fd: c_int, path: &mut [u8; PATH_MAX]) -> usize {
    // SAFETY: numbers and arrays of numbers, of which zeros are values.
    let mut info = unsafe { MaybeUninit::<libc::kinfo_file>::zeroed().assume_init() };
    let Ok(size) = c_int::try_from(size_of::<libc::kinfo_file>()) else {
        return 0;
    };
    info.kf_structsize = size;
    // SAFETY: the kernel writes one `kinfo_file`, whose size it is told, to a place of that size.
    if unsafe { libc::fcntl(fd, libc::F_KINFO, &raw mut info) } == -1 {
        return 0;
    }
    let mut length = 0;
    for (byte, place) in info.kf_path.iter().zip(path) {
        if *byte == 0 {
            break;
        }
        *place = byte.to_ne_bytes()[0];
        length += 1;
    }
    length
}
