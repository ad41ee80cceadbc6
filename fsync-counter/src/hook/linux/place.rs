//! What a call is asked of, and where in the file system that is.
//!
//! All of it by raw system calls into buffers on the stack. A descriptor costs an `fstat` and a
//! `readlink` below `/proc`; a mapped address a walk through `/proc/self/maps`.

use std::ffi::CStr;

use libc::{c_char, c_int, c_void};

use super::path::Path;
use super::{Call, raw};
use crate::event::FileClass;
use crate::watch::Place;

/// What the kernel appends to the last path of an unlinked file.
const DELETED: &[u8] = b" (deleted)";

/// The answer, with room for the path.
pub(crate) struct Placement {
    pub(crate) class: FileClass,
    pub(crate) place: Place,
    path: Path,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            class: FileClass::Other,
            place: Place::Unplaced,
            path: Path::default(),
        }
    }
}

impl Placement {
    /// Finds what a call of this process is asked of.
    pub(super) fn find(&mut self, call: Call, process: u32) {
        match call {
            Call::Fsync(fd) | Call::Fdatasync(fd) | Call::SyncFileRange(fd, ..) => {
                self.find_descriptor(fd, process);
            }
            Call::Syncfs(fd) => {
                self.find_descriptor(fd, process);
                self.class = FileClass::Other;
                self.place = Place::Unplaced;
            }
            Call::Msync(address, ..) => self.find_mapping(c"/proc/self/maps", address),
            Call::Sync => {}
        }
    }

    pub(crate) fn path(&self) -> Option<&[u8]> {
        let path = self.path.as_bytes();
        (!path.is_empty()).then_some(path)
    }

    /// Finds what a name stands for, a symbolic link as such. The name is the caller's, and the
    /// kernel's to read.
    pub(super) fn find_entry(&mut self, directory: c_int, name: *const c_char, process: u32) {
        match raw::open_to_ask(directory, name) {
            Ok(fd) => {
                self.find_descriptor(fd, process);
                raw::close(fd);
            }
            Err(errno) => self.class = FileClass::Unknown(errno),
        }
    }

    /// A descriptor of this process.
    pub(crate) fn find_descriptor(&mut self, fd: c_int, process: u32) {
        let status = raw::mode_and_links(fd);
        self.find_open_file(status, |path| path.read(fd, process));
    }

    /// A descriptor of any process, by its link below `/proc`.
    pub(crate) fn find_linked(&mut self, link: &CStr) {
        let status = raw::mode_and_links_at(link);
        self.find_open_file(status, |path| path.read_link(link));
    }

    fn find_open_file(
        &mut self,
        status: Result<(u32, u64), c_int>,
        read: impl FnOnce(&mut Path) -> Result<(), c_int>,
    ) {
        let links = match status {
            Ok((mode, links)) => {
                self.class = match mode & libc::S_IFMT {
                    libc::S_IFREG => FileClass::File,
                    libc::S_IFDIR => FileClass::Directory,
                    _ => FileClass::Other,
                };
                links
            }
            Err(errno) => {
                self.class = FileClass::Unknown(errno);
                return;
            }
        };
        if read(&mut self.path).is_err() {
            return;
        }
        if links == 0 {
            self.path.strip(DELETED);
        }
        self.place_by_path();
    }

    /// A path of the file system begins with a slash. What has none stands nowhere in it
    /// (`pipe:[1]`, `socket:[2]`), except that a file or directory stands somewhere that this
    /// process can't see (`(unreachable)/a`: another mount namespace, a lazy unmount).
    fn place_by_path(&mut self) {
        if self.path.as_bytes().first() == Some(&b'/') {
            self.place = Place::AtPath;
            return;
        }
        self.path.clear();
        self.place = match self.class {
            FileClass::File | FileClass::Directory => Place::Unplaced,
            FileClass::Other | FileClass::Unknown(_) => Place::Nowhere,
        };
    }

    /// Looks the address up in a process's list of mappings. Other threads may change the list
    /// meanwhile, but not the mapping of which a caller has just asked to sync a part.
    pub(crate) fn find_mapping(&mut self, maps: &CStr, address: *mut c_void) {
        let fd = match raw::open_for_reading(maps) {
            Ok(fd) => fd,
            Err(errno) => {
                self.class = FileClass::Unknown(errno);
                return;
            }
        };
        let mut search = MappingSearch::new(address.addr(), &mut self.path);
        let mut chunk = [0; 2048];
        let found = loop {
            match raw::read(fd, &mut chunk) {
                Err(libc::EINTR) => {}
                Ok(0) | Err(_) => break false,
                Ok(read) => {
                    if search.feed(&chunk[..read]) {
                        break true;
                    }
                }
            }
        };
        raw::close(fd);
        if !found {
            self.path.clear();
            self.class = FileClass::Unknown(libc::ENOMEM);
        } else if self.path.as_bytes() == b"/dev/zero (deleted)" {
            // The kernel's name for anonymous memory that is shared.
            self.path.clear();
            self.place = Place::Nowhere;
        } else {
            // The list has no number of links: a file whose own name ends so is misnamed here.
            self.path.strip(DELETED);
            self.place_by_path();
            self.class = match self.place {
                Place::AtPath => FileClass::File,
                _ => FileClass::Other,
            };
        }
    }
}

