//! The grid and its schedule.
//!
//! Which cells there are and in what order they run follows from the options alone, so that a run
//! that broke off can be taken up again: its complete tasks are known by their names. A task is a
//! process that runs gates of one cell, or one estimate of another tool. The tasks of a load are
//! shuffled, and the loads take turns in several passes, so that a machine which changes while the
//! study runs changes for all of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use perfbudget::Record;
use shared::statistics;
use shared::terminal::{end_unless_on_a_terminal, start_of_line};

use crate::loads::Load;
use crate::ops::{self, Op};
use crate::results::{Again, Cell, GateRun, Header, Line, Observed, Results, Variant, Writer};
use crate::tools::{self, Tool};

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// About how long it may take.
    pub minutes: f64,
    /// A part of the grid, to try it.
    pub quick: bool,
    /// Goes on with what is there.
    pub resume: bool,
    /// With `resume`: what tasks whose names contain this have left is measured again.
    pub again: Option<String>,
    /// The compiler's version, for the report.
    pub rustc: String,
    /// Where results go.
    pub directory: PathBuf,
}

/// Gate runs in one process at most: memory is laid out anew in each.
const RUNS_A_PROCESS: u32 = 100;

/// Samples and the warm-up of a round.
const RUNS_A_ROUND: f64 = 12.0;

/// The cells whose figures are goals, and how many gate runs each is to have.
#[must_use]
pub fn headlines() -> Vec<(Cell, u32)> {
    let cell_of = |op, ms, variant, load| Cell {
        op,
        ms,
        variant,
        load,
    };
    let cell = |op, variant, load| cell_of(op, 1, variant, load);
    vec![
        (cell(Op::Cpu, Variant::Unchanged, Load::Idle), 3000),
        (cell(Op::Cpu, Variant::Unchanged, Load::Busy4), 3000),
        (cell(Op::Cpu, Variant::Slow, Load::Busy4), 3000),
        (cell(Op::Cpu, Variant::Slow, Load::Idle), 1000),
        (cell(Op::Sleep, Variant::Slow, Load::Idle), 1000),
        (cell(Op::Lock, Variant::Slow, Load::Idle), 1000),
        (cell(Op::Threads, Variant::Slow, Load::Idle), 1000),
        (cell_of(Op::Threads, 5, Variant::Slow, Load::Idle), 1000),
        (cell(Op::Sleep, Variant::Slow, Load::Busy4), 1000),
    ]
}

/// Cells of 20 ms are dear: what is slow idle, what is unchanged beside the heaviest load too.
fn has_20_ms(variant: Variant, load: Load) -> bool {
    match variant {
        Variant::Unchanged => matches!(load, Load::Idle | Load::Busy4),
        Variant::Tight => false,
        Variant::Slow => load == Load::Idle,
    }
}

/// The other cells. A child process can't take 1 ms.
fn grid(quick: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for op in Op::ALL {
        for ms in [1, 5, 20] {
            for load in Load::ALL {
                for variant in Variant::ALL {
                    let left_out = !op.can_take(ms)
                        || (ms == 20 && (quick || !has_20_ms(variant, load)))
                        || (quick && matches!(op, Op::Alloc | Op::Worker | Op::Spawn | Op::Child));
                    let cell = Cell {
                        op,
                        ms,
                        variant,
                        load,
                    };
                    if !left_out && !headlines().iter().any(|(headline, _)| *headline == cell) {
                        cells.push(cell);
                    }
                }
            }
        }
    }
    cells
}

/// The operations and loads that the other tools estimate, all of 5 ms, and how often.
fn estimated(quick: bool) -> Vec<(Op, Load, u32)> {
    let (every_load, few) = if quick { (2, 0) } else { (20, 10) };
    let mut estimates: Vec<_> = Load::ALL
        .into_iter()
        .map(|load| (Op::Cpu, load, every_load))
        .collect();
    for op in [Op::Sleep, Op::Threads] {
        for load in [Load::Idle, Load::Busy4] {
            estimates.push((op, load, few));
        }
    }
    estimates
}

