//! mimalloc as the global allocator: what the crate mimalloc is, in the few lines that a test needs.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_free, mi_malloc_aligned, mi_realloc_aligned};

pub(crate) struct Mimalloc;

#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

// SAFETY: mimalloc's blocks are as large and as aligned as asked; nothing here unwinds.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: asks for a block; any size and any power of two will do.
        unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block is mimalloc's, as this method's caller promised.
        unsafe { mi_free(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe { mi_realloc_aligned(block.cast(), size, layout.align()) }.cast()
    }
}
