//! The record's choice, measured like the logger: a bounded channel, a task that batches, and a
//! transaction a batch by way of tokio-rusqlite.
//!
//! `logger-tokio-rusqlite throughput|waits DB SYNCHRONOUS BUFFER_SIZE MILLISECONDS` prints JSON. It
//! has what the record's code lacks (a flush at the end that is waited for) and nothing more.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_rusqlite::{Connection, params, rusqlite};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The same turns as those of the study.
fn turn(number: u32) -> Turn {
    Turn {
        run_id: format!("run-{:06}", number / 25),
        turn: number,
        content: "x".repeat(200),
    }
}

struct Turn {
    run_id: String,
    turn: u32,
    content: String,
}

const SCHEMA: &str = "
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        turn INTEGER NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        at_ms INTEGER NOT NULL
    );
    CREATE INDEX turns_of_run ON turns (run_id);
";

async fn open(path: &str, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path).await?;
    let pragmas =
        format!("PRAGMA journal_mode = wal; PRAGMA synchronous = {synchronous}; {SCHEMA}");
    connection
        .call(move |connection| connection.execute_batch(&pragmas))
        .await?;
    Ok(connection)
}

/// The task that batches, until the channel is closed.
async fn write(
    connection: Connection,
    mut turns: mpsc::Receiver<Turn>,
    buffer_size: usize,
) -> std::result::Result<(), tokio_rusqlite::Error> {
    let mut buffer = Vec::new();
    while let Some(turn) = turns.recv().await {
        buffer.push(turn);
        if buffer.len() >= buffer_size {
            insert(&connection, std::mem::take(&mut buffer)).await?;
        }
    }
    insert(&connection, buffer).await
}

async fn insert(
    connection: &Connection,
    turns: Vec<Turn>,
) -> std::result::Result<(), tokio_rusqlite::Error> {
    connection
        .call(move |connection| {
            let transaction = connection.transaction()?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO turns (run_id, turn, role, content, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for turn in turns {
                insert.execute(params![turn.run_id, turn.turn, "assistant", turn.content, 0])?;
            }
            drop(insert);
            transaction.commit()?;
            rusqlite::Result::Ok(())
        })
        .await
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path, synchronous, buffer_size, milliseconds] = arguments.as_slice() else {
        return Err("throughput|waits DB SYNCHRONOUS BUFFER_SIZE MILLISECONDS".into());
    };
    let buffer_size = buffer_size.parse()?;
    let time = Duration::from_millis(milliseconds.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let figures = runtime.block_on(async {
        let connection = open(path, synchronous).await?;
        // As in the study: the log is no longer new, and its write-ahead log has its size.
        insert(&connection, (0..20_000).map(turn).collect()).await?;
        insert(&connection, vec![turn(0)]).await?;
        let (sender, receiver) = mpsc::channel(100);
        let writer = tokio::spawn(write(connection, receiver, buffer_size));
        if what == "waits" {
            waits(sender, writer, time).await
        } else {
            throughput(sender, writer, time).await
        }
    })?;
    println!("{figures}");
    Ok(())
}

type Writer = tokio::task::JoinHandle<std::result::Result<(), tokio_rusqlite::Error>>;

async fn throughput(
    sender: mpsc::Sender<Turn>,
    writer: Writer,
    time: Duration,
) -> Result<serde_json::Value> {
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < time {
        sender.send(turn(turns)).await?;
        turns += 1;
    }
    drop(sender);
    writer.await??;
    Ok(serde_json::json!({ "turns_per_second": f64::from(turns) / start.elapsed().as_secs_f64() }))
}

/// A turn every 500 µs. The runtime is the caller's as in the study, which sleeps between turns;
/// here the writer's task shares it, and runs when the caller gives way.
async fn waits(
    sender: mpsc::Sender<Turn>,
    writer: Writer,
    time: Duration,
) -> Result<serde_json::Value> {
    let mut waits = Vec::new();
    let start = Instant::now();
    for number in 0.. {
        let at = start + Duration::from_micros(500) * number;
        if at > start + time {
            break;
        }
        while Instant::now() < at {
            tokio::task::yield_now().await;
        }
        let turn = turn(number);
        let begin = Instant::now();
        sender.send(turn).await?;
        waits.push(begin.elapsed());
    }
    drop(sender);
    writer.await??;
    waits.sort_unstable();
    let at = |share: usize| {
        let wait = waits[(waits.len() * share / 100).min(waits.len() - 1)];
        u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
    };
    Ok(serde_json::json!({ "median_ns": at(50), "p99_ns": at(99) }))
}
