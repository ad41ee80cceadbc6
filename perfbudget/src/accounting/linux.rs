//! Linux: run delay from `/proc`, CPU time from the CPU clocks.
//!
//! # The order of reading
//!
//! A system call ends with a switch to another task where one is due. A reading can therefore be
//! followed by a wait that it does not see and the timer sees (or the other way round). Each
//! reading of run delay stands between two times: what passed between it and the timer is not
//! counted as waited inside.
//!
//! Before an operation: CPU time of reaped children (where the warm-up had any), of the process,
//! of all tasks of the machine (where that takes less than a microsecond, and the warm-up slept or
//! had other threads at work), `schedstat`, start. Where the warm-up had other threads at work, before
//! these: threads that an operation has joined are waited for to be gone, and the clocks of the others
//! are read, so that the process's clock knows what they have had up to now; between the process's and
//! the machine's CPU time, whether anybody else is at work (`/proc/loadavg`).
//! After it: end, `schedstat`, and where there was run delay the CPU times of thread, process and
//! children. The process's clock brings the books of the calling thread up to date, so that the
//! CPU time in `schedstat` is that of the same moment.

mod clocks;
mod machine;
mod process;
mod schedstat;
mod tasks;

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use super::{Evidence, Others, RoundReadings};
use crate::child;
use crate::measure::SAMPLES;
use crate::record::{Delays, Nanoseconds, SampleTimes, nanoseconds};
use machine::{Machine, Reading};
use schedstat::Schedstat;
use tasks::{Tasks, ThreadCount};

pub(crate) use process::{read_both, wait_with_usage};
pub(crate) use schedstat::{Schedstat as TaskBooks, Times as TaskTimes};

/// CPU time that two sums of the same tasks may differ by, since they are not read at once; a
/// thread that comes and goes takes more.
const SLACK_NS: u64 = 50_000;

/// The CPU time that a sample's readings take, with much to spare: they take 4 µs.
const READINGS_CPU_NS: u64 = 20_000;

/// The readings of a gate, on the thread that made it.
#[derive(Debug)]
pub(crate) struct Accounting {
    /// The measuring thread's, or why there is none.
    schedstat: Result<Schedstat, String>,
    machine: Machine,
    served_elsewhere: bool,
    had_children: bool,
    first: Reading,
    first_switches: Option<(u64, u64)>,
    round: Option<RoundStart>,
    /// Why wall is the round's upper bound.
    hi_is_wall: Cell<Option<&'static str>>,
    /// The round's commands that were waited for with their figures.
    commands: Cell<child::Figures>,
    /// Run delay of the round that was given up.
    given_up: Cell<u64>,
    /// A thread that ran while no operation did, once one was seen.
    neighbour: Option<String>,
    /// Before the round's warm-up and each of its samples.
    between: Vec<Between>,
    /// How often the measuring thread had gone to sleep before the round's warm-up.
    sleeps: Option<u64>,
    /// Whether other threads of the process had a CPU in the round's warm-up: what ours leave over
    /// is then read for each sample.
    had_help: bool,
    /// Whether the CPU time of others is read for each sample.
    watches_others: bool,
    /// Tells how many threads there are.
    threads: Option<ThreadCount>,
}

#[derive(Debug)]
struct RoundStart {
    time: Instant,
    tasks: Tasks,
    process: Option<u64>,
    thread: Option<u64>,
    children: Option<u64>,
    had_children: bool,
    machine: Reading,
}

/// The readings before an operation.
pub(crate) struct Before {
    time: Instant,
    children: Option<u64>,
    process: Option<u64>,
    thread: Option<schedstat::Times>,
}

/// What the machine's tasks and ours have had, between two samples.
#[derive(Clone, Copy, Debug, Default)]
struct Between {
    usage: Option<u64>,
    process: Option<u64>,
    children: Option<u64>,
    /// Whether nobody else was at work, so that `usage` shows all that others have had.
    is_quiet: bool,
    /// Just before and just after `process` was read, where that is exact: the books of all threads
    /// were up to date.
    process_read: Option<(Instant, Instant)>,
}

impl Between {
    /// What others had until a later time. Ours are read before the machine's, at either end.
    fn foreign_until(&self, later: &Self) -> Option<u64> {
        let all = difference(self.usage, later.usage)?;
        let ours = difference(self.process, later.process)?
            .checked_add(difference(self.children, later.children)?)?;
        Some(all.saturating_sub(ours))
    }

