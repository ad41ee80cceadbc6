//! Counts of allocations, in a program whose global allocator counts: a binary of its own, because
//! a program has one, and the other tests are of programs that have none.

mod alone;
mod counts;
mod process;
mod threads;
mod wrapped;

use std::alloc::System;

use perfbudget::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(System);
