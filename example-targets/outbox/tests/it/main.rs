//! What the outbox does with real files, through its public face.
//!
//! Nothing here depends on time passing or on a real fsync: clocks and faults come in
//! through the seams.

mod bad_input;
mod cli;
mod clock_steps;
mod concurrency;
mod crashes;
mod disk_faults;
mod disk_full;
mod growth;
mod identity;
mod power;
mod properties;
mod scale;
mod support;
mod sync_counts;
mod sync_kills;
mod sync_order;

use std::alloc::System;

use perfbudget::CountingAllocator;

/// For `scale`, which counts.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(System);
