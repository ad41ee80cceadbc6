//! What the kernel scope costs a sync, against the goals of docs/fsync-counting.md, beside strace.
//!
//! `cargo bench -p fsync-counter --profile perf --bench kernel -- [--check]`
//!
//! One run, one file on tmpfs, synced by `syscall(SYS_fsync)` of the C library's. Each round
//! measures every case once, in turn, so that a change of the machine's pace meets all of them; a
//! figure is the median over the rounds. strace traces this program, started again to do the same;
//! without strace its rows are missing.
//!
//! `--check` makes a missed goal the exit code 1.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use fsync_counter::{KernelScope, SyncCounts};
use tempfile::TempDir;

const ROUNDS: usize = 31;
const CALLS: u32 = 1_000;

/// Set to the file that a child is to sync.
const CHILD: &str = "KERNEL_BENCH_FILE";

/// What every case works on.
struct Setup {
    directory: TempDir,
    file: File,
    scope: KernelScope,
    has_strace: bool,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(tmpfs()).expect("a directory on tmpfs");
        let file = File::create(directory.path().join("file")).expect("a file on tmpfs");
        let traced = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "true"])
            .output();
        Self {
            directory,
            file,
            scope: KernelScope::open().unwrap_or_else(|refused| panic!("{refused}")),
            has_strace: traced.is_ok_and(|output| output.status.success()),
        }
    }

    /// This program again, to sync the file and print the nanoseconds a sync.
    fn child_under(&self, mut program: Command) -> Option<f64> {
        let output = program
            .env(CHILD, self.directory.path().join("file"))
            .output()
            .ok()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    }
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// Nanoseconds for each of so many syncs.
fn time_syncs(file: &File) -> f64 {
    let fd = file.as_raw_fd();
    time(CALLS, || {
        // SAFETY: the descriptor is open while it is borrowed.
        let answer = unsafe { libc::syscall(libc::SYS_fsync, fd) };
        assert_eq!(answer, 0);
    })
}

