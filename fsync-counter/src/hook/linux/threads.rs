//! Which threads of this process sync while a kernel scope is open: those that it does not cover
//! are told from the others by their absence from what the kernel tells.
//!
//! A hook notes the calling thread in a table that never moves, with atomics only. The table
//! belongs to all kernel scopes that are open at once, and is emptied before the first of them.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::ids;

/// How many kernel scopes are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

static TABLE: [Entry; 1024] = [const { Entry::new() }; 1024];
/// Syncs for which the table had no room.
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);

struct Entry {
    /// 0 while it is nobody's.
    thread: AtomicU32,
    syncs: AtomicU64,
}

impl Entry {
    const fn new() -> Self {
        Self {
            thread: AtomicU32::new(0),
            syncs: AtomicU64::new(0),
        }
    }
}

/// Notes, while a kernel scope is open, that the calling thread's sync was forwarded.
#[inline]
pub(super) fn note() {
    if OPEN.load(Ordering::Relaxed) != 0 {
        note_thread(ids::thread_and_process().0);
    }
}

#[cold]
fn note_thread(thread: u32) {
    let start = thread as usize;
    for offset in 0..TABLE.len() {
        let entry = &TABLE[(start + offset) % TABLE.len()];
        let owner =
            match entry
                .thread
                .compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => thread,
                Err(owner) => owner,
            };
        if owner == thread {
            entry.syncs.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    ELSEWHERE.fetch_add(1, Ordering::Relaxed);
}

/// Begins to note. `is_first` says that no other kernel scope is open: the caller sees to it that
/// none opens or closes meanwhile.
pub(crate) fn begin(is_first: bool) {
    if is_first {
        for entry in &TABLE {
            entry.syncs.store(0, Ordering::Relaxed);
            entry.thread.store(0, Ordering::Relaxed);
        }
        ELSEWHERE.store(0, Ordering::Relaxed);
    }
    OPEN.fetch_add(1, Ordering::SeqCst);
}

/// Ends what [`begin`] began.
pub(crate) fn end() {
    OPEN.fetch_sub(1, Ordering::SeqCst);
}

/// The threads noted so far and their syncs, and the syncs for which there was no room.
pub(crate) fn noted() -> (Vec<(u32, u64)>, u64) {
    let threads = TABLE
        .iter()
        .map(|entry| {
            (
                entry.thread.load(Ordering::Relaxed),
                entry.syncs.load(Ordering::Relaxed),
            )
        })
        .filter(|(thread, syncs)| *thread != 0 && *syncs != 0)
        .collect();
    (threads, ELSEWHERE.load(Ordering::Relaxed))
}
