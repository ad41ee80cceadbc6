//! What a run of the study leaves behind: a file of lines, each a JSON object, from which the
//! report is made and at which a run that broke off is taken up again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use perfbudget::Verdict;
use serde::{Deserialize, Serialize};

use crate::loads::Load;
use crate::ops::Op;
use crate::tools::Tool;

/// How the code stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Unchanged code under the limit that its class gives it at multiplier 1.0.
    Unchanged,
    /// Unchanged code under a limit of 1.2 × what it takes idle.
    Tight,
    /// Code that takes 1.5 × its limit idle.
    Slow,
}

impl Variant {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Unchanged, Self::Tight, Self::Slow];

    /// Its name in gates and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Tight => "tight",
            Self::Slow => "slow",
        }
    }

    /// The limit for code that takes `idle_ns` idle.
    #[must_use]
    pub fn limit_ns(self, op: Op, idle_ns: u64) -> u64 {
        match self {
            Self::Unchanged => idle_ns * u64::from(op.class().factor()),
            Self::Tight => idle_ns * 12 / 10,
            Self::Slow => idle_ns * 10 / 15,
        }
    }
}

/// One cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The operation.
    pub op: Op,
    /// About how long it takes idle: 1, 5 or 20.
    pub ms: u32,
    /// How it stands to its limit.
    pub variant: Variant,
    /// What runs beside it.
    pub load: Load,
}

impl Cell {
    /// How long the operation is to take idle, in µs. No limit is below 1 ms, so code that is
    /// 1.5 × over its limit takes at least that.
    #[must_use]
    pub const fn nominal_us(self) -> u32 {
        match (self.ms, self.variant) {
            (1, Variant::Slow) => 1600,
            (1, _) => 1050,
            (ms, _) => ms * 1000,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.op, self.ms, self.variant.name())
    }
}

/// The machine, and what was observed on it before anything else ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The day, UTC.
    pub date: String,
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that the study may use.
    pub cores: usize,
    /// The operating system and its release.
    pub system: String,
    /// The compiler.
    pub rustc: String,
    /// What was running when the study began.
    pub load_1m: Option<f64>,
    /// Why perfbudget's bounds are no better than wall, where they are not.
    pub bounds: Option<String>,
    /// The time that was asked for.
    pub minutes: f64,
    /// Whether only a part of the grid was asked for.
    pub quick: bool,
    /// The operations, calibrated.
    pub observed: Vec<Observed>,
}

impl Header {
    /// What was observed of an operation of that nominal length.
    #[must_use]
    pub fn observed(&self, op: Op, nominal_us: u32) -> Option<&Observed> {
        self.observed
            .iter()
            .find(|observed| observed.op == op && observed.nominal_us == nominal_us)
    }
}

/// An operation, calibrated and observed idle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The operation.
    pub op: Op,
    /// How long it was to take.
    pub nominal_us: u32,
    /// The amount of work that does.
    pub amount: u64,
    /// How long it took: the median over processes and rounds of the trimmed mean.
    pub idle_ns: u64,
}

/// Figures of one round, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Trimmed mean of wall.
    pub wall: u64,
    /// Trimmed mean of the lower bound.
    pub lo: u64,
    /// Trimmed mean of the upper bound.
    pub hi: u64,
}

/// Without what an undecided gate would have been proved guilty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excuse {
    /// The time that a hypervisor took.
    Steal,
    /// The CPU time of others (and that time).
    Others,
    /// It would not have been.
    Unknown,
}

