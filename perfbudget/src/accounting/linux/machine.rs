//! The machine's books: CPU time that all tasks had, that a hypervisor kept, that a quota denied.
//!
//! | what | from | precision |
//! |---|---|---|
//! | CPU time of all tasks | the root `cpuacct` cgroup (version 1) | exact where a CPU is idle; a tick behind where one is busy |
//! | the same | `/proc/stat`: what is not idle | its steps (10 ms) for idle and for waiting on disks |
//! | run delay of all tasks | `/proc/schedstat` (kernels with `CONFIG_SCHEDSTATS`) | exact |
//! | steal | `/proc/stat` | its steps |
//! | throttled time | `cpu.stat` of our cgroup and those above it, where they have a quota | exact |

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::clocks;

/// Open files of the machine's books.
#[derive(Debug)]
pub(super) struct Machine {
    stat: Option<File>,
    loadavg: Option<File>,
    schedstat: Option<File>,
    root_cpuacct: Option<File>,
    quotas: Vec<Quota>,
    /// CPUs that are online, of the machine and not of what a container shows.
    pub(super) cpus: Option<u64>,
    /// Nanoseconds of a step of `/proc/stat`.
    step: u64,
}

/// A cgroup's quota: so many CPUs, and where it says how long it kept its tasks from running.
#[derive(Debug)]
struct Quota {
    cpus: f64,
    stat: File,
}

/// The books at one time; nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) root_usage: Option<u64>,
    stat: Option<Stat>,
    /// Tasks that run or are ready to, of the whole machine.
    runnable: Option<u64>,
    pub(super) run_delay: Option<u64>,
    pub(super) throttled: u64,
}

/// The first line of `/proc/stat`, in its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    busy: u64,
    idle: u64,
    steal: u64,
}

/// What others had between two readings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) ns: u64,
    pub(super) source: &'static str,
    /// Of that, what the books may not show yet.
    pub(super) missing: u64,
}

impl Machine {
    pub(super) fn open() -> Self {
        let proc_file = |path: &str| {
            File::open(path)
                .ok()
                .filter(|file| clocks::is_of_the_kernel(file, clocks::PROC))
        };
        let stat = proc_file("/proc/stat");
        Self {
            cpus: stat.as_ref().and_then(|file| cpus(&text_of(file)?)),
            stat,
            loadavg: proc_file("/proc/loadavg"),
            schedstat: proc_file("/proc/schedstat").filter(|file| {
                // The meaning of its columns is that of these versions.
                text_of(file).is_some_and(|text| machine_run_delay(&text).is_some())
            }),
            root_cpuacct: root_cpuacct(),
            quotas: quotas(),
            step: 1_000_000_000 / clocks::steps_a_second(),
        }
    }

    /// CPU time of all tasks, where it can be read in less than a microsecond. Allocates nothing.
    pub(super) fn usage(&self) -> Option<u64> {
        let mut buffer = [0; 32];
        let text = head(self.root_cpuacct.as_ref()?, &mut buffer)?;
        text.trim_end().parse().ok()
    }

    /// A reading for the end of a round: while others run, what they have had since their CPU's
    /// last tick is not in the books. On a machine that is quiet but for a moment, that moment is
    /// waited for.
    pub(super) fn read_at_the_end(&self) -> Reading {
        const FEW: u64 = 3;
        const PAUSE: Duration = Duration::from_micros(100);
        let mut reading = self.read();
        for _ in 0..3 {
            if !matches!(reading.runnable, Some(2..=FEW)) || reading.root_usage.is_none() {
                break;
            }
            thread::sleep(PAUSE);
            reading = self.read();
        }
        reading
    }

    /// Whether nobody but the calling thread runs or is ready to: the books then show all that
    /// others have had, but for what begins after this. Allocates nothing.
    pub(super) fn is_quiet(&self) -> bool {
        let mut buffer = [0; 64];
        self.runnable(&mut buffer) == Some(1)
    }

    /// Tasks that run or are ready to, of the whole machine.
    fn runnable(&self, buffer: &mut [u8]) -> Option<u64> {
        runnable(head(self.loadavg.as_ref()?, buffer)?)
    }

