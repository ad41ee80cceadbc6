//! The child that runs now, and signals to the tool.
//!
//! By default a signal ends the tool, and one from the terminal its children, too. A command that
//! has something to put away attends to signals instead: they are passed on to the child, and the
//! tool goes on to where it asks [`interrupted`]. It never asks in between: what waits for a child
//! sees that the child has ended.

use std::io;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What there is to pass a signal on to.
#[derive(Debug, Default)]
struct State {
    /// Whether signals are attended to.
    attended: bool,
    /// The child that runs, which leads a process group of its own.
    child: Option<u32>,
}

static STATE: Mutex<State> = Mutex::new(State {
    attended: false,
    child: None,
});

/// The first signal that came, or 0. Relaxed: it tells of nothing but itself.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signal that asked the tool to end.
pub(crate) fn interrupted() -> Option<i32> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// From here on a signal ends the child that runs, and not the tool. One that is ignored, as `nohup`
/// has it, stays ignored.
#[cfg(unix)]
pub(crate) fn attend() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored(std::fs::read_to_string("/proc/self/status").ok().as_deref());
    let attended = [SIGHUP, SIGINT, SIGTERM].into_iter();
    let attended = attended.filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = signal_hook::iterator::Signals::new(attended)?;
    std::thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            on_signal(signal);
        }
    })?;
    state().attended = true;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn attend() -> io::Result<()> {
    Ok(())
}

/// The signals that this process ignores, a bit each, from its file in /proc; none where there is no
/// such file.
#[cfg(unix)]
fn ignored(status: Option<&str>) -> u64 {
    let lines = status.unwrap_or_default().lines();
    let mask = lines.filter_map(|line| line.strip_prefix("SigIgn:")).next();
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(unix)]
fn on_signal(signal: i32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let is_first = SIGNAL
        .compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok();
    let child = state().child.and_then(|id| i32::try_from(id).ok());
    if let Some(child) = child.and_then(Pid::from_raw) {
        // Who asks twice does not want to wait for a child that takes its time.
        let signal = match signal {
            _ if !is_first => Signal::KILL,
            signal_hook::consts::SIGINT => Signal::INT,
            _ => Signal::TERM,
        };
        // It may have ended meanwhile.
        _ = kill_process_group(child, signal);
    }
}

/// A child that a signal to the tool is passed on to.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// # Errors
    /// Where it can't be started, and where the tool has been asked to end.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        // A signal waits meanwhile, and then finds the child.
        let mut state = state();
        if interrupted().is_some() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        #[cfg(unix)]
        if state.attended {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let child = command.spawn()?;
        if state.attended {
            state.child = Some(child.id());
        }
        Ok(Self(child))
    }

    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.0.wait();
        state().child = None;
        status
    }
}

/// [`Command::output`] of a child that signals are passed on to.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Running(child) = Running::spawn(command)?;
    let output = child.wait_with_output();
    state().child = None;
    output
}

/// A command that is timed, with the clock and the kernel's books around nothing but it. Signals
/// are passed on to it.
pub(crate) fn timed(command: &mut Command) -> io::Result<perfbudget::TimedCommand> {
    // The child is known only when it has been started: a signal that comes in between is passed
    // on then.
    let attended = state().attended;
    if interrupted().is_some() {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
    }
    #[cfg(unix)]
    if attended {
        std::os::unix::process::CommandExt::process_group(command, 0);
    }
    let timed = perfbudget::timed_command_output(command, |id| {
        if attended {
            state().child = Some(id);
            #[cfg(unix)]
            if let Some(signal) = interrupted() {
                on_signal(signal);
            }
        }
    });
    state().child = None;
    timed
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_a_bit_each() {
        // As under `nohup`: SIGHUP is 1.
        let status = "Name:\tx\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(Some(status)), 0x1001);
        assert_eq!(ignored(None), 0);
        assert_eq!(ignored(Some("SigIgn:\tno number\n")), 0);
    }
}
