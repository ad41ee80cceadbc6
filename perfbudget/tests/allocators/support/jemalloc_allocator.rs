//! jemalloc as the global allocator: what tikv-jemallocator is, in the few lines that a test needs.

use std::alloc::{GlobalAlloc, Layout};

use tikv_jemalloc_sys::{MALLOCX_ALIGN, mallocx, rallocx, sdallocx};

pub(crate) struct Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

// SAFETY: jemalloc's blocks are as large and as aligned as asked; nothing here unwinds.
unsafe impl GlobalAlloc for Jemalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0, as this method's caller promised.
        unsafe { mallocx(layout.size(), MALLOCX_ALIGN(layout.align())) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is jemalloc's, of this size and alignment.
        unsafe { sdallocx(block.cast(), layout.size(), MALLOCX_ALIGN(layout.align())) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`, and the new size is not 0.
        unsafe { rallocx(block.cast(), size, MALLOCX_ALIGN(layout.align())) }.cast()
    }
}
