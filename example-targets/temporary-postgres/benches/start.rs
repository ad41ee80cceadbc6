//! How long a cluster takes to make, to start, to stop and to remove.
//!
//! `cargo bench -p temporary-postgres --profile perf --bench start`
//!
//! In the system's directory for temporary files, one after the other; a figure is the median over
//! the rounds. Real disks, so nothing here has a goal.

use std::error::Error;
use std::time::{Duration, Instant};

use temporary_postgres::{Stop, TEMPLATES_ENV, TemporaryPostgres};

const ROUNDS: usize = 11;
const STEPS: [&str; 8] = [
    "start, `initdb`",
    "start, from a template",
    "a fresh database",
    "restart, fast",
    "restart, immediate: its first recovery syncs every file",
    "drop: stop and remove",
    "start, from a template, settled",
    "restart, immediate, of a settled one",
];

fn main() -> Result<(), Box<dyn Error>> {
    if !temporary_postgres::is_installed() {
        println!("no PostgreSQL server here");
        return Ok(());
    }
    let templates = tempfile::tempdir()?;
    let mut rounds = Vec::new();
    // The first round makes the template and warms up.
    for _ in 0..=ROUNDS {
        rounds.push(round(templates.path())?);
    }
    let postgres = TemporaryPostgres::builder().create()?;
    let version = postgres.version();
    println!("medians of {ROUNDS} rounds, PostgreSQL {version}\n");
    println!("| step | ms |\n|---|---:|");
    for (at, step) in STEPS.iter().enumerate() {
        let mut times: Vec<Duration> = rounds[1..].iter().map(|round| round[at]).collect();
        times.sort();
        println!("| {step} | {:.0} |", times[ROUNDS / 2].as_secs_f64() * 1e3);
    }
    println!("\nA process starts from a template where `{TEMPLATES_ENV}` names a directory.");
    Ok(())
}

fn round(templates: &std::path::Path) -> Result<[Duration; 8], Box<dyn Error>> {
    let (postgres, initdb) = timed(|| TemporaryPostgres::builder().without_template().start())?;
    drop(postgres);
    let (mut postgres, template) =
        timed(|| TemporaryPostgres::builder().templates(templates).start())?;
    let (_, database) = timed(|| postgres.fresh_database())?;
    let ((), fast) = timed(|| postgres.restart(Stop::Fast))?;
    let ((), immediate) = timed(|| postgres.restart(Stop::Immediate))?;
    let begun = Instant::now();
    drop(postgres);
    let removed = begun.elapsed();
    let (mut postgres, settled) = timed(|| {
        TemporaryPostgres::builder()
            .templates(templates)
            .settled()
            .start()
    })?;
    let ((), of_settled) = timed(|| postgres.restart(Stop::Immediate))?;
    Ok([
        initdb, template, database, fast, immediate, removed, settled, of_settled,
    ])
}

fn timed<T, E>(step: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let begun = Instant::now();
    let value = step()?;
    Ok((value, begun.elapsed()))
}
