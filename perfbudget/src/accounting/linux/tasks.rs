//! The process's other threads: how long each had a CPU and waited for one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use super::clocks;
use super::schedstat::Schedstat;

/// With more threads than this, reading each would take longer than what is measured.
const TASKS_MAX: usize = 64;

/// The other threads at one time.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    tasks: Vec<Task>,
    /// Whether all that there were could be read.
    is_complete: bool,
}

#[derive(Debug)]
struct Task {
    tid: u32,
    /// Up to now: nanoseconds.
    cpu: u64,
    run_delay: u64,
}

/// Tells how many threads the process has, in half a microsecond: the links of its directory of
/// tasks, two of which are its own (`proc_task_getattr` in the kernel's `fs/proc/base.c`).
#[derive(Debug)]
pub(super) struct ThreadCount(File);

impl ThreadCount {
    pub(super) fn open() -> Option<Self> {
        let directory = File::open("/proc/self/task").ok()?;
        clocks::is_of_the_kernel(&directory, clocks::PROC).then_some(Self(directory))
    }

    /// Of all threads, the calling one included. Allocates nothing.
    fn read(&self) -> Option<u64> {
        self.0.metadata().ok()?.nlink().checked_sub(2)
    }
}

/// What the other threads did between two times.
#[derive(Debug)]
pub(super) struct TaskChange {
    /// CPU time of those that are known at the end.
    pub(super) cpu: u64,
    /// Run delay of all, where none has come and gone unseen.
    pub(super) run_delay: Option<u64>,
}

impl Tasks {
    /// All threads of the process but the calling one.
    pub(super) fn read() -> Self {
        let Some(tids) = tids() else {
            return Self::default();
        };
        if tids.len() > TASKS_MAX {
            return Self::default();
        }
        let mut is_complete = true;
        let tasks = tids
            .into_iter()
            .filter_map(|tid| {
                let task = Task::read(tid);
                is_complete &= task.is_some();
                task
            })
            .collect();
        Self { tasks, is_complete }
    }

    /// Whether the process has these threads and no others, once those that have come to their end
    /// are gone: the thread that joins one goes on before the kernel has taken it apart. That takes
    /// some ten microseconds.
    pub(super) fn are_all_again(&self, count: &ThreadCount) -> bool {
        const PATIENCE: Duration = Duration::from_micros(200);
        if self.are_all(count) {
            return true;
        }
        let begin = Instant::now();
        while !self.are_all(count) {
            if begin.elapsed() > PATIENCE {
                return false;
            }
            // It may have been on this CPU.
            thread::yield_now();
        }
        true
    }

    /// Whether there are as many now, the calling one included.
    pub(super) fn are_all(&self, count: &ThreadCount) -> bool {
        self.is_complete && count.read() == Some(self.tasks.len() as u64 + 1)
    }

    /// Brings the books of each up to date, also where it runs on another CPU, unless one has ended.
    /// Allocates nothing.
    pub(super) fn bring_up_to_date(&self) -> bool {
        self.tasks
            .iter()
            .all(|task| clocks::cpu_of(task.tid).is_some())
    }

    /// What changed since; those that have ended since are missing in it.
    pub(super) fn change_since(&self, earlier: &Self) -> TaskChange {
        let (mut cpu, mut run_delay) = (0_u64, 0_u64);
        let mut is_complete = self.is_complete && earlier.is_complete;
        for task in &self.tasks {
            let before = earlier.tasks.iter().find(|t| t.tid == task.tid);
            // A thread that began since has had all that it has had.
            let (cpu_before, delay_before) = before.map_or((0, 0), |t| (t.cpu, t.run_delay));
            cpu += task.cpu.saturating_sub(cpu_before);
            run_delay += task.run_delay.saturating_sub(delay_before);
        }
        let has_ended = |task: &Task| !self.tasks.iter().any(|t| t.tid == task.tid);
        is_complete &= !earlier.tasks.iter().any(has_ended);
        TaskChange {
            cpu,
            run_delay: is_complete.then_some(run_delay),
        }
    }

    /// The thread that had most CPU time since, and how much.
    pub(super) fn busiest_since(&self, earlier: &Self) -> Option<(String, u64)> {
        let had = |task: &Task| {
            let before = earlier.tasks.iter().find(|t| t.tid == task.tid);
            task.cpu.saturating_sub(before.map_or(0, |t| t.cpu))
        };
        let busiest = self.tasks.iter().max_by_key(|task| had(task))?;
        Some((name_of(busiest.tid), had(busiest)))
    }
}

/// Gives the main thread time to go to sleep.
///
/// A test harness starts a test on a thread of its own and then waits for its end. On a busy
/// machine the main thread may itself still be waiting for a CPU to do so, and that wait, which the
/// gate has no part in, would be one of our own tasks' in the gate's first round.
pub(super) fn let_the_main_thread_sleep() {
    const PATIENCE: Duration = Duration::from_millis(100);
    const PAUSE: Duration = Duration::from_micros(200);
    let main = std::process::id();
    if clocks::own_tid() == Some(main) {
        return;
    }
    let begin = Instant::now();
    while is_runnable(main) && begin.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
    }
}