/// What one task does.
#[derive(Clone, Debug, PartialEq)]
enum Work {
    /// Gates of one cell, in one process.
    Gates {
        cell: Cell,
        runs: u32,
        time: Duration,
    },
    /// One estimate of another tool.
    Estimate { tool: Tool, op: Op, load: Load },
}

/// The length of what the other tools estimate.
const ESTIMATED_MS: u32 = 5;

#[derive(Clone, Debug, PartialEq)]
struct Task {
    name: String,
    pass: u32,
    load: Load,
    work: Work,
    /// About what it takes, in seconds.
    cost: f64,
}

/// About what one gate run of a cell takes, in seconds. The schedule and the progress line need
/// it; no result depends on it.
fn gate_cost(cell: Cell) -> f64 {
    let rounds = match cell.variant {
        Variant::Unchanged => 1.0,
        Variant::Tight => 2.0,
        Variant::Slow => 3.0,
    };
    let slow_down = match cell.op {
        Op::Sleep => 1.2,
        // Nine threads of its own have the larger share.
        Op::Threads => 1.0 + 0.2 * (cell.load.slow_down() - 1.0),
        _ => cell.load.slow_down(),
    };
    rounds * RUNS_A_ROUND * f64::from(cell.nominal_us()) / 1e6 * slow_down
}

fn estimate_cost(tool: Tool, load: Load) -> f64 {
    match tool {
        Tool::Criterion => 0.6 * load.slow_down(),
        Tool::Divan => 0.1 * load.slow_down(),
    }
}

/// Everything that is to be done, in order.
fn plan(options: &Options) -> Vec<Task> {
    let total = options.minutes * 60.0;
    let passes = if options.quick { 1 } else { 3 };

    let fixed: f64 = headlines()
        .iter()
        .map(|(cell, runs)| gate_cost(*cell) * f64::from(*runs))
        .sum();
    // The rest is for the grid and the other tools.
    let share = if options.quick { 0.4 } else { 0.72 };
    let scale = (share * total / fixed).min(1.0);
    let estimates = estimated(options.quick);
    let estimating: f64 = estimates
        .iter()
        .flat_map(|(_, load, times)| {
            Tool::ALL.map(|tool| estimate_cost(tool, *load) * f64::from(*times))
        })
        .sum();
    let left = (total - fixed * scale - estimating).max(0.1 * total);

    let mut tasks = Vec::new();
    let mut add = |pass, load, name: String, work, cost| {
        tasks.push(Task {
            name: format!("{pass}/{load}/{name}"),
            pass,
            load,
            work,
            cost,
        });
    };
    for (cell, runs) in headlines() {
        let runs = ((f64::from(runs) * scale).round() as u32).max(1);
        for (number, (pass, runs)) in chunks(runs, passes).into_iter().enumerate() {
            add(
                pass,
                cell.load,
                format!("{cell}/{number}"),
                Work::Gates {
                    cell,
                    runs,
                    time: Duration::MAX,
                },
                gate_cost(cell) * f64::from(runs),
            );
        }
    }
    for (op, load, times) in estimates {
        for number in 0..times {
            for tool in Tool::ALL {
                add(
                    number % passes,
                    load,
                    format!("{}/{op}/{number}", tool.name()),
                    Work::Estimate { tool, op, load },
                    estimate_cost(tool, load),
                );
            }
        }
    }
    let cells = grid(options.quick);
    let costs: Vec<f64> = cells.iter().map(|cell| gate_cost(*cell)).collect();
    for (cell, seconds) in cells.iter().zip(shares(&costs, left / f64::from(passes))) {
        for pass in 0..passes {
            let runs = (seconds / gate_cost(*cell)).clamp(1.0, f64::from(RUNS_A_PROCESS));
            add(
                pass,
                cell.load,
                cell.to_string(),
                Work::Gates {
                    cell: *cell,
                    runs: RUNS_A_PROCESS,
                    time: Duration::from_secs_f64(seconds),
                },
                gate_cost(*cell) * runs,
            );
        }
    }
    in_order(tasks)
}

