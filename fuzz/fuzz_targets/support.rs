//! What the two targets of the outbox share: real files in memory, no syncs, a clock that stands.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outbox::{Clock, Disk, Outbox};
use perfbudget::TmpfsDir;

struct UnsyncedDisk;

impl Disk for UnsyncedDisk {
    fn sync_file(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Some day in 2026: what the corpus has of times is around it.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_790_000_000_000)
    }
}

pub(crate) struct Fixture {
    pub(crate) outbox: Outbox,
    _root: TmpfsDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = perfbudget::tmpfs_dir();
        let outbox = Outbox::with_seams(root.path(), "parent", UnsyncedDisk, Standing).unwrap();
        Self {
            outbox,
            _root: root,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.outbox.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
}
