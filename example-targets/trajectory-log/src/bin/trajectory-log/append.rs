//! `append`: turns from standard input.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trajectory_log::{Config, Durability, TURN_BYTES_MAX, TrajectoryLogger, Turn};

use crate::Done;
use crate::failure::Failure;
use crate::show::print;

/// A character of a turn is at most six of JSON (`\u0000`); the rest is the object around it.
const LINE_BYTES_MAX: u64 = 6 * TURN_BYTES_MAX as u64 + 1_024;

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(200);

/// What the logger is told: the file's table, and what the arguments say instead.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// A TOML file, of which [ppp.trajectory] is read: buffer_size, flush_interval_ms,
    /// channel_capacity, durability, close_timeout_ms
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Turns in a transaction, at most [default: 10]
    #[arg(long, value_name = "N")]
    buffer_size: Option<usize>,
    /// How long a turn waits for others to share its transaction [default: 500]
    #[arg(long, value_name = "MS")]
    flush_interval_ms: Option<u64>,
    /// How many turns may be ahead of the buffer [default: 100]
    #[arg(long, value_name = "N")]
    channel_capacity: Option<usize>,
    /// Journal mode and synchronous level of SQLite: wal, delete, truncate or persist, a slash,
    /// normal, full or extra [default: wal/full]
    #[arg(long, value_name = "MODE/LEVEL")]
    durability: Option<Durability>,
}

impl Settings {
    fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|source| ConfigFile {
                    path: path.clone(),
                    source: source.into(),
                });
                let text = text.map_err(Failure::usage)?;
                Config::from_toml(&text).map_err(|error| {
                    Failure::usage(ConfigFile {
                        path: path.clone(),
                        source: error.into(),
                    })
                })?
            }
        };
        config.buffer_size = self.buffer_size.unwrap_or(config.buffer_size);
        config.flush_interval_ms = self.flush_interval_ms.unwrap_or(config.flush_interval_ms);
        config.channel_capacity = self.channel_capacity.unwrap_or(config.channel_capacity);
        config.durability = self.durability.unwrap_or(config.durability);
        Ok(config)
    }
}

/// A configuration file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("use the configuration {}", path.display())]
struct ConfigFile {
    path: PathBuf,
    source: Box<dyn std::error::Error>,
}

/// A line that is no turn.
#[derive(Debug, thiserror::Error)]
#[error("understand line {number} of standard input")]
struct BadLine {
    number: u64,
    source: Box<dyn std::error::Error>,
}

pub(crate) fn run(db: &Path, settings: &Settings, json: bool) -> Done {
    let logger = TrajectoryLogger::open(db, settings.config()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::new(error, None))?;
    let mut progress = Progress::new();
    let appended = runtime.block_on(async {
        let appended = append_lines(&logger, &mut progress).await;
        // Also after a line that is none: what came before it is on disk when that is said.
        let closed = logger.close().await;
        progress.clear();
        closed.map_err(Failure::from).and(appended)
    })?;
    let line = if json {
        format!("{{\"appended\":{appended}}}\n")
    } else {
        format!("appended {}\n", counted(appended))
    };
    print(line.as_bytes())
}

/// Logs what comes until standard input ends.
async fn append_lines(logger: &TrajectoryLogger, progress: &mut Progress) -> Result<u64, Failure> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        eprintln!("reading turns, one JSON object a line; Ctrl-D ends");
    }
    let mut line = Vec::new();
    let (mut number, mut appended) = (0, 0);
    loop {
        line.clear();
        let read = (&mut input)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line);
        number += 1;
        let bad = |source: Box<dyn std::error::Error>| {
            let cure = format!(
                "what came before it is on disk: {}; a line is \
                 {{\"run_id\":\"run-7\",\"turn\":1,\"role\":\"user\",\"content\":\"…\"}}",
                counted(appended)
            );
            Failure::new(BadLine { number, source }, cure)
        };
        let bytes = read.map_err(|error| bad(error.into()))?;
        if bytes == 0 {
            return Ok(appended);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let turn: Turn = serde_json::from_slice(&line).map_err(|error| bad(error.into()))?;
        logger.log_turn(turn).await.map_err(|error| match error {
            error @ trajectory_log::Error::TurnTooLong { .. } => bad(error.into()),
            error => error.into(),
        })?;
        appended += 1;
        progress.show(appended);
    }
}

/// `1 turn`, `2 turns`.
fn counted(turns: u64) -> String {
    format!("{turns} turn{}", if turns == 1 { "" } else { "s" })
}

/// A line on a terminal that says how far it is; nowhere else.
struct Progress {
    is_shown: bool,
    last: Instant,
    has_shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            // Turns that somebody types are not counted to them between their own lines.
            is_shown: io::stderr().is_terminal() && !io::stdin().is_terminal(),
            last: Instant::now(),
            has_shown: false,
        }
    }

    fn show(&mut self, turns: u64) {
        if self.is_shown && self.last.elapsed() >= PROGRESS {
            self.last = Instant::now();
            self.has_shown = true;
            eprint!("\r{}", counted(turns));
        }
    }

    fn clear(&mut self) {
        if self.has_shown {
            eprint!("\r\x1b[K");
            // A terminal that is gone needs no clearing.
            let _ = io::stderr().flush();
        }
    }
}
