//! A parent's directory: its files, and the durable ways to change them.
//!
//! What a change means to the protocol is not decided here; who may call which is a matter
//! of the locks, which the callers hold.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, is_refusal};
use crate::error::{Action, Error};
use crate::lock::{FileLock, FileLockGuard};
use crate::parent_id::directory_name;

const INBOX: &str = "inbox.jsonl";
const WAL: &str = "wal.jsonl";
const LEDGER: &str = "ledger.json";
const DEAD_LETTERS: &str = "dead-letters.jsonl";
const INBOX_LOCK: &str = "inbox.lock";
const LEDGER_LOCK: &str = "ledger.lock";

/// A file that is replaced as a whole, with the fixed name of its temporary file. Only the
/// holder of the file's lock writes the temporary one, so what a crash leaves of it is
/// overwritten by the next holder and never piles up.
#[derive(Debug)]
pub(crate) struct Replaceable {
    pub(crate) path: PathBuf,
    temporary: PathBuf,
}

impl Replaceable {
    fn new(directory: &Path, name: &str, temporary: &str) -> Self {
        Self {
            path: directory.join(name),
            temporary: directory.join(temporary),
        }
    }
}

/// The directory of one parent, held open.
pub(crate) struct ParentDirectory {
    path: PathBuf,
    /// The directory itself, for its fsync.
    file: File,
    disk: Box<dyn Disk>,
    /// Under the inbox lock.
    pub(crate) inbox: Replaceable,
    /// Staged and swept under both locks, removed under the ledger lock.
    pub(crate) wal: Replaceable,
    /// Under the ledger lock.
    pub(crate) ledger: Replaceable,
    /// Under the inbox lock.
    pub(crate) dead_letters: PathBuf,
    inbox_lock: (PathBuf, FileLock),
    ledger_lock: (PathBuf, FileLock),
}

impl ParentDirectory {
    /// Whether there is an outbox of `parent_id` under `root`: both locks, or a file that
    /// would be lost on a reader who took missing locks for a missing outbox. A creator who
    /// died before both locks were there has committed nothing.
    pub(crate) fn is_there(root: &Path, parent_id: &str) -> Result<bool, Error> {
        let path = root.join(directory_name(parent_id)?);
        let has = |name: &str| {
            let file = path.join(name);
            file.try_exists().map_err(Error::io(Action::Open, &file))
        };
        if has(INBOX_LOCK)? && has(LEDGER_LOCK)? {
            return Ok(true);
        }
        for name in [INBOX, WAL, LEDGER, DEAD_LETTERS] {
            if has(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the directory of `parent_id` under `root`, creating both durably.
    ///
    /// The inbox's lock file is the proof that the directory is durable: it is created only
    /// after the root was synced with the directory in it. A process that finds the
    /// directory but not the lock file cannot know whether its creator lived long enough to
    /// sync the root, and syncs it itself.
    pub(crate) fn open(root: &Path, parent_id: &str, disk: Box<dyn Disk>) -> Result<Self, Error> {
        let path = root.join(directory_name(parent_id)?);
        let inbox_lock_path = path.join(INBOX_LOCK);
        let ledger_lock_path = path.join(LEDGER_LOCK);
        let inbox_lock = match FileLock::open(&inbox_lock_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_durably(root, &path, disk.as_ref())?;
                FileLock::create(&inbox_lock_path)
            }
            opened => opened,
        }
        .map_err(Error::io(Action::Open, &inbox_lock_path))?;
        let ledger_lock = FileLock::create(&ledger_lock_path)
            .map_err(Error::io(Action::Open, &ledger_lock_path))?;
        Ok(Self {
            file: File::open(&path).map_err(Error::io(Action::Open, &path))?,
            disk,
            inbox: Replaceable::new(&path, INBOX, "inbox.tmp"),
            wal: Replaceable::new(&path, WAL, "wal.tmp"),
            ledger: Replaceable::new(&path, LEDGER, "ledger.tmp"),
            dead_letters: path.join(DEAD_LETTERS),
            inbox_lock: (inbox_lock_path, inbox_lock),
            ledger_lock: (ledger_lock_path, ledger_lock),
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the inbox's lock. A holder that also needs the ledger's takes that first.
    pub(crate) fn lock_inbox(&self) -> Result<FileLockGuard<'_>, Error> {
        let (path, lock) = &self.inbox_lock;
        lock.lock().map_err(Error::io(Action::Lock, path))
    }

    /// Waits for the ledger's lock.
    pub(crate) fn lock_ledger(&self) -> Result<FileLockGuard<'_>, Error> {
        let (path, lock) = &self.ledger_lock;
        lock.lock().map_err(Error::io(Action::Lock, path))
    }

    /// The file's content, or `None` where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(Action::Open, path)(error)),
        };
        read_whole(&mut file)
            .map(Some)
            .map_err(Error::io(Action::Read, path))
    }

    /// Opens a file to be appended to, and tells its length.
    pub(crate) fn open_for_append(&self, path: &Path) -> Result<(File, u64), Error> {
        let file = self
            .disk
            .open_for_append(path)
            .map_err(Error::io(Action::Open, path))?;
        let length = file
            .metadata()
            .map_err(Error::io(Action::Read, path))?
            .len();
        Ok((file, length))
    }

    /// Appends `bytes` to a file of `length` bytes: 1 file and 1 directory fsync.
    ///
    /// The directory is synced even when the file was there before: whoever created it may
    /// have died before syncing its name. After an error the file is as long as it was.
    pub(crate) fn append(
        &self,
        path: &Path,
        file: &File,
        length: u64,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let appended = self
            .disk
            .write(file, bytes)
            .map_err(|error| (Action::Write, error))
            .and_then(|()| {
                self.disk
                    .sync_file(file)
                    .map_err(|error| (Action::Sync, error))
            })
            .and_then(|()| self.sync().map_err(|error| (Action::Sync, error)));
        appended.map_err(|(action, error)| self.take_back(path, file, length, action, error))
    }

    /// Replaces a file by `bytes`: 1 file and 1 directory fsync. A crash leaves the old file
    /// or the new one.
    pub(crate) fn replace(&self, target: &Replaceable, bytes: &[u8]) -> Result<(), Error> {
        self.put_in_place(target, bytes)?;
        self.sync().map_err(Error::io(Action::Sync, &target.path))
    }

    /// Like [`Self::replace`], but when the new file's name cannot be made durable, the file
    /// keeps only its first `length_before` bytes.
    pub(crate) fn replace_or_take_back(
        &self,
        target: &Replaceable,
        bytes: &[u8],
        length_before: u64,
    ) -> Result<(), Error> {
        let file = self.put_in_place(target, bytes)?;
        self.sync().map_err(|error| {
            self.take_back(&target.path, &file, length_before, Action::Sync, error)
        })
    }

    /// Removes a file and syncs nothing; the [crate page](crate) says what happens to each
    /// file that a power failure brings back.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.disk
            .remove(path)
            .map_err(Error::io(Action::Remove, path))
    }

