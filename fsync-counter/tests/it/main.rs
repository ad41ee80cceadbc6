//! What the crate promises, seen from a program that uses it.
//!
//! The tests run as cargo-nextest runs them (a process each) and as `cargo test` does (threads of
//! one process). So they count by thread and by path; what changes or counts the whole process,
//! and syncs that every path scope has to note as unknown, run [`alone`].
#![cfg(linux_hook)]

mod allocations;
mod alone;
mod at_sync;
mod audit;
mod c_library;
mod callers;
mod classes;
mod coverage;
mod durable;
mod entries;
mod errno;
mod events;
mod hard_places;
mod kernel;
mod kernel_refused;
mod linkage;
mod order;
mod same_answers;
mod scopes;
mod strace;
mod stress;
mod stubs;
mod system_call;
mod threads;
