//! What the hook costs a sync, against the goals of docs/fsync-counting.md.
//!
//! `cargo bench -p fsync-counter --profile perf --bench hook -- [--check] [--json]`
//!
//! One run, one file on tmpfs. Each round measures every case once, in turn, so that a change of
//! the machine's pace meets all of them; a figure is the median over the rounds. What the hook
//! adds is the median of the differences within a round to the C library's own `fsync`, found by
//! `dlsym(RTLD_NEXT)` behind the hook. All are called through a pointer.
//!
//! `--check` makes a missed goal the exit code 1; `--json` prints one object instead of the table.

use std::ffi::c_int;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use fsync_counter::{FsyncCounter, calls_on_this_thread, stub, stub_thread, stub_under};

const ROUNDS: usize = 301;

type Fsync = unsafe extern "C" fn(c_int) -> c_int;

/// One row of the table.
struct Case {
    name: &'static str,
    /// How the figure is meant, and at most how many nanoseconds it may be.
    figure: Figure,
    goal_ns: Option<f64>,
    /// Calls in a round.
    calls: u32,
    /// Nanoseconds a call.
    measure: fn(&Setup, u32) -> f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Figure {
    /// Of a call in all.
    InAll,
    /// Of a call beyond the C library's own in the same round.
    Added,
}

/// What every case works on.
struct Setup {
    directory: tempfile::TempDir,
    elsewhere: tempfile::TempDir,
    file: File,
    own: Fsync,
    hooked: Fsync,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(tmpfs()).expect("a directory on tmpfs");
        let elsewhere = tempfile::tempdir_in(tmpfs()).expect("a directory on tmpfs");
        let file = File::create(directory.path().join("file")).expect("a file on tmpfs");
        Self {
            directory,
            elsewhere,
            file,
            own: fsync_of_the_c_library(),
            hooked: libc::fsync,
        }
    }

    /// Nanoseconds for each of `calls` of `function` on the file.
    fn time(&self, function: Fsync, calls: u32) -> f64 {
        let fd = self.file.as_raw_fd();
        let function = black_box(function);
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: the descriptor is open for as long as `self` lives.
            let answer = unsafe { function(fd) };
            assert_eq!(answer, 0);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    }
}

/// A scope keeps the first 1,024 events. Most calls of a test are among those, so these are.
const SCOPED_CALLS: u32 = 500;

