//! Logging, timed.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use shared::statistics::quantile;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trajectory_log::{BlockingLogger, Config, TrajectoryLogger, TrajectoryReader, Turn};

use crate::Result;
use crate::machine;
use crate::results::{Cell, Waits};

/// Turns of 25 a run, each with 200 bytes of content.
fn turn(number: u32) -> Turn {
    Turn::new(
        format!("run-{:06}", number / 25),
        number,
        "assistant",
        "x".repeat(200),
    )
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}

/// A directory for one measurement, on the disk that is measured.
///
/// # Errors
/// When it can't be made.
pub fn fresh(directory: &Path) -> Result<TempDir> {
    Ok(TempDir::new_in(directory)?)
}

/// Appends of a page with an fdatasync each, a second.
///
/// # Errors
/// When the disk refuses.
pub fn raw_per_second(directory: &Path, time: Duration) -> Result<f64> {
    let directory = fresh(directory)?;
    let mut file = File::create(directory.path().join("raw"))?;
    let page = [7; 4096];
    file.write_all(&page)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut appends = 0;
    while start.elapsed() < time {
        file.write_all(&page)?;
        file.sync_data()?;
        appends += 1;
    }
    Ok(f64::from(appends) / start.elapsed().as_secs_f64())
}

/// What is in a log before the clock starts, in one transaction: enough for the write-ahead log to
/// have reached the size at which it begins anew. Until then its file grows with each commit, and
/// the file system writes that down, too.
const BEFORE: u32 = 20_000;

/// A log that is no longer new. While it is held, its write-ahead log is not taken away.
fn old_log(path: &Path, durability: &str) -> Result<BlockingLogger> {
    let config = Config {
        buffer_size: BEFORE as usize,
        durability: durability.parse()?,
        ..Config::default()
    };
    let mut logger = BlockingLogger::open(path, config)?;
    for number in 0..BEFORE {
        logger.log_turn(turn(number))?;
    }
    logger.flush()?;
    Ok(logger)
}

/// Logs for so long, as fast as it goes, then flushes: turns a second over all of it. The log is
/// not new, and one more turn comes before.
///
/// # Errors
/// When logging fails.
pub fn turns_per_second(cell: &Cell, directory: &Path, time: Duration) -> Result<f64> {
    let directory = fresh(directory)?;
    let path = directory.path().join("log.db");
    let config = Config {
        buffer_size: cell.buffer_size,
        durability: cell.durability.parse()?,
        ..Config::default()
    };
    let old = old_log(&path, &cell.durability)?;
    let (turns, took) = if cell.strategy.is_async() {
        let logger = TrajectoryLogger::open(&path, config)?;
        runtime()?.block_on(async {
            logger.log_turn_durable(turn(0)).await?;
            let start = Instant::now();
            let mut turns = 0;
            while start.elapsed() < time {
                logger.log_turn(turn(turns)).await?;
                turns += 1;
            }
            logger.flush().await?;
            let took = start.elapsed();
            logger.close().await?;
            Result::Ok((turns, took))
        })?
    } else {
        let mut logger = BlockingLogger::open(&path, config)?;
        logger.log_turn(turn(0))?;
        logger.flush()?;
        let start = Instant::now();
        let mut turns = 0;
        while start.elapsed() < time {
            logger.log_turn(turn(turns))?;
            turns += 1;
        }
        logger.flush()?;
        let took = start.elapsed();
        logger.close()?;
        (turns, took)
    };
    let logged = TrajectoryReader::open(&path)?.counts()?.turns;
    old.close()?;
    if logged != u64::from(BEFORE + turns) + 1 {
        return Err(format!("{logged} turns of {turns} were logged").into());
    }
    Ok(f64::from(turns) / took.as_secs_f64())
}

/// What a caller waits who logs a turn every 500 µs and sleeps in between, with the defaults.
///
/// # Errors
/// When logging fails.
pub fn waits(directory: &Path, time: Duration) -> Result<Waits> {
    let directory = fresh(directory)?;
    let logger = TrajectoryLogger::open(directory.path().join("log.db"), Config::default())?;
    let mut waits = Vec::new();
    runtime()?.block_on(async {
        let start = Instant::now();
        for number in 0.. {
            let at = start + Duration::from_micros(500) * number;
            if at > start + time {
                break;
            }
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let turn = turn(number);
            let begin = Instant::now();
            logger.log_turn(turn).await?;
            waits.push(begin.elapsed().as_nanos() as f64);
        }
        logger.close().await?;
        Result::Ok(())
    })?;
    Ok(Waits {
        median_ns: quantile(&waits, 0.5),
        p99_ns: quantile(&waits, 0.99),
    })
}

/// Logs a million turns and says how much memory this process has in use after every tenth.
///
/// # Errors
/// When logging fails.
pub fn memory(directory: &Path) -> Result<Vec<(u32, u64)>> {
    const TURNS: u32 = 1_000_000;
    let directory = fresh(directory)?;
    let config = Config {
        durability: "wal/normal".parse()?,
        ..Config::default()
    };
    let logger = TrajectoryLogger::open(directory.path().join("log.db"), config)?;
    let mut memory = Vec::new();
    runtime()?.block_on(async {
        for number in 1..=TURNS {
            logger.log_turn(turn(number)).await?;
            if number % (TURNS / 10) == 0 {
                memory.push((number, machine::resident_bytes()));
            }
        }
        logger.close().await?;
        Result::Ok(())
    })?;
    Ok(memory)
}