    /// What the process's threads left over until a later time of so many CPUs, at most: children
    /// count as others.
    fn spare_until(&self, later: &Self, cpus: u64) -> Option<u64> {
        let (begin, _) = self.process_read?;
        let (_, end) = later.process_read?;
        let ours = difference(self.process, later.process)?;
        let time = nanoseconds(end.saturating_duration_since(begin));
        Some(time.saturating_mul(cpus).saturating_sub(ours))
    }
}

const CHILD: &str = "a child process was still running, or was not waited for";
const VANISH: &str = "SIGCHLD is ignored: CPU time of children is lost";
const CLOCKS: &str = "a CPU clock went backwards or could not be read";

impl Accounting {
    pub(crate) fn new(served_elsewhere: bool) -> Self {
        tasks::let_the_main_thread_sleep();
        let machine = Machine::open();
        Self {
            schedstat: own_schedstat(),
            first: machine.read(),
            machine,
            served_elsewhere,
            had_children: clocks::has_children(),
            first_switches: clocks::switches(),
            round: None,
            hi_is_wall: Cell::new(None),
            commands: Cell::default(),
            given_up: Cell::new(0),
            neighbour: None,
            between: Vec::with_capacity(1 + SAMPLES),
            sleeps: None,
            had_help: false,
            watches_others: false,
            threads: ThreadCount::open(),
        }
    }

    pub(crate) fn begin_round(&mut self) {
        self.hi_is_wall.set(None);
        self.commands.take();
        self.given_up.set(0);
        self.between.clear();
        self.sleeps = None;
        self.had_help = false;
        self.watches_others = false;
        self.look_for_a_neighbour();
        if self.served_elsewhere {
            self.hi_is_wall
                .set(Some("others do its work (served_elsewhere)"));
        } else if clocks::children_vanish() {
            self.hi_is_wall.set(Some(VANISH));
        }
        // Ours begin after the machine's, and end before: others never seem to have had less.
        let time = Instant::now();
        let tasks = Tasks::read();
        _ = clocks::process_cpu();
        let machine = self.machine.read();
        self.round = Some(RoundStart {
            time,
            tasks,
            machine,
            had_children: clocks::has_children(),
            children: clocks::children_cpu(),
            process: clocks::process_cpu(),
            thread: clocks::thread_cpu(),
        });
    }

    /// Threads that run while no operation does are strangers to it: what they have of a CPU may
    /// delay the operation, and is not its own doing.
    fn look_for_a_neighbour(&mut self) {
        if self.neighbour.is_none() {
            self.neighbour = tasks::neighbour();
        }
    }

    pub(crate) fn before(&mut self) -> Before {
        let Ok(schedstat) = &self.schedstat else {
            return Before {
                time: Instant::now(),
                children: None,
                process: None,
                thread: None,
            };
        };
        child::reset();
        match self.between.len() {
            0 => self.sleeps = sleeps(),
            1 => {
                self.had_help = self.warm_up_had_help();
                self.watches_others = self.had_help || self.warm_up_slept();
            }
            _ => {}
        }
        let up_to_date = self
            .had_help
            .then(|| self.bring_threads_up_to_date())
            .flatten();
        let time = Instant::now();
        let mut now = Between {
            children: self.children_cpu(),
            process: clocks::process_cpu(),
            ..Between::default()
        };
        now.process_read = up_to_date.map(|begin| (begin, Instant::now()));
        now.is_quiet = self.had_help && self.machine.is_quiet();
        now.usage = self.watches_others.then(|| self.machine.usage()).flatten();
        if self.between.len() < self.between.capacity() {
            self.between.push(now);
        }
        Before {
            time,
            children: now.children,
            process: now.process,
            thread: schedstat.read(),
        }
    }

    /// Whether others may have delayed the warm-up out of the measuring thread's sight, as it slept.
    /// What delays a thread that does all by itself is its own run delay, and the CPU time of others
    /// is not needed.
    fn warm_up_slept(&self) -> bool {
        self.sleeps.is_none() || sleeps() != self.sleeps
    }

    /// Whether other threads of the process had a CPU in the warm-up, and may have been delayed.
    fn warm_up_had_help(&self) -> bool {
        let Some(round) = &self.round else {
            return true;
        };
        let of_thread = difference(round.thread, clocks::thread_cpu());
        let of_process = difference(round.process, clocks::process_cpu());
        of_process
            .zip(of_thread)
            .is_none_or(|(all, own)| all.saturating_sub(own) > SLACK_NS)
    }

