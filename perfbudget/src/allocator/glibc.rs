//! glibc's malloc.
//!
//! It gives memory back in two ways: the top of a heap shrinks when more than `M_TRIM_THRESHOLD`
//! of it is free, and a block above `M_MMAP_THRESHOLD` is a mapping of its own that ends with its
//! `free`. Both thresholds are raised once a process and stay: setting either turns off glibc's
//! own adjustment of them for good, so there is nothing that could be put back ("restoring" the
//! 128 KiB that they start from makes one operation of 0.044 ms take 2.2 ms, because a program
//! that has run for a while has long adjusted to more).
//!
//! It puts off joining small freed blocks (the fast bins) until a large request or a large free
//! makes it consolidate.
//!
//! Blocks above 32 MiB, the largest threshold that glibc accepts, stay mappings of their own: they
//! are in a steady state too. A thread's heap that becomes empty as a whole is unmapped whatever
//! the thresholds say.

use std::hint::black_box;
use std::sync::OnceLock;

use super::Discipline;

pub(super) struct Glibc;

/// The largest that glibc accepts: `HEAP_MAX_SIZE / 2` (malloc/malloc.c, `do_set_mmap_threshold`).
const MMAP_THRESHOLD_BYTES: libc::c_int = 32 * 1024 * 1024;

/// Above the size from which both a request and a free consolidate the fast bins
/// (`FASTBIN_CONSOLIDATION_THRESHOLD`, 64 KiB, malloc/malloc.c).
const CONSOLIDATING_BYTES: usize = 128 * 1024;

impl Discipline for Glibc {
    fn name(&self) -> &'static str {
        "glibc"
    }

    fn begin(&self) {
        static RAISED: OnceLock<()> = OnceLock::new();
        RAISED.get_or_init(|| {
            // SAFETY: sets a parameter of the allocator under its own lock.
            unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) };
            // SAFETY: as above.
            unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
        });
        // SAFETY: gives free memory back under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }

    fn settle(&self) {
        drop(black_box(Vec::<u8>::with_capacity(CONSOLIDATING_BYTES)));
    }

    fn end(&self) {}
}

/// Whether Rust's allocations end in glibc's malloc: the program may have another global
/// allocator, or another malloc may be linked or preloaded. glibc is asked whether it has noticed
/// an allocation.
pub(super) fn serves_the_global_allocator() -> bool {
    static SERVES: OnceLock<bool> = OnceLock::new();
    *SERVES.get_or_init(|| {
        // Other threads allocate and free meanwhile; one clear answer is enough.
        (0..5).any(|_| notices_an_allocation())
    })
}

fn notices_an_allocation() -> bool {
    const BYTES: u32 = 3 * 1024 * 1024 + 4096;
    let before = bytes_in_use();
    let block = black_box(Vec::<u8>::with_capacity(BYTES as usize));
    let during = bytes_in_use();
    drop(block);
    let risen = during.wrapping_sub(before);
    (BYTES..BYTES + 64 * 1024).contains(&risen)
}

/// What glibc has handed out, modulo 2³²: `mallinfo`, which counts in `int`, exists in every
/// version of glibc, `mallinfo2` only since 2.33.
fn bytes_in_use() -> u32 {
    // SAFETY: reads the allocator's statistics under its own locks.
    let info = unsafe { libc::mallinfo() };
    info.uordblks
        .cast_unsigned_by_bits()
        .wrapping_add(info.hblkhd.cast_unsigned_by_bits())
}

/// `i32::cast_unsigned` is newer than this crate's `rust-version`.
trait CastUnsignedByBits {
    fn cast_unsigned_by_bits(self) -> u32;
}

impl CastUnsignedByBits for libc::c_int {
    fn cast_unsigned_by_bits(self) -> u32 {
        u32::from_ne_bytes(self.to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_allocator_is_recognised() {
        assert!(serves_the_global_allocator());
    }
}
