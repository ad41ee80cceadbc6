//! Room for one path on the stack of a hook, of which only what is used is written.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use libc::c_int;

use super::descriptors::read_descriptor_link;
use super::raw;

/// The kernel gives no longer path for a descriptor.
const PATH_MAX: usize = 4096;

/// A path as bytes. The first `len` bytes of the room are written: `len` grows only after them.
pub(super) struct Path {
    room: [MaybeUninit<u8>; PATH_MAX],
    len: usize,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            room: [MaybeUninit::uninit(); PATH_MAX],
            len: 0,
        }
    }
}

impl Path {
    pub(super) fn as_bytes(&self) -> &[u8] {
        let written: *const [MaybeUninit<u8>] = &raw const self.room[..self.len];
        // SAFETY: the bytes are borrowed with `self`, and written (see the type).
        unsafe { &*(written as *const [u8]) }
    }

    /// Takes the path to which a descriptor of this process leads.
    pub(super) fn read(&mut self, fd: c_int, process: u32) -> Result<(), c_int> {
        self.len = read_descriptor_link(fd, process, &mut self.room)?;
        Ok(())
    }

    /// Takes the path to which a link leads.
    pub(super) fn read_link(&mut self, link: &CStr) -> Result<(), c_int> {
        self.len = raw::read_link(libc::AT_FDCWD, link, &mut self.room)?;
        Ok(())
    }

    /// Appends a byte. What is beyond the longest path is left out.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.len) {
            place.write(byte);
            self.len += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes the suffix off, where it is there.
    pub(super) fn strip(&mut self, suffix: &[u8]) {
        if self.as_bytes().ends_with(suffix) {
            self.len -= suffix.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> Path {
        let mut path = Path::default();
        bytes.iter().for_each(|byte| path.push(*byte));
        path
    }

    #[test]
    fn holds_what_is_pushed_up_to_its_room() {
        assert_eq!(path(b"/a/b").as_bytes(), b"/a/b");
        assert_eq!(path(&[b'p'; PATH_MAX + 1]).as_bytes(), [b'p'; PATH_MAX]);
    }

    #[test]
    fn strips_a_suffix_once() {
        let mut deleted = path(b"/a (deleted) (deleted)");
        deleted.strip(b" (deleted)");
        assert_eq!(deleted.as_bytes(), b"/a (deleted)");
        deleted.strip(b" (gone)");
        assert_eq!(deleted.as_bytes(), b"/a (deleted)");
    }
}
