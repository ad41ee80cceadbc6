//! A disk that can lose its power.
//!
//! The real files are what the kernel has; beside them this keeps what the syncs have made
//! durable, and every change since. [`PowerDisk::lose_power`] puts the real files into a
//! state that a disk may be left in: of each file's unsynced changes any may be there, none,
//! a part of a write, or room for it without its bytes; and each name may stand at any point
//! of its unsynced history, whatever the other names do. That is less than any file system
//! in use leaves: what holds here does not depend on the order in which one writes things.
//!
//! What it does not know: a sync that failed and left the kernel's copy different from the
//! disk's, and a disk that breaks its word.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use outbox::{Disk, SystemDisk};
use parking_lot::Mutex;

/// What a loss of power picks, in order; when they are used up, nothing is lost any more.
#[derive(Clone, Debug)]
pub(crate) struct Picks(std::vec::IntoIter<u8>);

impl Picks {
    pub(crate) fn new(picks: Vec<u8>) -> Self {
        Self(picks.into_iter())
    }

    /// A number below `options`.
    fn below(&mut self, options: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % options
    }
}

/// A change of a file that no sync has made durable.
#[derive(Clone, Debug)]
enum Change {
    Write { start: u64, bytes: Vec<u8> },
    Length(u64),
}

struct Content {
    /// Held open, so that the system gives its number to no other file.
    file: File,
    durable: Vec<u8>,
    since: Vec<Change>,
}

type Inode = u64;

#[derive(Default)]
struct State {
    contents: BTreeMap<Inode, Content>,
    /// What each name stood for: what is durable first, then every change since.
    names: BTreeMap<PathBuf, Vec<Option<Inode>>>,
}

/// Syncs that are taken for done and do nothing, which the tests must find out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    None,
    Files,
    Directories,
}

pub(crate) struct PowerDisk {
    state: Mutex<State>,
    lie: Lie,
}

impl PowerDisk {
    pub(crate) fn new(lie: Lie) -> Self {
        Self {
            state: Mutex::default(),
            lie,
        }
    }

    /// Whether a loss of power would leave the inbox, the write-ahead file and the ledger as
    /// they are.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        let decides = ["inbox.jsonl", "wal.jsonl", "ledger.json"];
        state
            .names
            .iter()
            .filter(|(path, _)| decides.iter().any(|name| path.ends_with(name)))
            .all(|(_, history)| {
                let is_content_durable = |inode| state.contents[&inode].since.is_empty();
                history.len() == 1 && history[0].is_none_or(is_content_durable)
            })
    }

    /// The power fails, and comes back. No handle from before may be used any more.
    pub(crate) fn lose_power(&self, picks: &mut Picks) {
        let mut state = self.state.lock();
        let before = std::mem::take(&mut *state);
        for (path, history) in before.names {
            let newest = history.len() - 1;
            let is_there = fs::exists(&path).unwrap();
            if is_there {
                fs::remove_file(&path).unwrap();
            }
            let Some(inode) = history[newest - picks.below(history.len())] else {
                continue;
            };
            let content = &before.contents[&inode];
            let bytes = content.after_power_loss(picks);
            fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            state.contents.insert(
                file.metadata().unwrap().ino(),
                Content {
                    file: file.try_clone().unwrap(),
                    durable: bytes,
                    since: Vec::new(),
                },
            );
            let inode = file.metadata().unwrap().ino();
            state.names.insert(path, vec![Some(inode)]);
        }
    }
}

impl Content {
    fn after_power_loss(&self, picks: &mut Picks) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.since {
            match (change, picks.below(4)) {
                (_, 1) => {}
                (Change::Length(length), _) => {
                    bytes.resize(usize::try_from(*length).unwrap(), 0);
                }
                (Change::Write { start, bytes: new }, kind) => {
                    let start = usize::try_from(*start).unwrap();
                    let kept = match kind {
                        0 => new.clone(),
                        2 => new[..picks.below(new.len() + 1)].to_vec(),
                        _ => vec![0; new.len()],
                    };
                    let end = start + kept.len();
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[start..end].copy_from_slice(&kept);
                }
            }
        }
        bytes
    }

    fn now(&self) -> Vec<u8> {
        let length = usize::try_from(self.file.metadata().unwrap().len()).unwrap();
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

impl State {
    fn names_of(&mut self, path: &Path) -> &mut Vec<Option<Inode>> {
        self.names
            .entry(path.to_owned())
            .or_insert_with(|| vec![None])
    }

    fn current(&self, path: &Path) -> Option<Inode> {
        *self.names.get(path)?.last()?
    }

    /// Notes that `path` was opened as `file`: made by that, or there before.
    fn opened(&mut self, path: &Path, file: &File) {
        let inode = file.metadata().unwrap().ino();
        if self.current(path) == Some(inode) {
            return;
        }
        self.contents.insert(
            inode,
            Content {
                file: File::open(path).unwrap(),
                durable: Vec::new(),
                since: Vec::new(),
            },
        );
        self.names_of(path).push(Some(inode));
    }

    fn change(&mut self, file: &File, change: Change) {
        let inode = file.metadata().unwrap().ino();
        self.contents.get_mut(&inode).unwrap().since.push(change);
    }
}

impl Disk for PowerDisk {
    fn create_temporary(&self, path: &Path) -> io::Result<File> {
        let mut state = self.state.lock();
        let was_there = state.current(path).is_some();
        let file = SystemDisk.create_temporary(path)?;
        state.opened(path, &file);
        if was_there {
            state.change(&file, Change::Length(0));
        }
        Ok(file)
    }

    fn open_for_append(&self, path: &Path) -> io::Result<File> {
        let file = SystemDisk.open_for_append(path)?;
        self.state.lock().opened(path, &file);
        Ok(file)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let start = file.metadata()?.len();
        SystemDisk.write(file, bytes)?;
        let bytes = bytes.to_vec();
        self.state
            .lock()
            .change(file, Change::Write { start, bytes });
        Ok(())
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        SystemDisk.truncate(file, length)?;
        self.state.lock().change(file, Change::Length(length));
        Ok(())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.lie != Lie::Files {
            let mut state = self.state.lock();
            let inode = file.metadata()?.ino();
            let content = state.contents.get_mut(&inode).unwrap();
            content.durable = content.now();
            content.since.clear();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        SystemDisk.rename(from, to)?;
        let inode = state.current(from);
        state.names_of(from).push(None);
        state.names_of(to).push(inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        SystemDisk.remove(path)?;
        state.names_of(path).push(None);
        Ok(())
    }

    fn sync_directory(&self, _: &File) -> io::Result<()> {
        if self.lie != Lie::Directories {
            let mut state = self.state.lock();
            let state = &mut *state;
            for history in state.names.values_mut() {
                history.drain(..history.len() - 1);
            }
            state.names.retain(|_, history| history[0].is_some());
            let names = &state.names;
            state
                .contents
                .retain(|inode, _| names.values().any(|history| history[0] == Some(*inode)));
        }
        Ok(())
    }
}