    /// Waits until the threads that an operation started and that have not quite ended have done so,
    /// and brings the books of the others up to date: the time before that, where these are all.
    fn bring_threads_up_to_date(&self) -> Option<Instant> {
        let tasks = &self.round.as_ref()?.tasks;
        let threads = self.threads.as_ref()?;
        tasks.are_all_again(threads).then_some(())?;
        let begin = Instant::now();
        (tasks.bring_up_to_date() && tasks.are_all(threads)).then_some(begin)
    }

    /// CPU time of reaped children: read again where the warm-up had any. Elsewhere it is what it
    /// was before the first sample, and the end of the round tells whether that was right; a child
    /// that comes later counts as own in each sample that waited from then on.
    fn children_cpu(&self) -> Option<u64> {
        match self.between[..] {
            [warm_up, first, ..] if warm_up.children == first.children => first.children,
            _ => clocks::children_cpu(),
        }
    }

    pub(crate) fn after(&mut self, before: &Before, start: Instant, end: Instant) -> SampleTimes {
        let wall_ns = nanoseconds(end.saturating_duration_since(start));
        let by_wall = SampleTimes {
            wall_ns,
            ..SampleTimes::default()
        };
        let Ok(schedstat) = &self.schedstat else {
            return by_wall;
        };
        let after = schedstat.read();
        let read = Instant::now();
        let commands = child::take();
        let mut all = self.commands.get();
        all.n += commands.n;
        all.cpu_ns += commands.cpu_ns;
        all.overlap_ns += commands.overlap_ns;
        all.hides_tasks |= commands.hides_tasks;
        self.commands.set(all);
        let (Some(thread), Some(after)) = (before.thread, after) else {
            return by_wall;
        };
        let outside = nanoseconds(start.saturating_duration_since(before.time))
            + nanoseconds(read.saturating_duration_since(end));
        let run_delay = match run_delay(thread, after, outside) {
            None => return self.by_wall_for(CLOCKS, by_wall),
            Some((own, given_up)) => {
                self.given_up.set(self.given_up.get() + given_up);
                own + commands.run_delay_ns
            }
        };
        if run_delay == 0 {
            return SampleTimes {
                run_delay_ns: Some(0),
                ..by_wall
            };
        }
        let cpu = CpuTimes {
            // First: what passes until the next adds to others', not to its own.
            thread: difference(Some(thread.cpu), clocks::thread_cpu()),
            process: difference(before.process, clocks::process_cpu()),
            children: difference(before.children, clocks::children_cpu()),
        };
        let outside = outside + nanoseconds(read.elapsed());
        if clocks::has_children() {
            self.hi_is_wall.set(Some(CHILD));
        }
        match cpu.of_others_and_own(&commands, outside) {
            None => self.by_wall_for(CLOCKS, by_wall),
            Some((others, own)) => SampleTimes {
                run_delay_ns: Some(run_delay),
                own_cpu_ns: Some(others),
                cpu_ns: Some(own),
                ..by_wall
            },
        }
    }

    fn by_wall_for(&self, why: &'static str, sample: SampleTimes) -> SampleTimes {
        self.hi_is_wall.set(Some(why));
        sample
    }

