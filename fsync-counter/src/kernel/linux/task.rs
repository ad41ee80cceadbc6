//! Threads of this process and of others: what their descriptors and addresses refer to, while they
//! wait for an answer.
//!
//! Only the caller itself waits. Another thread of its process may meanwhile give the descriptor's
//! number to another file: the kernel and the scope may then see different ones.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libc::c_int;

use super::interface::read_memory;
use crate::hook::place::Placement;
use crate::kernel::origin::Origin;

/// The longest path that the kernel takes, with its end.
const PATH_MAX: usize = 4096;

/// A task that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) thread: u32,
    /// Whether it is a thread of this process.
    is_own: bool,
    /// Whether it has the descriptors of the calling thread.
    shares_descriptors: bool,
}

impl Task {
    /// The task with this number. `tables_differ` says that threads of this process may have
    /// tables of descriptors of their own.
    pub(super) fn new(thread: u32, is_own: bool, tables_differ: bool) -> Self {
        Self {
            thread,
            is_own,
            shares_descriptors: is_own && !tables_differ,
        }
    }

    /// Finds what a descriptor of it refers to.
    pub(super) fn find_descriptor(&self, fd: c_int, placement: &mut Placement) {
        if self.shares_descriptors {
            placement.find_descriptor(fd, crate::hook::ids::thread_and_process().1);
        } else if let Ok(link) = CString::new(format!("/proc/{}/fd/{fd}", self.thread)) {
            placement.find_linked(&link);
        }
    }

    /// Finds what is mapped at an address of it.
    pub(super) fn find_mapping(&self, address: u64, placement: &mut Placement) {
        let address = std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(0));
        if let Ok(maps) = CString::new(format!("/proc/{}/maps", self.thread)) {
            placement.find_mapping(&maps, address);
        }
    }

    /// The path that a call was given: its text, below the directory that a descriptor or the task
    /// itself stands in. `None` where the memory may not be read.
    pub(super) fn path_argument(&self, directory: c_int, address: u64) -> Option<PathBuf> {
        let text = text_at(address, |from, piece| {
            read_memory(self.thread, from, piece).ok()
        })?;
        let path = PathBuf::from(OsString::from_vec(text));
        Some(self.below(directory, &path))
    }

    fn below(&self, directory: c_int, path: &Path) -> PathBuf {
        let folder = match directory {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.thread),
            fd => format!("/proc/{}/fd/{fd}", self.thread),
        };
        // An absolute path replaces the folder.
        match fs::read_link(folder) {
            Ok(folder) => folder.join(path),
            Err(_) => path.to_path_buf(),
        }
    }

    /// A number in the task's memory; `None` where it may not be read.
    pub(super) fn word_at(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        match read_memory(self.thread, address, &mut word) {
            Ok(8) => Some(u64::from_ne_bytes(word)),
            _ => None,
        }
    }

    pub(super) fn shares_descriptors(&self) -> bool {
        self.shares_descriptors
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// Where a call of it came from that the hook did not forward.
    pub(super) fn origin(&self, instruction: u64) -> Origin {
        if !self.is_own {
            let command = fs::read_to_string(format!("/proc/{}/comm", self.thread));
            return Origin::Child {
                command: command.unwrap_or_default().trim_end().to_owned(),
            };
        }
        let (object, offset) = code_at(instruction);
        Origin::Code { object, offset }
    }
}

/// The bytes from an address to the first zero, as `read` reads them from there into a piece; how
/// many it read.
fn text_at(address: u64, read: impl Fn(u64, &mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    const PAGE: usize = 4096;
    let mut text = Vec::new();
    while text.len() < PATH_MAX {
        let from = address.checked_add(text.len() as u64)?;
        let mut piece = [0; PAGE];
        // Up to the end of a page at a time: the next may not be there, and no part of a piece is
        // promised (`process_vm_readv(2)`).
        let len = PAGE - usize::try_from(from).ok()? % PAGE;
        let read = read(from, &mut piece[..len])?;
        let piece = &piece[..read];
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend(&piece[..end]);
            return Some(text);
        }
        if read < len {
            return None;
        }
        text.extend(piece);
    }
    None
}