/// Finds the line of an address in the text of `/proc/self/maps`, fed piece by piece, and copies
/// its path:
///
/// `7f0c2a000000-7f0c2a021000 rw-s 00000000 fe:00 1234    /srv/data file`
struct MappingSearch<'a> {
    address: usize,
    path: &'a mut Path,
    field: Field,
    number: usize,
    start: usize,
    is_in: bool,
    /// Digits of a `\012` read so far: the one character that the kernel writes so is a newline.
    escape: Option<(u8, u8)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    End,
    /// Permissions, offset, device, inode: the spaces still to pass.
    Middle(u8),
    /// The spaces before the path.
    Gap,
    Path,
}

impl<'a> MappingSearch<'a> {
    fn new(address: usize, path: &'a mut Path) -> Self {
        Self {
            address,
            path,
            field: Field::Start,
            number: 0,
            start: 0,
            is_in: false,
            escape: None,
        }
    }

    /// Whether the line of the address has ended. Its path is empty for an anonymous mapping.
    fn feed(&mut self, text: &[u8]) -> bool {
        for &byte in text {
            if byte == b'\n' {
                if self.is_in {
                    return true;
                }
                self.field = Field::Start;
                self.number = 0;
                continue;
            }
            match self.field {
                Field::Start if byte == b'-' => {
                    self.start = self.number;
                    self.number = 0;
                    self.field = Field::End;
                }
                Field::End if byte == b' ' => {
                    self.is_in = (self.start..self.number).contains(&self.address);
                    self.field = Field::Middle(4);
                }
                Field::Start | Field::End => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    self.number = (self.number << 4) | digit as usize;
                }
                Field::Middle(1) if byte == b' ' => self.field = Field::Gap,
                Field::Middle(left) if byte == b' ' => self.field = Field::Middle(left - 1),
                Field::Middle(_) => {}
                Field::Gap if byte == b' ' => {}
                Field::Gap => {
                    self.field = Field::Path;
                    self.take(byte);
                }
                Field::Path => self.take(byte),
            }
        }
        false
    }

    fn take(&mut self, byte: u8) {
        if !self.is_in {
            return;
        }
        let byte = match (self.escape, byte) {
            (None, b'\\') => {
                self.escape = Some((0, 0));
                return;
            }
            (Some((digits, value)), b'0'..=b'7') if digits < 2 => {
                self.escape = Some((digits + 1, value * 8 + (byte - b'0')));
                return;
            }
            (Some((2, value)), b'0'..=b'7') => {
                self.escape = None;
                value.wrapping_mul(8).wrapping_add(byte - b'0')
            }
            (Some(_), _) => {
                self.escape = None;
                byte
            }
            (None, _) => byte,
        };
        self.path.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(class: FileClass, path: &[u8]) -> Place {
        let mut placement = Placement {
            class,
            ..Placement::default()
        };
        path.iter().for_each(|byte| placement.path.push(*byte));
        placement.place_by_path();
        placement.place
    }

    #[test]
    fn a_file_that_has_no_path_here_is_unplaced_and_a_pipe_is_nowhere() {
        assert_eq!(placed(FileClass::File, b"/a"), Place::AtPath);
        assert_eq!(placed(FileClass::File, b"(unreachable)/a"), Place::Unplaced);
        assert_eq!(placed(FileClass::Other, b"pipe:[1]"), Place::Nowhere);
    }

    const MAPS: &str = "\
        1000-2000 r--p 00000000 fe:00 77                         /usr/bin/app\n\
        2000-3000 rw-p 00000000 00:00 0 \n\
        3000-4000 rw-s 00000000 fe:00 78                         /srv/a b\\012c\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n";

    fn path_at(address: usize, piece: usize) -> Option<String> {
        let mut path = Path::default();
        let mut search = MappingSearch::new(address, &mut path);
        let found = MAPS.as_bytes().chunks(piece).any(|text| search.feed(text));
        found.then(|| String::from_utf8_lossy(path.as_bytes()).into_owned())
    }

    #[test]
    fn an_address_is_found_in_whatever_pieces_the_list_comes() {
        for piece in [1, 2, 7, 64, 1000] {
            assert_eq!(path_at(0x1000, piece).as_deref(), Some("/usr/bin/app"));
            assert_eq!(path_at(0x1fff, piece).as_deref(), Some("/usr/bin/app"));
            assert_eq!(path_at(0x2000, piece).as_deref(), Some(""));
            assert_eq!(path_at(0x3abc, piece).as_deref(), Some("/srv/a b\nc"));
            assert_eq!(path_at(0x4000, piece), None);
            assert_eq!(
                path_at(0xffff_ffff_ff60_0010, piece).as_deref(),
                Some("[vsyscall]")
            );
        }
    }
}
