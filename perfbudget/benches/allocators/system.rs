//! What the allocator does inside the clock of a measurement: The C library's malloc. See `comparison`.
//!
//! `PART=figures make platforms`, or `cargo bench -p perfbudget --profile perf --features jemalloc,mimalloc
//! --bench allocator-system -- [--check]`

#[cfg(target_os = "linux")]
mod comparison;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/kernel.rs"]
mod kernel;
#[cfg(target_os = "linux")]
#[path = "../../tests/allocators/support/operations.rs"]
mod operations;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    comparison::main(give_back())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() -> Option<fn()> {
    Some(|| {
        // SAFETY: gives free memory back under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    })
}

#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
fn give_back() -> Option<fn()> {
    None
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("not on this platform: nothing tells what the allocator asks of the kernel");
    ExitCode::SUCCESS
}
