//! Processes that load the machine beside what a study measures. They are the study's own program,
//! and end with it.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{self, Child, Command, Stdio};
use std::thread;

/// What a process of a load prints once it runs.
const RUNNING: &str = "running";

/// Processes that run until this is dropped.
#[derive(Debug, Default)]
pub struct Running(Vec<Child>);

impl Running {
    /// Starts one more, and returns when it has said that it [runs](say_that_it_runs).
    ///
    /// # Errors
    /// When it can't be started, or ends before it runs.
    pub fn start(&mut self, command: &mut Command) -> io::Result<()> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        self.0.push(child);
        let mut line = String::new();
        BufReader::new(stdout.expect("piped")).read_line(&mut line)?;
        if line.trim() != RUNNING {
            return Err(io::Error::other("a process of the load did not start"));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            _ = child.kill();
        }
        for child in &mut self.0 {
            _ = child.wait();
        }
    }
}

/// In a process of a load: it ends when standard input does, which is when the study ends.
pub fn end_with_the_study() {
    thread::spawn(|| {
        _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
}

/// In a process of a load: tells who started it.
pub fn say_that_it_runs() {
    println!("{RUNNING}");
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_is_awaited_and_ends_with_its_owner() {
        let mut running = Running::default();
        let mut sh = Command::new("sh");
        running
            .start(sh.args(["-c", "echo running; exec sleep 60"]))
            .expect("it runs");
        let id = running.0[0].id();
        let there = || std::path::Path::new(&format!("/proc/{id}")).exists();
        assert!(there());
        let begin = Instant::now();
        drop(running);
        assert!(!there());
        // It did not end by itself.
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn one_that_ends_at_once_is_said() {
        let mut running = Running::default();
        assert!(running.start(&mut Command::new("true")).is_err());
    }
}
