//! Loggers that have settled: their files are there, and their first batch is written.

use std::path::Path;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Waker};

use perfbudget::{SqliteCounter, TmpfsDir};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trajectory_log::{Config, Durability, SqliteStorage, TrajectoryLogger, Turn};

use crate::planted::{Defect, PlantedStorage};

pub(crate) struct Fixture<D> {
    pub(crate) logger: TrajectoryLogger,
    /// What its connection does.
    pub(crate) connection: SqliteCounter,
    pub(crate) runtime: Runtime,
    pub(crate) dir: D,
    written: Receiver<usize>,
}

/// In memory, for walltime: the disk is factored out.
impl Fixture<TmpfsDir> {
    pub(crate) fn in_memory(config: Config) -> Self {
        Self::in_dir(perfbudget::tmpfs_dir(), config)
    }
}

/// On the disk that the build is on, for counts: a real file system.
impl Fixture<TempDir> {
    pub(crate) fn on_disk(config: Config) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Self::in_dir(dir, config)
    }
}

impl<D: AsRef<Path>> Fixture<D> {
    fn in_dir(dir: D, config: Config) -> Self {
        let path = dir.as_ref().join("log.db");
        let mut storage = SqliteStorage::open(&path, config.durability).expect("opened");
        let connection = SqliteCounter::attach(storage.connection());
        let (sender, written) = channel();
        let storage = PlantedStorage {
            storage,
            defect: Defect::from_env(),
            written: sender,
        };
        let logger = TrajectoryLogger::with_seams(storage, config, |report| panic!("{report}"));
        let fixture = Self {
            logger: logger.expect("a logger"),
            connection,
            runtime: runtime(),
            dir,
            written,
        };
        let first = fixture.logger.log_turn_durable(turn(0));
        fixture.runtime.block_on(first).expect("on disk");
        fixture.wait_until_written(1);
        fixture
    }

    /// Logs a full batch and waits until it is written.
    pub(crate) fn log_and_wait(&self, turns: usize) {
        for number in 0..turns {
            let number = u32::try_from(number).expect("few");
            assert!(is_accepted(self.logger.log_turn(turn(number))));
        }
        self.wait_until_written(turns);
    }

    fn wait_until_written(&self, turns: usize) {
        let mut written = 0;
        while written < turns {
            written += self.written.recv().expect("the writer lives");
        }
        assert_eq!(written, turns);
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

/// A turn of a run like the record's: a short answer.
pub(crate) fn turn(number: u32) -> Turn {
    Turn::new(
        "run-7",
        number,
        "assistant",
        "the tests pass; two files changed, and the third one is generated from them",
    )
}

/// Batches that only their size and a flush end.
pub(crate) fn batches_of(buffer_size: usize, durability: &str) -> Config {
    Config {
        buffer_size,
        channel_capacity: 1_000,
        flush_interval_ms: 3_600_000,
        durability: durability.parse::<Durability>().expect("a durability"),
        ..Config::default()
    }
}

/// Polls a future that must not wait.
pub(crate) fn is_accepted<E>(future: impl Future<Output = Result<(), E>>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(future).poll(&mut context), Poll::Ready(Ok(())))
}
