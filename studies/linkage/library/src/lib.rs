//! What a plug-in is: a shared library that syncs, by its own copy of the standard library.

use std::ffi::c_int;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

/// Syncs a file; 0, or -1 for a failure.
// SAFETY: no other library of the test has a function of this name.
#[unsafe(no_mangle)]
pub extern "C" fn library_syncs(fd: c_int) -> c_int {
    // SAFETY: the descriptor is the caller's, who keeps it: this does not close it.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    file.sync_all().map_or(-1, |()| 0)
}
