//! Counts of what code asks of the allocator. Feature `allocations`.
//!
//! A counting wrapper stands around the program's global allocator; scopes say whose requests
//! count, and for how long. Counted is what was *asked for*: not what the allocator rounded it
//! to, not what the kernel gave it for that, and nothing that goes past the global allocator
//! (`mmap`, C code, a thread's stack).

mod allocator;
mod counts;
mod process;
mod request;
mod scope;
mod thread;

pub use allocator::CountingAllocator;
pub use counts::AllocationCounts;
pub use scope::AllocationScope;
