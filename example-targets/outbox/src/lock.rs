//! A lock that holds among threads and among processes.
//!
//! `flock` belongs to the open file description, so the threads that share a handle would
//! all pass it together; a mutex around the file keeps them apart. Two handles, in one
//! process or in two, have descriptions of their own and are kept apart by `flock`. The
//! kernel releases it when its holder dies, so a crash leaves no stale lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use parking_lot::{Mutex, MutexGuard};

/// A lock file, held open for the life of a handle.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: Mutex<File>,
}

impl FileLock {
    /// Opens an existing lock file.
    ///
    /// Some network file systems grant an exclusive lock only to a writable descriptor, so
    /// that is tried first; a read-only directory still gets its lock, which is enough to
    /// look at what is pending.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(path)?
            }
            opened => opened?,
        };
        Ok(Self {
            file: Mutex::new(file),
        })
    }

    /// Opens a lock file, creating it where it is missing.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = OpenOptions::new()
                    .read(true)
                    .append(true)
                    .create(true)
                    .open(path)?;
                Ok(Self {
                    file: Mutex::new(file),
                })
            }
            opened => opened,
        }
    }

    /// Waits for the lock and holds it until the guard is dropped.
    pub(crate) fn lock(&self) -> io::Result<FileLockGuard<'_>> {
        let file = self.file.lock();
        loop {
            match file.lock() {
                Ok(()) => return Ok(FileLockGuard { file }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Holds a [`FileLock`].
#[derive(Debug)]
pub(crate) struct FileLockGuard<'a> {
    file: MutexGuard<'a, File>,
}

impl Drop for FileLockGuard<'_> {
    fn drop(&mut self) {
        // `flock` can refuse an unlock only for a descriptor that is not one, and the guard
        // holds a real one.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Two handles shared by two threads each: with either half of the lock missing, two
    /// holders meet.
    #[test]
    fn one_holder_among_threads_and_handles() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let handles = [
            FileLock::create(&path).unwrap(),
            FileLock::create(&path).unwrap(),
        ];
        let holders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for handle in handles.iter().cycle().take(4) {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _guard = handle.lock().unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
