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

/// The least that a watched sync can cost here: two threads, the kernel's own messages between
/// them, and nothing else.
mod bare {
    use std::fs::File;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use libc::{c_long, sock_filter};

    use super::{AsRawFd, time_syncs};

    const fn step(code: u32, k: u32, if_false: u8) -> sock_filter {
        #[expect(clippy::cast_possible_truncation, reason = "the codes have 8 bits")]
        let code = code as u16;
        sock_filter {
            code,
            jt: 0,
            jf: if_false,
            k,
        }
    }

    /// Tells of `fsync`, from here on, on this thread.
    fn install() -> OwnedFd {
        let fsync = u32::try_from(libc::SYS_fsync).expect("a number");
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, fsync, 1),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog {
            len: 4,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: sets a flag of this thread.
        let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(set, 0);
        let flags =
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        // SAFETY: the program outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        let fd = i32::try_from(fd).expect("a descriptor");
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just made it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    /// Nanoseconds of a sync of the file.
    pub(super) fn sync(file: &File) -> f64 {
        exchange(|| time_syncs(file))
    }

    /// Nanoseconds of a thread that begins with a filter, and ends.
    pub(super) fn thread() -> f64 {
        super::time(20, || {
            thread::spawn(|| drop(install())).join().expect("it ends")
        })
    }

    fn exchange(f: impl FnOnce() -> f64 + Send) -> f64 {
        let (send, receive) = channel();
        thread::scope(|scope| {
            let watched = scope.spawn(move || watched(&send, f));
            let listener = receive.recv().expect("a listener");
            loop {
                // SAFETY: all zeros is a value of it.
                let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
                let place = (&raw mut told).addr();
                if control(&listener, libc::SECCOMP_IOCTL_NOTIF_RECV, place) != 0 {
                    continue;
                }
                let answer = libc::seccomp_notif_resp {
                    id: told.id,
                    val: 0,
                    error: 0,
                    flags: 1, // SECCOMP_USER_NOTIF_FLAG_CONTINUE
                };
                let place = (&raw const answer).addr();
                control(&listener, libc::SECCOMP_IOCTL_NOTIF_SEND, place);
                // The last one is of no descriptor.
                if told.data.args[0] & 0xffff_ffff == 0xffff_ffff {
                    break;
                }
            }
            watched.join().expect("it ends")
        })
    }

    fn watched(send: &Sender<OwnedFd>, f: impl FnOnce() -> f64) -> f64 {
        send.send(install()).expect("somebody waits");
        let ns = f();
        // SAFETY: no descriptor has this number.
        unsafe { libc::syscall(libc::SYS_fsync, -1) };
        ns
    }

    fn control(listener: &OwnedFd, request: libc::Ioctl, place: usize) -> c_long {
        let fd = listener.as_raw_fd();
        // SAFETY: the place is of what the request reads or writes, and outlives the call.
        unsafe { libc::syscall(libc::SYS_ioctl, fd, request, place) }
    }

    /// Nanoseconds of `getppid` under a filter that lets everything pass.
    pub(super) fn getppid() -> f64 {
        let watched = || {
            let _listener = install();
            super::time_getppid()
        };
        thread::spawn(watched).join().expect("it ends")
    }
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
const BARE_SYNC: usize = 9;
const BARE_THREAD: usize = 10;
const BARE_CALL: usize = 11;

const CASES: [Case; 12] = [
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
    Case {
        name: "the bare exchange of a sync: two threads, the kernel's messages, nothing else",
        measure: |setup| Some(bare::sync(&setup.file)),
    },
    Case {
        name: "a bare thread that puts a filter of four instructions on itself, and ends",
        measure: |_| Some(bare::thread()),
    },
    Case {
        name: "`getppid` under that filter",
        measure: |_| Some(bare::getppid()),
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

const GOALS: [Goal; 10] = [
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
    Goal {
        name: "another system call, watched ÷ under the bare filter",
        goal: "≤ 1.05 ×",
        figure: |round| Some(round[WATCHED_CALL]? / round[BARE_CALL]?),
        is_reached: |ratio| ratio <= 1.05,
        unit: " ×",
    },
    Goal {
        name: "counted only − the bare exchange",
        goal: "",
        figure: |round| Some((round[COUNTED]? - round[BARE_SYNC]?) / 1e3),
        is_reached: |_| true,
        unit: " µs",
    },
    Goal {
        name: "classified − the bare exchange",
        goal: "",
        figure: |round| Some((round[CLASSIFIED]? - round[BARE_SYNC]?) / 1e3),
        is_reached: |_| true,
        unit: " µs",
    },
    Goal {
        name: "an empty scope − the bare thread",
        goal: "",
        figure: |round| Some((round[EMPTY]? - round[BARE_THREAD]?) / 1e3),
        is_reached: |_| true,
        unit: " µs",
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
