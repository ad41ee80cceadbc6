//! Commands whose own figures a gate can use.
//!
//! A thread that waits for a command sleeps: how long the command waited for a CPU is out of its
//! sight. Before an ended process is reaped, the kernel still tells of its main thread.

use std::io;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(crate) use imp::{Figures, ROUNDING_NS, reset, take};

/// Runs a command to its end, as [`Command::status`] does, and gives the time that it waited for a
/// CPU to the gate that it is called in.
///
/// For cold gates: what a busy machine takes from a command is then known, as it is for code in
/// the process. Without it such a gate passes as `undecided` where it could pass as `contended`.
/// On Linux it opens and reads two files of `/proc` besides, inside the clock; elsewhere it is the
/// same.
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

/// [`command_status`] with what the command wrote. As [`Command::output`] it captures standard
/// output and error, whatever they were set to, and returns when both are closed. Standard input is
/// what the command was given, else this process's own.
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
/// When the command can't be started or waited for, or its output can't be read.
pub fn command_output(command: &mut Command) -> io::Result<Output> {
    imp::output(command)
}

/// A command that was timed outside of a gate: for tools that compare commands.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub struct TimedCommand {
    /// How it ended, and what it wrote.
    pub output: Output,
    /// From before it was started until it was reaped.
    pub wall: Duration,
    /// How long it is known to have waited for a CPU in that time. `None` where the kernel does
    /// not tell, and where it had more threads, or children, of which nobody can tell.
    pub waited: Option<Duration>,
    /// How much longer it may have waited. Nothing where `waited` is `None`.
    pub may_have_waited: Duration,
}

