//! What a run of the study leaves behind: a file of lines, each a JSON object, from which the
//! report is made and at which a run that broke off is taken up again.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::peer::Peer;

/// What holds a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// One file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Store {
    /// Both, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// As `work-queue` knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        })
    }
}

/// The machine, what was built, and what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The day, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// The compiler.
    pub rustc: String,
    /// The crates that speak to the databases, with their versions.
    pub drivers: Vec<String>,
    /// Tasks that ran when the study began.
    pub load_1m: Option<f64>,
    /// How the study was called.
    pub command: String,
    /// Whether only a small part was asked for.
    pub quick: bool,
}

/// What `work-queue bench queue-noop --json` prints, as far as the report needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// How many were to be executed.
    pub instances: u64,
    /// Actions that an instance runs at once.
    pub loop_size: u64,
    /// Tasks that run handlers.
    pub workers: u64,
    /// How long it took, from the creation of the first to the end of the last.
    pub seconds: f64,
    /// Instances that ended well.
    pub instances_completed: u64,
    /// Instances that did not.
    pub instances_failed: u64,
    /// Actions that were completed.
    pub actions: u64,
    /// Those over the time.
    pub actions_per_second: f64,
    /// From the creation of an instance to its end, on average.
    pub round_trip_average_ms: f64,
    /// The same, within which 95 of 100 are.
    pub round_trip_p95_ms: f64,
    /// From an action's readiness to its completion, durably, on average.
    pub action_average_ms: f64,
    /// The same, within which 95 of 100 are.
    pub action_p95_ms: f64,
    /// Transactions that wrote progress.
    pub batches: u64,
    /// Actions in one, on average.
    pub actions_per_batch: f64,
    /// How long one took, within which 99 of 100 are.
    pub batch_p99_ms: f64,
    /// The same rows without a queue.
    #[serde(default)]
    pub raw_limit_actions_per_second: Option<f64>,
    /// The queue's rate over that.
    #[serde(default)]
    pub raw_limit_ratio: Option<f64>,
    /// Whether the time was up before the work was done.
    pub hit_the_deadline: bool,
    /// From the last completion to the end of the engine.
    pub shutdown_ms: f64,
    /// What each kind of query took.
    pub queries: Vec<QueryTimes>,
    /// What the engine had to say.
    #[serde(default)]
    pub messages: Vec<String>,
}

impl Bench {
    /// Whether every instance was executed, each once and well.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.hit_the_deadline
            && self.instances_failed == 0
            && self.instances_completed == self.instances
            && self.actions == self.instances * (3 * self.loop_size + 1)
    }
}

/// What a kind of query took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryTimes {
    /// Which.
    pub query: String,
    /// How often.
    pub n: u64,
    /// Rows in all.
    pub rows: u64,
    /// One, on average.
    pub average_ms: f64,
    /// One, within which 95 of 100 are.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// All together.
    pub total_ms: f64,
}

/// One run of `work-queue`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRun {
    /// On what.
    pub store: Store,
    /// What it printed.
    pub bench: Bench,
    /// The process's largest resident set, in bytes; of Postgres the client alone.
    pub peak_memory_bytes: Option<u64>,
    /// Tasks that ran in the minute before it.
    pub load_1m: Option<f64>,
}

/// A run that a deadline ended before the work was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadlineRun {
    /// On what.
    pub store: Store,
    /// The time that it was given.
    pub deadline_seconds: f64,
    /// From the start of the process to its end.
    pub wall_seconds: f64,
    /// What it printed.
    pub bench: Bench,
}

impl DeadlineRun {
    /// How long it was there for beyond its deadline. Counts what the process did before the clock
    /// of its deadline ran, too.
    #[must_use]
    pub fn beyond_seconds(&self) -> f64 {
        self.wall_seconds - self.deadline_seconds
    }
}

/// What the program in `peers` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerBench {
    /// How many were to be done.
    pub jobs: u64,
    /// How many the database says are done.
    pub completed: u64,
    /// The crates and their versions.
    pub versions: Vec<String>,
    /// How it was set up.
    pub settings: String,
    /// How long it took to enqueue them.
    pub enqueue_seconds: f64,
    /// And then to drain them.
    pub drain_seconds: f64,
    /// Jobs over both.
    pub jobs_per_second: f64,
    /// Jobs over the draining alone.
    pub drained_per_second: f64,
}

