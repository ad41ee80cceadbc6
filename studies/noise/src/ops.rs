//! The operations that are gated: one definition each, with an amount of work, so that slow code
//! is the same code with more to do.

use std::env;
use std::fmt;
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;
use perfbudget::Class;
use serde::{Deserialize, Serialize};

/// What an operation does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Integer arithmetic on the measuring thread.
    Cpu,
    /// Small blocks and growing vectors, freed again.
    Alloc,
    /// A sleep.
    Sleep,
    /// A wait for a mutex that another thread of the process holds while it computes.
    Lock,
    /// Work handed to a thread that lives on.
    Worker,
    /// Work on a thread started for it.
    Spawn,
    /// Work in a child process, waited for by std.
    Child,
    /// The same by `perfbudget::command_status`, which reads what the child waited for.
    Command,
    /// Eight threads that compute, on however few cores, beside the measuring thread that
    /// computes too.
    Threads,
}

/// Threads that [`Op::Threads`] starts.
const OWN_THREADS: u64 = 8;

impl Op {
    /// All, in the order of tables.
    pub const ALL: [Self; 9] = [
        Self::Cpu,
        Self::Alloc,
        Self::Sleep,
        Self::Lock,
        Self::Worker,
        Self::Spawn,
        Self::Child,
        Self::Command,
        Self::Threads,
    ];