/// One run of a gate, and one bare timing before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRun {
    /// What the gate decided.
    pub verdict: Verdict,
    /// Why it is undecided, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excuse: Option<Excuse>,
    /// Its rounds.
    pub rounds: Vec<Round>,
    /// One timed run of the operation, as `assert!(elapsed < limit)` sees it, in nanoseconds.
    pub bare: u64,
    /// What the gate took in all, in nanoseconds.
    pub spent: u64,
    /// The gate's whole record, where the verdict is not what it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<serde_json::Value>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// The first.
    Header(Header),
    /// Lines of a task follow; those of an earlier try at it, which broke off, don't count.
    Begin {
        /// Its name.
        task: String,
    },
    /// A gate ran.
    Gate {
        /// Where.
        #[serde(flatten)]
        cell: Cell,
        /// Its limit.
        limit_ns: u64,
        /// What came of it.
        #[serde(flatten)]
        run: GateRun,
    },
    /// Another tool estimated.
    Estimate {
        /// Which.
        tool: Tool,
        /// What.
        op: Op,
        /// The operation's nominal length.
        nominal_us: u32,
        /// Beside what.
        load: Load,
        /// Its estimate.
        estimate_ns: f64,
        /// What it took in all, in nanoseconds.
        spent: u64,
    },
    /// The task is complete.
    Done {
        /// Its name.
        task: String,
    },
    /// What tasks left so far is to be measured again.
    Again(Again),
}

/// Cells that were measured again: the machine was not quiet when they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// A part of the tasks' names.
    pub of: String,
    /// The day, UTC.
    pub date: String,
    /// What was running then.
    pub load_1m: Option<f64>,
}

/// A gate's run, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Gated {
    /// Where.
    pub cell: Cell,
    /// Its limit.
    pub limit_ns: u64,
    /// What came of it.
    pub run: GateRun,
}

/// Another tool's estimate, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimated {
    /// Which tool.
    pub tool: Tool,
    /// The operation.
    pub op: Op,
    /// Its nominal length.
    pub nominal_us: u32,
    /// What ran beside it.
    pub load: Load,
    /// The estimate.
    pub estimate_ns: f64,
    /// What it took in all.
    pub spent: u64,
}

/// Everything that complete tasks left.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// The machine.
    pub header: Header,
    /// The gates.
    pub gates: Vec<Gated>,
    /// The other tools.
    pub estimates: Vec<Estimated>,
    /// The names of the complete tasks.
    pub done: BTreeSet<String>,
    /// What was measured again.
    pub again: Vec<Again>,
}

/// What a task left.
#[derive(Default)]
struct Left {
    gates: Vec<Gated>,
    estimates: Vec<Estimated>,
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
        let mut again = Vec::new();
        let mut done: BTreeMap<String, Left> = BTreeMap::new();
        // In the order in which they were done.
        let mut order = Vec::new();
        let mut new = Left::default();
        for line in lines {
            match serde_json::from_str(&line?) {
                Err(_) => {}
                Ok(Line::Header(found)) => header = Some(found),
                Ok(Line::Begin { .. }) => new = Left::default(),
                Ok(Line::Gate {
                    cell,
                    limit_ns,
                    run,
                }) => new.gates.push(Gated {
                    cell,
                    limit_ns,
                    run,
                }),
                Ok(Line::Estimate {
                    tool,
                    op,
                    nominal_us,
                    load,
                    estimate_ns,
                    spent,
                }) => new.estimates.push(Estimated {
                    tool,
                    op,
                    nominal_us,
                    load,
                    estimate_ns,
                    spent,
                }),
                Ok(Line::Done { task }) => {
                    if let Entry::Vacant(place) = done.entry(task.clone()) {
                        place.insert(std::mem::take(&mut new));
                        order.push(task);
                    }
                }
                Ok(Line::Again(found)) => {
                    done.retain(|task, _| !task.contains(&found.of));
                    order.retain(|task| !task.contains(&found.of));
                    again.push(found);
                }
            }
        }
        let (mut gates, mut estimates) = (Vec::new(), Vec::new());
        for task in &order {
            if let Some(left) = done.get_mut(task) {
                gates.append(&mut left.gates);
                estimates.append(&mut left.estimates);
            }
        }
        let header = header.ok_or_else(|| io::Error::other("the results have no header"))?;
        Ok(Self {
            header,
            gates,
            estimates,
            done: done.into_keys().collect(),
            again,
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
        writer.write(&[Line::Header(header.clone())])?;
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

    /// Writes the lines of a task at once.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.0.write_all(&text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            date: "2026-11-21".into(),
            cpu: "a CPU".into(),
            cores: 2,
            system: "Linux".into(),
            rustc: "rustc".into(),
            load_1m: None,
            bounds: None,
            minutes: 2.0,
            quick: true,
            observed: Vec::new(),
        }
    }