    pub(super) fn read(&self) -> Reading {
        let mut buffer = [0; 512];
        Reading {
            root_usage: self.usage(),
            stat: self
                .stat
                .as_ref()
                .and_then(|file| stat(head(file, &mut buffer)?)),
            run_delay: self
                .schedstat
                .as_ref()
                .and_then(|file| machine_run_delay(&text_of(file)?)),
            throttled: self.quotas.iter().filter_map(Quota::throttled).sum(),
            runnable: self.runnable(&mut buffer),
        }
    }

    /// CPUs that the tightest quota allows.
    pub(super) fn quota_cpus(&self) -> Option<f64> {
        self.quotas.iter().map(|quota| quota.cpus).reduce(f64::min)
    }

    /// At most how long others had a CPU, when the machine's CPUs together had `capacity` and our
    /// own tasks `own`.
    pub(super) fn foreign(
        &self,
        first: &Reading,
        last: &Reading,
        capacity: u64,
        own: u64,
    ) -> Option<Foreign> {
        if let (Some(from), Some(to)) = (first.root_usage, last.root_usage) {
            // Who runs on another CPU now may have done so since that CPU's last tick.
            let other_cpus = self.cpus? - 1;
            let others = last
                .runnable
                .map_or(other_cpus, |n| n.saturating_sub(1).min(other_cpus));
            let behind = others * clocks::tick();
            return Some(Foreign {
                ns: to.checked_sub(from)?.saturating_sub(own) + behind,
                source: "the root cgroup's cpuacct.usage",
                missing: behind,
            });
        }
        let (from, to) = (first.stat?, last.stat?);
        // Each sum is cut to a whole step at either end. Busy time comes from ticks on many
        // kernels, which miss short runs; idle time is exact where idle CPUs have no tick.
        let idle = (to.idle.checked_sub(from.idle)?)
            .saturating_sub(2)
            .saturating_mul(self.step);
        let busy = (to.busy.checked_sub(from.busy)?)
            .saturating_add(1)
            .saturating_mul(self.step);
        Some(Foreign {
            ns: capacity.saturating_sub(idle).max(busy).saturating_sub(own),
            source: "/proc/stat",
            missing: 0,
        })
    }

    /// Time that a hypervisor kept between two readings, in whole steps.
    pub(super) fn steal(&self, first: &Reading, last: &Reading) -> Option<u64> {
        let steps = last.stat?.steal.checked_sub(first.stat?.steal)?;
        Some(steps.saturating_mul(self.step))
    }

    /// At most that, when it is the time between two readings of a gate that began at `gate`.
    ///
    /// A step may be the sum of what came before, so that one alone, in a gate, tells nothing: it
    /// is passed over. From two on each reading's is rounded up.
    pub(super) fn steal_at_most(&self, gate: &Reading, first: &Reading, last: &Reading) -> u64 {
        match self.steal(gate, last) {
            Some(steal) if steal >= 2 * self.step => self
                .steal(first, last)
                .unwrap_or(0)
                .saturating_add(self.step),
            _ => 0,
        }
    }
}

impl Quota {
    /// How long its tasks have been kept from running: `throttled_usec` (version 2), or
    /// `throttled_time` in nanoseconds (version 1).
    fn throttled(&self) -> Option<u64> {
        let mut buffer = [0; 1024];
        throttled(head(&self.stat, &mut buffer)?)
    }
}

fn throttled(cpu_stat: &str) -> Option<u64> {
    cpu_stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match key {
            "throttled_usec" => value.checked_mul(1_000),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; the guests' time is in
/// that of user and nice, too.
fn stat(text: &str) -> Option<Stat> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?;
    let mut columns = [0; 8];
    let mut found = 0;
    for (column, number) in columns.iter_mut().zip(numbers.split_ascii_whitespace()) {
        *column = number.parse().ok()?;
        found += 1;
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = columns;
    let sum = |columns: &[u64]| columns.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n));
    (found == columns.len()).then_some(Stat {
        busy: sum(&[user, nice, system, irq, softirq])?,
        idle: sum(&[idle, iowait])?,
        steal,
    })
}

/// The CPUs that have a line of their own: those that are online.
fn cpus(stat: &str) -> Option<u64> {
    let lines = stat.lines().filter(|line| is_of_a_cpu(line)).count();
    u64::try_from(lines).ok().filter(|n| *n > 0)
}

