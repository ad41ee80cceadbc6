//! The outbox's gates, and the demonstration that planted defects turn them red.
//!
//! `make test-perf` runs the gates (`perf_…`), `make test` the demonstration (`red_…`).

mod fixture;
mod gates;
mod planted;
#[cfg(not(debug_assertions))]
mod red;

use std::alloc::System;

use perfbudget::CountingAllocator;

/// Beside the gates that time, too: where nothing is counted it costs a nanosecond a block, which
/// is less than those can tell (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(System);
