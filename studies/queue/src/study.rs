//! What is run, in which order, and how a run goes on after it broke off.
//!
//! Which tasks there are follows from the options alone, so that those that are done are known by
//! their names. A task is one process. What is compared stands next to each other in time: the
//! stores and the other queues take turns in rounds, and a long run stands between two short ones.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use shared::machine::{self, version_in};
use shared::terminal::start_of_line;
use temporary_postgres::TemporaryPostgres;

use crate::machine::Machine;
use crate::peer::Peer;
use crate::process::{self, Ended};
use crate::results::{
    Bench, DeadlineRun, Header, Line, Outcome, PeerBench, PeerRun, QueueRun, Results, Store, Writer,
};

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A small part in about two minutes, to try it.
    pub quick: bool,
    /// Leaves out the longest runs.
    pub without_500k: bool,
    /// Goes on with what is there.
    pub resume: bool,
    /// The day, for the report.
    pub date: String,
    /// The compiler's version, for the report.
    pub rustc: String,
    /// How the study was called, for the report.
    pub called: String,
    /// The program that is measured.
    pub work_queue: PathBuf,
    /// The program that measures the other queues, where it is built.
    pub peers: Option<PathBuf>,
    /// Where results go.
    pub directory: PathBuf,
}

/// Actions that an instance runs at once.
pub const LOOP_SIZE: u64 = 16;

/// Actions of an instance.
pub const ACTIONS: u64 = 3 * LOOP_SIZE + 1;

/// Tasks that run handlers.
pub const WORKERS: u64 = 4;

/// What the flatness of others is held against.
pub const SMALL: u64 = 1_000;

/// The size of the headline figures.
pub const MIDDLE: u64 = 10_000;

/// The size that the diary ends at.
pub const LARGE: u64 = 50_000;

/// The size at which the diary's queue collapsed.
pub const HUGE: u64 = 500_000;

/// How many times the headline figures are measured at least.
pub const REPETITIONS: u32 = 5;

/// The rounds with a large run.
const LARGE_ROUNDS: [u32; 3] = [1, 3, 5];

/// What the run with a deadline gets; it has work for much longer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many runs with a deadline a store gets.
const DEADLINES: u32 = 2;

/// Jobs that another queue gets.
const PEER_JOBS: u64 = 50_000;

/// What one task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The queue, to the end of its work.
    Queue { store: Store, instances: u64 },
    /// The queue, to its deadline.
    Deadline { store: Store },
    /// Another queue.
    Peer { peer: Peer, jobs: u64 },
}

#[derive(Clone, Debug, PartialEq)]
struct Task {
    name: String,
    work: Work,
}

impl Work {
    const fn store(self) -> Store {
        match self {
            Self::Queue { store, .. } | Self::Deadline { store } => store,
            Self::Peer { peer, .. } => peer.store(),
        }
    }

    /// About what it takes, in seconds. Only the progress line needs it.
    fn cost(self) -> f64 {
        let start = match self.store() {
            Store::Sqlite => 0.5,
            Store::Postgres => 3.0,
        };
        start
            + match self {
                Self::Queue { store, instances } => {
                    // What the same rows take without a queue is measured for three seconds.
                    3.0 + (instances * ACTIONS) as f64 / guessed_rate(store)
                }
                Self::Deadline { .. } => DEADLINE.as_secs_f64(),
                Self::Peer { jobs, .. } => jobs as f64 / 10_000.0,
            }
    }

    /// The time that the queue gets to finish: ample, except that no run may hold up the others
    /// for more than eight minutes.
    fn seconds(self) -> f64 {
        match self {
            Self::Queue { store, instances } => {
                let expected = (instances * ACTIONS) as f64 / guessed_rate(store);
                (60.0 + 4.0 * expected).min(480.0)
            }
            Self::Deadline { .. } => DEADLINE.as_secs_f64(),
            Self::Peer { .. } => 120.0,
        }
    }
}

/// Actions per second, roughly.
const fn guessed_rate(store: Store) -> f64 {
    match store {
        Store::Sqlite => 150_000.0,
        Store::Postgres => 60_000.0,
    }
}

