//! How many syncs of which class: the value that a Tier 2 gate compares.
//!
//! Only numbers. Which file, which thread and in what order is in [`Events`](crate::Events).

use std::fmt;

use crate::event::{Event, FileClass};

/// The syncs that a scope saw, by what they were asked of.
///
/// Counts are of *attempts*: a sync that failed, was stubbed or was answered by
/// [`at_sync`](crate::FsyncCounter::at_sync) counts like one that succeeded. The standard library
/// repeats a sync that was interrupted (`EINTR`): that is two attempts.
///
/// ```
/// use fsync_counter::SyncCounts;
///
/// let expected = SyncCounts::new().files(2).dirs(2);
/// assert_eq!(expected.total(), 4);
/// assert_eq!(expected.into_iter().collect::<Vec<_>>(), [("files", 2), ("dirs", 2)]);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SyncCounts {
    /// Syncs of regular files: `fsync`, `fdatasync`, `msync(MS_SYNC)` of a mapped file.
    pub files: u64,
    /// Syncs of directories.
    pub dirs: u64,
    /// Syncs of what is neither file nor directory (a pipe, a socket, a device) and, in thread
    /// and process scopes, `sync` and `syncfs`.
    pub other: u64,
    /// Syncs that could not be classified (`fstat` failed, as for a closed descriptor) or, in a
    /// path scope, could not be placed (`sync`, `syncfs`, `msync` of an unknown mapping).
    pub unknown: u64,
    /// Calls that promise no durability: `msync(MS_ASYNC)` and `sync_file_range`. They are in no
    /// other field.
    pub weak: u64,
}

impl SyncCounts {
    /// No syncs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            files: 0,
            dirs: 0,
            other: 0,
            unknown: 0,
            weak: 0,
        }
    }

    /// The same counts with `files` set to `n`.
    #[must_use]
    pub const fn files(mut self, n: u64) -> Self {
        self.files = n;
        self
    }

    /// The same counts with `dirs` set to `n`.
    #[must_use]
    pub const fn dirs(mut self, n: u64) -> Self {
        self.dirs = n;
        self
    }

    /// The same counts with `other` set to `n`.
    #[must_use]
    pub const fn other(mut self, n: u64) -> Self {
        self.other = n;
        self
    }

    /// The same counts with `unknown` set to `n`.
    #[must_use]
    pub const fn unknown(mut self, n: u64) -> Self {
        self.unknown = n;
        self
    }

    /// The same counts with `weak` set to `n`.
    #[must_use]
    pub const fn weak(mut self, n: u64) -> Self {
        self.weak = n;
        self
    }

    /// Counts one more event, as process and kernel scopes do. What is no sync is in no count.
    pub fn add(&mut self, event: &Event) {
        let field = match event.class {
            _ if !event.operation.is_sync() => return,
            _ if event.operation.is_weak() => &mut self.weak,
            FileClass::File => &mut self.files,
            FileClass::Directory => &mut self.dirs,
            FileClass::Other => &mut self.other,
            FileClass::Unknown(_) => &mut self.unknown,
        };
        *field += 1;
    }

    /// Everything that asks for durability: files, dirs, other and unknown, without the weak.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.files + self.dirs + self.other + self.unknown
    }

    const fn fields(self) -> [(&'static str, u64); 5] {
        [
            ("files", self.files),
            ("dirs", self.dirs),
            ("other", self.other),
            ("unknown", self.unknown),
            ("weak", self.weak),
        ]
    }
}

/// One line also in the `{:#?}` form, so that two counts stand beneath each other when an
/// `assert_eq!` fails.
impl fmt::Debug for SyncCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncCounts {")?;
        for (position, (name, n)) in self.fields().into_iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator} {name}: {n}")?;
        }
        f.write_str(" }")
    }
}

/// Yields name and number of every count that is not zero, in the order of the fields.
impl IntoIterator for SyncCounts {
    type Item = (&'static str, u64);
    type IntoIter = SyncCountsIter;

    fn into_iter(self) -> SyncCountsIter {
        SyncCountsIter(self.fields().into_iter())
    }
}

/// The iterator of [`SyncCounts`].
#[derive(Clone, Debug)]
pub struct SyncCountsIter(std::array::IntoIter<(&'static str, u64), 5>);

impl Iterator for SyncCountsIter {
    type Item = (&'static str, u64);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|(_, n)| *n != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterates_over_what_is_not_zero() {
        let counts = SyncCounts::new().dirs(1).weak(3);
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("dirs", 1), ("weak", 3)]
        );
        assert_eq!(SyncCounts::new().into_iter().next(), None);
    }

    #[test]
    fn total_leaves_out_the_weak() {
        let counts = SyncCounts::new()
            .files(1)
            .dirs(2)
            .other(4)
            .unknown(8)
            .weak(16);
        assert_eq!(counts.total(), 15);
    }

    #[test]
    fn debug_stays_on_one_line() {
        let text = "SyncCounts { files: 2, dirs: 2, other: 0, unknown: 0, weak: 0 }";
        let counts = SyncCounts::new().files(2).dirs(2);
        assert_eq!(format!("{counts:?}"), text);
        assert_eq!(format!("{counts:#?}"), text);
    }
}