/// The name of another thread that goes on running while no operation does: not a worker, which
/// rests then, but a neighbour, like another test of this process.
///
/// Pools look for more work for some microseconds before they rest; and a scope goes on when its
/// threads have returned, which then still have to end, for which they may wait for a CPU.
pub(super) fn neighbour() -> Option<String> {
    const PAUSE: Duration = Duration::from_micros(300);
    const TIME_TO_END: Duration = Duration::from_millis(5);
    let mut runnable: Vec<u32> = tids()?
        .into_iter()
        .filter(|tid| is_runnable(*tid))
        .collect();
    if runnable.is_empty() {
        return None;
    }
    thread::sleep(PAUSE);
    runnable.retain(|tid| is_runnable(*tid));
    let begin = Instant::now();
    while !runnable.is_empty() && begin.elapsed() < TIME_TO_END {
        thread::sleep(PAUSE);
        runnable.retain(|tid| lives(&stat_of(*tid)));
    }
    runnable.first().map(|tid| name_of(*tid))
}

fn name_of(tid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

/// Whether a thread of this process runs or is ready to, and is not about to end.
fn is_runnable(tid: u32) -> bool {
    let stat = stat_of(tid);
    lives(&stat) && after_name(&stat).starts_with("R ")
}

/// Empty when there is no such thread.
fn stat_of(tid: u32) -> String {
    fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default()
}

/// Whether there is such a thread, and it is not about to end: one that has been joined still has
/// to be taken apart by the kernel, for which it may wait for a CPU.
fn lives(stat: &str) -> bool {
    /// `PF_EXITING` of the kernel's `linux/sched.h`.
    const EXITING: u32 = 0x4;
    let flags = after_name(stat).split(' ').nth(6);
    let flags: Option<u32> = flags.and_then(|flags| flags.parse().ok());
    !stat.is_empty() && flags.is_none_or(|flags| flags & EXITING == 0)
}

/// Of `<tid> (<name>) <state> <ppid> <pgrp> <session> <tty> <tpgid> <flags> …` what follows the
/// name, which may have parentheses and spaces.
fn after_name(stat: &str) -> &str {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest)
}

impl Task {
    fn read(tid: u32) -> Option<Self> {
        let schedstat = Schedstat::open(&format!("/proc/self/task/{tid}/schedstat")).ok()?;
        // Its books on another CPU are brought up to date by asking its clock.
        let cpu = clocks::cpu_of(tid)?;
        let run_delay = schedstat.read()?.run_delay;
        Some(Self {
            tid,
            cpu,
            run_delay,
        })
    }
}

fn tids() -> Option<Vec<u32>> {
    let own_tid = clocks::own_tid()?;
    let mut tids = Vec::new();
    for entry in fs::read_dir("/proc/self/task").ok()? {
        let tid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        if tid != own_tid {
            tids.push(tid);
        }
    }
    Some(tids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_is_ending_lives_no_longer() {
        let stat = |state: &str, flags: u32| format!("7 (a) R (b) {state} 1 1 1 0 -1 {flags} 5 6");
        assert!(lives(&stat("R", 0x40_0040)));
        assert!(lives(&stat("S", 0x40_0040)));
        assert!(!lives(&stat("R", 0x40_0044)));
        assert!(!lives(""));
        assert_eq!(after_name(&stat("S", 1)), "S 1 1 1 0 -1 1 5 6");
    }

    /// A scope goes on when its threads have returned; they still have to end.
    #[test]
    fn a_thread_that_has_done_its_work_is_no_neighbour() {
        if !has_the_process() {
            return;
        }
        struct Lingers;
        impl Drop for Lingers {
            fn drop(&mut self) {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(2) {
                    std::hint::spin_loop();
                }
            }
        }
        thread_local!(static LAST: Lingers = const { Lingers });
        thread::scope(|scope| {
            scope.spawn(|| LAST.with(|_| ()));
        });
        assert_eq!(neighbour(), None);
    }

    /// Other tests of the same process start and end threads, too.
    fn has_the_process() -> bool {
        std::env::var_os("NEXTEST_EXECUTION_MODE").is_some_and(|mode| mode == "process-per-test")
    }

    #[test]
    fn threads_that_have_been_joined_are_waited_for_and_others_are_not() {
        if !has_the_process() {
            return;
        }
        let count = ThreadCount::open().expect("a /proc");
        let (release, wait) = mpsc::channel::<()>();
        let before = Tasks::read();
        assert!(before.are_all(&count));
        let lives_on = thread::spawn(move || wait.recv());
        assert!(!before.are_all(&count));
        assert!(!before.are_all_again(&count));
        let with_it = Tasks::read();
        assert!(with_it.are_all(&count));
        // A thread that ends now and then is still there as it is joined.
        for _ in 0..100 {
            thread::scope(|scope| {
                scope.spawn(|| ());
            });
            if with_it.are_all_again(&count) {
                assert!(with_it.are_all(&count));
            }
        }
        assert!(with_it.bring_up_to_date());
        drop(release);
        _ = lives_on.join();
        if before.are_all_again(&count) {
            assert!(!with_it.bring_up_to_date());
        }
    }

    #[test]
    fn a_thread_that_spins_is_runnable_and_one_that_waits_is_not() {
        let (send, receive) = mpsc::channel();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                send.send(clocks::own_tid().expect("a thread"))
                    .expect("it waits");
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let spinning = receive.recv().expect("it sends");
            let (runs, neighbour) = (is_runnable(spinning), neighbour());
            // First, as the scope waits for it.
            stop.store(true, Ordering::Relaxed);
            assert!(runs);
            assert!(neighbour.is_some());
        });
        if clocks::own_tid() != Some(std::process::id()) {
            // libtest's main thread waits for this test.
            let_the_main_thread_sleep();
            assert!(!is_runnable(std::process::id()));
        }
        assert!(!is_runnable(0));
    }
}
