//! One sync, or change of a directory entry, as it was seen: the lines that explain a count.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// What was called, by its name in the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `fsync`: data and all metadata of a file, or the entries of a directory.
    Fsync,
    /// `fdatasync`: data, and the metadata that reading it back needs.
    Fdatasync,
    /// `fcntl` with `F_FULLFSYNC`, on macOS: as `Fsync`, and the drive writes its cache out, which
    /// `fsync` does not ask for there.
    FullFsync,
    /// `fcntl` with `F_BARRIERFSYNC`, on macOS: as `Fsync`, and the drive keeps the order of what is
    /// written before and after.
    BarrierFsync,
    /// `msync` with `MS_SYNC`: a mapped range.
    Msync,
    /// `msync` without `MS_SYNC`: on Linux this does nothing. Weak.
    MsyncAsync,
    /// `sync_file_range`: starts or awaits write-out, without metadata. Weak.
    SyncFileRange,
    /// `syncfs`: the whole file system of a descriptor.
    Syncfs,
    /// `sync`: every file system.
    Sync,
    /// `rename`, `renameat` or `renameat2`: no sync, and seen only by a scope that notes entries
    /// ([`Scope::with_entries`](crate::Scope::with_entries)). It has succeeded.
    Rename,
    /// `unlink`, `unlinkat`, `rmdir` or `remove`: as for [`Rename`](Operation::Rename).
    Unlink,
}

impl Operation {
    /// Whether the call promises no durability, so that it counts as
    /// [`weak`](crate::SyncCounts::weak) only.
    #[must_use]
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::MsyncAsync | Self::SyncFileRange)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Fdatasync => "fdatasync",
            Self::FullFsync => "fcntl(F_FULLFSYNC)",
            Self::BarrierFsync => "fcntl(F_BARRIERFSYNC)",
            Self::Msync => "msync",
            Self::MsyncAsync => "msync(async)",
            Self::SyncFileRange => "sync_file_range",
            Self::Syncfs => "syncfs",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
        }
    }

    /// Whether it is a sync, a weak one included, and not a change of a directory entry: those
    /// are in no count and have no number for [`at_sync`](crate::FsyncCounter::at_sync).
    #[must_use]
    pub const fn is_sync(self) -> bool {
        !matches!(self, Self::Rename | Self::Unlink)
    }

    const ALL: [Self; 11] = [
        Self::Fsync,
        Self::Fdatasync,
        Self::FullFsync,
        Self::BarrierFsync,
        Self::Msync,
        Self::MsyncAsync,
        Self::SyncFileRange,
        Self::Syncfs,
        Self::Sync,
        Self::Rename,
        Self::Unlink,
    ];

    pub(crate) fn to_code(self) -> u64 {
        Self::ALL.iter().position(|o| *o == self).unwrap_or(0) as u64
    }

    pub(crate) fn from_code(code: u64) -> Self {
        usize::try_from(code)
            .ok()
            .and_then(|at| Self::ALL.get(at))
            .copied()
            .unwrap_or(Self::Fsync)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a sync was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileClass {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Neither, or no single file at all (`sync`, `syncfs`, an anonymous mapping).
    Other,
    /// Not known; the number is the `errno` with which the question was refused.
    Unknown(i32),
}

impl fmt::Display for FileClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.pad("file"),
            Self::Directory => f.pad("directory"),
            Self::Other => f.pad("other"),
            Self::Unknown(errno) => write!(f, "unknown (errno {errno})"),
        }
    }
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The kernel answered that it is done.
    Succeeded,
    /// The kernel, or an armed [`Action::Errno`](crate::Action::Errno), answered with this
    /// `errno`.
    Failed(i32),
    /// A stub answered; nothing reached the disk.
    Stubbed,
    /// Not known when the events were read: the call had not returned.
    Pending,
    /// Not known: a kernel scope lets the call go on and is not told how it ended.
    NotSeen,
}

impl Outcome {
    pub(crate) fn to_code(self) -> i64 {
        match self {
            Self::NotSeen => -4,
            Self::Pending => -3,
            Self::Stubbed => -2,
            Self::Succeeded => 0,
            Self::Failed(errno) => i64::from(errno.max(1)),
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            -4 => Self::NotSeen,
            -2 => Self::Stubbed,
            0 => Self::Succeeded,
            errno if errno > 0 => Self::Failed(i32::try_from(errno).unwrap_or(i32::MAX)),
            _ => Self::Pending,
        }
    }
}

/// One sync that a scope saw, or one change of a directory entry.
///
/// Its `Display` is one line: number, operation, class, path, and how it ended where that is
/// not plain success.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Position in the order in which they were attempted: among all events that any scope of this
    /// process saw, in a kernel scope among its own, from 1.
    pub sequence: u64,
    /// The function called.
    pub operation: Operation,
    /// The flags that `msync` and `sync_file_range` were called with; 0 for the others.
    pub flags: u32,
    /// What it was asked of.
    pub class: FileClass,
    /// The path of that file where the kernel knows one; an unlinked file has its last path. Of a
    /// rename it is the new name. `None` also where a scope's room for paths was used up.
    pub path: Option<PathBuf>,
    /// The kernel's id of the calling thread (`/proc/<process>/task/<thread>`).
    pub thread: u32,
    /// The id of the calling process.
    pub process: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long the kernel took, where the scope measured it
    /// ([`KernelScope::timed`](crate::KernelScope::timed)).
    pub duration: Option<Duration>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}", self.sequence, self.operation, self.class)?;
        if let Some(path) = &self.path {
            write!(f, " {}", path.display())?;
        }
        match self.outcome {
            Outcome::Succeeded | Outcome::NotSeen => Ok(()),
            Outcome::Failed(errno) => write!(f, " (failed, errno {errno})"),
            Outcome::Stubbed => f.write_str(" (stubbed)"),
            Outcome::Pending => f.write_str(" (had not returned)"),
        }
    }
}

/// The events of a scope, in the order of their sequence: a slice of [`Event`].
///
/// The room for events is bounded, because a hook must not allocate. What did not fit is counted
/// in [`overflowed`](Events::overflowed); the [counts](crate::SyncCounts) stay exact all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub(crate) list: Vec<Event>,
    pub(crate) overflowed: u64,
}

impl Events {
    /// How many of the latest events did not fit and are missing; 0 when the list is complete.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

impl Deref for Events {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        &self.list
    }
}

impl IntoIterator for Events {
    type Item = Event;
    type IntoIter = std::vec::IntoIter<Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a Event;
    type IntoIter = std::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// A line an event, and a last line where some are missing.
impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.list {
            writeln!(f, "{event}")?;
        }
        if self.overflowed > 0 {
            writeln!(f, "… and {} more that did not fit", self.overflowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_as_what_they_were() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_code(operation.to_code()), operation);
        }
        for outcome in [
            Outcome::Succeeded,
            Outcome::Failed(5),
            Outcome::Stubbed,
            Outcome::Pending,
            Outcome::NotSeen,
        ] {
            assert_eq!(Outcome::from_code(outcome.to_code()), outcome);
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let event = Event {
            sequence: 3,
            operation: Operation::Fsync,
            flags: 0,
            class: FileClass::Directory,
            path: Some("/srv/outbox".into()),
            thread: 7,
            process: 7,
            outcome: Outcome::Stubbed,
            duration: None,
        };
        assert_eq!(
            event.to_string(),
            "#3 fsync directory /srv/outbox (stubbed)"
        );
    }
}
