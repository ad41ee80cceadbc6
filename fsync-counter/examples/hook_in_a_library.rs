//! A shared library with a copy of the hook of its own, as a plug-in would have that depends on
//! this crate. A program that loads it answers `fsync` itself, or has the C library do so: either
//! way this copy counts nothing, and `tests/it/linkage.rs` sees to it that it says so.

#![cfg(unix)]

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::panic::catch_unwind;

/// Syncs a file as Rust code in a library does, by this library's copy of the standard library; 0,
/// or -1 for a failure.
// SAFETY: no other library of the test has a function of this name.
#[unsafe(no_mangle)]
pub extern "C" fn hook_in_a_library_syncs(fd: c_int) -> c_int {
    // SAFETY: the descriptor is the caller's, who keeps it: this does not close it.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    file.sync_all().map_or(-1, |()| 0)
}

/// Opens a scope in this library and writes what became of it to `text`, cut off at `room` bytes:
/// "it counts", or the message of the panic. Returns the length written.
///
/// # Safety
/// `text` is valid for writes of `room` bytes.
// SAFETY: no other library of the test has a function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hook_in_a_library_says(text: *mut c_char, room: usize) -> usize {
    let said = match catch_unwind(fsync_counter::FsyncCounter::thread) {
        Ok(_) => "it counts".to_owned(),
        Err(panic) => *panic
            .downcast::<String>()
            .unwrap_or_else(|_| Box::new("a panic without a text".to_owned())),
    };
    let length = said.len().min(room);
    // SAFETY: the caller's buffer has room for at least `length` bytes, and does not overlap a
    // string that was made here.
    unsafe { std::ptr::copy_nonoverlapping(said.as_ptr(), text.cast(), length) };
    length
}
