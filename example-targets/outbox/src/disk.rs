//! Every effect on the disk that the outbox's promises rest on, as one trait.
//!
//! The methods have the real effects as their bodies, so an implementation for a test
//! overrides the one that should fail, count or dawdle and leaves the others alone. Reads
//! and locks are not here: they change nothing that a crash could tear.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// The durable effects of an outbox. Each method's own body performs the real one.
///
/// ```
/// use std::{fs::File, io};
/// use outbox::{Disk, Event, Outbox, SystemClock};
///
/// /// Refuses every directory fsync, as some network file systems do.
/// struct RefusesDirectorySync;
///
/// impl Disk for RefusesDirectorySync {
///     fn sync_directory(&self, _: &File) -> io::Result<()> {
///         Err(io::ErrorKind::Unsupported.into())
///     }
/// }
///
/// let root = tempfile::tempdir()?;
/// let outbox = Outbox::with_seams(root.path(), "parent", RefusesDirectorySync, SystemClock)?;
/// outbox.commit(Event::new("child", "finished"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Disk: Send + Sync {
    /// Creates one directory, whose parent exists.
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    /// Creates a temporary file for writing, or empties the one a crash left.
    fn create_temporary(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }

    /// Opens a file for appending and reading, creating it where it is missing.
    fn open_for_append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
    }

    /// Writes all of `bytes`. On an error part of them may have been written.
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Cuts a file back to `length` bytes.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Makes a file's content durable.
    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Moves a file over another name of the same directory, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes a directory's entries durable. The outbox tolerates a refusal (`EINVAL`,
    /// `EOPNOTSUPP`, `ENOSYS`); any other error fails the operation.
    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        directory.sync_all()
    }
}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {}

impl<D: Disk + ?Sized> Disk for Arc<D> {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        (**self).create_directory(path)
    }

    fn create_temporary(&self, path: &Path) -> io::Result<File> {
        (**self).create_temporary(path)
    }

    fn open_for_append(&self, path: &Path) -> io::Result<File> {
        (**self).open_for_append(path)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        (**self).write(file, bytes)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        (**self).truncate(file, length)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        (**self).sync_file(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (**self).remove(path)
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        (**self).sync_directory(directory)
    }
}

/// Whether a failed directory fsync means that the file system does not offer it.
///
/// `EINVAL` is what Linux documents for a descriptor that cannot be synced, `EOPNOTSUPP`
/// and `ENOSYS` what network and user-space file systems answer. `EBADF` is not among
/// them: the outbox holds the directory open for as long as it syncs it, so `EBADF` could
/// only mean that other code closed our descriptor, and that must be seen.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        for errno in [libc::EINVAL, libc::ENOTSUP, libc::EOPNOTSUPP, libc::ENOSYS] {
            assert!(is_refusal(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        for errno in [
            libc::EIO,
            libc::ENOSPC,
            libc::EROFS,
            libc::EBADF,
            libc::EDQUOT,
            libc::EACCES,
        ] {
            assert!(!is_refusal(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }
}