/// Everything that is to be done, in order.
fn plan(options: &Options) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut add = |name: String, work| tasks.push(Task { name, work });
    let queue = |store, instances| Work::Queue { store, instances };
    let rounds = if options.quick { 2 } else { REPETITIONS };
    for round in 1..=rounds {
        let has_large = !options.quick && LARGE_ROUNDS.contains(&round);
        for store in Store::ALL {
            let mut sizes = vec![SMALL, MIDDLE];
            if has_large {
                sizes.push(LARGE);
            }
            for instances in sizes {
                add(
                    format!("round-{round}/{}/{instances}", store.name()),
                    queue(store, instances),
                );
            }
            if has_large {
                add(
                    format!("round-{round}/{}/{SMALL}-after", store.name()),
                    queue(store, SMALL),
                );
            }
        }
        for peer in Peer::ALL {
            let jobs = if options.quick { 5_000 } else { PEER_JOBS };
            add(
                format!("round-{round}/{}", peer.name()),
                Work::Peer { peer, jobs },
            );
        }
    }
    for number in 1..=DEADLINES {
        for store in Store::ALL {
            add(
                format!("deadline-{number}/{}", store.name()),
                Work::Deadline { store },
            );
        }
    }
    if !options.quick && !options.without_500k {
        for store in Store::ALL {
            for (end, instances) in [("", SMALL), ("", HUGE), ("-after", SMALL)] {
                add(
                    format!("long/{}/{instances}{end}", store.name()),
                    queue(store, instances),
                );
            }
        }
    }
    tasks
}

/// The names of a large run's neighbours, before and after it.
#[must_use]
pub fn neighbours(task: &str) -> Option<[String; 2]> {
    let (place, _size) = task.rsplit_once('/')?;
    Some(["", "-after"].map(|end| format!("{place}/{SMALL}{end}")))
}

/// Where the results are, below the directory.
#[must_use]
pub fn results_file(directory: &Path) -> PathBuf {
    directory.join("results.jsonl")
}

/// Runs everything that is not done yet.
///
/// # Errors
/// When results can't be written. A task that fails is noted and does not end the study.
pub fn run(options: &Options) -> io::Result<()> {
    fs::create_dir_all(&options.directory)?;
    let file = results_file(&options.directory);
    let old = match Results::read(&file) {
        Ok(results) if options.resume && results.header.quick == options.quick => Some(results),
        _ => None,
    };
    let mut writer = match &old {
        Some(_) => Writer::append(&file)?,
        None => Writer::create(&file, &header(options)?)?,
    };
    let done = old.as_ref().map(Results::done).unwrap_or_default();

    let postgres = probe(options);
    if let Err(reason) = &postgres {
        eprintln!("Postgres is left out: {reason}");
    }
    let peers = match &options.peers {
        Some(_) => None,
        None => Some("their program is not built".to_owned()),
    };
    writer.write(&Line::Server {
        version: postgres.as_ref().ok().cloned(),
        left_out: postgres.as_ref().err().cloned(),
    })?;
    writer.write(&Line::Peers {
        left_out: peers.clone(),
    })?;

    let tasks: Vec<Task> = plan(options)
        .into_iter()
        .filter(|task| !done.contains(task.name.as_str()))
        .filter(|task| match task.work {
            Work::Peer { peer, .. } => {
                peers.is_none() && (peer.store() == Store::Sqlite || has_server(&postgres))
            }
            Work::Queue { store, .. } | Work::Deadline { store } => {
                store == Store::Sqlite || postgres.is_ok()
            }
        })
        .collect();
    let mut progress = Progress::new(tasks.iter().map(|task| task.work.cost()).sum());
    for task in &tasks {
        progress.show(task);
        let outcome = match perform(options, task.work).or_else(|error| {
            // What takes minutes is not tried again by itself: `--resume` does.
            if task.work.cost() > 60.0 {
                return Err(error);
            }
            perform(options, task.work)
        }) {
            Ok(outcome) => outcome,
            Err(error) => {
                eprintln!("{}{}: failed: {error}", start_of_line(), task.name);
                Outcome::Failed {
                    error: error.to_string(),
                }
            }
        };
        writer.write(&Line::Task {
            task: task.name.clone(),
            outcome,
        })?;
        progress.done += task.work.cost();
    }
    progress.end();
    Ok(())
}

