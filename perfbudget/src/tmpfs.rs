//! Fixtures in memory: a directory where a walltime gate measures the code and not the disk.

use std::cell::Cell;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A fresh directory, removed when it is dropped. From [`tmpfs_dir`].
#[derive(Debug)]
pub struct TmpfsDir {
    dir: TempDir,
}

impl TmpfsDir {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        home().in_memory
    }
}

impl AsRef<Path> for TmpfsDir {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

/// Makes a fresh directory on a file system in memory, `/dev/shm`; where the system has none, in
/// the directory for temporary files, and the records say so.
///
/// ```
/// let dir = perfbudget::tmpfs_dir();
/// std::fs::write(dir.path().join("fixture"), "…").unwrap();
/// ```
///
/// # Panics
/// When no directory can be made there.
#[must_use]
#[track_caller]
pub fn tmpfs_dir() -> TmpfsDir {
    let home = home();
    USED_HERE.set(true);
    match tempfile::Builder::new()
        .prefix("perfbudget-")
        .tempdir_in(&home.path)
    {
        Ok(dir) => TmpfsDir { dir },
        Err(error) => panic!(
            "failed to make a directory for fixtures in {}: {error}",
            home.path.display()
        ),
    }
}

thread_local! {
    /// Whether this thread has asked for a directory: tests of one process run in several.
    static USED_HERE: Cell<bool> = const { Cell::new(false) };
}

/// The file system of the fixtures, for the record: `None` until this thread has asked for one.
pub(crate) fn used() -> Option<String> {
    used_home().map(Home::describe)
}

/// Whether this thread has asked for fixtures and they are not in memory.
pub(crate) fn used_on_a_disk() -> bool {
    used_home().is_some_and(|home| !home.in_memory)
}

fn used_home() -> Option<&'static Home> {
    HOME.get().filter(|_| USED_HERE.get())
}

/// Where fixtures live.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    file_system: String,
    in_memory: bool,
}

impl Home {
    /// The first of these directories that is in memory and can be written to, else the last.
    fn choose(candidates: [PathBuf; 2], mounts: &str) -> Self {
        let [preferred, fallback] = candidates;
        let at = |path: PathBuf| {
            let file_system = file_system_of(&path, mounts);
            Self {
                in_memory: matches!(file_system.as_str(), "tmpfs" | "ramfs"),
                file_system,
                path,
            }
        };
        let home = at(preferred);
        if home.in_memory && is_writable(&home.path).is_ok() {
            home
        } else {
            at(fallback)
        }
    }

    fn describe(&self) -> String {
        if self.in_memory {
            self.file_system.clone()
        } else {
            format!("{} (not in memory)", self.file_system)
        }
    }
}

static HOME: OnceLock<Home> = OnceLock::new();

fn home() -> &'static Home {
    HOME.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Home::choose([PathBuf::from("/dev/shm"), env::temp_dir()], &mounts)
    })
}

fn is_writable(dir: &Path) -> io::Result<()> {
    TempDir::new_in(dir)?.close()
}

/// The type of the file system at a path, from the kernel's list of mounts: that of the longest
/// mount point above it, of the last where several are mounted over each other.
fn file_system_of(path: &Path, mounts: &str) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let point = Path::new(fields.nth(1)?);
            let file_system = fields.next()?;
            path.starts_with(point)
                .then(|| (point.components().count(), file_system))
        })
        .max_by_key(|(depth, _)| *depth)
        .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_latest_mount_tells_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\n\
                      none /dev devtmpfs rw 0 0\n\
                      a /dev/shm ext4 rw 0 0\n\
                      b /dev/shm tmpfs rw 0 0\n";
        assert_eq!(file_system_of(Path::new("/dev/shm"), mounts), "tmpfs");
        assert_eq!(file_system_of(Path::new("/dev/shmoo"), mounts), "devtmpfs");
        assert_eq!(file_system_of(Path::new("/srv/x"), mounts), "ext4");
        assert_eq!(file_system_of(Path::new("/srv"), ""), "unknown");
    }

    #[test]
    fn without_memory_fixtures_are_elsewhere_and_said_to_be() {
        let here = PathBuf::from("/srv/fixtures");
        let shared_memory = PathBuf::from("/dev/shm");
        let choose = |mounts: &str| Home::choose([shared_memory.clone(), here.clone()], mounts);
        let home = choose("/dev/vda / ext4 rw 0 0\n");
        assert_eq!((&home.path, home.in_memory), (&here, false));
        assert_eq!(home.describe(), "ext4 (not in memory)");
        // In memory, but not to be written to.
        let sealed = Home::choose(
            [PathBuf::from("/proc"), here.clone()],
            "x /proc tmpfs 0 0\n",
        );
        assert_eq!(sealed.path, here);
    }

    #[test]
    fn each_directory_is_fresh_and_removed_on_drop() {
        let (one, other) = (tmpfs_dir(), tmpfs_dir());
        assert_ne!(one.path(), other.path());
        let path = one.path().to_path_buf();
        fs::write(path.join("x"), "x").expect("writable");
        drop(one);
        assert!(!path.exists());
        assert!(other.as_ref().is_dir());
        assert_eq!(other.is_in_memory(), !used_on_a_disk());
    }
}
