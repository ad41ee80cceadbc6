//! Where a descriptor leads, by its link below `/proc`.
//!
//! The full path of that link costs the kernel four look-ups, which is most of what a path scope
//! adds to a sync. So a scope that opens also opens the folder of the links, once a process, and
//! a hook reads a link from there. Wherever that can't be (in a child made by `fork`, where the
//! folder is the parent's; after the program closed a descriptor that it did not know; with the
//! main thread gone) the full path serves.
//!
//! The folder is the process's. A thread that has a table of descriptors of its own
//! (`unshare(CLONE_FILES)`) is told the main thread's paths.

use std::ffi::CStr;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::c_int;

use super::raw;

/// The folder of the links: the process it belongs to in the high half, the descriptor in the low
/// one; 0 before a scope opens. Both in one word, so that no hook sees halves of two.
static FOLDER: AtomicU64 = AtomicU64::new(0);

/// Far from the low numbers, which programs expect to get in order.
const FOLDER_FD_MIN: c_int = 500;

/// Opens the folder of links if this process has not. Failing is no error: a hook has the full
/// path.
pub(super) fn open_folder() {
    let process = std::process::id();
    let known = FOLDER.load(Ordering::Relaxed);
    if folder_of(process, known).is_some() {
        return;
    }
    let Ok(folder) = File::open("/proc/self/fd") else {
        return;
    };
    // SAFETY: `folder` is open; the copy has no owner yet.
    let fd = unsafe { libc::fcntl(folder.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FOLDER_FD_MIN) };
    let Ok(low) = u32::try_from(fd) else {
        return;
    };
    let word = u64::from(process) << 32 | u64::from(low);
    let stored = FOLDER.compare_exchange(known, word, Ordering::Relaxed, Ordering::Relaxed);
    if stored.is_err() {
        raw::close(fd); // another thread was faster
    }
}

fn folder_of(process: u32, word: u64) -> Option<c_int> {
    if word == 0 || word >> 32 != u64::from(process) {
        return None;
    }
    c_int::try_from(word & u64::from(u32::MAX)).ok()
}

/// Reads where a descriptor of this process leads into `buffer`; how many bytes of it are written.
pub(super) fn read_descriptor_link(
    fd: c_int,
    process: u32,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<usize, c_int> {
    let link = DescriptorLink::of(fd);
    if let Some(folder) = folder_of(process, FOLDER.load(Ordering::Relaxed)) {
        if let Ok(written) = raw::read_link(folder, link.name(), buffer) {
            return Ok(written);
        }
    }
    raw::read_link(libc::AT_FDCWD, link.full_path(), buffer)
}

/// The name of a descriptor's link, in a buffer of its own: `/proc/thread-self/fd/` and the
/// number.
struct DescriptorLink([u8; 40]);

impl DescriptorLink {
    const FOLDER: &[u8] = b"/proc/thread-self/fd/";

    fn of(fd: c_int) -> Self {
        let mut link = [0; 40];
        link[..Self::FOLDER.len()].copy_from_slice(Self::FOLDER);
        let mut digits = [0; 12];
        let mut first = digits.len();
        let mut rest = fd.max(0);
        loop {
            first -= 1;
            digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let number = &digits[first..];
        link[Self::FOLDER.len()..Self::FOLDER.len() + number.len()].copy_from_slice(number);
        Self(link)
    }

    fn full_path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }

    fn name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0[Self::FOLDER.len()..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::Path;
    use super::*;

    #[test]
    fn a_link_has_the_number_in_digits() {
        for fd in [0, 7, 10, 1234, c_int::MAX] {
            let link = DescriptorLink::of(fd);
            assert_eq!(link.name().to_bytes(), fd.to_string().as_bytes());
            let path = format!("/proc/thread-self/fd/{fd}");
            assert_eq!(link.full_path().to_bytes(), path.as_bytes());
        }
    }

    #[test]
    fn the_folder_and_the_full_path_say_the_same() {
        let process = std::process::id();
        open_folder();
        assert!(folder_of(process, FOLDER.load(Ordering::Relaxed)).is_some());
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        // A folder of another process is not this one's to ask.
        for asked_as in [process, process + 1] {
            let mut link = Path::default();
            link.read(file.as_file().as_raw_fd(), asked_as).unwrap();
            assert_eq!(link.as_bytes(), path.as_os_str().as_encoded_bytes());
        }
    }
}
