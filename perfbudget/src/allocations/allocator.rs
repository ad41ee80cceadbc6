//! The wrapper around the global allocator: all that is unsafe about counting allocations.

use std::alloc::{GlobalAlloc, Layout, System};

use super::request::Request;
use super::{process, thread};

/// A global allocator that counts what is asked of another one, for [`AllocationScope`].
///
/// It goes into the test binary, not into the program:
///
/// ```rust,standalone_crate
/// use std::alloc::System;
/// use perfbudget::{AllocationCounts, AllocationScope, CountingAllocator};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator::new(System);
///
/// fn main() {
///     let joined = AllocationScope::thread().observe(|| ["a", "b", "c"].join(", "));
///     assert_eq!(joined.counts(), AllocationCounts::new().allocations(1).bytes(7).peak_bytes(7));
/// }
/// ```
///
/// Any allocator can be wrapped: `CountingAllocator<MiMalloc> = CountingAllocator::new(MiMalloc)`.
///
/// It allocates nothing itself and takes no lock. Where no scope is open, each request costs a
/// load from static memory and one from the thread's (`make bench` says how much that is).
///
/// [`AllocationScope`]: crate::AllocationScope
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator<A = System>(A);

impl<A> CountingAllocator<A> {
    /// Passes every request on to `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self(allocator)
    }
}

#[inline]
fn note(request: Request) {
    if process::is_observed() {
        process::note(request);
    }
    if thread::is_observed() {
        thread::note(request);
    }
}

// SAFETY: the blocks are those of the allocator inside, which keeps the trait's promises; counting
// does not touch them. `note` does not unwind (sums wrap, `TALLY` is never destroyed) and does not
// allocate, so that it does not come back here.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `layout` is as this method's caller promised.
        let memory = unsafe { self.0.alloc(layout) };
        if !memory.is_null() {
            note(Request::Allocate {
                bytes: layout.size(),
            });
        }
        memory
    }

    // Not the trait's own `alloc` and fill: the allocator inside may have zeros at hand.
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `layout` is as this method's caller promised.
        let memory = unsafe { self.0.alloc_zeroed(layout) };
        if !memory.is_null() {
            note(Request::Allocate {
                bytes: layout.size(),
            });
        }
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(Request::Deallocate {
            bytes: layout.size(),
        });
        // SAFETY: the block came from the allocator inside, with this layout: this method's caller
        // promised both of `self`, which hands out no other blocks.
        unsafe { self.0.dealloc(memory, layout) };
    }

    // Not the trait's own `alloc` and copy: the allocator inside may extend the block in its place.
    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`, and `size` is as this method's caller promised.
        let moved = unsafe { self.0.realloc(memory, layout, size) };
        if !moved.is_null() {
            note(Request::Reallocate {
                from: layout.size(),
                to: size,
            });
        }
        moved
    }
}

/// What a global allocator must be, whatever is wrapped.
const _: () = {
    const fn is_sync<T: Sync>() {}
    is_sync::<CountingAllocator>();
};