/// One run of another queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRun {
    /// Which.
    pub peer: Peer,
    /// What it printed.
    pub bench: PeerBench,
    /// The process's largest resident set, in bytes.
    pub peak_memory_bytes: Option<u64>,
}

/// What a task came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    /// The queue ran to its end.
    Queue(QueueRun),
    /// The queue ran to its deadline.
    Deadline(DeadlineRun),
    /// Another queue ran.
    Peer(PeerRun),
    /// It failed.
    Failed {
        /// What was said.
        error: String,
    },
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// The first.
    Header(Header),
    /// Whether Postgres can be measured: the server's version, or why not. The last one counts.
    Server {
        /// As the server names it.
        version: Option<String>,
        /// Why not.
        left_out: Option<String>,
    },
    /// Why the other queues are not measured. The last one counts.
    Peers {
        /// Why not.
        left_out: Option<String>,
    },
    /// A task ended. The last one of a name counts.
    Task {
        /// Its name.
        task: String,
        /// What it came to.
        outcome: Outcome,
    },
}

/// Everything that a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// The machine.
    pub header: Header,
    /// The server's version.
    pub server: Option<String>,
    /// Why Postgres was not measured.
    pub postgres_left_out: Option<String>,
    /// Why the other queues were not measured.
    pub peers_left_out: Option<String>,
    /// The tasks, in the order in which they ended.
    pub tasks: Vec<(String, Outcome)>,
}

impl Results {
    /// Reads a file of results.
    ///
    /// # Errors
    /// When it can't be read, or has no header.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::from_lines(BufReader::new(File::open(path)?).lines())
    }

    /// A line that is no JSON is where a run broke off.
    fn from_lines(lines: impl IntoIterator<Item = io::Result<String>>) -> io::Result<Self> {
        let mut header = None;
        let (mut server, mut postgres_left_out, mut peers_left_out) = (None, None, None);
        let mut tasks: Vec<(String, Outcome)> = Vec::new();
        for line in lines {
            match serde_json::from_str(&line?) {
                Err(_) => {}
                Ok(Line::Header(found)) => header = Some(found),
                Ok(Line::Server { version, left_out }) => {
                    (server, postgres_left_out) = (version, left_out)
                }
                Ok(Line::Peers { left_out }) => peers_left_out = left_out,
                Ok(Line::Task { task, outcome }) => {
                    tasks.retain(|(name, _)| *name != task);
                    tasks.push((task, outcome));
                }
            }
        }
        let header = header.ok_or_else(|| io::Error::other("the results have no header"))?;
        Ok(Self {
            header,
            server,
            postgres_left_out,
            peers_left_out,
            tasks,
        })
    }

    /// The names of the tasks that need not run again.
    #[must_use]
    pub fn done(&self) -> BTreeSet<&str> {
        self.tasks
            .iter()
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Failed { .. }))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The runs of the queue, with the names of their tasks.
    pub fn queue_runs(&self) -> impl Iterator<Item = (&str, &QueueRun)> {
        self.tasks
            .iter()
            .filter_map(|(name, outcome)| match outcome {
                Outcome::Queue(run) => Some((name.as_str(), run)),
                _ => None,
            })
    }

    /// The runs of the queue on a store with so many instances.
    #[must_use]
    pub fn runs(&self, store: Store, instances: u64) -> Vec<&QueueRun> {
        self.queue_runs()
            .map(|(_, run)| run)
            .filter(|run| run.store == store && run.bench.instances == instances)
            .collect()
    }

    /// The numbers of instances that were run.
    #[must_use]
    pub fn sizes(&self) -> BTreeSet<u64> {
        self.queue_runs()
            .map(|(_, run)| run.bench.instances)
            .collect()
    }

    /// The runs that a deadline ended.
    #[must_use]
    pub fn deadline_runs(&self, store: Store) -> Vec<&DeadlineRun> {
        self.tasks
            .iter()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Deadline(run) if run.store == store => Some(run),
                _ => None,
            })
            .collect()
    }

    /// The runs of another queue.
    #[must_use]
    pub fn peer_runs(&self, peer: Peer) -> Vec<&PeerRun> {
        self.tasks
            .iter()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Peer(run) if run.peer == peer => Some(run),
                _ => None,
            })
            .collect()
    }

    /// The tasks that failed, and what was said.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tasks
            .iter()
            .filter_map(|(name, outcome)| match outcome {
                Outcome::Failed { error } => Some((name.as_str(), error.as_str())),
                _ => None,
            })
    }
}

/// Where lines go.
pub struct Writer(File);