    /// What the round's readings come to. With `probe`, the time that an operation takes, also
    /// looks whether other threads go on when the last one is over.
    pub(crate) fn end_round(&mut self, probe: Option<Duration>) -> RoundReadings {
        let up_to_date = self
            .had_help
            .then(|| self.bring_threads_up_to_date())
            .flatten();
        let Some(first) = self.round.take() else {
            return RoundReadings::default();
        };
        let tasks = Tasks::read();
        let process = clocks::process_cpu();
        let process_read = up_to_date.map(|begin| (begin, Instant::now()));
        let thread = clocks::thread_cpu();
        let children = clocks::children_cpu();
        let machine = self.machine.read_at_the_end();
        let elapsed = nanoseconds(first.time.elapsed());
        let has_children = clocks::has_children();
        let children_vanish = clocks::children_vanish();
        let had_neighbour = self.neighbour.is_some();
        self.look_for_a_neighbour();

        let change = tasks.change_since(&first.tasks);
        let of_process = difference(first.process, process);
        let of_children = difference(first.children, children);
        let of_thread = difference(first.thread, thread);
        let of_threads = of_process
            .zip(of_thread)
            .map(|(all, own)| all.saturating_sub(own));
        if of_threads.is_none() || of_children.is_none() {
            self.hi_is_wall.set(Some(CLOCKS));
        }
        let of_threads = of_threads.unwrap_or(0);
        let of_children = of_children.unwrap_or(0);
        if has_children {
            self.hi_is_wall.set(Some(CHILD));
        }
        if children_vanish {
            self.hi_is_wall.set(Some(VANISH));
        }
        let throttled = machine.throttled.saturating_sub(first.machine.throttled);
        if throttled > 0 && of_threads + of_children > SLACK_NS {
            self.hi_is_wall
                .set(Some("a quota stopped its cgroup while its other tasks ran"));
        }

        let commands = self.commands.get();
        // A thread that came and went, a child without figures, a server: nobody can tell how long
        // they waited.
        let is_all_known = !self.served_elsewhere
            && of_threads <= change.cpu + SLACK_NS
            && of_children <= commands.cpu_ns + commands.n * child::ROUNDING_NS
            && !commands.hides_tasks
            && !has_children
            && !children_vanish;
        // Beside a neighbour our other threads may be strangers, too. A child from before the round
        // may bring CPU time of before it.
        let of_operations = if self.neighbour.is_some() {
            of_thread
        } else {
            of_process
        };
        let own = of_operations
            .filter(|_| of_children == 0 || !first.had_children)
            .map(|ours| ours + of_children);
        let capacity = self.machine.cpus.map(|cpus| elapsed.saturating_mul(cpus));
        let foreign = own.zip(capacity).and_then(|(own, capacity)| {
            self.machine
                .foreign(&first.machine, &machine, capacity, own)
        });
        let delays = Delays {
            other_tasks_delay_ns: change
                .run_delay
                .filter(|_| is_all_known)
                .map(|others| others + commands.overlap_ns + self.given_up.get()),
            foreign_cpu_ns: foreign.as_ref().map(|foreign| foreign.ns),
            foreign_lag_ns: clocks::tick(),
            foreign_lag_cpus: self
                .machine
                .cpus
                .and_then(|cpus| usize::try_from(cpus - 1).ok())
                .unwrap_or(usize::MAX),
            foreign_missing_ns: foreign.as_ref().map_or(0, |foreign| foreign.missing),
            foreign_source: foreign.map(|foreign| foreign.source.to_owned()),
            spare_cpu_ns: own
                .zip(capacity)
                .map(|(own, capacity)| capacity.saturating_sub(own)),
            machine_delay_ns: difference(first.machine.run_delay, machine.run_delay),
            throttled_ns: throttled,
            steal_ns: self
                .machine
                .steal_at_most(&self.first, &first.machine, &machine),
            own_cpu_slack_ns: of_threads.min(clocks::tick()),
            own_cpu_ns: of_threads + of_children,
            hi_is_wall: self.hi_is_wall.get().map(str::to_owned),
        };
        let others = self.others_by_sample(Between {
            children,
            process,
            usage: machine.root_usage,
            process_read,
            ..Between::default()
        });
        let out_of_sight = probe
            .filter(|_| of_threads > SLACK_NS && !had_neighbour)
            .and_then(|each| goes_on(&tasks, each))
            .or_else(|| (has_children && !self.had_children).then(|| CHILD.to_owned()));
        RoundReadings {
            neighbour: self.neighbour.clone(),
            others,
            why_wall: self
                .schedstat
                .as_ref()
                .err()
                .cloned()
                .or_else(|| delays.hi_is_wall.clone()),
            delays,
            out_of_sight,
        }
    }

    /// What others had of the CPUs in the warm-up and in each sample, and what ours left over.
    fn others_by_sample(&mut self, last: Between) -> Vec<Others> {
        // Which sample a late child was in is not known; beside a neighbour ours are not.
        let may_be_stale = matches!(self.between[..], [warm_up, first, ..]
            if warm_up.children == first.children && first.children != last.children);
        if self.neighbour.is_some() {
            return Vec::new();
        }
        self.between.push(last);
        let cpus = self.machine.cpus;
        let pairs = self.between.windows(2).map(|two| (&two[0], &two[1]));
        let others = pairs.map(|(begin, end)| Others {
            foreign_ns: begin.foreign_until(end).filter(|_| !may_be_stale),
            spare_ns: cpus.and_then(|cpus| begin.spare_until(end, cpus)),
            begins_quiet: begin.is_quiet,
        });
        others.collect()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let last = self.machine.read();
        let switches = self.first_switches.zip(clocks::switches());
        Evidence {
            quota_cpus: self.machine.quota_cpus(),
            throttled_ns: self
                .machine
                .quota_cpus()
                .map(|_| last.throttled.saturating_sub(self.first.throttled)),
            steal_ns: self.machine.steal(&self.first, &last),
            voluntary_switches: switches.map(|(first, last)| last.0.saturating_sub(first.0)),
            involuntary_switches: switches.map(|(first, last)| last.1.saturating_sub(first.1)),
        }
    }
}