    /// Its name in gates, files and arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Alloc => "alloc",
            Self::Sleep => "sleep",
            Self::Lock => "lock",
            Self::Worker => "worker",
            Self::Spawn => "spawn",
            Self::Child => "child",
            Self::Command => "command",
            Self::Threads => "threads",
        }
    }

    /// What it is, for a reader.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Cpu => "computes",
            Self::Alloc => "allocates",
            Self::Sleep => "sleeps",
            Self::Lock => "waits for a lock",
            Self::Worker => "a worker thread",
            Self::Spawn => "a thread per operation",
            Self::Child => "a child process",
            Self::Command => "child, command_status",
            Self::Threads => "own busy threads",
        }
    }

    /// The class of its budget.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Child | Self::Command => Class::Cold,
            _ => Class::Warm,
        }
    }

    /// Whether it can be as short as that: starting a process takes its time.
    #[must_use]
    pub fn can_take(self, ms: u32) -> bool {
        ms > 1 || self.class() == Class::Warm
    }

    /// Whether all of it happens on the measuring thread.
    #[must_use]
    pub const fn is_single_threaded(self) -> bool {
        matches!(self, Self::Cpu | Self::Alloc | Self::Sleep)
    }

    /// An amount of work to begin calibrating with, for about `time`.
    #[must_use]
    pub fn first_guess(self, time: Duration) -> u64 {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match self {
            Self::Sleep => nanoseconds,
            Self::Alloc => nanoseconds / 50,
            _ => nanoseconds / 2,
        }
        .max(1)
    }

    /// Makes it ready to run; threads that live on end when it is dropped.
    #[must_use]
    pub fn prepare(self, amount: u64) -> Prepared {
        let (run, persistent): (Box<dyn FnMut()>, _) = match self {
            Self::Cpu => (Box::new(move || compute(amount)), None),
            Self::Alloc => (Box::new(move || allocate(amount)), None),
            Self::Sleep => (
                Box::new(move || thread::sleep(Duration::from_nanos(amount))),
                None,
            ),
            Self::Lock => lock_wait(amount),
            Self::Worker => worker(amount),
            Self::Spawn => (
                Box::new(move || {
                    thread::spawn(move || compute(amount))
                        .join()
                        .expect("no panic")
                }),
                None,
            ),
            Self::Child => (Box::new(child(amount, Command::status)), None),
            Self::Command => (Box::new(child(amount, perfbudget::command_status)), None),
            Self::Threads => (Box::new(move || compete(amount)), None),
        };
        Prepared {
            run: Some(run),
            persistent,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An operation that can be run any number of times.
pub struct Prepared {
    run: Option<Box<dyn FnMut()>>,
    persistent: Option<JoinHandle<()>>,
}

impl Prepared {
    /// Runs it once.
    pub fn run(&mut self) {
        if let Some(run) = &mut self.run {
            run();
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // The closure holds the sending end; the thread ends when that is gone.
        self.run = None;
        if let Some(thread) = self.persistent.take() {
            _ = thread.join();
        }
    }
}

/// `amount` steps of a multiplicative hash that can't be skipped.
pub fn compute(amount: u64) {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for step in 0..amount {
        state = (state ^ step)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(31);
    }
    black_box(state);
}

/// `amount` small blocks of changing size, four thousand alive at most, and a vector that grows
/// with them.
fn allocate(amount: u64) {
    const ALIVE: usize = 4096;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut grown = Vec::new();
    for number in 0..amount {
        if blocks.len() == ALIVE {
            blocks.clear();
        }
        let size = 16 + (number.wrapping_mul(0x9e37_79b9) >> 7 & 0xff) as usize;
        let mut block = Vec::with_capacity(size);
        block.push(size as u8);
        blocks.push(black_box(block));
        grown.push(number);
    }
    black_box((blocks, grown));
}

type Running = (Box<dyn FnMut()>, Option<JoinHandle<()>>);

/// The other thread takes the lock, says so, computes and lets go; the measuring thread waits for
/// the lock.
fn lock_wait(amount: u64) -> Running {
    let lock = Arc::new(Mutex::new(()));
    let (ask, asked): (SyncSender<()>, Receiver<()>) = mpsc::sync_channel(1);
    let (tell, held): (SyncSender<()>, Receiver<()>) = mpsc::sync_channel(1);
    let holder = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || {
            while asked.recv().is_ok() {
                let _held = lock.lock().expect("no panic");
                if tell.send(()).is_err() {
                    break;
                }
                compute(amount);
            }
        })
    };
    let run = move || {
        ask.send(()).expect("the holder lives");
        held.recv().expect("the holder lives");
        drop(lock.lock().expect("no panic"));
    };
    (Box::new(run), Some(holder))
}

fn worker(amount: u64) -> Running {
    let (ask, asked): (SyncSender<()>, Receiver<()>) = mpsc::sync_channel(1);
    let (tell, done): (SyncSender<()>, Receiver<()>) = mpsc::sync_channel(1);
    let worker = thread::spawn(move || {
        while asked.recv().is_ok() {
            compute(amount);
            if tell.send(()).is_err() {
                break;
            }
        }
    });
    let run = move || {
        ask.send(()).expect("the worker lives");
        done.recv().expect("the worker lives");
    };
    (Box::new(run), Some(worker))
}

/// `run` is how a child process is waited for inside the clock.
fn child(amount: u64, run: fn(&mut Command) -> io::Result<ExitStatus>) -> impl FnMut() {
    let program = program();
    move || {
        let mut command = Command::new(&program);
        command
            .args([BURN, &amount.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = run(&mut command).expect("a child process");
        assert!(status.success(), "the child process ended with {status}");
    }
}

fn compete(amount: u64) {
    let share = amount / (OWN_THREADS + 1);
    thread::scope(|scope| {
        for _ in 0..OWN_THREADS {
            scope.spawn(|| compute(share));
        }
        compute(share);
    });
}

/// The hidden subcommand that a child process of [`Op::Child`] is started with.
pub const BURN: &str = "burn";

/// The study's own program, also when another program of this package asks.
#[must_use]
pub fn program() -> PathBuf {
    let this = env::current_exe().expect("a program that runs has a path");
    this.with_file_name("noise-study")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_in_the_process_runs_more_than_once_and_ends() {
        for op in Op::ALL.into_iter().filter(|op| op.class() == Class::Warm) {
            let mut prepared = op.prepare(1000);
            prepared.run();
            prepared.run();
        }
    }

    #[test]
    fn names_are_the_words_of_gates() {
        for op in Op::ALL {
            assert!(op.name().bytes().all(|b| b.is_ascii_lowercase()), "{op}");
        }
    }
}