    pub(crate) const CELL: Cell = Cell {
        op: Op::Cpu,
        ms: 5,
        variant: Variant::Slow,
        load: Load::Busy4,
    };

    pub(crate) fn gated(cell: Cell, verdict: Verdict, wall: u64, hi: u64) -> Gated {
        Gated {
            cell,
            limit_ns: 100,
            run: GateRun {
                verdict,
                excuse: None,
                rounds: vec![Round { wall, lo: hi, hi }],
                bare: wall,
                spent: 12 * wall,
                record: None,
            },
        }
    }

    fn line(gated: &Gated) -> Line {
        Line::Gate {
            cell: gated.cell,
            limit_ns: gated.limit_ns,
            run: gated.run.clone(),
        }
    }

    #[test]
    fn a_run_that_broke_off_keeps_its_complete_tasks_and_is_taken_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results.jsonl");
        let [first, lost, again] = [1, 2, 3].map(|wall| gated(CELL, Verdict::Over, wall, wall));
        let task = |name: &str| {
            (
                Line::Begin { task: name.into() },
                Line::Done { task: name.into() },
            )
        };
        let (begin_a, done_a) = task("a");
        let (begin_b, done_b) = task("b");
        let mut writer = Writer::create(&path, &header()).expect("written");
        writer
            .write(&[begin_a, line(&first), done_a])
            .expect("written");
        writer
            .write(&[begin_b.clone(), line(&lost)])
            .expect("written");
        writer
            .0
            .write_all(b"{\"line\":\"gate\",\"op\"")
            .expect("written");

        let results = Results::read(&path).expect("read");
        assert_eq!(results.gates, std::slice::from_ref(&first));
        assert_eq!(results.done.iter().collect::<Vec<_>>(), ["a"]);

        let mut writer = Writer::append(&path).expect("opened");
        writer
            .write(&[begin_b, line(&again), done_b])
            .expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.gates, [first, again]);
        assert_eq!(results.header, header());
    }

    #[test]
    fn what_is_measured_again_takes_the_place_of_what_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results.jsonl");
        let [one, other, better] = [1, 2, 3].map(|wall| gated(CELL, Verdict::Over, wall, wall));
        let lines_of = |name: &str, gated: &Gated| {
            let task = || name.to_owned();
            [
                Line::Begin { task: task() },
                line(gated),
                Line::Done { task: task() },
            ]
        };
        let again = Again {
            of: "idle/lock".into(),
            date: "2026-11-22".into(),
            load_1m: Some(0.1),
        };
        let mut writer = Writer::create(&path, &header()).expect("written");
        for lines in [
            lines_of("0/idle/lock-1", &one),
            lines_of("0/busy4/lock-1", &other),
        ] {
            writer.write(&lines).expect("written");
        }
        writer
            .write(&[Line::Again(again.clone())])
            .expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.gates, std::slice::from_ref(&other));
        assert_eq!(results.done.iter().collect::<Vec<_>>(), ["0/busy4/lock-1"]);

        let lines = lines_of("0/idle/lock-1", &better);
        writer.write(&lines).expect("written");
        let results = Results::read(&path).expect("read");
        assert_eq!(results.gates, [other, better]);
        assert_eq!(results.again, [again]);
    }

    #[test]
    fn limits_are_multiples_of_what_was_observed() {
        assert_eq!(Variant::Unchanged.limit_ns(Op::Cpu, 1000), 3000);
        assert_eq!(Variant::Unchanged.limit_ns(Op::Child, 1000), 5000);
        assert_eq!(Variant::Tight.limit_ns(Op::Cpu, 1000), 1200);
        assert_eq!(Variant::Slow.limit_ns(Op::Cpu, 1500), 1000);
    }

    #[test]
    fn no_limit_is_near_the_floor() {
        for ms in [1, 5, 20] {
            for variant in Variant::ALL {
                let cell = Cell {
                    ms,
                    variant,
                    ..CELL
                };
                let limit = variant.limit_ns(cell.op, u64::from(cell.nominal_us()) * 1000);
                assert!(limit > 1_050_000, "{cell}: {limit}");
            }
        }
    }
}
