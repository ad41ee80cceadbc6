//! One sync as every witness can tell it, and how many there are of which class.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::path::Path;

use fsync_counter::{Event, FileClass};
use serde::{Deserialize, Serialize};

/// What a sync was asked of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    File,
    Directory,
    /// Neither: a pipe, a device, a whole file system.
    Other,
    /// Could not be classified.
    Unknown,
}

/// A sync: the call, what it was asked of, and where that lies under the directory of the run.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SyncCall {
    pub call: String,
    pub class: Class,
    /// It promises no durability (`msync(MS_ASYNC)`, `sync_file_range`).
    pub weak: bool,
    /// Relative to the directory of the run; `None` where there is none (`sync`).
    pub path: Option<String>,
    /// The process that called, where that is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
}

impl SyncCall {
    /// What a scope saw, without what differs from run to run.
    pub fn new(event: &Event, root: &Path) -> Self {
        Self {
            call: event.operation.to_string(),
            class: match event.class {
                FileClass::File => Class::File,
                FileClass::Directory => Class::Directory,
                FileClass::Unknown(_) => Class::Unknown,
                _ => Class::Other,
            },
            weak: event.operation.is_weak(),
            path: event.path.as_deref().map(|path| relative(path, root)),
            process: None,
        }
    }

    /// In words: `fsync` of what, as the tables name it.
    pub fn describe(&self, database: &str) -> String {
        let object = match &self.path {
            None => None,
            Some(path) if path == database => Some(".".to_owned()),
            Some(path) => Some(match path.strip_prefix(database) {
                Some(below) if below.starts_with('/') => below[1..].to_owned(),
                _ if path == "." => "..".to_owned(),
                _ => format!("../{path}"),
            }),
        };
        match object {
            Some(object) if self.class == Class::Directory && object != "." => {
                format!("`{}` {object}/", self.call)
            }
            Some(object) => format!("`{}` {object}", self.call),
            None => format!("`{}`", self.call),
        }
    }
}

/// A path as the documents show it: below the directory of the run, random parts as `…`.
pub fn relative(path: &Path, root: &Path) -> String {
    let Ok(below) = path.strip_prefix(root) else {
        let name = path.file_name().unwrap_or(path.as_os_str());
        return format!("outside: {}", name.to_string_lossy());
    };
    let parts: Vec<_> = below
        .iter()
        .map(|part| without_randomness(&part.to_string_lossy()))
        .collect();
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

/// tempfile's `.tmpAbCdEf`, and long numbers: PostgreSQL's log segments, sled's snapshots.
fn without_randomness(part: &str) -> String {
    const LONG: usize = 16;
    let is_temporary = part
        .strip_prefix(".tmp")
        .is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric()));
    if is_temporary {
        return ".tmp…".to_owned();
    }
    part.split('.')
        .map(|word| {
            if word.len() >= LONG && word.bytes().all(|b| b.is_ascii_hexdigit()) {
                "(number)"
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(".")
}

/// How many syncs of which class.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Tally {
    pub files: u64,
    pub dirs: u64,
    pub other: u64,
    pub unknown: u64,
    /// Calls that promise no durability; in no other field.
    pub weak: u64,
}

impl Tally {
    pub fn of<'a>(syncs: impl IntoIterator<Item = &'a SyncCall>) -> Self {
        let mut tally = Self::default();
        for sync in syncs {
            *match (sync.weak, sync.class) {
                (true, _) => &mut tally.weak,
                (false, Class::File) => &mut tally.files,
                (false, Class::Directory) => &mut tally.dirs,
                (false, Class::Other) => &mut tally.other,
                (false, Class::Unknown) => &mut tally.unknown,
            } += 1;
        }
        tally
    }

    fn fields(self) -> [u64; 5] {
        [self.files, self.dirs, self.other, self.unknown, self.weak]
    }

    fn from_fields([files, dirs, other, unknown, weak]: [u64; 5]) -> Self {
        Self {
            files,
            dirs,
            other,
            unknown,
            weak,
        }
    }

    fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let (left, right) = (self.fields(), other.fields());
        Self::from_fields(std::array::from_fn(|at| combine(left[at], right[at])))
    }

    /// Field by field the smaller.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    /// Field by field the larger.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, |one, more| one + more)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// `3 + 1`: files + directories, the rest in words.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (self.files, self.dirs) {
            (0, 0) => {}
            (files, 0) => parts.push(files.to_string()),
            (files, dirs) => parts.push(format!("{files} + {dirs}")),
        }
        for (n, name) in [
            (self.other, "other"),
            (self.unknown, "unknown"),
            (self.weak, "weak"),
        ] {
            if n != 0 {
                parts.push(format!("{n} {name}"));
            }
        }
        if parts.is_empty() {
            f.pad("0")
        } else {
            f.pad(&parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(call: &str, class: Class, path: &str) -> SyncCall {
        SyncCall {
            call: call.to_owned(),
            class,
            weak: call == "sync_file_range",
            path: Some(path.to_owned()),
            process: None,
        }
    }

    #[test]
    fn a_tally_keeps_the_weak_apart() {
        let syncs = [
            sync("fsync", Class::File, "db/a"),
            sync("fsync", Class::Directory, "db"),
            sync("sync_file_range", Class::File, "db/a"),
        ];
        let tally = Tally::of(&syncs);
        assert_eq!((tally.files, tally.dirs, tally.weak), (1, 1, 1));
        assert_eq!(tally.to_string(), "1 + 1, 1 weak");
        assert_eq!(Tally::default().to_string(), "0");
        assert_eq!(
            (tally + tally).min(tally),
            tally,
            "the smaller, field by field"
        );
    }

    #[test]
    fn paths_are_told_as_from_the_database() {
        for (class, path, words) in [
            (Class::File, "db/db-journal", "`fsync` db-journal"),
            (Class::Directory, "db", "`fsync` ."),
            (Class::Directory, "db/tables", "`fsync` tables/"),
            (Class::Directory, ".", "`fsync` ../"),
            (Class::File, "else", "`fsync` ../else"),
        ] {
            assert_eq!(sync("fsync", class, path).describe("db"), words);
        }
    }

    #[test]
    fn random_names_are_no_part_of_a_path() {
        let root = Path::new("/r");
        assert_eq!(relative(Path::new("/r/db/.tmpAb0dEf"), root), "db/.tmp…");
        assert_eq!(relative(Path::new("/r/db/.tmpfile"), root), "db/.tmpfile");
        assert_eq!(relative(root, root), ".");
        assert_eq!(relative(Path::new("/etc/passwd"), root), "outside: passwd");
        assert_eq!(
            relative(Path::new("/r/pg_wal/000000010000000000000001"), root),
            "pg_wal/(number)"
        );
        assert_eq!(
            relative(Path::new("/r/snap.00000000000019D0.generating"), root),
            "snap.(number).generating"
        );
    }
}
