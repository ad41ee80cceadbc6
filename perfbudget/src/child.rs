//! Commands whose own figures a gate can use.
//!
//! A thread that waits for a command sleeps: how long the command waited for a CPU is out of its
//! sight. Before an ended process is reaped, the kernel still tells of its main thread.

use std::cell::Cell;
use std::io;
use std::process::{Command, ExitStatus, Output};

/// Figures of the commands that a sample waited for; nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Run delay that is not in the measuring thread's own.
    pub(crate) run_delay_ns: u64,
    /// CPU time of their main threads.
    pub(crate) main_task_cpu_ns: u64,
    /// CPU time of all their threads, and of children that they waited for.
    pub(crate) cpu_ns: u64,
    /// Whether one had more threads or children, whose run delay nobody can tell.
    pub(crate) hides_tasks: bool,
}

thread_local! {
    static FIGURES: Cell<Figures> = const { Cell::new(Figures {
        run_delay_ns: 0,
        main_task_cpu_ns: 0,
        cpu_ns: 0,
        hides_tasks: false,
    }) };
}

/// Forgets the figures of commands before a sample.
#[cfg(target_os = "linux")]
pub(crate) fn reset() {
    FIGURES.set(Figures::default());
}

/// The figures of the commands since [`reset`].
#[cfg(target_os = "linux")]
pub(crate) fn take() -> Figures {
    FIGURES.replace(Figures::default())
}

/// Runs a command to its end, as [`Command::status`] does, and gives the time that it waited for a
/// CPU to the gate that it is called in.
///
/// For cold gates: what a busy machine takes from a command is then known, as it is for code in
/// the process. Without it such a gate passes as `undecided` where it could pass as `contended`.
/// It costs about 30 µs more than [`Command::status`] on Linux; elsewhere it is the same.
///
/// What is known is the waiting of the command's main thread. A command that has more threads, or
/// children, may have waited longer.
///
/// ```
/// use std::process::Command;
///
/// let status = perfbudget::command_status(&mut Command::new("true"))?;
/// assert!(status.success());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the command can't be started or waited for.
pub fn command_status(command: &mut Command) -> io::Result<ExitStatus> {
    imp::status(command)
}

/// [`command_status`] with what the command wrote, as [`Command::output`] has it: its standard
/// input is empty. On Linux its output goes to memory and is read when it has ended, so that
/// reading does not run beside it; what the command was given for its output before is replaced.
///
/// ```
/// use std::process::Command;
///
/// let output = perfbudget::command_output(Command::new("echo").arg("drained"))?;
/// assert_eq!(output.stdout, b"drained\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the command can't be started or waited for, or its output can't be kept.
pub fn command_output(command: &mut Command) -> io::Result<Output> {
    imp::output(command)
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{Command, ExitStatus, FIGURES, Output, io};
    use crate::accounting::{TaskBooks, wait_with_usage};
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::process::Stdio;

    pub(super) fn status(command: &mut Command) -> io::Result<ExitStatus> {
        let own = TaskBooks::open("/proc/thread-self/schedstat").ok();
        let own_delay = || own.as_ref()?.read().map(|times| times.run_delay);
        let before = own_delay();
        let child = command.spawn()?;
        let pid = child.id();
        // Until here this thread and the command could both be waiting; from here on it sleeps
        // until the command has ended.
        let meanwhile = own_delay()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let (status, cpu_ns, main) = wait_with_usage(pid)?;
        drop(child);

        let mut figures = FIGURES.get();
        figures.cpu_ns += cpu_ns;
        match main.zip(meanwhile) {
            Some((main, meanwhile)) => {
                figures.run_delay_ns += main.run_delay.saturating_sub(meanwhile);
                figures.main_task_cpu_ns += main.cpu.min(cpu_ns);
                figures.hides_tasks |= cpu_ns.abs_diff(main.cpu) > 50_000;
            }
            None => figures.hides_tasks = true,
        }
        FIGURES.set(figures);
        Ok(status)
    }

    pub(super) fn output(command: &mut Command) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (in_memory()?, in_memory()?);
        command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let status = status(command);
        // The command keeps no copy of them, should it be started again.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Output {
            status: status?,
            stdout: text_of(&mut stdout)?,
            stderr: text_of(&mut stderr)?,
        })
    }

    fn in_memory() -> io::Result<File> {
        crate::accounting::memory_file().or_else(|_| tempfile::tempfile())
    }

    fn text_of(file: &mut File) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        Ok(text)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Command, ExitStatus, Output, io};

    pub(super) fn status(command: &mut Command) -> io::Result<ExitStatus> {
        command.status()
    }

    pub(super) fn output(command: &mut Command) -> io::Result<Output> {
        command.output()
    }
}