/// Whether a line begins with `cpu` and a number.
fn is_of_a_cpu(line: &str) -> bool {
    let number = line
        .split_ascii_whitespace()
        .next()
        .and_then(|word| word.strip_prefix("cpu"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Tasks that are running or ready to: of `0.20 0.18 0.12 1/80 11206` the 1.
fn runnable(loadavg: &str) -> Option<u64> {
    let (runnable, _all) = loadavg.split(' ').nth(3)?.split_once('/')?;
    runnable.parse().ok()
}

/// The sum of the CPUs' "time spent waiting to run by tasks", the 8th column of their lines
/// (the kernel's Documentation/scheduler/sched-stats.rst, versions 15 to 17).
fn machine_run_delay(schedstat: &str) -> Option<u64> {
    let version = schedstat.lines().next()?.strip_prefix("version ")?;
    if !(15..=17).contains(&version.trim().parse::<u32>().ok()?) {
        return None;
    }
    let mut sum: Option<u64> = None;
    for line in schedstat.lines().filter(|line| is_of_a_cpu(line)) {
        let delay: u64 = line.split_ascii_whitespace().nth(8)?.parse().ok()?;
        sum = Some(sum.unwrap_or(0).checked_add(delay)?);
    }
    sum
}

/// `cpuacct.usage` of the root cgroup, which counts every task. In a container the same place is
/// the container's own group: only the real root has `release_agent`.
fn root_cpuacct() -> Option<File> {
    ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"]
        .into_iter()
        .map(Path::new)
        .filter(|group| group.join("release_agent").exists())
        .filter_map(|group| File::open(group.join("cpuacct.usage")).ok())
        .find(|file| clocks::is_of_the_kernel(file, clocks::CGROUP_V1))
}

/// The quotas of our cgroup and of those above it.
fn quotas() -> Vec<Quota> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    quotas_below(Path::new("/sys/fs/cgroup"), &groups)
}

fn quotas_below(mount: &Path, groups: &str) -> Vec<Quota> {
    let mut found = Vec::new();
    for (root, path) in groups.lines().filter_map(|line| cpu_group(mount, line)) {
        // Some name the controllers in another order than the directory does.
        let root = if root.is_dir() {
            root
        } else {
            mount.join("cpu")
        };
        // A container may be told the host's path, and shown its own group as the root.
        let mut group = root.join(path.trim_start_matches('/'));
        if !group.is_dir() {
            group.clone_from(&root);
        }
        found.extend(
            group
                .ancestors()
                .take_while(|ancestor| ancestor.starts_with(&root))
                .filter_map(quota_of),
        );
    }
    found
}

/// Where the CPU controller's groups are, and our path below: of a line `0::/path` (version 2) or
/// `1:cpu,cpuacct:/path` (version 1).
fn cpu_group<'a>(mount: &Path, line: &'a str) -> Option<(PathBuf, &'a str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return Some((mount.to_owned(), path));
    }
    let is_cpu = controllers.split(',').any(|controller| controller == "cpu");
    is_cpu.then(|| (mount.join(controllers), path))
}

