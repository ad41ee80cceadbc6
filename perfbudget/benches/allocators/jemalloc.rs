//! What the allocator does inside the clock of a measurement: jemalloc. See `comparison`.
//!
//! `PART=figures make platforms`, or `cargo bench -p perfbudget --profile perf --features jemalloc,mimalloc
//! --bench allocator-jemalloc -- [--check]`

#[cfg(target_os = "linux")]
mod comparison;
#[path = "../../tests/allocators/support/jemalloc_allocator.rs"]
mod jemalloc_allocator;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/kernel.rs"]
mod kernel;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/operations.rs"]
mod operations;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    comparison::main(Some(|| {
        let nothing = std::ptr::null_mut();
        let no_length = std::ptr::null_mut();
        // `MALLCTL_ARENAS_ALL` (jemalloc.h).
        let name = c"arena.4096.purge".as_ptr();
        // SAFETY: gives free memory back under jemalloc's own locks; no value is read or written.
        let answer = unsafe { tikv_jemalloc_sys::mallctl(name, nothing, no_length, nothing, 0) };
        assert_eq!(answer, 0);
    }))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("not on this platform: nothing tells what the allocator asks of the kernel");
    ExitCode::SUCCESS
}