/// The process that a thread belongs to.
pub(super) fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// The file of this process's code at an address, and where in the file that is.
fn code_at(address: u64) -> (Option<PathBuf>, u64) {
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    let found = maps
        .split(|byte| *byte == b'\n')
        .find_map(|line| line_at(line, address));
    found.unwrap_or((None, address))
}

/// The same by one line of the list, `start-end rights offset device inode path`.
fn line_at(line: &[u8], address: u64) -> Option<(Option<PathBuf>, u64)> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (range, _rights, offset) = (text()?, text()?, text()?);
    let (start, end) = range.split_once('-')?;
    let [start, end, offset] = [start, end, offset].map(|digits| u64::from_str_radix(digits, 16));
    let (start, end, offset) = (start.ok()?, end.ok()?, offset.ok()?);
    if !(start..end).contains(&address) {
        return None;
    }
    let path = fields.nth(2).unwrap_or_default().trim_ascii();
    let object = path
        .starts_with(b"/")
        .then(|| PathBuf::from(OsString::from_vec(path.to_vec())));
    Some((object, address - start + offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_code_says_the_file_and_the_place_in_it() {
        let line = b"5581a000-5581c000 r-xp 00002000 fe:00 77      /usr/bin/my app";
        let found = line_at(line, 0x5581_b010).expect("it is in the line");
        assert_eq!(found, (Some("/usr/bin/my app".into()), 0x3010));
        assert_eq!(line_at(line, 0x5581_c000), None);
        let anonymous = b"5581a000-5581c000 r-xp 00000000 00:00 0 ";
        assert_eq!(line_at(anonymous, 0x5581_a001), Some((None, 1)));
        assert_eq!(line_at(b"", 0), None);
    }

    #[test]
    fn the_code_of_this_test_is_in_this_program() {
        let here = the_code_of_this_test_is_in_this_program as fn() as usize;
        let (object, _) = code_at(here as u64);
        let program = std::env::current_exe().expect("this program");
        assert_eq!(object, program.canonicalize().ok());
    }

    #[test]
    fn a_path_is_read_from_memory_across_pages_and_refused_where_there_is_none() {
        let task = Task::new(crate::hook::raw::gettid(), true, false);
        for len in [1, 100, 3000, 4000] {
            let path = CString::new(format!("/{}", "p".repeat(len))).expect("no zeros");
            let read = task.path_argument(libc::AT_FDCWD, path.as_ptr().addr() as u64);
            assert_eq!(read, Some(PathBuf::from(path.to_str().expect("text"))));
        }
        let here = std::env::current_dir().expect("a directory");
        let name = c"a/b";
        let read = task.path_argument(libc::AT_FDCWD, name.as_ptr().addr() as u64);
        assert_eq!(read, Some(here.join("a/b")));
        assert_eq!(task.path_argument(libc::AT_FDCWD, 8), None);
        let number = 0x1234_5678_9abc_def0_u64;
        let place = (&raw const number).addr() as u64;
        assert_eq!(task.word_at(place), Some(number));
        assert_eq!(task.word_at(8), None);
    }

    /// Two pages, and none before and behind them: a piece that goes beyond is refused as a whole.
    #[test]
    fn a_text_may_end_where_its_memory_does() {
        const START: usize = 0x7000;
        let read_at_the_end = |text: &[u8]| {
            let mut memory = vec![b'x'; 2 * 4096];
            let at = memory.len() - text.len();
            memory[at..].copy_from_slice(text);
            let read = |from, piece: &mut [u8]| {
                let at = usize::try_from(from).ok()?.checked_sub(START)?;
                piece.copy_from_slice(memory.get(at..at + piece.len())?);
                Some(piece.len())
            };
            text_at((START + at) as u64, read)
        };
        assert_eq!(read_at_the_end(b"/the/end\0"), Some(b"/the/end".to_vec()));
        let across = [b"a".repeat(4000), b"b".repeat(95)].concat();
        let ended = [&across[..], b"\0"].concat();
        assert_eq!(read_at_the_end(&ended), Some(across));
        assert_eq!(read_at_the_end(b"no zero"), None);
    }
}
