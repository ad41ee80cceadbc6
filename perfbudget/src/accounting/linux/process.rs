//! The end of a command, and what its books say before they are closed.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdout, ExitStatus};

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

/// Reads two pipes to their ends, whichever has something.
pub(crate) fn read_both(
    stdout: &mut ChildStdout,
    stderr: &mut ChildStderr,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    let mut polled = [stdout.as_raw_fd(), stderr.as_raw_fd()].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    while polled.iter().any(|pipe| pipe.fd >= 0) {
        retried(|| {
            // SAFETY: reads and writes two pollfds; the pipes are open, and those at their ends
            // have a negative number, which is passed over.
            unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) }
        })?;
        for (n, pipe) in polled.iter_mut().enumerate() {
            if pipe.revents == 0 {
                continue;
            }
            let (read, text) = if n == 0 {
                (stdout.read(&mut chunk), &mut out)
            } else {
                (stderr.read(&mut chunk), &mut err)
            };
            match read {
                Ok(0) => pipe.fd = -1,
                Ok(n) => text.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((out, err))
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