/// `runs` in chunks of one process each, spread over the passes.
fn chunks(runs: u32, passes: u32) -> Vec<(u32, u32)> {
    let processes = runs.div_ceil(RUNS_A_PROCESS);
    (0..processes)
        .map(|number| {
            let rest = runs - number * RUNS_A_PROCESS;
            (number % passes, rest.min(RUNS_A_PROCESS))
        })
        .collect()
}

/// Divides `total` seconds among cells of which a run costs that much, by the root of the cost:
/// dear cells get more time, and cheap ones more runs.
fn shares(costs: &[f64], total: f64) -> Vec<f64> {
    let roots: f64 = costs.iter().map(|cost| cost.sqrt()).sum();
    costs
        .iter()
        .map(|cost| total * cost.sqrt() / roots)
        .collect()
}

/// Pass by pass, load by load, and shuffled within: always in the same way.
fn in_order(mut tasks: Vec<Task>) -> Vec<Task> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut keyed: Vec<_> = tasks
        .drain(..)
        .map(|task| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (task.pass, task.load, state, task)
        })
        .collect();
    keyed.sort_by_key(|(pass, load, place, _)| (*pass, *load, *place));
    keyed.into_iter().map(|(_, _, _, task)| task).collect()
}

/// The file of results in the study's directory.
#[must_use]
pub fn results_file(directory: &Path) -> PathBuf {
    directory.join("results.jsonl")
}

/// Runs the study, or the rest of it.
///
/// # Errors
/// When a process fails, or a file can't be written.
pub fn run(options: &Options) -> io::Result<()> {
    fs::create_dir_all(&options.directory)?;
    let path = results_file(&options.directory);
    let (header, done, mut writer) = if options.resume && path.exists() {
        let mut writer = Writer::append(&path)?;
        if let Some(of) = &options.again {
            let now = machine_now(options)?;
            writer.write(&[Line::Again(Again {
                of: of.clone(),
                date: day_of(&now),
                load_1m: now.host.load_1m,
            })])?;
        }
        let results = Results::read(&path)?;
        (results.header, results.done, writer)
    } else {
        let header = observe_machine(options)?;
        let writer = Writer::create(&path, &header)?;
        (header, Default::default(), writer)
    };
    // What a resumed run does is what the run was begun for.
    let options = Options {
        minutes: header.minutes,
        quick: header.quick,
        ..options.clone()
    };
    let tasks: Vec<Task> = plan(&options)
        .into_iter()
        .filter(|task| !done.contains(&task.name))
        .collect();

    let mut progress = Progress::new(tasks.iter().map(|task| task.cost).sum());
    for turn in tasks.chunk_by(|one, next| (one.pass, one.load) == (next.pass, next.load)) {
        let load = turn[0].load;
        let _running = load.start(header.cores, &options.directory)?;
        for task in turn {
            progress.show(task);
            writer.write(&lines(task, &header, &options.directory)?)?;
            progress.done += task.cost;
        }
    }
    progress.end();
    Ok(())
}