/// Run delay between two readings: what was inside the timer, and what is not known to have been
/// on one side or the other.
///
/// The readings never sleep: what passes outside the timer beyond the CPU time that they take is
/// run delay itself, and known to be outside.
fn run_delay(
    before: schedstat::Times,
    after: schedstat::Times,
    outside: u64,
) -> Option<(u64, u64)> {
    let waited = after.run_delay.checked_sub(before.run_delay)?;
    let unknown = waited.min(outside).min(READINGS_CPU_NS);
    Some((waited.saturating_sub(outside), unknown))
}

/// CPU time between the first and the last reading of a sample.
struct CpuTimes {
    thread: Option<u64>,
    process: Option<u64>,
    children: Option<u64>,
}

impl CpuTimes {
    /// Of our tasks that are not accounted for otherwise, at most; and of the measuring thread (or
    /// the command that it waited for) inside the timer, at least.
    fn of_others_and_own(&self, commands: &child::Figures, outside: u64) -> Option<(u64, u64)> {
        let thread = self.thread?;
        // A command whose own waiting is counted did not delay itself.
        let others =
            (self.process? + self.children?).saturating_sub(thread + commands.main_task_cpu_ns);
        let own = thread
            .saturating_sub(outside)
            .max(commands.main_task_cpu_ns);
        Some((others, own))
    }
}

fn difference(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    last?.checked_sub(first?)
}

/// How often the measuring thread went to sleep.
fn sleeps() -> Option<u64> {
    clocks::switches().map(|(voluntary, _)| voluntary)
}

/// The measuring thread's books.
fn own_schedstat() -> Result<Schedstat, String> {
    // Brings them up to date: a thread that gets here has had a CPU.
    _ = clocks::process_cpu();
    usable_schedstat("/proc/thread-self/schedstat")
}

/// The books of a thread that has had a CPU. Kernels that keep none show zeros.
fn usable_schedstat(path: &str) -> Result<Schedstat, String> {
    let schedstat = Schedstat::open(path).map_err(|error| format!("no {path}: {error}"))?;
    match schedstat.read() {
        Some(times) if times.cpu > 0 => Ok(schedstat),
        Some(_) => Err(format!("{path} is all zeros: the kernel keeps no books")),
        None => Err(format!("{path} can't be read")),
    }
}

