//! The hook itself: one half for each platform, with the same inner face.
//!
//! - `prove()`: whether the program calls the hook;
//! - `this_thread()`: a key that is the calling thread's alone for the life of the process;
//! - `calls_on_this_thread()`: sync calls seen on it;
//! - `prepare()`: makes ready what watched syncs are cheaper with, before a scope opens;
//! - `stub_process`, `unstub_process`, `stub_thread`, `unstub_thread`: nesting switches;
//! - `path_from_bytes`: a path as the kernel gave it;
//! - `notes_entries()`: whether renames and removals of names are seen too.

#[cfg(supported)]
mod interception;
#[cfg(supported)]
pub(crate) use interception::{
    calls_on_this_thread, path_from_bytes, stub_process, stub_thread, this_thread, unstub_process,
    unstub_thread,
};

#[cfg(linux_hook)]
mod linux;
#[cfg(linux_hook)]
use linux as platform;
#[cfg(linux_hook)]
pub(crate) use linux::*;

#[cfg(portable_hook)]
mod portable;
#[cfg(portable_hook)]
use portable as platform;
#[cfg(portable_hook)]
pub(crate) use portable::*;

#[cfg(not(supported))]
mod other;
#[cfg(not(supported))]
pub(crate) use other::*;