fn time(calls: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// A system call that does next to nothing.
fn time_getppid() -> f64 {
    time(20 * CALLS, || {
        // SAFETY: takes nothing.
        black_box(unsafe { libc::getppid() });
    })
}

struct Case {
    name: &'static str,
    /// Nanoseconds; `None` where it can't be measured.
    measure: fn(&Setup) -> Option<f64>,
}

const UNWATCHED: usize = 0;
const COUNTED: usize = 1;
const CLASSIFIED: usize = 2;
const STRACE: usize = 4;
const EMPTY: usize = 6;
const PLAIN_CALL: usize = 7;
const WATCHED_CALL: usize = 8;

const CASES: [Case; 9] = [
    Case {
        name: "a sync, not watched",
        measure: |setup| Some(time_syncs(&setup.file)),
    },
    Case {
        name: "a sync, counted only (`calls`)",
        measure: |setup| {
            let (ns, calls) = setup.scope.calls(|| time_syncs(&setup.file));
            assert_eq!(calls, u64::from(CALLS));
            Some(ns)
        },
    },
    Case {
        name: "a sync, classified, with its path (`observe`)",
        measure: |setup| {
            let seen = setup.scope.observe(|| time_syncs(&setup.file));
            assert_eq!(seen.counts(), SyncCounts::new().files(u64::from(CALLS)));
            Some(seen.value)
        },
    },
    Case {
        name: "the same of a child process",
        measure: |setup| {
            let seen = setup
                .scope
                .observe(|| setup.child_under(Command::new(this_program())));
            assert_eq!(seen.counts(), SyncCounts::new().files(u64::from(CALLS)));
            seen.value
        },
    },
    Case {
        name: "a sync under `strace -f -e trace=fsync`",
        measure: |setup| {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", "trace=fsync", "-o", "/dev/null"]);
            strace.arg(this_program());
            setup.has_strace.then(|| setup.child_under(strace))?
        },
    },
    Case {
        name: "a sync under `strace -f --seccomp-bpf -e trace=fsync`",
        measure: |setup| {
            let mut strace = Command::new("strace");
            strace.args([
                "-f",
                "--seccomp-bpf",
                "-e",
                "trace=fsync",
                "-o",
                "/dev/null",
            ]);
            strace.arg(this_program());
            setup.has_strace.then(|| setup.child_under(strace))?
        },
    },
    Case {
        name: "an empty scope: opened, and nothing observed",
        measure: |_| {
            Some(time(20, || {
                let scope = KernelScope::open().expect("it was open before");
                let seen = scope.observe(|| ());
                assert_eq!(seen.counts(), SyncCounts::new());
            }))
        },
    },
    Case {
        name: "`getppid`, not watched",
        measure: |_| Some(time_getppid()),
    },
    Case {
        name: "`getppid`, watched",
        measure: |setup| Some(setup.scope.observe(time_getppid).value),
    },
];

/// A figure that has a goal.
struct Goal {
    name: &'static str,
    goal: &'static str,
    figure: fn(&[Option<f64>; CASES.len()]) -> Option<f64>,
    is_reached: fn(f64) -> bool,
    unit: &'static str,
}

const GOALS: [Goal; 6] = [
    Goal {
        name: "counted only, in all",
        goal: "≤ 5 µs",
        figure: |round| Some(round[COUNTED]? / 1e3),
        is_reached: |us| us <= 5.0,
        unit: " µs",
    },
    Goal {
        name: "classified, in all",
        goal: "≤ 9 µs",
        figure: |round| Some(round[CLASSIFIED]? / 1e3),
        is_reached: |us| us <= 9.0,
        unit: " µs",
    },
    Goal {
        name: "strace ÷ classified",
        goal: "≥ 1.7 ×",
        figure: |round| Some(round[STRACE]? / round[CLASSIFIED]?),
        is_reached: |ratio| ratio >= 1.7,
        unit: " ×",
    },
    Goal {
        name: "strace ÷ counted only",
        goal: "",
        figure: |round| Some(round[STRACE]? / round[COUNTED]?),
        is_reached: |_| true,
        unit: " ×",
    },
    Goal {
        name: "an empty scope",
        goal: "≤ 100 µs",
        figure: |round| Some(round[EMPTY]? / 1e3),
        is_reached: |us| us <= 100.0,
        unit: " µs",
    },
    Goal {
        name: "another system call, watched ÷ not watched",
        goal: "≤ 1.05 ×",
        figure: |round| Some(round[WATCHED_CALL]? / round[PLAIN_CALL]?),
        is_reached: |ratio| ratio <= 1.05,
        unit: " ×",
    },
];

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(CHILD) {
        let file = File::open(path).expect("the file to sync");
        println!("{}", time_syncs(&file));
        return ExitCode::SUCCESS;
    }
    let check = std::env::args().any(|argument| argument == "--check");
    let setup = Setup::new();
    let rounds: Vec<[Option<f64>; CASES.len()]> = (0..=ROUNDS)
        .map(|_| CASES.each_ref().map(|case| (case.measure)(&setup)))
        .skip(1)
        .collect();

    println!("medians of {ROUNDS} rounds, on {}\n", tmpfs().display());
    println!("| kernel scope | ns | |\n|---|---|---|");
    for (at, case) in CASES.iter().enumerate() {
        let ns = median(rounds.iter().filter_map(|round| round[at]));
        let base = median(rounds.iter().filter_map(|round| round[UNWATCHED]));
        match (ns, base) {
            (Some(ns), Some(base)) if (1..EMPTY).contains(&at) => {
                println!("| {} | {ns:.0} | +{:.0} |", case.name, ns - base);
            }
            (Some(ns), _) => println!("| {} | {ns:.0} | |", case.name),
            (None, _) => println!("| {} | not run: no strace | |", case.name),
        }
    }
    println!("\n| goal | measured | | |\n|---|---|---|---|");
    let mut missed = false;
    for goal in &GOALS {
        // Ratios of what was measured in the same round.
        let Some(figure) = median(rounds.iter().filter_map(goal.figure)) else {
            println!("| {} | not run | {} | |", goal.name, goal.goal);
            continue;
        };
        let is_reached = (goal.is_reached)(figure);
        missed |= !is_reached;
        let verdict = match (goal.goal, is_reached) {
            ("", _) => "",
            (_, true) => "reached",
            (_, false) => "MISSED",
        };
        println!(
            "| {} | {figure:.2}{} | {} | {verdict} |",
            goal.name, goal.unit, goal.goal
        );
    }
    if missed && check {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn tmpfs() -> &'static Path {
    let shm = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_tmpfs = mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        fields.next() == shm.to_str() && fields.next() == Some("tmpfs")
    });
    assert!(is_tmpfs, "no tmpfs: a disk would hide the scope");
    shm
}
