//! Where a cluster's directory is made.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Which directory the cluster's own is made in.
#[derive(Clone, Debug, Default)]
pub(crate) enum Location {
    /// The system's for temporary files (`TMPDIR`), in memory or not.
    #[default]
    Temporary,
    /// The same where it is on a disk, else `/var/tmp`.
    Disk,
    Inside(PathBuf),
}

impl Location {
    /// The directory, as an absolute path without links.
    pub(crate) fn resolve(&self) -> Result<PathBuf, Error> {
        let base = match self {
            Self::Temporary => std::env::temp_dir(),
            Self::Disk => [std::env::temp_dir(), PathBuf::from("/var/tmp")]
                .into_iter()
                .find(|base| !is_in_memory(base))
                .ok_or_else(|| Error::Directory {
                    base: std::env::temp_dir(),
                    why: "it is in memory, and so is /var/tmp".to_owned(),
                })?,
            Self::Inside(base) => base.clone(),
        };
        base.canonicalize().map_err(|error| Error::Directory {
            base,
            why: error.to_string(),
        })
    }
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &Path) -> bool {
    /// `TMPFS_MAGIC` of linux/magic.h.
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == TMPFS)
}

/// Temporary directories are on disks there.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_path: &Path) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_a_disk() {
        assert!(is_in_memory(Path::new("/dev/shm")));
        assert!(!is_in_memory(Path::new("/proc")));
        assert!(!is_in_memory(Path::new("/no such directory")));
    }
}
