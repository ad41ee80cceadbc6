//! The allocator inside gets each request as it was made.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;

use perfbudget::{AllocationCounts, AllocationScope, CountingAllocator};

/// Writes down what it is asked for.
#[derive(Debug, Default)]
struct Witness(RefCell<Vec<&'static str>>);

impl Witness {
    fn saw(&self, request: &'static str) {
        self.0.borrow_mut().push(request);
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Witness {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.saw("alloc");
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.saw("alloc_zeroed");
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.saw("dealloc");
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.saw("realloc");
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[test]
fn each_request_is_passed_on_as_what_it_is() {
    // Room for what it writes down, which is itself allocated under the scope's eyes.
    let witness = Witness(RefCell::new(Vec::with_capacity(8)));
    let counting = CountingAllocator::new(witness);
    let layout = Layout::array::<u64>(4).expect("small");
    let larger = Layout::array::<u64>(8).expect("small");

    let observed = AllocationScope::thread().observe(|| {
        // SAFETY: the layout is not empty.
        let zeroed = unsafe { counting.alloc_zeroed(layout) };
        assert!(!zeroed.is_null());
        // SAFETY: a live block of that layout; the new size is not zero.
        let grown = unsafe { counting.realloc(zeroed, layout, larger.size()) };
        assert!(!grown.is_null());
        // SAFETY: a live block of that layout.
        unsafe { counting.dealloc(grown, larger) };
        // SAFETY: the layout is not empty.
        let plain = unsafe { counting.alloc(layout) };
        assert!(!plain.is_null());
        // SAFETY: a live block of that layout.
        unsafe { counting.dealloc(plain, layout) };
    });

    assert_eq!(
        observed.counts(),
        AllocationCounts::new()
            .allocations(3)
            .reallocations(1)
            .deallocations(3)
            .bytes(32 + 64 + 32)
            .peak_bytes(64)
    );
    let text = format!("{counting:?}");
    assert!(
        text.contains(r#"["alloc_zeroed", "realloc", "dealloc", "alloc", "dealloc"]"#),
        "{text}"
    );
}
