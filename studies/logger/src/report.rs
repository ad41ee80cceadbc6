//! The report: a document for a newcomer, made from the results alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use shared::statistics::{median, quantile};

use crate::Result;
use crate::plots::{self, Group, Line};
use crate::results::{Cell, Results, Strategy};
use crate::study::{BUFFER_SIZES, DURABILITIES};

/// What the record says that a turn takes with a buffer of these sizes, in milliseconds.
const RECORD_BY_BUFFER: [(usize, f64); 5] =
    [(1, 0.5), (5, 0.2), (10, 0.1), (50, 0.02), (100, 0.01)];

/// Memory may grow by this much over nine tenths of a million turns and be called flat: what the
/// allocator and SQLite's caches still settle. A turn that was kept would be two hundred times that.
const FLAT_BYTES: f64 = 1_048_576.0;

/// Writes the document and its plots.
///
/// # Errors
/// When a file can't be written.
pub fn write(results: &Results, to: &Path) -> Result<()> {
    let directory = to.with_extension("");
    fs::create_dir_all(&directory)?;
    draw(results, &directory)?;
    fs::write(to, document(results)?)?;
    Ok(())
}

/// A cell by its parts.
fn cell(strategy: Strategy, durability: &str, buffer_size: usize) -> Cell {
    Cell {
        strategy,
        durability: durability.to_owned(),
        buffer_size,
    }
}

/// The strategy as the four of the record are compared.
fn of_strategy(strategy: Strategy, durability: &str) -> Cell {
    let size = match strategy {
        Strategy::SyncSingle | Strategy::AsyncSingle => 1,
        Strategy::SyncBatched | Strategy::AsyncBatched => 10,
    };
    cell(strategy, durability, size)
}

/// A logger on a thread with this buffer.
fn of_buffer(size: usize, durability: &str) -> Cell {
    let strategy = match size {
        1 => Strategy::AsyncSingle,
        _ => Strategy::AsyncBatched,
    };
    cell(strategy, durability, size)
}

/// Of each round.
fn turns_per_second(results: &Results, cell: &Cell) -> Vec<f64> {
    let throughputs = results.throughputs(cell);
    throughputs.iter().map(|t| t.turns_per_second).collect()
}

/// The median of the rounds, in milliseconds.
fn ms_a_turn(results: &Results, cell: &Cell) -> f64 {
    1e3 / median(&turns_per_second(results, cell))
}

/// Turns of a batch a raw sync, in each round.
fn share_of_raw(results: &Results, cell: &Cell) -> Vec<f64> {
    let share = |t: &&crate::results::Throughput| {
        t.turns_per_second / (t.raw_per_second * cell.buffer_size as f64)
    };
    results.throughputs(cell).iter().map(share).collect()
}

/// How many times as many turns, in each round.
fn ratio(results: &Results, over: &Cell, under: &Cell) -> Vec<f64> {
    let (over, under) = (
        turns_per_second(results, over),
        turns_per_second(results, under),
    );
    over.iter()
        .zip(under)
        .map(|(over, under)| over / under)
        .collect()
}

/// A median with its quartiles.
fn spread(values: &[f64], digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$} … {:.digits$})",
        median(values),
        quantile(values, 0.25),
        quantile(values, 0.75)
    )
}

/// `12,345`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with its goal.
struct Figure {
    what: &'static str,
    goal: String,
    measured: String,
    is_reached: bool,
    /// What limits it, for a reader who sees it missed.
    limit: &'static str,
}

