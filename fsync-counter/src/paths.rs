//! Bounded room for paths: hooks of several threads put them in, without a lock or an allocation;
//! a scope's owner reads them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

/// Where a path is kept. Only whoever put it there knows, and tells others by a release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Its first word.
    pub(crate) start: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
}

/// Room of a number of words, filled from the front. Each path begins a word.
#[derive(Debug)]
pub(crate) struct PathRoom {
    /// Words handed out, also beyond the end.
    taken: AtomicUsize,
    words: Box<[AtomicU64]>,
}

impl PathRoom {
    pub(crate) fn of_words(words: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Copies a path into the room; `None` when it is empty or does not fit.
    pub(crate) fn keep(&self, path: &[u8]) -> Option<Kept> {
        let words = path.len().div_ceil(WORD_BYTES);
        let start = self.taken.fetch_add(words, Ordering::Relaxed);
        let room = self.words.get(start..start.saturating_add(words))?;
        for (kept, word) in room.iter().zip(words_of(path)) {
            kept.store(word, Ordering::Relaxed);
        }
        (!path.is_empty()).then_some(Kept {
            start,
            len: path.len(),
        })
    }

    /// Whether that is this path.
    pub(crate) fn is(&self, kept: Kept, path: &[u8]) -> bool {
        kept.len == path.len()
            && self.words_at(kept).is_some_and(|words| {
                let words = words.iter().map(|word| word.load(Ordering::Relaxed));
                words.eq(words_of(path))
            })
    }

    pub(crate) fn read(&self, kept: Kept) -> Option<PathBuf> {
        let mut bytes: Vec<u8> = self
            .words_at(kept)?
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        bytes.truncate(kept.len);
        (!bytes.is_empty()).then(|| crate::hook::path_from_bytes(bytes))
    }

    fn words_at(&self, kept: Kept) -> Option<&[AtomicU64]> {
        self.words
            .get(kept.start..kept.start + kept.len.div_ceil(WORD_BYTES))
    }
}

/// A path in words, the last one filled up with zeros.
fn words_of(path: &[u8]) -> impl Iterator<Item = u64> {
    path.chunks(WORD_BYTES).map(|bytes| {
        let mut word = [0; WORD_BYTES];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_length_come_back_and_are_told_apart() {
        let room = PathRoom::of_words(64);
        let paths: Vec<String> = (1..20).map(|length| "p".repeat(length)).collect();
        let kept: Vec<Kept> = paths
            .iter()
            .map(|path| room.keep(path.as_bytes()).expect("room"))
            .collect();
        for (path, kept) in paths.iter().zip(&kept) {
            assert_eq!(room.read(*kept), Some(path.into()));
            for other in &paths {
                assert_eq!(room.is(*kept, other.as_bytes()), path == other);
            }
        }
        assert!(!room.is(kept[7], b"pppppppq"));
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let room = PathRoom::of_words(2);
        assert!(room.keep(b"").is_none());
        assert!(room.keep(b"nine bytes and more").is_none());
        let room = PathRoom::of_words(2);
        assert!(room.keep(b"sixteen bytes ok").is_some());
        assert!(room.keep(b"p").is_none());
    }
}
