//! The hook itself: one half for each platform, with the same inner face.
//!
//! - `prove()`: whether the program calls the hook;
//! - `this_thread()`: a key that is the calling thread's alone for the life of the process;
//! - `calls_on_this_thread()`: sync calls seen on it;
//! - `prepare()`: makes ready what watched syncs are cheaper with, before a scope opens;
//! - `stub_process`, `unstub_process`, `stub_thread`, `unstub_thread`: nesting switches;
//! - `path_from_bytes`: a path as the kernel gave it.

#[cfg(supported)]
mod linux;
#[cfg(supported)]
pub(crate) use linux::*;

#[cfg(not(supported))]
mod other;
#[cfg(not(supported))]
pub(crate) use other::*;
