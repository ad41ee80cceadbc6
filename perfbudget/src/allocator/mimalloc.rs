//! mimalloc, by libmimalloc-sys, with which the crate mimalloc is built; its versions 2 and 3.
//! Feature `mimalloc`.
//!
//! It gives memory back by purging: what became free is decommitted a second later (version 2: a
//! tenth of one), by whichever call comes then. The delay is set to -1 ("no purging") and afterwards
//! to what it was.
//!
//! A page of blocks that has become free as a whole is retired, and taken back into use or freed a
//! few allocations later; blocks that another thread freed wait in a list. `mi_collect(false)`
//! settles both and gives nothing back.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use libmimalloc_sys::{
    mi_collect, mi_is_in_heap_region, mi_option_get, mi_option_set, mi_option_t,
};

use super::Discipline;

pub(super) struct Mimalloc;

/// `mi_option_purge_delay` (mimalloc.h, the same in versions 2 and 3), in milliseconds.
const PURGE_DELAY: mi_option_t = 15;
const NEVER: libc::c_long = -1;

/// As wide as C's `long`.
#[cfg(any(windows, target_pointer_width = "32"))]
type AtomicLong = std::sync::atomic::AtomicI32;
#[cfg(not(any(windows, target_pointer_width = "32")))]
type AtomicLong = std::sync::atomic::AtomicI64;

/// What [`Discipline::begin`] found.
static DELAY_BEFORE: AtomicLong = AtomicLong::new(0);

impl Discipline for Mimalloc {
    fn name(&self) -> &'static str {
        "mimalloc"
    }

    fn begin(&self) {
        // First, because nothing is purged where the delay is -1.
        collect(true);
        // SAFETY: reads an option.
        let before = unsafe { mi_option_get(PURGE_DELAY) };
        DELAY_BEFORE.store(before, Ordering::Relaxed);
        set_delay(NEVER);
    }

    fn settle(&self) {
        collect(false);
    }

    fn end(&self) {
        set_delay(DELAY_BEFORE.load(Ordering::Relaxed));
    }
}

/// Settles what the calling thread has put off, and gives memory back if `force` says so.
fn collect(force: bool) {
    // SAFETY: works on the calling thread's heap and on what is shared, as any allocation may.
    unsafe { mi_collect(force) };
}

fn set_delay(milliseconds: libc::c_long) {
    // SAFETY: sets an option, which mimalloc allows at any time.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) };
}

/// Whether Rust's allocations end in this mimalloc: it is asked whether a block is its own, and
/// answers of any address.
pub(super) fn serves_the_global_allocator() -> bool {
    static SERVES: OnceLock<bool> = OnceLock::new();
    *SERVES.get_or_init(|| {
        let block = black_box(Box::new(0_u64));
        // SAFETY: the address is looked up and not followed.
        unsafe { mi_is_in_heap_region((&raw const *block).cast()) }
    })
}
