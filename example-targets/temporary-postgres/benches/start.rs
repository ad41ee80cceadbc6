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
const STEPS: [&str; 6] = [
    "start, `initdb`",
    "start, from a template",
    "a fresh database",
    "restart, fast",
    "restart, immediate",
    "drop: stop and remove",
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
    println!("medians of {ROUNDS} rounds, PostgreSQL {}\n", {
        TemporaryPostgres::builder().create()?.version()
    });
    println!("| step | ms |\n|---|---:|");
    for (at, step) in STEPS.iter().enumerate() {
        let mut times: Vec<Duration> = rounds[1..].iter().map(|round| round[at]).collect();
        times.sort();
        println!("| {step} | {:.0} |", times[ROUNDS / 2].as_secs_f64() * 1e3);
    }
    println!("\nA process starts from a template where `{TEMPLATES_ENV}` names a directory.");
    Ok(())
}

fn round(templates: &std::path::Path) -> Result<[Duration; 6], Box<dyn Error>> {
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
    Ok([initdb, template, database, fast, immediate, removed])
}

fn timed<T, E>(step: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let begun = Instant::now();
    let value = step()?;
    Ok((value, begun.elapsed()))
}