/// Does a task; its lines.
fn lines(task: &Task, header: &Header, directory: &Path) -> io::Result<Vec<Line>> {
    let name = || task.name.clone();
    let observed = |op, nominal_us| {
        header
            .observed(op, nominal_us)
            .ok_or_else(|| io::Error::other(format!("{} was not observed", task.name)))
    };
    let mut lines = vec![Line::Begin { task: name() }];
    match task.work {
        Work::Gates { cell, runs, time } => {
            let observed = observed(cell.op, cell.nominal_us())?;
            let limit_ns = cell.variant.limit_ns(cell.op, observed.idle_ns);
            let job = Job {
                cell,
                amount: observed.amount,
                limit_ns,
                runs,
                time,
            };
            lines.extend(job.run(directory)?.into_iter().map(|run| Line::Gate {
                cell,
                limit_ns,
                run,
            }));
        }
        Work::Estimate { tool, op, load } => {
            let nominal_us = ESTIMATED_MS * 1000;
            let amount = observed(op, nominal_us)?.amount;
            let directory = directory.join("criterion");
            let start = Instant::now();
            let estimate_ns = tools::estimate(tool, op, amount, &directory)?;
            lines.push(Line::Estimate {
                tool,
                op,
                nominal_us,
                load,
                estimate_ns,
                spent: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            });
        }
    }
    lines.push(Line::Done { task: name() });
    Ok(lines)
}

/// What a process that runs gates is told, as one JSON argument.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Job {
    cell: Cell,
    amount: u64,
    limit_ns: u64,
    runs: u32,
    time: Duration,
}

impl Job {
    /// In a process of its own.
    fn run(&self, directory: &Path) -> io::Result<Vec<GateRun>> {
        let job = serde_json::to_string(self)?;
        Ok(serde_json::from_str(&output(&["gates", &job], directory)?)?)
    }

    /// In this process: everything is printed at the end, so that nobody wakes up in between.
    #[must_use]
    pub fn run_here(&self) -> Vec<GateRun> {
        tools::gates(self.cell, self.amount, self.limit_ns, self.runs, self.time)
    }
}

