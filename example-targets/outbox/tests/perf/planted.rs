//! Defects that the gates must catch, planted at the seam to the disk.
//!
//! The outbox itself has none of this: a gate's fixture opens it with a disk that behaves as if
//! the code above it had the defect. `red.rs` runs the gates so, in processes of their own.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use outbox::{Disk, SystemDisk};

/// The variable by which `red.rs` plants a defect.
pub(crate) const PLANTED_ENV: &str = "OUTBOX_PLANTED_DEFECT";

/// A disk with at most one defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Every drain computes for two milliseconds more.
    SlowDrain,
    /// Every record is synced, not every file.
    SyncPerRecord,
    /// Directories are not synced.
    NoDirectorySync,
    /// Every record is copied before it is written.
    CopyPerRecord,
}

impl Defect {
    pub(crate) fn from_env() -> Self {
        match std::env::var(PLANTED_ENV).ok().as_deref() {
            None => Self::None,
            Some("slow-drain") => Self::SlowDrain,
            Some("sync-per-record") => Self::SyncPerRecord,
            Some("no-directory-sync") => Self::NoDirectorySync,
            Some("copy-per-record") => Self::CopyPerRecord,
            Some(other) => panic!("{PLANTED_ENV}: {other:?} is no defect"),
        }
    }
}

impl Disk for Defect {
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if *self == Self::SlowDrain && to.ends_with("wal.jsonl") {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
        }
        SystemDisk.rename(from, to)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        SystemDisk.write(file, bytes)?;
        let records = || bytes.split(|byte| *byte == b'\n').skip(1);
        match self {
            Self::SyncPerRecord => records().try_for_each(|_| SystemDisk.sync_file(file)),
            Self::CopyPerRecord => {
                records().for_each(|record| drop(black_box(record.to_vec())));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        match self {
            Self::NoDirectorySync => Ok(()),
            _ => SystemDisk.sync_directory(directory),
        }
    }
}
