//! Why a scope's counts may be too low, as far as a hook can see it: noted without a lock or an
//! allocation, read as [`Incomplete`].
//!
//! Apart from the events: a scope that opens a thousand files with `O_DSYNC` keeps room for its
//! syncs. A full list loses a path, never the fact.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crate::incomplete::Incomplete;
use crate::paths::{Kept, PathRoom};
use crate::watch::Place;

/// Files named a scope.
const FILES_MAX: usize = 32;
/// Room for their paths, in words of eight bytes.
const PATH_WORDS_MAX: usize = 512;

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    DurableOpen,
    DurableWrite,
    IoUring,
    Aio,
}

impl NoticeKind {
    const ALL: [Self; 4] = [
        Self::DurableOpen,
        Self::DurableWrite,
        Self::IoUring,
        Self::Aio,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn incomplete(self, path: Option<PathBuf>) -> Incomplete {
        match self {
            Self::DurableOpen => Incomplete::DurableOpen { path },
            Self::DurableWrite => Incomplete::DurableWrite { path },
            Self::IoUring => Incomplete::IoUring,
            Self::Aio => Incomplete::Aio,
        }
    }
}

/// One notice, as a hook gives it to the watches.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    pub(crate) kind: NoticeKind,
    pub(crate) place: Place,
    pub(crate) path: Option<&'a [u8]>,
    /// The key of the calling thread, as in `Attribution::Thread`.
    pub(crate) caller: u64,
}

/// The notices of one watch.
#[derive(Debug)]
pub(crate) struct Notices {
    /// A bit for each kind that was noted of something without a path, or whose path did not fit.
    without_path: AtomicU8,
    /// Files handed out, also beyond the end.
    taken: AtomicUsize,
    files: Box<[File]>,
    paths: PathRoom,
}

/// A file that was noted. `written` is stored last and read first (release, acquire), so that a
/// reader that sees it sees the rest.
#[derive(Debug, Default)]
struct File {
    written: AtomicBool,
    kind: AtomicU8,
    path_start: AtomicUsize,
    path_len: AtomicUsize,
}

impl File {
    fn read(&self) -> Option<(u8, Kept)> {
        let kept = || Kept {
            start: self.path_start.load(Ordering::Relaxed),
            len: self.path_len.load(Ordering::Relaxed),
        };
        self.written
            .load(Ordering::Acquire)
            .then(|| (self.kind.load(Ordering::Relaxed), kept()))
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            without_path: AtomicU8::new(0),
            taken: AtomicUsize::new(0),
            files: (0..FILES_MAX).map(|_| File::default()).collect(),
            paths: PathRoom::of_words(PATH_WORDS_MAX),
        }
    }
}

impl Notices {
    pub(crate) fn note(&self, notice: &Notice<'_>) {
        let named = notice
            .path
            .is_some_and(|path| self.name(notice.kind, path).is_some());
        if !named {
            self.without_path
                .fetch_or(notice.kind.bit(), Ordering::Relaxed);
        }
    }

    /// Keeps the file's path, once; `None` when there is no room.
    fn name(&self, kind: NoticeKind, path: &[u8]) -> Option<()> {
        let is_known = |file: &File| {
            file.read()
                .is_some_and(|(noted, kept)| noted == kind.bit() && self.paths.is(kept, path))
        };
        if self.files.iter().any(is_known) {
            return Some(());
        }
        let file = self.files.get(self.taken.fetch_add(1, Ordering::Relaxed))?;
        let kept = self.paths.keep(path)?;
        file.kind.store(kind.bit(), Ordering::Relaxed);
        file.path_start.store(kept.start, Ordering::Relaxed);
        file.path_len.store(kept.len, Ordering::Relaxed);
        file.written.store(true, Ordering::Release);
        Some(())
    }

    /// Each once: two threads may have noted a file at the same moment.
    pub(crate) fn read(&self) -> Vec<Incomplete> {
        let without_path = self.without_path.load(Ordering::Relaxed);
        let named = self.files.iter().filter_map(File::read);
        let named = named.filter_map(|(noted, kept)| {
            let kind = NoticeKind::ALL
                .into_iter()
                .find(|kind| kind.bit() == noted)?;
            Some(kind.incomplete(self.paths.read(kept)))
        });
        let unnamed = NoticeKind::ALL
            .into_iter()
            .filter(|kind| without_path & kind.bit() != 0)
            .map(|kind| kind.incomplete(None));
        let mut list = Vec::new();
        for one in named.chain(unnamed) {
            if !list.contains(&one) {
                list.push(one);
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(kind: NoticeKind, path: Option<&str>) -> Notice<'_> {
        Notice {
            kind,
            place: Place::AtPath,
            path: path.map(str::as_bytes),
            caller: 1,
        }
    }

    #[test]
    fn each_is_told_once_in_the_order_in_which_it_was_first_noted() {
        let notices = Notices::default();
        for _ in 0..2 * FILES_MAX {
            notices.note(&notice(NoticeKind::Aio, None));
            notices.note(&notice(NoticeKind::DurableWrite, Some("/b")));
            notices.note(&notice(NoticeKind::DurableOpen, Some("/a")));
            notices.note(&notice(NoticeKind::DurableOpen, Some("/b")));
            notices.note(&notice(NoticeKind::IoUring, None));
        }
        let path = |path: &str| Some(path.into());
        assert_eq!(
            notices.read(),
            [
                Incomplete::DurableWrite { path: path("/b") },
                Incomplete::DurableOpen { path: path("/a") },
                Incomplete::DurableOpen { path: path("/b") },
                Incomplete::IoUring,
                Incomplete::Aio,
            ]
        );
    }

    #[test]
    fn what_two_threads_noted_at_once_is_told_once() {
        let notices = Notices::default();
        for at in 0..2 {
            let kept = notices.paths.keep(b"/a").expect("room");
            let file = &notices.files[at];
            file.kind
                .store(NoticeKind::DurableOpen.bit(), Ordering::Relaxed);
            file.path_start.store(kept.start, Ordering::Relaxed);
            file.path_len.store(kept.len, Ordering::Relaxed);
            file.written.store(true, Ordering::Release);
        }
        assert_eq!(notices.read().len(), 1);
    }

    #[test]
    fn a_full_list_loses_paths_and_not_the_fact() {
        let without =
            |incomplete: &Incomplete| matches!(incomplete, Incomplete::DurableOpen { path: None });
        let many = Notices::default();
        let long = Notices::default();
        for n in 0..=FILES_MAX {
            let told = |notices: &Notices| notices.read().iter().filter(|one| without(one)).count();
            assert_eq!((told(&many), told(&long)), (0, usize::from(n > 4)), "{n}");
            many.note(&notice(NoticeKind::DurableOpen, Some(&format!("/{n}"))));
            let path = format!("/{n}/{}", "p".repeat(1000));
            long.note(&notice(NoticeKind::DurableOpen, Some(&path)));
        }
        assert_eq!(many.read().len(), FILES_MAX + 1);
        assert!(many.read().iter().any(without));
        // Full of opened files, it still tells that one was written so.
        many.note(&notice(NoticeKind::DurableWrite, Some("/a")));
        let written = Incomplete::DurableWrite { path: None };
        assert_eq!(many.read().last(), Some(&written));
    }
}
