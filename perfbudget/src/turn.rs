//! Turns: of the gates of a machine, one measures at a time.
//!
//! cargo-nextest can be told to run a test alone; `cargo test` runs the tests of a binary beside
//! each other. A lock on one file of the machine makes their gates wait for each other.

use std::cell::Cell;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a gate waits for its turn before it measures without: a gate that hangs must not
/// hang all others.
const PATIENCE: Duration = Duration::from_secs(600);

thread_local! {
    /// Whether a gate of this thread has its turn: one inside its operation can't wait for it.
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// A gate's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: Option<File>,
    is_outermost: bool,
    why_not: Option<String>,
}

impl Turn {
    /// Whether no other gate of the machine measures meanwhile.
    pub(crate) fn is_alone(&self) -> bool {
        self.why_not.is_none()
    }

    /// What there is to say when it is not sure of that.
    pub(crate) fn warning(&self) -> Option<String> {
        let why = self.why_not.as_ref()?;
        Some(format!("other gates may have measured beside it: {why}"))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            imp::unlock(&lock);
        }
        if self.is_outermost {
            HELD.set(false);
        }
    }
}

/// Waits until no other gate of the machine measures.
pub(crate) fn take() -> Turn {
    if HELD.replace(true) {
        return Turn {
            lock: None,
            is_outermost: false,
            why_not: Some("it is inside the operation of another gate".to_owned()),
        };
    }
    let (lock, why_not) = match lock() {
        Ok(lock) => (Some(lock), None),
        Err(why) => (None, Some(why)),
    };
    Turn {
        lock,
        is_outermost: true,
        why_not,
    }
}

fn lock() -> Result<File, String> {
    let path = path();
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match imp::try_lock(&path) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if begin.elapsed() > PATIENCE => {
                return Err(format!("another gate kept its turn for {PATIENCE:?}"));
            }
            Ok(None) => {
                say_once_that_it_waits();
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(16));
            }
            Err(error) => return Err(format!("no lock on {}: {error}", path.display())),
        }
    }
}

fn say_once_that_it_waits() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        eprintln!("gates take turns: waiting while another one measures");
    }
}

/// One for all users and projects of the machine.
fn path() -> PathBuf {
    std::env::temp_dir().join("perfbudget.lock")
}

#[cfg(unix)]
mod imp {
    use std::fs::{self, File, OpenOptions, Permissions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;

    /// The lock, unless another has it. It belongs to the open file, not to the process.
    pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
        let file = open(path)?;
        let opened = file.metadata()?;
        if !opened.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        // SAFETY: locks a file that is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        // What cleans the directory may have removed it meanwhile: then others lock another.
        let there = fs::symlink_metadata(path);
        let is_there = there.is_ok_and(|it| (it.dev(), it.ino()) == (opened.dev(), opened.ino()));
        Ok(is_there.then_some(file))
    }

    /// Gives the lock back, for the copies that forked children have of it, too.
    pub(super) fn unlock(lock: &File) {
        // SAFETY: unlocks a file that is open.
        _ = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_UN) };
    }

    /// Opens the file, which may belong to another user: then it can be read, and need be no more.
    fn open(path: &Path) -> io::Result<File> {
        // Whoever may write to the directory may have put something else there.
        let with = |options: &mut OpenOptions| {
            options
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
        };
        match with(File::options().read(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
        match with(File::options().write(true).create_new(true)) {
            Ok(file) => {
                // Whatever the umask says; where it can't be, other users say why they have no lock.
                _ = file.set_permissions(Permissions::from_mode(0o644));
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                with(File::options().read(true))
            }
            outcome => outcome,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::turn::Turn;

        #[test]
        fn a_lock_is_given_once_and_given_back() {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("lock");
            let first = try_lock(&path).expect("a lock").expect("nobody has it");
            let copy = first.try_clone().expect("a copy, as a forked child has");
            assert!(try_lock(&path).expect("a lock").is_none());
            unlock(&first);
            let second = try_lock(&path).expect("a lock").expect("it was given back");
            drop(copy);
            assert!(try_lock(&path).expect("a lock").is_none());
            drop(second);
            assert!(try_lock(&path).expect("a lock").is_some());
        }

        #[test]
        fn what_is_no_file_is_no_lock() {
            let dir = tempfile::tempdir().expect("a directory");
            assert!(try_lock(dir.path()).is_err());
            let fifo = dir.path().join("fifo");
            let name = std::ffi::CString::new(fifo.to_str().expect("a name")).expect("no NUL");
            // SAFETY: reads a C string.
            assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
            assert!(
                try_lock(&fifo).is_err(),
                "and it does not wait for a writer"
            );
            let link = dir.path().join("link");
            std::os::unix::fs::symlink("elsewhere", &link).expect("a link");
            assert!(try_lock(&link).is_err());
            let elsewhere = dir.path().join("elsewhere");
            assert!(!elsewhere.exists());
            fs::write(elsewhere, "").expect("written");
            assert!(try_lock(&link).is_err(), "and it does not wait for it");
        }

        #[test]
        fn a_turn_ends_for_the_copies_that_forked_children_have_of_it_too() {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("lock");
            let lock = try_lock(&path).expect("a lock").expect("nobody has it");
            let copy = lock.try_clone().expect("a copy, as a forked child has");
            drop(Turn {
                lock: Some(lock),
                is_outermost: false,
                why_not: None,
            });
            assert!(try_lock(&path).expect("a lock").is_some());
            drop(copy);
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;

    /// The lock is that nobody else can open the file meanwhile.
    pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
        const ERROR_SHARING_VIOLATION: i32 = 32;
        let exclusive = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .share_mode(0)
            .open(path);
        match exclusive {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It ends with the file.
    pub(super) fn unlock(_lock: &File) {}
}

#[cfg(not(any(unix, windows)))]
mod imp {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn try_lock(_path: &Path) -> io::Result<Option<File>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unlock(_lock: &File) {}
}