    /// Writes, syncs and renames; the caller syncs the directory.
    fn put_in_place(&self, target: &Replaceable, bytes: &[u8]) -> Result<File, Error> {
        let temporary = &target.temporary;
        let file = self
            .disk
            .create_temporary(temporary)
            .map_err(Error::io(Action::Open, temporary))?;
        if let Err(error) = self.disk.write(&file, bytes) {
            // What fits of a file that does not fit is better given back at once; where
            // that fails too, the next replacement empties it.
            let _ = self.disk.truncate(&file, 0);
            return Err(Error::io(Action::Write, temporary)(error));
        }
        self.disk
            .sync_file(&file)
            .map_err(Error::io(Action::Sync, temporary))?;
        self.disk
            .rename(temporary, &target.path)
            .map_err(Error::io(Action::Rename, &target.path))?;
        Ok(file)
    }

    fn take_back(
        &self,
        path: &Path,
        file: &File,
        length: u64,
        action: Action,
        error: io::Error,
    ) -> Error {
        match self.disk.truncate(file, length) {
            Ok(()) => Error::io(action, path)(error),
            Err(source) => Error::NotTakenBack {
                path: path.to_owned(),
                write: error,
                source,
            },
        }
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(self.disk.as_ref(), &self.file)
    }
}

fn create_durably(root: &Path, path: &Path, disk: &dyn Disk) -> Result<(), Error> {
    create_root(root)?;
    match disk.create_directory(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io(Action::CreateDirectory, path)(error));
        }
        _ => {}
    }
    let root_file = File::open(root).map_err(Error::io(Action::Open, root))?;
    sync_directory(disk, &root_file).map_err(Error::io(Action::Sync, root))
}

/// Creates the root where it is missing. That its own name is durable is its owner's
/// business; this does what it can.
fn create_root(root: &Path) -> Result<(), Error> {
    if root.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(root).map_err(Error::io(Action::CreateDirectory, root))?;
    if let Some(parent) = root.parent().filter(|path| !path.as_os_str().is_empty())
        && let Ok(parent) = File::open(parent)
    {
        let _ = parent.sync_all();
    }
    Ok(())
}

fn sync_directory(disk: &dyn Disk, directory: &File) -> io::Result<()> {
    match disk.sync_directory(directory) {
        Err(error) if is_refusal(&error) => Ok(()),
        result => result,
    }
}

/// Reads a file whose length the caller's lock keeps still, in one read.
fn read_whole(file: &mut File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len())
        .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
