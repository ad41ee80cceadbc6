//! The process's other threads: how long each had a CPU and waited for one.

use std::fs;
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
/// Pools look for more work for some microseconds before they rest.
pub(super) fn neighbour() -> Option<String> {
    const PAUSE: Duration = Duration::from_micros(300);
    let mut runnable: Vec<u32> = tids()?
        .into_iter()
        .filter(|tid| is_runnable(*tid))
        .collect();
    if runnable.is_empty() {
        return None;
    }
    thread::sleep(PAUSE);
    runnable.retain(|tid| is_runnable(*tid));
    runnable.first().map(|tid| name_of(*tid))
}

fn name_of(tid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

/// Whether a thread of this process runs or is ready to, and is not about to end: a thread that
/// has been joined still has to be taken apart by the kernel, for which it may wait for a CPU.
fn is_runnable(tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
    is_runnable_by(&stat)
}

/// By `<tid> (<name>) <state> <ppid> <pgrp> <session> <tty> <tpgid> <flags> …`; the name may have
/// parentheses and spaces.
fn is_runnable_by(stat: &str) -> bool {
    /// `PF_EXITING` of the kernel's `linux/sched.h`.
    const EXITING: u32 = 0x4;
    let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
    let mut fields = rest.split(' ');
    let state = fields.next().unwrap_or_default();
    let flags: Option<u32> = fields.nth(5).and_then(|flags| flags.parse().ok());
    state == "R" && flags.is_none_or(|flags| flags & EXITING == 0)
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
    fn a_thread_that_is_ending_is_no_longer_runnable() {
        let stat = |state: &str, flags: u32| format!("7 (a) R (b) {state} 1 1 1 0 -1 {flags} 5 6");
        assert!(is_runnable_by(&stat("R", 0x40_0040)));
        assert!(!is_runnable_by(&stat("R", 0x40_0044)));
        assert!(!is_runnable_by(&stat("S", 0x40_0040)));
        assert!(!is_runnable_by(""));
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
