//! An allocator of one's own: blocks of half a mebibyte and more are mappings, which it gives back
//! when they are freed, or keeps for the next of their size while it is told to. The rest is the
//! system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use perfbudget::allocator::Discipline;

pub(crate) struct Pages;

/// Its discipline.
pub(crate) static PAGES: PagesDiscipline = PagesDiscipline;

pub(crate) struct PagesDiscipline;

static KEEPING: AtomicBool = AtomicBool::new(false);

/// Whether it keeps what is freed.
pub(crate) fn is_keeping() -> bool {
    KEEPING.load(Ordering::SeqCst)
}

/// One test at a time: what is asked here is the process's.
pub(crate) fn alone(body: impl FnOnce()) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    body();
}

impl Discipline for PagesDiscipline {
    fn name(&self) -> &'static str {
        "pages"
    }

    fn begin(&self) {
        give_back_what_is_kept();
        KEEPING.store(true, Ordering::SeqCst);
    }

    fn settle(&self) {}

    fn end(&self) {
        KEEPING.store(false, Ordering::SeqCst);
        give_back_what_is_kept();
    }
}

/// From this size on a block is a mapping.
const MAPPED_BYTES: usize = 512 * 1024;

/// A kept mapping: its address, and its length, 0 while the place is free and 1 while it changes.
struct Kept {
    address: AtomicPtr<u8>,
    length: AtomicUsize,
}

const FREE: usize = 0;
const CHANGING: usize = 1;

static KEPT: [Kept; 64] = [const {
    Kept {
        address: AtomicPtr::new(ptr::null_mut()),
        length: AtomicUsize::new(FREE),
    }
}; 64];

impl Kept {
    /// Changes from one length to another, if it has that; the address it had.
    fn change(&self, from: usize, to: usize, address: Option<*mut u8>) -> Option<*mut u8> {
        self.length
            .compare_exchange(from, CHANGING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let had = self.address.load(Ordering::Relaxed);
        if let Some(address) = address {
            self.address.store(address, Ordering::Relaxed);
        }
        self.length.store(to, Ordering::Release);
        Some(had)
    }
}

fn give_back_what_is_kept() {
    for kept in &KEPT {
        let length = kept.length.load(Ordering::Relaxed);
        if length <= CHANGING {
            continue;
        }
        if let Some(address) = kept.change(length, FREE, None) {
            unmap(address, length);
        }
    }
}

fn map(length: usize) -> *mut u8 {
    if let Some(address) = KEPT.iter().find_map(|kept| kept.change(length, FREE, None)) {
        return address;
    }
    // SAFETY: a fresh private mapping, at a place that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    address.cast()
}

fn unmap(address: *mut u8, length: usize) {
    // SAFETY: the mapping is this allocator's, and its block was freed.
    unsafe { libc::munmap(address.cast(), length) };
}

// SAFETY: a block is a mapping of its own, aligned to a page and at least as long as asked, or the
// system allocator's; which of them is decided by its layout alone, the same in `dealloc`.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: `layout` is as this method's caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_mapped(layout) {
            // SAFETY: the block is the system's (see above), and as the caller promised.
            return unsafe { System.dealloc(block, layout) };
        }
        let keeps = |kept: &Kept| kept.change(FREE, layout.size(), Some(block)).is_some();
        if !(is_keeping() && KEPT.iter().any(keeps)) {
            unmap(block, layout.size());
        }
    }
}

fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_BYTES && layout.align() <= 4096
}
