//! The open scopes and path stubs of this process, readable by a hook without a lock.
//!
//! A hook runs inside any sync of any thread: it must not wait for the thread that opens or
//! closes a scope, and must not touch a scope that is gone. Each scope has a [`Slot`]: a pointer,
//! and the number of hooks that are looking at it. A hook announces itself, then reads the
//! pointer; closing clears the pointer, then waits until nobody is announced. With sequentially
//! consistent operations one of the two sees the other: a hook that announced itself too late to
//! be waited for reads the cleared pointer.
//!
//! Slots stand in blocks that are added when all are taken and never freed, so that a hook can
//! walk them at any time.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::watch::Watch;

const SLOTS_PER_BLOCK: usize = 32;

/// How many watches are open. A hook that reads 0 has nothing to do; a scope opened by a thread
/// that the syncing thread synchronised with afterwards can't be missed, because a later read of
/// one atomic never returns an earlier value.
static OPEN: AtomicUsize = AtomicUsize::new(0);

static FIRST_BLOCK: Block = Block::new();

struct Block {
    slots: [Slot; SLOTS_PER_BLOCK],
    next: OnceLock<&'static Block>,
}

impl Block {
    const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; SLOTS_PER_BLOCK],
            next: OnceLock::new(),
        }
    }
}

struct Slot {
    /// Whether a [`Registration`] owns the slot.
    taken: AtomicBool,
    /// Hooks that may be using what `watch` points to.
    readers: AtomicU32,
    /// Null, or the watch of the registration that owns the slot, which keeps it alive until it
    /// has cleared this pointer and seen `readers` at 0.
    watch: AtomicPtr<Watch>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            readers: AtomicU32::new(0),
            watch: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn publish(&self, watch: &Arc<Watch>) {
        self.watch
            .store(Arc::as_ptr(watch).cast_mut(), Ordering::SeqCst);
    }

    /// Clears the pointer, and lets go of the watch when no hook can be using it any more.
    fn retract(&self, watch: &Arc<Watch>, process: u32) {
        self.watch.store(ptr::null_mut(), Ordering::SeqCst);
        while self.readers.load(Ordering::SeqCst) != 0 {
            // In a child made by `fork` the hooks of the parent's other threads are counted here
            // and will never leave: those threads don't exist. The child's own can't be told from
            // them, so that the watch is left to whoever reads it.
            if std::process::id() != process {
                std::mem::forget(Arc::clone(watch));
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Whether any watch is open: the fast path of a hook.
pub(crate) fn any_open() -> bool {
    OPEN.load(Ordering::Relaxed) != 0
}

/// Calls `visit` with every open watch and the number of its slot. Takes no lock and allocates
/// nothing.
pub(crate) fn for_each_open(mut visit: impl FnMut(usize, &Watch)) {
    let mut block = &FIRST_BLOCK;
    let mut number = 0;
    loop {
        for slot in &block.slots {
            number += 1;
            if slot.watch.load(Ordering::Relaxed).is_null() {
                continue;
            }
            slot.readers.fetch_add(1, Ordering::SeqCst);
            let watch = slot.watch.load(Ordering::SeqCst);
            // SAFETY: the pointer is null or was published by the registration that owns the
            // slot. That registration frees the watch only after it has cleared the pointer and
            // then read `readers` as 0, and otherwise never (`Slot::retract`); this thread was
            // counted in `readers` before it read the pointer, so the watch outlives the reference.
            if let Some(watch) = unsafe { watch.as_ref() } {
                visit(number - 1, watch);
            }
            slot.readers.fetch_sub(1, Ordering::SeqCst);
        }
        match block.next.get() {
            Some(next) => block = next,
            None => return,
        }
    }
}

/// An open watch: hooks see it until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    slot: SlotRef,
    process: u32,
    /// The watch that the slot points to. Only its owner locks this, never a hook.
    watch: Mutex<Arc<Watch>>,
}

/// A slot by reference, with a `Debug` that says nothing of its pointer.
struct SlotRef(&'static Slot);

impl std::fmt::Debug for SlotRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl Registration {
    pub(crate) fn open(watch: Watch) -> Self {
        let watch = Arc::new(watch);
        let slot = take_slot();
        slot.publish(&watch);
        OPEN.fetch_add(1, Ordering::SeqCst);
        Self {
            slot: SlotRef(slot),
            process: std::process::id(),
            watch: Mutex::new(watch),
        }
    }

    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a fresh watch of the same attribution in the place of this one.
    pub(crate) fn restart(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.0.retract(&watch, self.process);
        *watch = Arc::new(watch.again());
        self.slot.0.publish(&watch);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let watch = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.slot.0.retract(watch, self.process);
        OPEN.fetch_sub(1, Ordering::SeqCst);
        self.slot.0.taken.store(false, Ordering::Release);
    }
}

fn take_slot() -> &'static Slot {
    let mut block = &FIRST_BLOCK;
    loop {
        for slot in &block.slots {
            // In a child made by `fork` the hooks of the parent's other threads are readers for
            // ever (`Slot::retract`): whoever took that slot would wait for them.
            if slot.readers.load(Ordering::SeqCst) != 0 {
                continue;
            }
            // Acquire: the previous owner's `retract` happens before what this owner does.
            if slot
                .taken
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return slot;
            }
        }
        block = block.next.get_or_init(|| Box::leak(Box::new(Block::new())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Attribution;

    fn open_watches_of(thread: u64) -> usize {
        let mut n = 0;
        for_each_open(|_, watch| {
            n += usize::from(watch.attribution == Attribution::Thread(thread))
        });
        n
    }

    #[test]
    fn more_watches_than_a_block_holds_are_all_seen_and_all_leave() {
        let thread = u64::MAX; // of no thread, so that parallel tests don't disturb the number
        // A watch is large, and Miri slow.
        let number = if cfg!(miri) {
            SLOTS_PER_BLOCK + 1
        } else {
            3 * SLOTS_PER_BLOCK
        };
        let many: Vec<_> = (0..number)
            .map(|_| Registration::open(Watch::counting(Attribution::Thread(thread))))
            .collect();
        assert_eq!(open_watches_of(thread), number);
        drop(many);
        assert_eq!(open_watches_of(thread), 0);
    }

    #[test]
    fn watches_open_and_close_while_others_look() {
        let thread = u64::MAX - 1;
        let rounds = if cfg!(miri) { 4 } else { 500 };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let registration =
                            Registration::open(Watch::counting(Attribution::Thread(thread)));
                        assert!(open_watches_of(thread) >= 1);
                        registration.restart();
                        assert!(open_watches_of(thread) >= 1);
                    }
                });
            }
        });
        assert_eq!(open_watches_of(thread), 0);
    }
}