/// Other queues need the server alone.
fn has_server(postgres: &Result<String, String>) -> bool {
    postgres.is_ok() || temporary_postgres::is_installed()
}

fn header(options: &Options) -> io::Result<Header> {
    let load_1m = machine::load_1m();
    if let Some(load) = load_1m.filter(|load| *load > 0.5) {
        eprintln!("the machine is not idle: {load} tasks ran in the last minute");
    }
    let lock = fs::read_to_string("Cargo.lock")?;
    let drivers = ["rusqlite", "libsqlite3-sys", "tokio-postgres"]
        .into_iter()
        .filter_map(|name| Some(format!("{name} {}", version_in(&lock, name)?)))
        .collect();
    Ok(Header {
        date: options.date.clone(),
        machine: Machine::here(&std::env::temp_dir()),
        rustc: options.rustc.clone(),
        drivers,
        load_1m,
        command: options.called.clone(),
        quick: options.quick,
    })
}

/// Whether the queue runs on Postgres here: the server's version, or why not.
fn probe(options: &Options) -> Result<String, String> {
    let postgres = TemporaryPostgres::start().map_err(|error| error.to_string())?;
    let mut command = bench(options, Store::Postgres, 10, 20.0);
    command
        .arg("--no-raw-limit")
        .args(["--url", &postgres.url()]);
    match process::run::<Bench>(&mut command, &log(options), Duration::from_secs(60)) {
        Ok(ended) if ended.printed.is_drained() => Ok(postgres.version().to_owned()),
        Ok(_) => Err("ten instances were not drained in 20 s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn log(options: &Options) -> PathBuf {
    options.directory.join("process.log")
}

fn bench(options: &Options, store: Store, instances: u64, seconds: f64) -> Command {
    let mut command = Command::new(&options.work_queue);
    command.args(["bench", "queue-noop", "--json"]);
    for (name, value) in [
        ("--store", store.name().to_owned()),
        ("--instances", instances.to_string()),
        ("--loop-size", LOOP_SIZE.to_string()),
        ("--workers", WORKERS.to_string()),
        ("--seconds", seconds.to_string()),
    ] {
        command.args([OsStr::new(name), OsStr::new(&value)]);
    }
    command
}

/// Beyond its own time, what a process may take for its start, its raw limit and its end.
const MARGIN: Duration = Duration::from_secs(60);

fn perform(options: &Options, work: Work) -> io::Result<Outcome> {
    settle();
    let seconds = work.seconds();
    let limit = Duration::from_secs_f64(seconds) + MARGIN;
    let log = log(options);
    match work {
        Work::Queue { store, instances } => {
            let load_1m = machine::load_1m();
            let mut command = bench(options, store, instances, seconds);
            let ended: Ended<Bench> = process::run(&mut command, &log, limit)?;
            Ok(Outcome::Queue(QueueRun {
                store,
                bench: ended.printed,
                peak_memory_bytes: ended.peak_memory_bytes,
                load_1m,
            }))
        }
        Work::Deadline { store } => {
            let mut command = bench(options, store, HUGE, seconds);
            command.arg("--no-raw-limit");
            let ended: Ended<Bench> = match store {
                Store::Sqlite => {
                    let directory = tempfile::tempdir()?;
                    command.arg("--db").arg(directory.path().join("queue.db"));
                    process::run(&mut command, &log, limit)?
                }
                Store::Postgres => {
                    let server = TemporaryPostgres::builder()
                        .on_disk()
                        .settled()
                        .start()
                        .map_err(io::Error::other)?;
                    command.args(["--url", &server.url()]);
                    process::run(&mut command, &log, limit)?
                }
            };
            Ok(Outcome::Deadline(DeadlineRun {
                store,
                deadline_seconds: seconds,
                wall_seconds: ended.wall.as_secs_f64(),
                bench: ended.printed,
            }))
        }
        Work::Peer { peer, jobs } => {
            let Some(program) = &options.peers else {
                return Err(io::Error::other("its program is not built"));
            };
            let mut command = Command::new(program);
            command.args(["--queue", peer.queue(), "--store", peer.store().name()]);
            command.args(["--jobs", &jobs.to_string()]);
            let ended: Ended<PeerBench> = process::run(&mut command, &log, limit)?;
            Ok(Outcome::Peer(PeerRun {
                peer,
                bench: ended.printed,
                peak_memory_bytes: ended.peak_memory_bytes,
            }))
        }
    }
}

/// What others have left to be written is written before, not beside what is measured.
fn settle() {
    // Where there is no such program, nothing is lost but quiet.
    _ = Command::new("sync").status();
}

/// The line on the terminal, or a line a task where there is none.
struct Progress {
    begun: Instant,
    total: f64,
    done: f64,
}

impl Progress {
    fn new(total: f64) -> Self {
        Self {
            begun: Instant::now(),
            total,
            done: 0.0,
        }
    }

    fn show(&self, task: &Task) {
        eprint!(
            "{}{:3.0} %  about {:.0} min left  {}",
            start_of_line(),
            100.0 * self.done / self.total,
            (self.left().as_secs_f64() / 60.0).ceil(),
            task.name
        );
        if !io::stderr().is_terminal() {
            eprintln!();
        }
        _ = io::stderr().flush();
    }

    /// What the estimates were wrong by so far is what they will be wrong by.
    fn left(&self) -> Duration {
        let pace = if self.done > 0.02 * self.total {
            self.begun.elapsed().as_secs_f64() / self.done
        } else {
            1.0
        };
        Duration::from_secs_f64(((self.total - self.done) * pace).max(0.0))
    }

    fn end(&self) {
        eprintln!(
            "{}measured in {:.1} min",
            start_of_line(),
            self.begun.elapsed().as_secs_f64() / 60.0
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options() -> Options {
        Options {
            quick: false,
            without_500k: false,
            resume: false,
            date: String::new(),
            rustc: String::new(),
            called: String::new(),
            work_queue: PathBuf::new(),
            peers: None,
            directory: PathBuf::new(),
        }
    }

    fn runs(tasks: &[Task], work: Work) -> usize {
        tasks.iter().filter(|task| task.work == work).count()
    }

    #[test]
    fn each_size_has_its_runs_and_each_task_a_name() {
        let tasks = plan(&options());
        for store in Store::ALL {
            for (instances, n) in [(SMALL, 10), (MIDDLE, 5), (LARGE, 3), (HUGE, 1)] {
                let work = Work::Queue { store, instances };
                assert_eq!(runs(&tasks, work), n, "{store} {instances}");
            }
            assert_eq!(runs(&tasks, Work::Deadline { store }), 2);
        }
        for peer in Peer::ALL {
            let work = Work::Peer {
                peer,
                jobs: PEER_JOBS,
            };
            assert_eq!(runs(&tasks, work), 5, "{peer:?}");
        }
        let names: BTreeSet<_> = tasks.iter().map(|task| &task.name).collect();
        assert_eq!(names.len(), tasks.len());
    }

    #[test]
    fn a_large_run_stands_between_two_small_ones() {
        let tasks = plan(&options());
        for (place, task) in tasks.iter().enumerate() {
            let Work::Queue { store, instances } = task.work else {
                continue;
            };
            if instances < LARGE {
                continue;
            }
            let found = neighbours(&task.name).expect("it has");
            let small = Work::Queue {
                store,
                instances: SMALL,
            };
            for name in found {
                let at = tasks
                    .iter()
                    .position(|other| other.name == name && other.work == small)
                    .expect("it is there");
                assert!(at.abs_diff(place) <= 2, "{} and {name}", task.name);
            }
        }
    }

    #[test]
    fn all_of_it_takes_less_than_half_an_hour_and_can_be_shortened() {
        let seconds =
            |options: &Options| -> f64 { plan(options).iter().map(|task| task.work.cost()).sum() };
        let all = seconds(&options());
        assert!(all < 24.0 * 60.0, "{all}");
        let shorter = seconds(&Options {
            without_500k: true,
            ..options()
        });
        assert!(shorter < 0.6 * all, "{shorter}");
        let quick = seconds(&Options {
            quick: true,
            ..options()
        });
        assert!(quick < 150.0, "{quick}");
    }
}