const CASES: [Case; 12] = [
    Case {
        name: "fsync of the C library, not hooked",
        figure: Figure::InAll,
        goal_ns: None,
        calls: 2_000,
        measure: |setup, calls| setup.time(setup.own, calls),
    },
    Case {
        name: "hook, nothing open (calls_on_this_thread counts)",
        figure: Figure::Added,
        goal_ns: Some(15.0),
        calls: 2_000,
        measure: |setup, calls| {
            let before = calls_on_this_thread();
            let ns = setup.time(setup.hooked, calls);
            assert_eq!(calls_on_this_thread() - before, u64::from(calls));
            ns
        },
    },
    Case {
        name: "stub()",
        figure: Figure::InAll,
        goal_ns: Some(15.0),
        calls: 20_000,
        measure: |setup, calls| {
            let _disk = stub();
            setup.time(setup.hooked, calls)
        },
    },
    Case {
        name: "stub_thread()",
        figure: Figure::InAll,
        goal_ns: Some(15.0),
        calls: 20_000,
        measure: |setup, calls| {
            let _disk = stub_thread();
            setup.time(setup.hooked, calls)
        },
    },
    Case {
        name: "thread scope",
        figure: Figure::Added,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let counter = FsyncCounter::thread();
            let ns = setup.time(setup.hooked, calls);
            assert_eq!(counter.file_syncs(), u64::from(calls));
            ns
        },
    },
    Case {
        name: "path scope",
        figure: Figure::Added,
        goal_ns: Some(3_500.0),
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let counter = FsyncCounter::under(setup.directory.path());
            let ns = setup.time(setup.hooked, calls);
            assert_eq!(counter.file_syncs(), u64::from(calls));
            ns
        },
    },
    Case {
        name: "path scope, its events long full",
        figure: Figure::Added,
        goal_ns: Some(3_500.0),
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let counter = FsyncCounter::under(setup.directory.path());
            setup.time(setup.hooked, 1_100);
            let ns = setup.time(setup.hooked, calls);
            assert!(counter.events().overflowed() > 0);
            ns
        },
    },
    Case {
        name: "16 path scopes, 15 of them for other paths",
        figure: Figure::Added,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let others: Vec<_> = (0..15)
                .map(|_| FsyncCounter::under(setup.elsewhere.path()))
                .collect();
            let counter = FsyncCounter::under(setup.directory.path());
            let ns = setup.time(setup.hooked, calls);
            assert_eq!(counter.file_syncs(), u64::from(calls));
            drop(others);
            ns
        },
    },
    Case {
        name: "stub() and a path scope",
        figure: Figure::InAll,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let _disk = stub();
            let counter = FsyncCounter::under(setup.directory.path());
            let ns = setup.time(setup.hooked, calls);
            assert_eq!(counter.file_syncs(), u64::from(calls));
            ns
        },
    },
    Case {
        name: "stub_under()",
        figure: Figure::InAll,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let _disk = stub_under(setup.directory.path());
            setup.time(setup.hooked, calls)
        },
    },
    Case {
        name: "opening and closing a thread scope",
        figure: Figure::InAll,
        goal_ns: None,
        calls: 50,
        measure: |_, calls| {
            let start = Instant::now();
            for _ in 0..calls {
                drop(black_box(FsyncCounter::thread()));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        },
    },
    Case {
        name: "opening and closing a path scope",
        figure: Figure::InAll,
        goal_ns: None,
        calls: 50,
        measure: |setup, calls| {
            let start = Instant::now();
            for _ in 0..calls {
                drop(black_box(FsyncCounter::under(setup.directory.path())));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        },
    },
];

fn main() -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let asked = |option: &str| options.iter().any(|given| given == option);

    let figures = measure(&Setup::new());
    if asked("--json") {
        print_json(&figures);
    } else {
        print_table(&figures);
    }
    let missed = CASES
        .iter()
        .zip(figures)
        .any(|(case, figure)| is_missed(case, figure));
    if missed && asked("--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The figure of each case, in nanoseconds.
fn measure(setup: &Setup) -> [f64; CASES.len()] {
    for case in &CASES {
        (case.measure)(setup, case.calls);
    }
    let rounds: Vec<[f64; CASES.len()]> = (0..ROUNDS)
        .map(|_| {
            CASES
                .each_ref()
                .map(|case| (case.measure)(setup, case.calls))
        })
        .collect();
    std::array::from_fn(|at| {
        median(rounds.iter().map(|round| match CASES[at].figure {
            Figure::InAll => round[at],
            Figure::Added => round[at] - round[0],
        }))
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn is_missed(case: &Case, figure: f64) -> bool {
    case.goal_ns.is_some_and(|goal| figure > goal)
}

fn print_table(figures: &[f64; CASES.len()]) {
    println!("medians of {ROUNDS} rounds, on {}\n", tmpfs().display());
    println!("| a sync of a file | ns | goal | |");
    println!("|---|---|---|---|");
    for (case, figure) in CASES.iter().zip(figures) {
        let sign = if case.figure == Figure::Added {
            "+"
        } else {
            ""
        };
        let goal = case
            .goal_ns
            .map_or_else(String::new, |goal| format!("≤ {sign}{goal}"));
        let verdict = match case.goal_ns {
            None => "",
            Some(_) if is_missed(case, *figure) => "MISSED",
            Some(_) => "reached",
        };
        let ns = if case.figure == Figure::Added {
            format!("{figure:+.1}")
        } else {
            format!("{figure:.1}")
        };
        println!("| {} | {ns} | {goal} | {verdict} |", case.name);
    }
    println!("\n+: more than the C library's own, in the same round");
}

fn print_json(figures: &[f64; CASES.len()]) {
    let cases: Vec<String> = CASES
        .iter()
        .zip(figures)
        .map(|(case, figure)| {
            let goal = case
                .goal_ns
                .map_or("null".to_owned(), |goal| goal.to_string());
            let figure_is = match case.figure {
                Figure::InAll => "in all",
                Figure::Added => "added",
            };
            format!(
                r#"{{"case":"{}","figure":"{figure_is}","ns":{figure:.1},"goal_ns":{goal}}}"#,
                case.name
            )
        })
        .collect();
    println!(r#"{{"rounds":{ROUNDS},"cases":[{}]}}"#, cases.join(","));
}

/// The C library's own definition, which the dynamic linker finds behind the program's.
fn fsync_of_the_c_library() -> Fsync {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"fsync".as_ptr()) };
    assert!(!found.is_null(), "the baseline needs a shared C library");
    // SAFETY: the C library's `fsync` has this signature.
    let found = unsafe { std::mem::transmute::<*mut libc::c_void, Fsync>(found) };
    let hooked: Fsync = libc::fsync;
    assert!(
        !std::ptr::fn_addr_eq(found, hooked),
        "the program's fsync is the C library's: nothing is hooked"
    );
    found
}

fn tmpfs() -> &'static Path {
    let shm = Path::new("/dev/shm");
    assert!(
        is_tmpfs(shm),
        "{} is not a tmpfs: a disk would hide the hook",
        shm.display()
    );
    shm
}

fn is_tmpfs(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|mount| {
            let mut fields = mount.split(' ').skip(1);
            fields.next() == path.to_str() && fields.next() == Some("tmpfs")
        })
    })
}
