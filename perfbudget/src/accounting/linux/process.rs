//! The end of a command, and what its books say before they are closed.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::FromRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::clocks::cpu_of_usage;
use super::schedstat::{Schedstat, Times};

/// Waits for a child of ours and reaps it: how it ended, the CPU time of all its tasks, and the
/// books of its main thread, which are there until it is reaped.
pub(crate) fn wait_with_usage(pid: u32) -> io::Result<(ExitStatus, u64, Option<Times>)> {
    retried(|| {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: writes a siginfo to where there is room for one; the child stays to be reaped.
        unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), options) }
    })?;
    let main = Schedstat::open(&format!("/proc/{pid}/schedstat"))
        .ok()
        .and_then(|books| books.read());
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    retried(|| {
        // SAFETY: writes a status and an rusage to where there is room for them. The child has
        // ended, and nobody else reaps it: its owner is the caller.
        unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) }
    })?;
    // SAFETY: zeroed, which is a valid rusage, and written by the call.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), cpu_of_usage(&usage), main))
}

/// Calls again while a signal interrupts.
fn retried(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A file without a name, in memory, that ends with its last descriptor.
pub(crate) fn memory_file() -> io::Result<File> {
    // SAFETY: reads a C string; returns a descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"perfbudget".as_ptr(), libc::MFD_CLOEXEC) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and ours alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}