fn quota_of(group: &Path) -> Option<Quota> {
    let number = |name: &str| -> Option<f64> {
        fs::read_to_string(group.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let cpus = match fs::read_to_string(group.join("cpu.max")) {
        Ok(text) => cpus_of_max(&text)?,
        Err(_) => {
            let quota = number("cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
            quota / number("cpu.cfs_period_us").filter(|period| *period > 0.0)?
        }
    };
    let stat = File::open(group.join("cpu.stat")).ok()?;
    Some(Quota { cpus, stat })
}

/// Of `150000 100000` 1.5; of `max 100000` none.
fn cpus_of_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The beginning of a file, as far as the buffer reaches.
fn head<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a str> {
    let n = file.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..n]).ok()
}

/// All of a file.
fn text_of(file: &File) -> Option<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match file.read_at(&mut chunk, text.len() as u64).ok()? {
            0 => return String::from_utf8(text).ok(),
            n => text.extend_from_slice(&chunk[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_proc_stat_is_summed() {
        let text = "cpu  10 1 5 700 20 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1\n";
        let expected = Stat {
            busy: 21,
            idle: 720,
            steal: 4,
        };
        assert_eq!(stat(text), Some(expected));
        // Kernels before 2.6.11, and what is no such file.
        for text in [
            "cpu  1 2 3 4\n",
            "",
            "intr 1 2 3 4 5 6 7 8 9",
            "cpu  a b c d e f g h",
        ] {
            assert_eq!(stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn run_delay_of_the_machine_is_the_eighth_column_of_its_cpus() {
        let text = "version 16\ntimestamp 4295107262\n\
                    cpu0 0 0 1 2 3 4 111 70 5\ndomain0 MC 03 1 2 3 4 5 6 7 8 9\n\
                    cpu1 0 0 1 2 3 4 222 30 5\n";
        assert_eq!(machine_run_delay(text), Some(100));
        assert_eq!(
            machine_run_delay("version 14\ncpu0 0 0 1 2 3 4 5 6 7\n"),
            None
        );
        assert_eq!(machine_run_delay("version 16\ncpu0 0 0 1\n"), None);
        assert_eq!(machine_run_delay("version 16\ntimestamp 1\n"), None);
        assert_eq!(machine_run_delay(""), None);
    }

    #[test]
    fn a_machine_on_which_another_thread_runs_is_not_quiet() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let machine = Machine::open();
        let (stop, runs) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    runs.store(true, Ordering::Relaxed);
                }
            });
            while !runs.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            let is_quiet = machine.is_quiet();
            stop.store(true, Ordering::Relaxed);
            assert!(!is_quiet);
        });
    }

    #[test]
    fn runnable_tasks_are_before_the_slash() {
        assert_eq!(runnable("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(runnable("0.20 0.18 0.12\n"), None);
    }

    #[test]
    fn quotas_of_both_versions_are_cpus() {
        assert_eq!(cpus_of_max("150000 100000\n"), Some(1.5));
        assert_eq!(cpus_of_max("max 100000\n"), None);
        assert_eq!(cpus_of_max("garbage"), None);
        assert_eq!(cpus_of_max("100 0"), None);
        let group = |line| {
            cpu_group(Path::new("/sys/fs/cgroup"), line)
                .map(|(root, path)| (root.display().to_string(), path))
        };
        assert_eq!(group("0::/a/b"), Some(("/sys/fs/cgroup".into(), "/a/b")));
        assert_eq!(
            group("4:cpu,cpuacct:/x"),
            Some(("/sys/fs/cgroup/cpu,cpuacct".into(), "/x"))
        );
        assert_eq!(group("4:cpuset:/x"), None);
        assert_eq!(group("4"), None);
    }

    #[test]
    fn a_quota_is_read_from_the_files_of_its_group() {
        let group = tempfile::tempdir().expect("a directory");
        let write =
            |name: &str, text: &str| fs::write(group.path().join(name), text).expect("written");
        assert!(quota_of(group.path()).is_none());
        write(
            "cpu.stat",
            "nr_periods 9\nnr_throttled 3\nthrottled_time 5000\n",
        );
        write("cpu.cfs_quota_us", "-1\n");
        write("cpu.cfs_period_us", "100000\n");
        assert!(quota_of(group.path()).is_none());
        write("cpu.cfs_quota_us", "50000\n");
        let quota = quota_of(group.path()).expect("a quota");
        assert!((quota.cpus - 0.5).abs() < 1e-9);
        assert_eq!(quota.throttled(), Some(5_000));
        write("cpu.max", "200000 100000");
        write(
            "cpu.stat",
            "usage_usec 1\nnr_throttled 3\nthrottled_usec 5\n",
        );
        let quota = quota_of(group.path()).expect("a quota");
        assert!((quota.cpus - 2.0).abs() < 1e-9);
        assert_eq!(quota.throttled(), Some(5_000));
    }

    #[test]
    fn quotas_are_those_of_the_group_and_of_all_above_it_wherever_they_are_mounted() {
        let mount = tempfile::tempdir().expect("a directory");
        let group = |path: &str, files: &[(&str, &str)]| {
            let group = mount.path().join(path);
            fs::create_dir_all(&group).expect("made");
            for (name, text) in [("cpu.stat", "nr_throttled 0\n")].iter().chain(files) {
                fs::write(group.join(name), text).expect("written");
            }
        };
        let version_1 = |quota| [("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", "100000")];
        group("cpu", &version_1("300000"));
        group("cpu/limited", &version_1("150000"));
        group("cpu/limited/inner", &version_1("-1"));
        group("slice", &[("cpu.max", "200000 100000")]);
        group("slice/unit", &[("cpu.max", "max 100000")]);
        let cpus = |groups: &str| {
            let quotas = quotas_below(mount.path(), groups);
            let cpus: Vec<_> = quotas.iter().map(|quota| quota.cpus.to_string()).collect();
            cpus.join(" ")
        };
        let named_otherwise = "5:cpuset:/slice\n4:cpuacct,cpu:/limited/inner\n";
        assert_eq!(cpus(named_otherwise), "1.5 3");
        assert_eq!(cpus("4:cpu:/limited\n"), "1.5 3");
        assert_eq!(cpus("4:cpu:/path/of/the/host\n"), "3");
        assert_eq!(cpus("0::/slice/unit\n"), "2");
        assert_eq!(cpus(""), "");
    }

    fn machine() -> Machine {
        Machine {
            stat: None,
            loadavg: None,
            schedstat: None,
            root_cpuacct: None,
            quotas: Vec::new(),
            cpus: Some(3),
            step: 10_000_000,
        }
    }

    const MS: u64 = 1_000_000;

    fn of_stat(busy: u64, idle: u64, steal: u64) -> Reading {
        Reading {
            stat: Some(Stat { busy, idle, steal }),
            ..Reading::default()
        }
    }

    #[test]
    fn foreign_is_what_was_neither_idle_nor_ours_and_rounded_up() {
        // 200 ms of capacity, 100 idle, 60 ours: 40 are others', and 20 may be for the steps.
        let foreign = machine()
            .foreign(&of_stat(50, 70, 0), &of_stat(54, 80, 0), 200 * MS, 60 * MS)
            .expect("known");
        assert_eq!((foreign.ns, foreign.source), (60 * MS, "/proc/stat"));
        // Ticks that have seen more count, too.
        let foreign =
            machine().foreign(&of_stat(50, 70, 0), &of_stat(67, 80, 0), 200 * MS, 60 * MS);
        assert_eq!(foreign.map(|f| f.ns), Some(120 * MS));
        // What can't be.
        let backwards = machine().foreign(&of_stat(50, 70, 0), &of_stat(40, 80, 0), MS, 0);
        assert_eq!(backwards, None);
        assert_eq!(
            machine().foreign(&Reading::default(), &Reading::default(), MS, 0),
            None
        );
    }

    #[test]
    fn the_root_groups_usage_is_a_tick_behind_for_each_cpu_that_others_may_be_on() {
        let reading = |usage, runnable| Reading {
            root_usage: Some(usage),
            runnable,
            ..Reading::default()
        };
        let foreign = |last| {
            let foreign = machine().foreign(&reading(0, None), &last, 0, 60 * MS);
            foreign.expect("known").ns
        };
        assert_eq!(foreign(reading(65 * MS, Some(1))), 5 * MS);
        let others = 2 * clocks::tick();
        assert_eq!(foreign(reading(65 * MS, Some(999))), 5 * MS + others);
        assert_eq!(foreign(reading(65 * MS, None)), 5 * MS + others);
        // Ours are read a moment later.
        assert_eq!(foreign(reading(59 * MS, Some(1))), 0);
    }

    #[test]
    fn one_step_of_steal_in_a_gate_is_passed_over_and_more_are_rounded_up() {
        let steal = |before: u64, steps: u64| {
            let (gate, first) = (of_stat(0, 0, 7), of_stat(0, 0, 7 + before));
            let last = of_stat(0, 0, 7 + before + steps);
            machine().steal_at_most(&gate, &first, &last)
        };
        assert_eq!((steal(0, 0), steal(1, 0), steal(0, 1)), (0, 0, 0));
        assert_eq!((steal(0, 2), steal(1, 1)), (30 * MS, 20 * MS));
        // Stolen before this round: the rest of its last step may be in it.
        assert_eq!(steal(2, 0), 10 * MS);
    }

    #[test]
    fn cpus_are_the_lines_with_a_number() {
        assert_eq!(
            cpus("cpu  1 2\ncpu0 1 2\ncpu11 1 2\nintr 1\ncpux 1\n"),
            Some(2)
        );
        assert_eq!(cpus("cpu  1 2\n"), None);
        assert!(Machine::open().cpus >= Some(1), "of the kernel's own /proc");
    }
}
