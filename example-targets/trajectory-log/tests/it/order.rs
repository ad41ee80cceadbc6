//! Many tasks at once: nothing is lost, and each run keeps its order.

use std::sync::Arc;

use trajectory_log::{Config, Error, SqliteStorage, TrajectoryLogger, TrajectoryReader, Turn};

use crate::storage::directory;

#[test]
fn many_tasks_keep_the_order_of_their_runs() {
    const RUNS: u32 = 8;
    const TURNS: u32 = 400;
    let directory = directory();
    let path = directory.path().join("log.db");
    let config = Config {
        durability: "wal/normal".parse().unwrap(),
        ..Config::default()
    };
    let logger = Arc::new(TrajectoryLogger::open(&path, config).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..RUNS)
            .map(|run| {
                let logger = Arc::clone(&logger);
                tokio::spawn(async move {
                    for number in 0..TURNS {
                        let turn = Turn::new(format!("run-{run}"), number, "user", "…");
                        if number % 100 == 99 {
                            logger.log_turn_durable(turn).await.unwrap();
                        } else {
                            logger.log_turn(turn).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        logger.close().await.unwrap();
    });
    let reader = TrajectoryReader::open(&path).unwrap();
    assert_eq!(reader.counts().unwrap().turns, u64::from(RUNS * TURNS));
    for run in 0..RUNS {
        let turns = reader.turns_of(&format!("run-{run}")).unwrap();
        let numbers: Vec<u32> = turns.iter().map(|logged| logged.turn.turn).collect();
        assert_eq!(numbers, (0..TURNS).collect::<Vec<_>>());
        assert!(turns.is_sorted_by_key(|logged| logged.id));
    }
}

/// Two loggers of one database, as two processes would have them.
#[test]
fn two_loggers_share_a_database() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let loggers = [(); 2].map(|()| TrajectoryLogger::open(&path, Config::default()).unwrap());
    crate::storage::runtime().block_on(async {
        for number in 0..100 {
            for (run, logger) in loggers.iter().enumerate() {
                let turn = Turn::new(format!("run-{run}"), number, "user", "…");
                logger.log_turn(turn).await.unwrap();
                // Both know the run of this one by a number that one of them gave it.
                logger
                    .log_turn(Turn::new("shared", number, "user", "…"))
                    .await
                    .unwrap();
            }
        }
        for logger in &loggers {
            logger.close().await.unwrap();
        }
    });
    let reader = TrajectoryReader::open(&path).unwrap();
    for run in ["run-0", "run-1"] {
        let turns = reader.turns_of(run).unwrap();
        let numbers: Vec<u32> = turns.iter().map(|logged| logged.turn.turn).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
    assert_eq!(reader.count_of("shared").unwrap(), 200);
}

/// With a rollback journal a commit waits for readers, and gives up: the transaction is still open
/// then, and must not be in the way of the next attempt.
#[test]
fn a_reader_in_the_way_of_a_commit_delays_it() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let storage = SqliteStorage::open(&path, "delete/full".parse().unwrap()).unwrap();
    let logger = TrajectoryLogger::with_seams(storage, Config::default(), |_| ()).unwrap();
    let reading = rusqlite::Connection::open(&path).unwrap();
    crate::storage::runtime().block_on(async {
        reading.execute_batch("BEGIN; SELECT * FROM turns").unwrap();
        let error = logger
            .log_turn_durable(Turn::new("r", 0, "user", "…"))
            .await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, Error::NotWritten { kept: 1, .. }),
            "{error:?}"
        );
        reading.execute_batch("COMMIT").unwrap();
        logger.flush().await.unwrap();
        logger.close().await.unwrap();
    });
    let reader = TrajectoryReader::open(&path).unwrap();
    assert_eq!(reader.count_of("r").unwrap(), 1);
}