impl Writer {
    /// Begins a new file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self(File::create(path)?);
        writer.write(&Line::Header(header.clone()))?;
        Ok(writer)
    }

    /// Goes on with a file. The first thing written is the end of a line that broke off.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(b"\n")?;
        Ok(Self(file))
    }

    /// Writes a line at once.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            date: "2026-11-21".into(),
            machine: Machine {
                cpu: "a CPU".into(),
                cores: 2,
                memory_gib: Some(24),
                system: "Linux 6.18".into(),
                file_system: "ext4".into(),
            },
            rustc: "rustc 1.95.0".into(),
            drivers: vec!["rusqlite 0.41.1".into()],
            load_1m: None,
            command: "make queue-study".into(),
            quick: false,
        }
    }

    /// A run that was drained, at this rate.
    pub(crate) fn run(store: Store, instances: u64, rate: f64) -> QueueRun {
        let actions = instances * 49;
        QueueRun {
            store,
            bench: Bench {
                instances,
                loop_size: 16,
                workers: 4,
                seconds: actions as f64 / rate,
                instances_completed: instances,
                instances_failed: 0,
                actions,
                actions_per_second: rate,
                round_trip_average_ms: 40.0,
                round_trip_p95_ms: 50.0,
                action_average_ms: 8.0,
                action_p95_ms: 12.5,
                batches: actions / 490,
                actions_per_batch: 490.0,
                batch_p99_ms: 9.0,
                raw_limit_actions_per_second: Some(2.0 * rate),
                raw_limit_ratio: Some(0.5),
                hit_the_deadline: false,
                shutdown_ms: 3.0,
                queries: vec![QueryTimes {
                    query: "commit".into(),
                    n: 1_000,
                    rows: 490_000,
                    average_ms: 1.5,
                    p95_ms: 2.0,
                    max_ms: 30.0,
                    total_ms: 1_500.0,
                }],
                messages: Vec::new(),
            },
            peak_memory_bytes: Some(100 << 20),
            load_1m: Some(0.2),
        }
    }

    pub(crate) fn task(name: &str, outcome: Outcome) -> (String, Outcome) {
        (name.to_owned(), outcome)
    }

    #[test]
    fn what_the_queue_prints_is_read() {
        let printed = include_str!("bench.json");
        let bench: Bench = serde_json::from_str(printed).expect("as it is printed");
        assert!(bench.is_drained());
        assert_eq!(bench.actions, 49_000);
        assert!(bench.queries.iter().any(|query| query.query == "commit"));
    }

    #[test]
    fn a_run_is_drained_when_each_action_ran() {
        let drained = run(Store::Sqlite, 10, 1e5).bench;
        assert!(drained.is_drained());
        let changes: [fn(&mut Bench); 4] = [
            |bench| bench.hit_the_deadline = true,
            |bench| bench.instances_failed = 1,
            |bench| bench.instances_completed = 9,
            |bench| bench.actions += 1,
        ];
        for change in changes {
            let mut bench = drained.clone();
            change(&mut bench);
            assert!(!bench.is_drained(), "{bench:?}");
        }
    }

    #[test]
    fn a_run_that_broke_off_is_taken_up_and_what_failed_is_run_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("results.jsonl");
        let line = |name: &str, outcome| Line::Task {
            task: name.to_owned(),
            outcome,
        };
        let failed = || Outcome::Failed {
            error: "no".to_owned(),
        };
        let ran = || Outcome::Queue(run(Store::Sqlite, 1_000, 1e5));
        let mut writer = Writer::create(&path, &header()).expect("written");
        for line in [line("a", ran()), line("b", failed())] {
            writer.write(&line).expect("written");
        }
        writer
            .0
            .write_all(b"{\"line\":\"task\",\"ta")
            .expect("written");

        let results = Results::read(&path).expect("read");
        assert_eq!(results.done().into_iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(results.failures().collect::<Vec<_>>(), [("b", "no")]);

        let mut writer = Writer::append(&path).expect("opened");
        writer.write(&line("b", ran())).expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.done().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(results.failures().count(), 0);
        assert_eq!(results.runs(Store::Sqlite, 1_000).len(), 2);
        assert_eq!(results.header, header());
    }

    #[test]
    fn without_a_header_there_is_nothing_to_report() {
        let error = Results::from_lines([Ok("{}".to_owned())]).expect_err("no header");
        assert_eq!(error.to_string(), "the results have no header");
    }
}
