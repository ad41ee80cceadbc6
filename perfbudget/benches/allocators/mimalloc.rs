//! What the allocator does inside the clock of a measurement: mimalloc. See `comparison`.
//!
//! `PART=figures make platforms`, or `cargo bench -p perfbudget --profile perf --features jemalloc,mimalloc
//! --bench allocator-mimalloc -- [--check]`

#[cfg(target_os = "linux")]
mod comparison;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/kernel.rs"]
mod kernel;
#[path = "../../tests/allocators/support/mimalloc_allocator.rs"]
mod mimalloc_allocator;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/operations.rs"]
mod operations;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    comparison::main(Some(|| {
        // SAFETY: works on the calling thread's heap and on what is shared.
        unsafe { libmimalloc_sys::mi_collect(true) };
    }))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("not on this platform: nothing tells what the allocator asks of the kernel");
    ExitCode::SUCCESS
}
