//! Runs the plan, or what is left of it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::machine;
use shared::terminal::{end_unless_on_a_terminal, start_of_line};

use crate::cells::{self, Cell, Task, Way};
use crate::loads::Load;
use crate::results::{Header, Results, Said, Writer};
use crate::sides::Places;
use crate::ways;

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A few comparisons of each kind, to try it.
    pub quick: bool,
    /// Goes on with what is there.
    pub resume: bool,
    /// Only makes and builds what is compared, which needs no quiet machine.
    pub prepare: bool,
    /// For the report.
    pub rustc: String,
    /// For the report: UTC.
    pub date: String,
    /// Where the results go.
    pub results: PathBuf,
}

/// How much slower candidates are.
const SLOWER: [u64; 3] = [0, 2, 5];

/// Runs the study, or the rest of it.
///
/// # Errors
/// When a comparison fails, which ends the study, or a file can't be written.
pub fn run(options: &Options, places: &Places, template: &Path) -> io::Result<()> {
    places.prepare(template, &SLOWER)?;
    let all = cells::plan(options.quick);
    if options.prepare {
        return build_all(&all, places);
    }
    if let Some(parent) = options.results.parent() {
        fs::create_dir_all(parent)?;
    }
    let now = header(options);
    let (quick, done, mut writer) = if options.resume && options.results.exists() {
        let results = Results::read(&options.results)?;
        let writer = Writer::resume(&options.results, &now)?;
        (results.header.quick, results.compared, writer)
    } else {
        let writer = Writer::create(&options.results, &now)?;
        (options.quick, Vec::new(), writer)
    };
    let tasks = cells::plan(quick);
    let is_of_this_plan = done.len() <= tasks.len()
        && tasks
            .iter()
            .zip(&done)
            .all(|(task, compared)| (task.cell, task.build) == (compared.cell, compared.build));
    if !is_of_this_plan {
        let results = options.results.display();
        let why = format!("{results} is of another plan: begin anew without --resume");
        return Err(io::Error::other(why));
    }
    let tasks = &tasks[done.len()..];
    if tasks.iter().any(|task| task.cell.way == Way::Gate) {
        build_all(tasks, places)?;
    }

    let mut progress = Progress::new(tasks);
    for turn in tasks.chunk_by(|one, next| one.cell.load == next.cell.load) {
        let _running = turn[0].cell.load.start()?;
        for task in turn {
            progress.show(task);
            let compared = ways::compare(*task, places).map_err(|error| {
                io::Error::other(format!(
                    "{} of {:?} failed: {error}",
                    task.cell.way.title(),
                    task.cell
                ))
            })?;
            writer.compared(&compared)?;
            progress.add(task, Duration::from_secs_f64(compared.seconds));
        }
    }
    progress.end();
    Ok(())
}

/// Every side once, so that no measured comparison builds anything.
fn build_all(tasks: &[Task], places: &Places) -> io::Result<()> {
    let mut builds: Vec<(u64, u32)> = tasks
        .iter()
        .filter(|task| task.cell.way == Way::Gate)
        .map(|task| (task.cell.slower_percent, task.build))
        .collect();
    builds.sort_unstable();
    builds.dedup();
    for (place, (slower_percent, build)) in builds.iter().enumerate() {
        eprint!(
            "{}building: {} of {}",
            start_of_line(),
            place + 1,
            builds.len()
        );
        end_unless_on_a_terminal();
        let task = tasks.iter().find(|task| {
            (task.cell.slower_percent, task.build) == (*slower_percent, *build)
                && task.cell.way == Way::Gate
        });
        if let Some(task) = task {
            let compared = ways::compare(*task, places)?;
            if compared.said == Said::Failed {
                return Err(io::Error::other(compared.word));
            }
        }
    }
    Ok(())
}

/// What this machine is, and what it is doing.
fn header(options: &Options) -> Header {
    let load_1m = machine::load_1m();
    if let Some(load) = load_1m.filter(|load| *load > 0.5) {
        eprintln!("the machine is not idle: {load} tasks ran in the last minute");
    }
    Header {
        date: options.date.clone(),
        cpu: machine::cpu(),
        cores: machine::cores(),
        system: machine::system(),
        rustc: options.rustc.clone(),
        load_1m,
        quick: options.quick,
    }
}

/// The line on the terminal, or one in a hundred where there is none.
struct Progress {
    begun: Instant,
    done: usize,
    left: HashMap<Cell, u32>,
    spent: HashMap<Cell, (Duration, u32)>,
}

impl Progress {
    fn new(tasks: &[Task]) -> Self {
        let mut left = HashMap::new();
        for task in tasks {
            *left.entry(task.cell).or_insert(0) += 1;
        }
        Self {
            begun: Instant::now(),
            done: 0,
            left,
            spent: HashMap::new(),
        }
    }

    fn add(&mut self, task: &Task, took: Duration) {
        self.done += 1;
        if let Some(left) = self.left.get_mut(&task.cell) {
            *left = left.saturating_sub(1);
        }
        let (spent, times) = self.spent.entry(task.cell).or_default();
        *spent += took;
        *times += 1;
    }

    /// By what each kind took so far, or a guess.
    fn left(&self) -> Duration {
        let each = |cell: &Cell| match self.spent.get(cell) {
            Some((spent, times)) => *spent / *times,
            None => guess(*cell),
        };
        self.left
            .iter()
            .map(|(cell, left)| each(cell) * *left)
            .sum()
    }

    fn show(&self, task: &Task) {
        if !io::stderr().is_terminal() && !self.done.is_multiple_of(100) {
            return;
        }
        let all: u32 = self.left.values().sum();
        eprint!(
            "{}{} of {}, about {:.0} min left: {}, {} % slower, {}",
            start_of_line(),
            self.done + 1,
            self.done + all as usize,
            self.left().as_secs_f64() / 60.0,
            task.cell.way.title(),
            task.cell.slower_percent,
            task.cell.load.title(),
        );
        end_unless_on_a_terminal();
    }

    fn end(&self) {
        eprintln!(
            "{}measured in {:.1} min",
            start_of_line(),
            self.begun.elapsed().as_secs_f64() / 60.0
        );
    }
}

/// Seconds that a comparison takes, for the time left at the beginning only.
fn guess(cell: Cell) -> Duration {
    let quiet = match cell.way {
        Way::Gate | Way::Tango => 1.2,
        Way::Commands => 3.0,
        Way::Criterion => 5.0,
        Way::Perfgate => 1.0,
    };
    let factor = if cell.load == Load::TwoBusy { 2.0 } else { 1.0 };
    Duration::from_secs_f64(quiet * factor)
}