/// [`command_output`] outside of a gate, timed. `started` is told the command's process id.
#[doc(hidden)]
pub fn timed_command_output(
    command: &mut Command,
    started: impl FnOnce(u32),
) -> io::Result<TimedCommand> {
    imp::timed(command, started)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::cell::Cell;
    use std::process::{Child, Stdio};
    use std::time::Instant;

    use super::{Command, Duration, ExitStatus, Output, TimedCommand, io};
    use crate::accounting::{TaskBooks, TaskTimes, read_both, wait_with_usage};

    /// What a command's CPU time, which the kernel gives in microseconds, may exceed that of its
    /// main thread by, in nanoseconds: a second thread takes more than ten times that to begin and
    /// end.
    pub(crate) const ROUNDING_NS: u64 = 5_000;

    /// Figures of the commands that a sample waited for; nanoseconds.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Figures {
        /// Commands.
        pub(crate) n: u64,
        /// Run delay that is not in the measuring thread's own.
        pub(crate) run_delay_ns: u64,
        /// Run delay that may have been beside the measuring thread's own, and is not counted.
        pub(crate) overlap_ns: u64,
        /// CPU time of their main threads.
        pub(crate) main_task_cpu_ns: u64,
        /// CPU time of all their threads, and of children that they waited for.
        pub(crate) cpu_ns: u64,
        /// Whether one had more threads or children, whose run delay nobody can tell.
        pub(crate) hides_tasks: bool,
    }

    thread_local! {
        static FIGURES: Cell<Figures> = const { Cell::new(Figures {
            n: 0,
            run_delay_ns: 0,
            overlap_ns: 0,
            main_task_cpu_ns: 0,
            cpu_ns: 0,
            hides_tasks: false,
        }) };
    }

    /// Forgets the figures of commands before a sample.
    pub(crate) fn reset() {
        FIGURES.set(Figures::default());
    }

    /// The figures of the commands since [`reset`].
    pub(crate) fn take() -> Figures {
        FIGURES.replace(Figures::default())
    }

    pub(super) fn status(command: &mut Command) -> io::Result<ExitStatus> {
        let (status, ()) = run(command, |_child| Ok(()))?;
        Ok(status)
    }

    pub(super) fn output(command: &mut Command) -> io::Result<Output> {
        captured(command, |_id| ())
    }

    fn captured(command: &mut Command, started: impl FnOnce(u32)) -> io::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (status, (stdout, stderr)) = run(command, |child| {
            started(child.id());
            match (&mut child.stdout, &mut child.stderr) {
                (Some(stdout), Some(stderr)) => read_both(stdout, stderr),
                _ => Ok((Vec::new(), Vec::new())),
            }
        })?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    pub(super) fn timed(
        command: &mut Command,
        started: impl FnOnce(u32),
    ) -> io::Result<TimedCommand> {
        let own = TaskBooks::open("/proc/thread-self/schedstat").ok();
        let own_delay = || own.as_ref()?.read().map(|times| times.run_delay);
        reset();
        let before = own_delay();
        let begin = Instant::now();
        let output = captured(command, started)?;
        let wall = begin.elapsed();
        let figures = take();
        // What keeps the waiting thread from its CPU makes the command no slower, but the clock.
        let own = own_delay()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let waited = own
            .filter(|_| !figures.hides_tasks)
            .map(|own| Duration::from_nanos(own + figures.run_delay_ns).min(wall));
        Ok(TimedCommand {
            output,
            wall,
            may_have_waited: waited
                .map(|_| Duration::from_nanos(figures.overlap_ns))
                .unwrap_or_default(),
            waited,
        })
    }

    /// Starts a command, does something beside it, and waits for its end.
    fn run<T>(
        command: &mut Command,
        beside: impl FnOnce(&mut Child) -> io::Result<T>,
    ) -> io::Result<(ExitStatus, T)> {
        let own = TaskBooks::open("/proc/thread-self/schedstat").ok();
        let own_delay = || own.as_ref()?.read().map(|times| times.run_delay);
        let before = own_delay();
        let mut child = command.spawn()?;
        // As `Child::wait` does: it may wait for the end of its input.
        drop(child.stdin.take());
        let value = beside(&mut child);
        // Until here this thread and the command may both have been waiting; from here on it
        // sleeps until the command has ended.
        let meanwhile = own_delay()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let (status, cpu_ns, main) = wait_with_usage(child.id())?;

        let mut figures = FIGURES.get();
        figures.add(cpu_ns, main, meanwhile);
        FIGURES.set(figures);
        Ok((status, value?))
    }

    impl Figures {
        /// Adds a command: the CPU time of all its tasks, its main thread's books, and the
        /// measuring thread's run delay before it slept; both where they are known.
        fn add(&mut self, cpu_ns: u64, main: Option<TaskTimes>, meanwhile: Option<u64>) {
            self.n += 1;
            self.cpu_ns += cpu_ns;
            match main.zip(meanwhile) {
                Some((main, meanwhile)) => {
                    self.run_delay_ns += main.run_delay.saturating_sub(meanwhile);
                    self.overlap_ns += main.run_delay.min(meanwhile);
                    self.main_task_cpu_ns += main.cpu.min(cpu_ns);
                    self.hides_tasks |= cpu_ns > main.cpu + ROUNDING_NS;
                }
                None => self.hides_tasks = true,
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc;
        use std::thread;
        use std::time::Duration;

        use super::*;

        const MS: u64 = 1_000_000;

        fn main_thread(cpu: u64, run_delay: u64) -> Option<TaskTimes> {
            Some(TaskTimes { cpu, run_delay })
        }

        #[test]
        fn a_commands_waiting_is_its_own_where_the_measuring_thread_slept() {
            let mut figures = Figures::default();
            figures.add(5 * MS, main_thread(5 * MS, 7 * MS), Some(3 * MS));
            figures.add(2 * MS, main_thread(2 * MS, MS), Some(4 * MS));
            let expected = Figures {
                n: 2,
                run_delay_ns: 4 * MS,
                overlap_ns: 3 * MS + MS,
                main_task_cpu_ns: 7 * MS,
                cpu_ns: 7 * MS,
                hides_tasks: false,
            };
            assert_eq!(figures, expected);
        }

        #[test]
        fn cpu_time_that_the_main_thread_did_not_have_is_of_tasks_that_are_hidden() {
            let hides = |cpu_ns, main, meanwhile| {
                let mut figures = Figures::default();
                figures.add(cpu_ns, main, meanwhile);
                // One that hides none changes nothing.
                figures.add(MS, main_thread(MS, 0), Some(0));
                figures.hides_tasks
            };
            assert!(!hides(MS + ROUNDING_NS, main_thread(MS, 0), Some(0)));
            assert!(hides(MS + ROUNDING_NS + 1, main_thread(MS, 0), Some(0)));
            assert!(hides(MS, None, Some(0)));
            assert!(hides(MS, main_thread(MS, 0), None));
        }

        #[test]
        fn a_command_that_reads_to_the_end_of_its_input_ends() {
            let (send, receive) = mpsc::channel();
            thread::spawn(move || {
                let status = status(Command::new("cat").stdin(Stdio::piped()));
                send.send(status).expect("the test waits");
            });
            let status = receive.recv_timeout(Duration::from_secs(20));
            assert!(status.expect("it ends").expect("it starts").success());
        }

        #[test]
        fn a_timed_command_tells_what_it_knows() {
            let mut id = 0;
            let timed = timed(Command::new("true").arg("it"), |started| id = started);
            let timed = timed.expect("it starts");
            assert!(timed.output.status.success() && id > 0);
            assert!(timed.wall > Duration::ZERO);
            let (waited, wall) = (timed.waited, timed.wall);
            assert!(
                waited.is_some_and(|waited| waited < wall),
                "{waited:?} {wall:?}"
            );
            // A child that it waits for may have waited itself.
            let shell = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done & wait";
            let timed = super::timed(Command::new("sh").args(["-c", shell]), |_| ());
            assert_eq!(timed.expect("it starts").waited, None);
        }

        #[test]
        fn output_is_read_until_both_pipes_are_closed() {
            let script = "echo first >&2; exec 2>&-; \
                          i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done; echo $i";
            let output = output(Command::new("sh").args(["-c", script])).expect("it starts");
            assert_eq!(output.stderr, b"first\n");
            assert_eq!(output.stdout, b"4000\n");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::process::Stdio;
    use std::time::Instant;

    use super::{Command, Duration, ExitStatus, Output, TimedCommand, io};

    pub(super) fn timed(
        command: &mut Command,
        started: impl FnOnce(u32),
    ) -> io::Result<TimedCommand> {
        let begin = Instant::now();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        started(child.id());
        let output = child.wait_with_output()?;
        Ok(TimedCommand {
            output,
            wall: begin.elapsed(),
            waited: None,
            may_have_waited: Duration::ZERO,
        })
    }

    pub(super) fn status(command: &mut Command) -> io::Result<ExitStatus> {
        command.status()
    }

    pub(super) fn output(command: &mut Command) -> io::Result<Output> {
        command.output()
    }
}
