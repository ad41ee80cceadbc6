//! Counting allocations in a program whose global allocator does not count: this one. What is
//! counted where it does is tested in `tests/allocations`.

use std::panic::catch_unwind;

use perfbudget::AllocationScope;

#[test]
fn without_the_counting_allocator_a_scope_says_how_to_get_it_and_counts_nothing() {
    for scope in [AllocationScope::thread(), AllocationScope::process()] {
        let panic = catch_unwind(|| scope.observe(|| unreachable!("it must not run")))
            .expect_err("it panics");
        assert_eq!(
            *panic.downcast::<&str>().expect("a text"),
            "this program's global allocator does not count, so that a count would be a silent \
             zero\n\
             add to the test binary: #[global_allocator] static ALLOCATOR: \
             perfbudget::CountingAllocator = perfbudget::CountingAllocator::new(std::alloc::System);"
        );
    }
}