fn figures(results: &Results) -> Vec<Figure> {
    let waits = |of: fn(&crate::results::Round) -> f64| -> Vec<f64> {
        results.rounds.iter().map(|round| of(round) / 1e3).collect()
    };
    let batched = |durability| of_buffer(10, durability);
    let single = |durability| of_buffer(1, durability);
    let share = share_of_raw(results, &batched("wal/full"));
    let normal: Vec<f64> = (turns_per_second(results, &batched("wal/normal")).iter())
        .map(|turns| 1e3 / turns)
        .collect();
    let (wait, wait_p99) = (waits(|r| r.waits.median_ns), waits(|r| r.waits.p99_ns));
    let full_ratio = ratio(results, &batched("wal/full"), &single("wal/full"));
    let normal_ratio = ratio(results, &batched("wal/normal"), &single("wal/normal"));
    let growth = memory_growth(results);
    vec![
        Figure {
            what: "durable throughput in WAL/FULL, buffer 10 ÷ (10 × the raw sync rate beside it)",
            goal: "≥ 0.80".into(),
            measured: spread(&share, 2),
            is_reached: median(&share) >= 0.8,
            limit: "A commit is one sync and what SQLite does around it (10 inserts, two or three \
                    pages written to the log, six locks). Where a bare sync takes less than four \
                    times that, the CPU limits, or another program has it; and a sync of three \
                    pages is a little more for a disk than one of one.",
        },
        Figure {
            what: "WAL/NORMAL, ms a turn",
            goal: "≤ 0.010".into(),
            measured: spread(&normal, 4),
            is_reached: median(&normal) <= 0.010,
            limit: "No disk is waited for here but in checkpoints: it is CPU time of one thread, \
                    more than half of it the kernel's, for writing pages and locking. Another \
                    program on the same cores shows in it directly.",
        },
        Figure {
            what: "caller's wait at 2,000 turns/s, median, µs",
            goal: "≤ 6".into(),
            measured: spread(&wait, 2),
            is_reached: median(&wait) <= 6.0,
            limit: "A wait is a semaphore, a lock and, for one turn in ten, a wake-up.",
        },
        Figure {
            what: "caller's wait at 2,000 turns/s, 99th percentile, µs",
            goal: "≤ 150".into(),
            measured: spread(&wait_p99, 1),
            is_reached: median(&wait_p99) <= 150.0,
            limit: "The caller may wait for a CPU after the wake-up that it made: a busy machine \
                    shows here.",
        },
        Figure {
            what: "async batched ÷ async single, WAL/FULL",
            goal: "≥ 7".into(),
            measured: spread(&full_ratio, 1),
            is_reached: median(&full_ratio) >= 7.0,
            limit: "It would be 10 if a transaction of 10 turns took no longer than one of 1; the \
                    CPU time of nine more inserts is what is missing, and weighs the more the \
                    faster the disk is.",
        },
        Figure {
            what: "async batched ÷ async single, WAL/NORMAL",
            goal: "≥ 2.5".into(),
            measured: spread(&normal_ratio, 1),
            is_reached: median(&normal_ratio) >= 2.5,
            limit: "The cost of a transaction that is no disk's, shared by ten.",
        },
        Figure {
            what: "memory: growth from 100,000 to 1,000,000 turns, MiB",
            goal: "≤ 1".into(),
            measured: format!("{:.2}", growth / 1_048_576.0),
            is_reached: growth <= FLAT_BYTES,
            limit: "Something keeps what it should let go of.",
        },
    ]
}

fn memory_growth(results: &Results) -> f64 {
    let at = |(_, bytes): &(u32, u64)| *bytes as f64;
    let first = results.memory.first().map_or(f64::NAN, at);
    let most = results.memory.iter().map(at).fold(f64::NAN, f64::max);
    most - first
}

fn document(results: &Results) -> Result<String> {
    let mut text = String::new();
    head(&mut text, results)?;
    strategies(&mut text, results)?;
    buffers(&mut text, results)?;
    callers(&mut text, results)?;
    method(&mut text, results)?;
    Ok(text)
}

fn head(text: &mut String, results: &Results) -> Result<()> {
    let raw: Vec<f64> = (results.rounds.iter())
        .flat_map(|round| round.throughputs.iter().map(|t| t.raw_per_second))
        .collect();
    write!(
        text,
        "# What a logged turn costs\n\n\
         The [trajectory log](trajectory-log.md) batches turns on a thread of its own. Was that the \
         right choice? A decision record said so, with a table of figures; here its four strategies \
         are measured again, in several journal modes and at several synchronous levels, beside the \
         bare disk and beside the library that the record chose.\n\n\
         Made by `make logger-study` (`scripts/logger-study`), which anyone can run; a run takes \
         three minutes and replaces this page. {}, {}, {}, {}. {}. Medians of {} rounds, with \
         quartiles in brackets.\n\n\
         The raw sync rate, appending 4 KiB with an `fdatasync` each, was {} /s: {:.3} ms an append.\n\n",
        results.machine,
        results.file_system,
        results.rustc,
        results.date,
        results.versions,
        results.rounds.len(),
        grouped(median(&raw)),
        1e3 / median(&raw),
    )?;
    if results.load >= 0.5 {
        write!(
            text,
            "**The machine was not idle** when this began: {:.1} tasks ran.\n\n",
            results.load
        )?;
    }
    text.push_str("## The figures to reach\n\n| figure | goal | measured | |\n|---|---|---|---|\n");
    let figures = figures(results);
    for figure in &figures {
        let reached = if figure.is_reached {
            "reached"
        } else {
            "**MISSED**"
        };
        writeln!(
            text,
            "| {} | {} | {} | {reached} |",
            figure.what, figure.goal, figure.measured
        )?;
    }
    text.push('\n');
    for figure in figures.iter().filter(|figure| !figure.is_reached) {
        writeln!(text, "Missed, {}: {}\n", figure.what, figure.limit)?;
    }
    Ok(())
}