/// Whether other threads have a CPU when the operations are over: which, and how much of it.
///
/// Pools look for more work for some microseconds before they sleep; that is not meant.
fn goes_on(before: &Tasks, each: Duration) -> Option<String> {
    const LEAST: Duration = Duration::from_micros(100);
    let window = each.clamp(4 * LEAST, Duration::from_millis(1));
    let begin = Instant::now();
    thread::sleep(window);
    let after = Tasks::read();
    let elapsed = begin.elapsed();
    let (name, cpu) = after.busiest_since(before)?;
    (cpu > nanoseconds(LEAST.max(window / 4))).then(|| {
        format!(
            "its thread {name:?} had a CPU for {} of the {} after the last operation was over",
            Nanoseconds(cpu),
            Nanoseconds(nanoseconds(elapsed))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedstat::Times;

    const MS: u64 = 1_000_000;

    fn times(run_delay: u64) -> Times {
        Times { cpu: 0, run_delay }
    }

    #[test]
    fn waiting_that_may_have_been_outside_the_timer_is_given_up() {
        let run_delay = |outside| run_delay(times(5 * MS), times(9 * MS), outside);
        assert_eq!(run_delay(0), Some((4 * MS, 0)));
        assert_eq!(run_delay(7_000), Some((4 * MS - 7_000, 7_000)));
        // A wait between a reading and the timer was outside for all but the readings' own time.
        assert_eq!(run_delay(3 * MS), Some((MS, READINGS_CPU_NS)));
        assert_eq!(run_delay(7 * MS), Some((0, READINGS_CPU_NS)));
    }

    #[test]
    fn books_that_go_backwards_tell_nothing() {
        assert_eq!(run_delay(times(5 * MS), times(4 * MS), 0), None);
        assert_eq!(difference(Some(5), Some(4)), None);
        assert_eq!(difference(None, Some(4)), None);
        assert_eq!(difference(Some(4), Some(6)), Some(2));
        let cpu = CpuTimes {
            thread: None,
            process: Some(1),
            children: Some(1),
        };
        assert_eq!(cpu.of_others_and_own(&child::Figures::default(), 0), None);
    }

    #[test]
    fn others_are_the_process_and_its_children_without_whose_waiting_is_counted() {
        let cpu = CpuTimes {
            thread: Some(5 * MS),
            process: Some(7 * MS),
            children: Some(10 * MS),
        };
        let none = child::Figures::default();
        assert_eq!(cpu.of_others_and_own(&none, MS), Some((12 * MS, 4 * MS)));
        let command = child::Figures {
            main_task_cpu_ns: 9 * MS,
            ..none
        };
        assert_eq!(cpu.of_others_and_own(&command, MS), Some((3 * MS, 9 * MS)));
    }

    /// A container that hides it, and no `/proc` at all.
    #[test]
    fn without_books_wall_is_both_bounds_and_the_reason_is_said() {
        let mut accounting = Accounting {
            schedstat: Err("no /proc/thread-self/schedstat: hidden".into()),
            ..Accounting::new(false)
        };
        accounting.begin_round();
        let before = accounting.before();
        let start = Instant::now();
        let end = start + Duration::from_millis(2);
        let sample = accounting.after(&before, start, end);
        assert_eq!((sample.wall_ns, sample.run_delay_ns), (2 * MS, None));
        // The wall clock, too, may go backwards.
        let sample = accounting.after(&before, end, start);
        assert_eq!(sample.wall_ns, 0);
        let readings = accounting.end_round(None);
        let why = readings.why_wall.unwrap_or_default();
        assert!(why.ends_with("schedstat: hidden"), "{why}");
    }

    /// Whether or not a sample waited for a CPU.
    #[test]
    fn a_child_that_is_left_at_the_end_takes_the_excuse_away() {
        let mut accounting = Accounting::new(false);
        accounting.begin_round();
        let mut command = std::process::Command::new("cat");
        // It reads until its input is closed, which waiting for it does.
        let mut child = command.stdin(std::process::Stdio::piped()).spawn();
        let readings = accounting.end_round(None);
        let child = child.as_mut().expect("it starts");
        child.wait().expect("it ends");
        assert!(readings.delays.hi_is_wall.is_some());
    }

    #[test]
    fn waiting_that_a_sample_gives_up_is_kept_for_the_round() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a name");
        let books = |run_delay: u64| std::fs::write(path, format!("1 {run_delay} 1\n"));
        books(0).expect("written");
        let mut accounting = Accounting {
            schedstat: usable_schedstat(path),
            ..Accounting::new(false)
        };
        accounting.begin_round();
        for n in 1..=2 {
            let before = accounting.before();
            books(n * 3 * MS).expect("written");
            // A millisecond between the reading and the start, none between the end and the next.
            let start = before.time + Duration::from_millis(1);
            let end = start + Duration::from_secs(3600);
            let sample = accounting.after(&before, start, end);
            assert_eq!(sample.run_delay_ns, Some(2 * MS));
            assert_eq!(accounting.given_up.get(), n * READINGS_CPU_NS);
        }
    }

    /// A round that read this: its samples' foreign time and what was left over of two CPUs.
    fn by_sample(between: &[Between], last: Between) -> Vec<(Option<u64>, Option<u64>)> {
        let mut accounting = Accounting::new(false);
        accounting.neighbour = None;
        accounting.machine.cpus = Some(2);
        accounting.between = between.to_vec();
        let others = accounting.others_by_sample(last);
        others.iter().map(|o| (o.foreign_ns, o.spare_ns)).collect()
    }

    /// The CPU time of a child that comes after the warm-up can't be told from others' by sample.
    #[test]
    fn a_child_that_comes_late_leaves_the_samples_foreign_time_unknown() {
        let between = |children| Between {
            usage: Some(20 * MS),
            process: Some(0),
            children: Some(children),
            ..Between::default()
        };
        let round = |seen: &[u64], last| {
            let seen: Vec<_> = seen.iter().map(|&children| between(children)).collect();
            let others = by_sample(&seen, between(last));
            others.iter().map(|(foreign, _)| *foreign).collect()
        };
        let known = |round: Vec<Option<u64>>| round.iter().filter(|n| n.is_some()).count();
        assert_eq!(round(&[7, 7, 7], 7), [Some(0); 3]);
        assert_eq!(known(round(&[7, 8, 9], 10)), 3);
        assert_eq!(known(round(&[7, 7, 7], 8)), 0);
        assert_eq!(known(round(&[7, 7], 8)), 0);
    }

    #[test]
    fn what_is_left_over_of_the_cpus_is_rounded_up() {
        let begin = Instant::now();
        // The readings take a millisecond each.
        let between = |at: u64, process: u64, is_exact: bool| {
            let from = begin + Duration::from_nanos(at * MS);
            Between {
                process: Some(process * MS),
                process_read: is_exact.then(|| (from, from + Duration::from_millis(1))),
                ..Between::default()
            }
        };
        let all = [
            between(0, 0, true),
            between(10, 15, true),
            between(20, 30, false),
            between(30, 45, true),
        ];
        let spare = |others: Vec<(Option<u64>, Option<u64>)>| -> Vec<_> {
            others.iter().map(|(_, spare)| *spare).collect()
        };
        // 2 × 11 - 15; two of an end that is not exact; 2 × 11 less more than all.
        assert_eq!(
            spare(by_sample(&all, between(40, 100, true))),
            [Some(7 * MS), None, None, Some(0)]
        );
        let quiet = Between {
            is_quiet: true,
            ..Between::default()
        };
        let mut accounting = Accounting::new(false);
        accounting.neighbour = None;
        accounting.between = vec![quiet, Between::default(), quiet];
        let others = accounting.others_by_sample(quiet);
        let begins: Vec<bool> = others.iter().map(|others| others.begins_quiet).collect();
        assert_eq!(begins, [true, false, true]);
        // A clock that went backwards.
        assert_eq!(
            spare(by_sample(&all[..1], between(40, 0, true))),
            [Some(82 * MS)]
        );
        let backwards = Between {
            process: None,
            ..between(40, 0, true)
        };
        assert_eq!(spare(by_sample(&all[..1], backwards)), [None]);
    }

    #[test]
    fn what_is_left_over_is_read_where_the_warm_up_had_help_and_its_threads_are_gone() {
        let round = |op: &mut dyn FnMut()| {
            let mut accounting = Accounting::new(false);
            accounting.begin_round();
            accounting.neighbour = None;
            for _ in 0..3 {
                _ = accounting.before();
                op();
            }
            let exact: Vec<bool> = accounting
                .between
                .iter()
                .map(|between| between.process_read.is_some())
                .collect();
            (exact, accounting)
        };
        let are_quiet = |between: &[Between]| between.iter().any(|b| b.is_quiet);
        let (exact, accounting) = round(&mut || burn(MS));
        // An interrupt may look like help.
        if !accounting.had_help {
            assert_eq!(exact, [false; 3]);
            assert!(!are_quiet(&accounting.between), "it was not read");
        }
        // Not where a thread that ends has to wait for a CPU, or other tests start some.
        let mut spare = None;
        for _ in 0..20 {
            let (exact, accounting) = round(&mut || {
                thread::scope(|scope| {
                    scope.spawn(|| burn(2 * MS));
                });
            });
            assert!(accounting.had_help);
            if exact == [false, true, true] {
                let between = &accounting.between;
                let (begin, _) = between[1].process_read.expect("it is");
                let (_, end) = between[2].process_read.expect("it is");
                let left = between[1].spare_until(&between[2], 2).expect("it is");
                spare = Some((left, nanoseconds(end - begin)));
            }
        }
        match spare {
            Some((spare, time)) => assert!(spare <= 2 * time - 2 * MS, "{spare} of {time}"),
            None => assert!(!tids_alone(), "never exact"),
        }
    }

    #[test]
    fn children_are_read_where_the_warm_up_had_any() {
        let mut accounting = Accounting::new(false);
        let between = |children| Between {
            children: Some(children),
            ..Between::default()
        };
        let never = u64::MAX;
        accounting.between = vec![between(never)];
        assert_ne!(accounting.children_cpu(), Some(never));
        accounting.between = vec![between(never); 2];
        assert_eq!(accounting.children_cpu(), Some(never));
        accounting.between = vec![between(7), between(never)];
        assert_ne!(accounting.children_cpu(), Some(never));
    }

    /// After a warm-up that did this.
    fn watches_others(warm_up: impl FnOnce()) -> bool {
        let mut accounting = Accounting::new(false);
        accounting.begin_round();
        _ = accounting.before();
        warm_up();
        _ = accounting.before();
        accounting.between[1].usage.is_some()
    }

    #[test]
    fn the_cpu_time_of_others_is_read_where_the_warm_up_slept_or_had_help() {
        if Machine::open().usage().is_none() {
            // No kernel's books that can be read so often: nothing to see.
            assert!(!watches_others(|| thread::sleep(Duration::from_millis(1))));
            return;
        }
        assert!(watches_others(|| thread::sleep(Duration::from_millis(1))));
        // With other tests' threads at work it is read, too. An interrupt may look like help.
        let alone = tids_alone();
        let always = (0..8).all(|_| watches_others(|| burn(MS)));
        if alone && tids_alone() {
            assert!(!always);
        }
        let at_work = std::sync::atomic::AtomicBool::new(true);
        let helped = thread::scope(|scope| {
            scope.spawn(|| {
                while at_work.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            // The helper has had a CPU before this ends, without a sleep.
            let helped = watches_others(|| {
                let own = clocks::thread_cpu().expect("a clock");
                let all = clocks::process_cpu().expect("a clock");
                // What this thread has between the two readings is no help.
                let others = || {
                    let all = clocks::process_cpu().expect("a clock") - all;
                    let own = clocks::thread_cpu().expect("a clock") - own;
                    all.saturating_sub(own)
                };
                while others() < 2 * SLACK_NS {}
            });
            at_work.store(false, std::sync::atomic::Ordering::Relaxed);
            helped
        });
        assert!(helped);
    }

    /// Whether this test is the only one that the process runs now: libtest's main thread waits.
    fn tids_alone() -> bool {
        std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() <= 2)
    }

    #[test]
    fn books_that_are_missing_empty_or_not_kept_are_told_apart() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a name");
        let outcome = |text: &str| {
            std::fs::write(path, text).expect("written");
            usable_schedstat(path).map(|_| ())
        };
        assert_eq!(outcome("5 0 1\n"), Ok(()));
        assert!(outcome("0 0 0\n").is_err_and(|why| why.contains("all zeros")));
        assert!(outcome("").is_err_and(|why| why.contains("can't be read")));
        let missing = usable_schedstat("/nonexistent").map(|_| ());
        assert!(missing.is_err_and(|why| why.starts_with("no /nonexistent: ")));
        // A directory opens, and can't be read.
        assert!(usable_schedstat("/").map(|_| ()).is_err());
    }

    /// CPU time of this thread, by the same clock that the kernel's books go by.
    fn burn(cpu_ns: u64) {
        let end = clocks::thread_cpu().expect("a clock") + cpu_ns;
        while clocks::thread_cpu().expect("a clock") < end {}
    }

    #[test]
    fn other_threads_of_the_process_are_known_while_they_live() {
        let (to_worker, work) = std::sync::mpsc::channel();
        let (done, finished) = std::sync::mpsc::channel();
        let worker = thread::spawn(move || {
            for cpu_ns in work {
                burn(cpu_ns);
                done.send(()).expect("the test waits");
            }
        });
        to_worker.send(MS).expect("the worker waits");
        finished.recv().expect("the worker works");
        let before = Tasks::read();
        let of_process = clocks::process_cpu();
        to_worker.send(20 * MS).expect("the worker waits");
        finished.recv().expect("the worker works");
        let change = Tasks::read().change_since(&before);
        let of_process = difference(of_process, clocks::process_cpu()).expect("a clock");
        // Other tests' threads are in it, too.
        assert!(change.cpu >= 20 * MS, "{change:?}");
        assert!(of_process >= 20 * MS, "{of_process}");
        drop(to_worker);
        worker.join().expect("the worker ends");
        // The kernel takes it apart after it has been joined.
        let begin = Instant::now();
        let is_known = || Tasks::read().change_since(&before).run_delay.is_some();
        while is_known() && begin.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        assert!(!is_known(), "a thread has ended: its waiting is not known");
    }
}