/// What this program prints when started with these arguments.
fn output(arguments: &[&str], directory: &Path) -> io::Result<String> {
    let log = directory.join("process.log");
    let output = tools::command(&ops::program())
        .args(arguments)
        .stderr(File::create(&log)?)
        .output()?;
    if !output.status.success() {
        let said = fs::read_to_string(&log)?;
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        return Err(io::Error::other(format!(
            "{} {} ended with {}: {}",
            "noise-study",
            arguments.join(" "),
            output.status,
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        )));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// Processes that observe what an operation takes idle, two rounds each.
#[must_use]
pub const fn observing_processes(quick: bool) -> u32 {
    if quick { 3 } else { 7 }
}

/// The machine, and what it is doing.
fn machine_now(options: &Options) -> io::Result<Record> {
    let record: Record = serde_json::from_str(&output(&["machine"], &options.directory)?)?;
    if let Some(load) = record.host.load_1m.filter(|load| *load > 0.5) {
        eprintln!("the machine is not idle: {load} tasks ran in the last minute");
    }
    Ok(record)
}

fn day_of(record: &Record) -> String {
    record.at.get(..10).unwrap_or_default().to_owned()
}

/// Calibrates and observes every operation of the plan on the machine as it is.
fn observe_machine(options: &Options) -> io::Result<Header> {
    let record = machine_now(options)?;
    let mut wanted: Vec<(Op, u32)> = plan(options)
        .iter()
        .map(|task| match &task.work {
            Work::Gates { cell, .. } => (cell.op, cell.nominal_us()),
            Work::Estimate { op, .. } => (*op, ESTIMATED_MS * 1000),
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let call = |arguments: [&str; 3]| output(&arguments, &options.directory);
    let mut found: Vec<(Op, u32, u64, Vec<f64>)> = Vec::new();
    for (op, nominal_us) in wanted {
        eprint!("{}calibrating: {op}, {nominal_us} µs", start_of_line());
        end_unless_on_a_terminal();
        let amount = number(&call(["calibrate", op.name(), &nominal_us.to_string()])?)?;
        found.push((op, nominal_us, amount, Vec::new()));
    }
    // All in turn, and again: what disturbs for a while disturbs a few figures of each.
    let processes = observing_processes(options.quick);
    for process in 0..processes {
        eprint!(
            "{}observing: {} of {processes}",
            start_of_line(),
            process + 1
        );
        end_unless_on_a_terminal();
        for (op, _, amount, times) in &mut found {
            for line in call(["observe", op.name(), &amount.to_string()])?.lines() {
                times.push(number::<u64>(line)? as f64);
            }
        }
    }
    let observed = found
        .into_iter()
        .map(|(op, nominal_us, amount, times)| Observed {
            op,
            nominal_us,
            amount,
            idle_ns: statistics::median(&times).round() as u64,
        })
        .collect();
    let date = day_of(&record);
    let host = record.host;
    Ok(Header {
        date,
        cpu: host.cpu.unwrap_or(host.arch),
        cores: host.cores,
        system: format!("{} {}", host.os, host.kernel.unwrap_or_default()),
        rustc: options.rustc.clone(),
        load_1m: host.load_1m,
        bounds: record.bounds,
        minutes: options.minutes,
        quick: options.quick,
        observed,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    let not_one = || io::Error::other(format!("{text:?} is not a number"));
    text.trim().parse().map_err(|_| not_one())
}

/// The amount of work with which an operation takes so long: the line through two measurements,
/// followed until it is within 2 %. Part of the time, such as starting a process, depends on no
/// amount.
#[must_use]
pub fn calibrate(op: Op, nominal: Duration) -> u64 {
    let target = nominal.as_nanos() as f64;
    // What disturbs makes it longer: the shortest of three rounds.
    let measure = |amount: f64| {
        let rounds = [(); 3].map(|()| measured(op, amount as u64));
        rounds.into_iter().min().unwrap_or_default().as_nanos() as f64
    };
    let mut before = (op.first_guess(nominal) as f64, 0.0);
    before.1 = measure(before.0);
    let mut amount = (before.0 * target / before.1).max(1.0);
    for _ in 0..6 {
        let time = measure(amount);
        if (time / target - 1.0).abs() < 0.02 {
            break;
        }
        let next = step(before, (amount, time), target);
        before = (amount, time);
        amount = next;
    }
    amount as u64
}

/// The amount at which the line through two measurements reaches the target; by proportion, where
/// they are too near to each other to give a line.
fn step(before: (f64, f64), now: (f64, f64), target: f64) -> f64 {
    let slope = (now.1 - before.1) / (now.0 - before.0);
    let amount = if slope.is_finite() && slope > 0.0 && (now.0 / before.0 - 1.0).abs() > 0.05 {
        now.0 + (target - now.1) / slope
    } else {
        now.0 * target / now.1
    };
    amount.clamp(now.0 / 10.0, now.0 * 10.0).max(1.0)
}

/// A round of the operation, by the measurement of its class.
fn measured(op: Op, amount: u64) -> Duration {
    let mut prepared = op.prepare(amount);
    match op.class() {
        perfbudget::Class::Cold => perfbudget::trimmed_mean(|| prepared.run()),
        perfbudget::Class::Warm => perfbudget::trimmed_mean_warm(|| prepared.run()),
    }
    .mean()
}

/// Trimmed means of two rounds, in nanoseconds.
#[must_use]
pub fn observe(op: Op, amount: u64) -> [u128; 2] {
    [(); 2].map(|()| measured(op, amount).as_nanos())
}

/// A record of this machine.
#[must_use]
pub fn machine() -> Record {
    perfbudget::Gate::new(
        "study/machine",
        perfbudget::Budget::warm(Duration::from_secs(1)),
    )
    .check(|| ops::compute(1000))
}

/// The line on the terminal, or a line a turn where there is none.
struct Progress {
    begun: Instant,
    total: f64,
    done: f64,
    shown: BTreeSet<(u32, Load)>,
}

impl Progress {
    fn new(total: f64) -> Self {
        Self {
            begun: Instant::now(),
            total,
            done: 0.0,
            shown: BTreeSet::new(),
        }
    }

    fn show(&mut self, task: &Task) {
        let new = self.shown.insert((task.pass, task.load));
        if !new && !io::stderr().is_terminal() {
            return;
        }
        let elapsed = self.begun.elapsed().as_secs_f64();
        // What the estimates were wrong by so far is what they will be wrong by.
        let pace = if self.done > 0.05 * self.total {
            elapsed / self.done
        } else {
            1.0
        };
        let left = (self.total - self.done) * pace / 60.0;
        eprint!(
            "{}{:3.0} %  about {left:.0} min left  {}",
            start_of_line(),
            100.0 * self.done / self.total,
            task.name
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

/// Whether commands can be started at all, before the machine is observed.
///
/// # Errors
/// When the programs that the study starts are not beside it.
pub fn check_programs() -> io::Result<()> {
    for name in ["noise-study", "by-criterion", "by-divan"] {
        let path = ops::program().with_file_name(name);
        if !path.exists() {
            return Err(io::Error::other(format!(
                "{name} is not built: start the study with scripts/noise-study"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(minutes: f64, quick: bool) -> Options {
        Options {
            minutes,
            quick,
            resume: false,
            again: None,
            rustc: String::new(),
            directory: PathBuf::new(),
        }
    }

    fn gate_runs(tasks: &[Task], wanted: Cell) -> u32 {
        let of = |task: &Task| match task.work {
            Work::Gates { cell, runs, .. } if cell == wanted => runs,
            _ => 0,
        };
        tasks.iter().map(of).sum()
    }

    #[test]
    fn headline_cells_have_their_runs_where_there_is_time() {
        let tasks = plan(&options(45.0, false));
        for (cell, runs) in headlines() {
            assert_eq!(gate_runs(&tasks, cell), runs, "{cell} {}", cell.load);
        }
        let few = plan(&options(2.0, true));
        for (cell, runs) in headlines() {
            assert!((1..runs).contains(&gate_runs(&few, cell)), "{cell}");
        }
    }

    #[test]
    fn a_plan_takes_about_the_time_that_it_has() {
        for minutes in [30.0, 45.0, 90.0] {
            let seconds: f64 = plan(&options(minutes, false)).iter().map(|t| t.cost).sum();
            let share = seconds / 60.0 / minutes;
            assert!((0.7..1.2).contains(&share), "{minutes} min: {share}");
        }
    }

    #[test]
    fn a_plan_is_the_same_each_time_and_names_no_task_twice() {
        let tasks = plan(&options(45.0, false));
        assert_eq!(tasks, plan(&options(45.0, false)));
        let names: BTreeSet<_> = tasks.iter().map(|task| &task.name).collect();
        assert_eq!(names.len(), tasks.len());
    }

    #[test]
    fn a_load_is_started_once_a_pass() {
        let tasks = plan(&options(45.0, false));
        let turns = tasks
            .chunk_by(|a, b| (a.pass, a.load) == (b.pass, b.load))
            .count();
        assert_eq!(turns, 3 * Load::ALL.len());
    }

    #[test]
    fn chunks_are_processes_of_a_hundred_at_most() {
        assert_eq!(chunks(250, 2), [(0, 100), (1, 100), (0, 50)]);
        assert_eq!(chunks(7, 3), [(0, 7)]);
    }

    #[test]
    fn dear_cells_get_more_time_and_cheap_ones_more_runs() {
        let [cheap, dear] = shares(&[1.0, 4.0], 9.0)[..] else {
            panic!("two");
        };
        assert!((cheap - 3.0).abs() < 1e-12 && (dear - 6.0).abs() < 1e-12);
        assert!(cheap / 1.0 > dear / 4.0);
    }

    #[test]
    fn calibrating_follows_the_line_through_two_measurements() {
        // 3 ms that depend on no amount, and 1 ns a unit.
        let time = |amount: f64| 3e6 + amount;
        let (a, b) = (1e6, 5e6);
        let amount = step((a, time(a)), (b, time(b)), 5e6);
        assert!((time(amount) - 5e6).abs() < 1.0, "{amount}");
    }
}