fn strategies(text: &mut String, results: &Results) -> Result<()> {
    text.push_str(
        "## The record's table\n\n\
         ![milliseconds a turn by strategy](logger-study/strategies.svg)\n\n\
         Milliseconds a turn, and turns a second, of a caller who logs as fast as it goes and then \
         flushes. Batches are of 10. The record does not say which disk and which journal mode its \
         figures are of.\n\n\
         | strategy | the record | | WAL/FULL | | WAL/NORMAL | | blocks the runtime |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for strategy in Strategy::ALL {
        write!(
            text,
            "| {} | {} ms | {} /s |",
            strategy.name(),
            strategy.record_ms(),
            grouped(1e3 / strategy.record_ms())
        )?;
        for durability in ["wal/full", "wal/normal"] {
            let ms = ms_a_turn(results, &of_strategy(strategy, durability));
            write!(text, " {ms:.4} ms | {} /s |", grouped(1e3 / ms))?;
        }
        let blocks = if strategy.is_async() { "no" } else { "yes" };
        writeln!(text, " {blocks} |")?;
    }
    let other = |of: fn(&crate::results::Other) -> f64| -> f64 {
        let all: Vec<f64> = results
            .rounds
            .iter()
            .map(|round| of(&round.other))
            .collect();
        median(&all)
    };
    let (full, normal) = (other(|o| o.full), other(|o| o.normal));
    writeln!(
        text,
        "| async, batched, by tokio-rusqlite | 0.1 ms; NORMAL 0.02 ms | 10,000 /s; NORMAL 50,000 /s \
         | {:.4} ms | {} /s | {:.4} ms | {} /s | no |\n",
        1e3 / full,
        grouped(full),
        1e3 / normal,
        grouped(normal)
    )?;
    text.push_str(
        "### Journal mode × synchronous level\n\n\
         Milliseconds a turn. What each survives is in the [logger's \
         documentation](trajectory-log.md#how-durable).\n\n\
         | | sync, one write | sync, batched | async, one write | async, batched |\n\
         |---|---|---|---|---|\n",
    );
    for durability in DURABILITIES {
        write!(text, "| `{durability}` |")?;
        for strategy in Strategy::ALL {
            let ms = ms_a_turn(results, &of_strategy(strategy, durability));
            write!(text, " {ms:.4} |")?;
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(())
}

fn buffers(text: &mut String, results: &Results) -> Result<()> {
    text.push_str(
        "## Buffer sizes\n\n\
         ![turns a second by buffer size](logger-study/buffer-sizes.svg)\n\n\
         *Share of raw* is turns a second over buffer size × the raw sync rate that was measured \
         right before and after: 1 would be a batch a bare sync.\n\n\
         | buffer | the record, ms a turn | WAL/FULL, ms a turn | turns/s | share of raw | WAL/NORMAL, ms a turn | turns/s |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (size, record) in RECORD_BY_BUFFER {
        let (full, normal) = (of_buffer(size, "wal/full"), of_buffer(size, "wal/normal"));
        let (full_ms, normal_ms) = (ms_a_turn(results, &full), ms_a_turn(results, &normal));
        writeln!(
            text,
            "| {size} | {record} | {full_ms:.4} | {} | {} | {normal_ms:.4} | {} |",
            grouped(1e3 / full_ms),
            spread(&share_of_raw(results, &full), 2),
            grouped(1e3 / normal_ms),
        )?;
    }
    text.push_str(
        "\nThe larger the batch, the more of its time is SQLite's own work for each turn, and the \
         less the disk's: there the share falls, and WAL/FULL comes near WAL/NORMAL.\n\n",
    );
    Ok(())
}

fn callers(text: &mut String, results: &Results) -> Result<()> {
    let of = |of: fn(&crate::results::Round) -> f64| -> Vec<f64> {
        results.rounds.iter().map(|round| of(round) / 1e3).collect()
    };
    let saturated = ms_a_turn(results, &of_buffer(10, "wal/full")) * 1e3;
    write!(
        text,
        "## What the caller waits\n\n\
         A turn every 500 µs in WAL/FULL, the caller asleep in between; and a caller who logs as \
         fast as it goes, whose median would hide that now and then it waits for the disk.\n\n\
         | | median, µs | 99th percentile, µs | mean when saturated, µs |\n|---|---|---|---|\n\
         | trajectory-log | {} | {} | {saturated:.1} |\n\
         | tokio-rusqlite | {} | {} | {:.1} |\n\n\
         (Of tokio-rusqlite the caller spins between turns, because its batches are put together by \
         a task of the caller's runtime, which must have the thread now and then; so it does not \
         wake from a sleep.)\n\n",
        spread(&of(|r| r.waits.median_ns), 2),
        spread(&of(|r| r.waits.p99_ns), 1),
        spread(&of(|r| r.other.waits.median_ns), 2),
        spread(&of(|r| r.other.waits.p99_ns), 1),
        median(&of(|r| 1e9 / r.other.full)),
    )?;
    text.push_str(
        "## Memory\n\nIn use after so many turns, in WAL/NORMAL, as fast as it goes:\n\n|",
    );
    for (turns, _) in &results.memory {
        write!(text, " {} |", grouped(f64::from(*turns)))?;
    }
    text.push_str("\n|");
    text.push_str(&"---|".repeat(results.memory.len()));
    text.push_str("\n|");
    for (_, bytes) in &results.memory {
        write!(text, " {:.2} MiB |", *bytes as f64 / 1_048_576.0)?;
    }
    text.push_str("\n\n");
    Ok(())
}

fn method(text: &mut String, results: &Results) -> Result<()> {
    write!(
        text,
        "## How it was measured\n\n\
         - A turn has 200 bytes of content; a run has 25 of them, one run after the other. Buffer 10, \
         channel 100 and interval 500 ms, where nothing else is said.\n\
         - {} rounds; in each every cell once, for 200 ms and then a flush, in a database of \
         its own that has 20,000 turns already: its write-ahead log has been copied into the \
         database once and is written over from then on. While it still grows, a commit is slower: \
         the file system writes down each new size of the file. Each round begins with another \
         cell; 80 ms of raw appends between any two. Ratios are of cells of one round, and only \
         then is the median taken: what a machine does to both of them drops out.\n\
         - After each cell the turns in the database are counted.\n\
         - tokio-rusqlite runs in a process of its own, because it wants another version of rusqlite \
         and a program can have only one; with the record's channel, buffer and timerless batches, \
         the same turns, and a table with an index of run names.\n",
        results.rounds.len()
    )?;
    Ok(())
}

fn draw(results: &Results, directory: &Path) -> Result<()> {
    let series = ["the record", "WAL/FULL", "WAL/NORMAL", "DELETE/FULL"].map(String::from);
    let groups: Vec<Group> = Strategy::ALL
        .map(|strategy| Group {
            name: strategy.name().to_owned(),
            milliseconds: std::iter::once(Some(strategy.record_ms()))
                .chain(
                    ["wal/full", "wal/normal", "delete/full"]
                        .map(|d| Some(ms_a_turn(results, &of_strategy(strategy, d)))),
                )
                .collect(),
        })
        .into();
    plots::milliseconds_a_turn(&directory.join("strategies.svg"), &series, &groups)?;
    let line = |durability| {
        let point = |size| (size, 1e3 / ms_a_turn(results, &of_buffer(size, durability)));
        BUFFER_SIZES.map(point).to_vec()
    };
    let raw: Vec<f64> = (results.throughputs(&of_buffer(10, "wal/full")).iter())
        .map(|t| t.raw_per_second)
        .collect();
    let lines = [
        Line {
            name: "WAL/FULL".into(),
            points: line("wal/full"),
        },
        Line {
            name: "WAL/NORMAL".into(),
            points: line("wal/normal"),
        },
        Line {
            name: "the record".into(),
            points: RECORD_BY_BUFFER.map(|(size, ms)| (size, 1e3 / ms)).to_vec(),
        },
        Line {
            name: "0.8 × buffer × raw sync rate".into(),
            points: BUFFER_SIZES
                .map(|size| (size, 0.8 * size as f64 * median(&raw)))
                .to_vec(),
        },
    ];
    plots::turns_by_buffer(&directory.join("buffer-sizes.svg"), &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (7.0, "7"),
            (999.6, "1,000"),
            (68_000.0, "68,000"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn every_cell_of_the_tables_is_measured() {
        let cells = crate::study::cells();
        for durability in DURABILITIES {
            for strategy in Strategy::ALL {
                assert!(cells.contains(&of_strategy(strategy, durability)));
            }
        }
        for size in BUFFER_SIZES {
            for durability in ["wal/full", "wal/normal"] {
                assert!(cells.contains(&of_buffer(size, durability)));
            }
        }
    }
}
