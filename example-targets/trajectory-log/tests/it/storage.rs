//! A storage that a test holds up, makes fail, and asks what it was given.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use trajectory_log::{Accepted, Config, Report, Storage, StorageError, TrajectoryLogger, Turn};

/// One call of `write` that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The numbers of its turns.
    pub(crate) turns: Vec<u32>,
    pub(crate) to_disk: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    No,
    /// And may succeed when it is tried again.
    ForNow,
    ForGood,
    ByAPanic,
}

#[derive(Debug)]
pub(crate) struct State {
    is_held: bool,
    fails: Fails,
    /// Calls of `write` so far, begun.
    pub(crate) attempts: usize,
    pub(crate) writes: Vec<Write>,
}

/// The test's side.
#[derive(Clone, Debug)]
pub(crate) struct Script(Arc<(Mutex<State>, Condvar)>);

/// The writer's side. A write to disk is one only when it is asked for.
pub(crate) struct ScriptedStorage(Script);

impl Script {
    pub(crate) fn new() -> Self {
        Self(Arc::new((
            Mutex::new(State {
                is_held: false,
                fails: Fails::No,
                attempts: 0,
                writes: Vec::new(),
            }),
            Condvar::new(),
        )))
    }

    /// Writes wait from now on.
    pub(crate) fn hold(&self) {
        self.state().is_held = true;
    }

    pub(crate) fn let_go(&self) {
        self.state().is_held = false;
        self.0.1.notify_all();
    }

    pub(crate) fn fail(&self, fails: Fails) {
        self.state().fails = fails;
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// The numbers of all turns that were written, in their order.
    pub(crate) fn written(&self) -> Vec<u32> {
        let writes = self.writes().into_iter();
        writes.flat_map(|write| write.turns).collect()
    }

    /// Waits until the writer has come so far.
    pub(crate) fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        let mut state = self.state();
        while !is_so(&state) {
            let waited = self.0.1.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        self.state().attempts += 1;
        self.0.1.notify_all();
        self.wait_until(|state| !state.is_held);
        let fails = self.state().fails;
        match fails {
            Fails::No => {}
            Fails::ByAPanic => panic!("as the test told it"),
            Fails::ForNow | Fails::ForGood => {
                return Err(StorageError::Other {
                    is_transient: fails == Fails::ForNow,
                    source: "as the test told it".into(),
                });
            }
        }
        self.state().writes.push(Write {
            turns: turns.iter().map(|accepted| accepted.turn.turn).collect(),
            to_disk,
        });
        self.0.1.notify_all();
        Ok(())
    }
}

impl Storage for ScriptedStorage {
    fn write(&mut self, turns: &[Accepted], to_disk: bool) -> Result<(), StorageError> {
        self.0.write(turns, to_disk)
    }

    fn always_writes_to_disk(&self) -> bool {
        false
    }
}

/// What a writer reported, by its first words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Mutex<VecDeque<Report>>>);

impl Reports {
    pub(crate) fn all(&self) -> Vec<Report> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.iter().cloned().collect()
    }

    pub(crate) fn add(&self, report: &Report) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push_back(report.clone());
    }
}

/// A logger on a scripted storage.
pub(crate) struct Scripted {
    pub(crate) logger: TrajectoryLogger,
    pub(crate) script: Script,
    pub(crate) reports: Reports,
    pub(crate) runtime: Runtime,
}

impl Scripted {
    pub(crate) fn new(config: Config) -> Self {
        let script = Script::new();
        let reports = Reports::default();
        let told = reports.clone();
        let storage = ScriptedStorage(script.clone());
        let logger =
            TrajectoryLogger::with_seams(storage, config, move |report| told.add(report)).unwrap();
        Self {
            logger,
            script,
            reports,
            runtime: runtime(),
        }
    }

    /// Logs turns of these numbers, which there must be room for.
    pub(crate) fn log(&self, turns: impl IntoIterator<Item = u32>) {
        for number in turns {
            assert!(poll_once(self.logger.log_turn(turn(number))).is_ready());
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Polls a future that is then dropped.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn turn(number: u32) -> Turn {
    Turn::new("run", number, "user", format!("turn {number}"))
}

/// A configuration whose timer never runs out in a test.
pub(crate) fn no_timer(buffer_size: usize, channel_capacity: usize) -> Config {
    Config {
        buffer_size,
        channel_capacity,
        flush_interval_ms: 3_600_000,
        ..Config::default()
    }
}

/// A directory on the disk that the build is on: a real file system.
pub(crate) fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
