//! What each durability syncs, and that a sync that fails costs nothing but time.

use std::path::Path;

use fsync_counter::{Action, FsyncCounter, Scope, SyncCounts};
use trajectory_log::{
    BlockingLogger, Config, Durability, SqliteStorage, TrajectoryLogger, TrajectoryReader, Turn,
};

use crate::storage::{Reports, directory, runtime};

const EIO: i32 = 5;

fn turns(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Turn> {
    numbers.map(|number| Turn::new(format!("run-{}", number / 5), number, "user", "…"))
}

fn numbers(path: &Path) -> Vec<u32> {
    let turns = TrajectoryReader::open(path).unwrap().tail(10_000, None);
    turns
        .unwrap()
        .iter()
        .map(|logged| logged.turn.turn)
        .collect()
}

/// A logger that has settled: its first commit also syncs the directory of new files.
fn warm(path: &Path, durability: Durability) -> BlockingLogger {
    let config = Config {
        durability,
        ..Config::default()
    };
    let mut logger = BlockingLogger::open(path, config).unwrap();
    turns(0..10).for_each(|turn| logger.log_turn(turn).unwrap());
    logger.flush().unwrap();
    logger
}

/// `files + dirs`.
fn said(counts: SyncCounts) -> String {
    assert_eq!(counts.unknown + counts.other, 0);
    format!("{} + {}", counts.files, counts.dirs)
}

#[test]
fn a_batch_syncs_what_its_durability_says_and_a_flush_what_is_missing() {
    let mut table = Vec::new();
    for durability in Durability::all() {
        let directory = directory();
        let path = directory.path().join("log.db");
        let mut logger = warm(&path, durability);
        let scope = || Scope::under(directory.path());
        let batch = scope().observe(|| {
            turns(10..20).for_each(|turn| logger.log_turn(turn).unwrap());
        });
        let flush = scope().observe(|| logger.flush().unwrap());
        let again = scope().observe(|| logger.flush().unwrap());
        assert_eq!(again.counts(), SyncCounts::new(), "{durability}");
        logger.log_turn(turns(20..21).next().unwrap()).unwrap();
        let partial = scope().observe(|| logger.flush().unwrap());
        table.push(format!(
            "{durability}: batch {}, then a flush {}; a flush of one turn {}",
            said(batch.counts()),
            said(flush.counts()),
            said(partial.counts())
        ));
    }
    insta::assert_snapshot!(table.join("\n"));
}

/// Each sync of a batch fails once, of every durability. The batch is tried again and is in the
/// log once, in its place, and in its run, which is a new one.
#[test]
fn a_sync_that_fails_loses_nothing_and_writes_nothing_twice() {
    for durability in Durability::all() {
        let syncs = {
            let directory = directory();
            let path = directory.path().join("log.db");
            let mut logger = warm(&path, durability);
            let observed = Scope::under(directory.path()).observe(|| {
                turns(10..15).for_each(|turn| logger.log_turn(turn).unwrap());
                logger.flush().unwrap();
            });
            observed.counts().total()
        };
        assert!(syncs > 0, "{durability}");
        for sync in 1..=syncs {
            let directory = directory();
            let path = directory.path().join("log.db");
            warm(&path, durability).close().unwrap();
            let storage = SqliteStorage::open(&path, durability).unwrap();
            let reports = Reports::default();
            let told = reports.clone();
            let logger = TrajectoryLogger::with_seams(storage, Config::default(), move |report| {
                told.add(report);
            })
            .unwrap();
            let counter = FsyncCounter::under(directory.path());
            counter.at_sync(sync, Action::Errno(EIO));
            runtime().block_on(async {
                for turn in turns(10..15) {
                    logger.log_turn(turn).await.unwrap();
                }
                // A directory that can't be synced is none of SQLite's errors everywhere.
                let _ = logger.flush().await;
                for turn in turns(15..25) {
                    logger.log_turn(turn).await.unwrap();
                }
                logger.flush().await.unwrap();
                logger.close().await.unwrap();
            });
            assert!(counter.counts().total() >= sync);
            assert_eq!(
                numbers(&path),
                (0..25).collect::<Vec<_>>(),
                "{durability}, sync {sync}"
            );
            let reader = TrajectoryReader::open(&path).unwrap();
            for run in 0..5 {
                let count = reader.count_of(&format!("run-{run}")).unwrap();
                assert_eq!(count, 5, "{durability}, sync {sync}, run-{run}");
            }
        }
    }
}

/// The syncs of opening fail, too: an error, and the next opening works.
#[test]
fn a_sync_that_fails_while_a_log_is_created_is_an_error_and_no_more() {
    let open = |path: &Path| BlockingLogger::open(path, Config::default());
    let syncs = {
        let directory = directory();
        let path = directory.path().join("log.db");
        let observed = Scope::under(directory.path()).observe(|| drop(open(&path).unwrap()));
        observed.counts().total()
    };
    assert!(syncs >= 4);
    for sync in 1..=syncs {
        let directory = directory();
        let path = directory.path().join("log.db");
        {
            let counter = FsyncCounter::under(directory.path());
            counter.at_sync(sync, Action::Errno(EIO));
            let _ = open(&path);
        }
        let mut logger = open(&path).unwrap();
        logger.log_turn(Turn::new("run", 0, "user", "…")).unwrap();
        logger.close().unwrap();
        assert_eq!(numbers(&path), [0]);
    }
}
