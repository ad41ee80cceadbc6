//! What the hook costs a sync, an open and a rename, against the goals of docs/fsync-counting.md.
//!
//! `cargo bench -p fsync-counter --profile perf --bench hook -- [--check] [--json]`
//!
//! One run, one file on tmpfs. Each round measures every case once, in turn, so that a change of
//! the machine's pace meets all of them; a figure is the median over the rounds. What the hook
//! adds is the median of the differences within a round to the C library's own function, found by
//! `dlsym(RTLD_NEXT)` behind the hook. All are called through a pointer.
//!
//! `--check` makes a missed goal the exit code 1; `--json` prints one object instead of the table.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use fsync_counter::{FsyncCounter, calls_on_this_thread, stub, stub_thread, stub_under};

const ROUNDS: usize = 301;

type Fsync = unsafe extern "C" fn(c_int) -> c_int;
type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
type Rename = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;

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
    /// Of a call beyond that of the case with this name in the same round.
    AddedTo(&'static str),
}

const OWN_FSYNC: &str = "fsync of the C library, not hooked";
/// Of what costs the kernel little, so that a few nanoseconds show.
const OWN_OPEN: &str = "open of `/` and close: the C library's open, not hooked";
const OWN_REFUSAL: &str = "a refused rename: the C library's, not hooked";
const OWN_FILE_OPEN: &str =
    "open of a file with `O_DSYNC` and close: the C library's open, not hooked";
const OWN_RENAME: &str = "rename of a file: the C library's, not hooked";

/// What every case works on.
struct Setup {
    directory: tempfile::TempDir,
    elsewhere: tempfile::TempDir,
    file: File,
    /// The file, and another name in its directory.
    names: [CString; 2],
    own: Fsync,
    hooked: Fsync,
    own_open: Open,
    own_rename: Rename,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(tmpfs()).expect("a directory on tmpfs");
        let elsewhere = tempfile::tempdir_in(tmpfs()).expect("a directory on tmpfs");
        let file = File::create(directory.path().join("file")).expect("a file on tmpfs");
        let names = ["file", "renamed"].map(|name| {
            let path = directory.path().join(name);
            CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte")
        });
        Self {
            directory,
            elsewhere,
            file,
            names,
            // SAFETY: a function of this type.
            own: unsafe { of_the_c_library(c"fsync") },
            hooked: libc::fsync,
            // SAFETY: a function of this type.
            own_open: unsafe { of_the_c_library(c"open") },
            // SAFETY: a function of this type.
            own_rename: unsafe { of_the_c_library(c"rename") },
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

impl Setup {
    /// Nanoseconds for each of `calls` times opening the root directory and closing it.
    fn time_open(&self, open: Open, calls: u32) -> f64 {
        self.time_open_of(c"/", open, libc::O_PATH, calls)
    }

    /// Nanoseconds for each of `calls` times opening the file for writing and closing it.
    fn time_file_open(&self, open: Open, flags: c_int, calls: u32) -> f64 {
        self.time_open_of(&self.names[0], open, flags | libc::O_WRONLY, calls)
    }

    fn time_open_of(&self, path: &CStr, open: Open, flags: c_int, calls: u32) -> f64 {
        let path = path.as_ptr();
        let open = black_box(open);
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: the path is a C string.
            let fd = unsafe { open(path, flags) };
            // SAFETY: it was opened just now, and nobody else knows it.
            let closed = unsafe { libc::close(fd) };
            assert_eq!(closed, 0);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    }

    /// Nanoseconds for each of `calls` renames of what has no name.
    fn time_refusal(&self, rename: Rename, calls: u32) -> f64 {
        let nothing = c"".as_ptr();
        let rename = black_box(rename);
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: the paths are C strings.
            let answer = unsafe { rename(nothing, nothing) };
            assert_eq!(answer, -1);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    }

    /// Nanoseconds for each of `calls` renames of the file, to and fro: an even number.
    fn time_rename(&self, rename: Rename, calls: u32) -> f64 {
        let [name, other] = self.names.each_ref().map(|name| name.as_ptr());
        let rename = black_box(rename);
        let start = Instant::now();
        for _ in 0..calls / 2 {
            for (old, new) in [(name, other), (other, name)] {
                // SAFETY: the paths are C strings.
                let answer = unsafe { rename(old, new) };
                assert_eq!(answer, 0);
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    }
}

/// A scope keeps the first 1,024 events. Most calls of a test are among those, so these are.
const SCOPED_CALLS: u32 = 500;

const CASES: [Case; 21] = [
    Case {
        name: OWN_FSYNC,
        figure: Figure::InAll,
        goal_ns: None,
        calls: 2_000,
        measure: |setup, calls| setup.time(setup.own, calls),
    },
    Case {
        name: "hook, nothing open (calls_on_this_thread counts)",
        figure: Figure::AddedTo(OWN_FSYNC),
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
        figure: Figure::AddedTo(OWN_FSYNC),
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
        figure: Figure::AddedTo(OWN_FSYNC),
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
        figure: Figure::AddedTo(OWN_FSYNC),
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
        figure: Figure::AddedTo(OWN_FSYNC),
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
        name: OWN_OPEN,
        figure: Figure::InAll,
        goal_ns: None,
        calls: 2_000,
        measure: |setup, calls| setup.time_open(setup.own_open, calls),
    },
    Case {
        name: "open of `/`: hook, nothing open",
        figure: Figure::AddedTo(OWN_OPEN),
        goal_ns: Some(15.0),
        calls: 2_000,
        measure: |setup, calls| setup.time_open(libc::open, calls),
    },
    Case {
        name: "open of `/`: path scope",
        figure: Figure::AddedTo(OWN_OPEN),
        goal_ns: Some(15.0),
        calls: 2_000,
        measure: |setup, calls| {
            let _counter = FsyncCounter::under(setup.directory.path());
            setup.time_open(libc::open, calls)
        },
    },
    Case {
        name: OWN_REFUSAL,
        figure: Figure::InAll,
        goal_ns: None,
        calls: 2_000,
        measure: |setup, calls| setup.time_refusal(setup.own_rename, calls),
    },
    Case {
        name: "a refused rename: hook, nothing open",
        figure: Figure::AddedTo(OWN_REFUSAL),
        goal_ns: Some(15.0),
        calls: 2_000,
        measure: |setup, calls| setup.time_refusal(libc::rename, calls),
    },
    Case {
        name: OWN_FILE_OPEN,
        figure: Figure::InAll,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| setup.time_file_open(setup.own_open, libc::O_DSYNC, calls),
    },
    Case {
        name: "open of a file with `O_DSYNC`: path scope",
        figure: Figure::AddedTo(OWN_FILE_OPEN),
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let counter = FsyncCounter::under(setup.directory.path());
            let ns = setup.time_file_open(libc::open, libc::O_DSYNC, calls);
            assert_eq!(counter.incomplete().len(), 1);
            ns
        },
    },
    Case {
        name: OWN_RENAME,
        figure: Figure::InAll,
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| setup.time_rename(setup.own_rename, calls),
    },
    Case {
        name: "rename of a file: path scope with entries",
        figure: Figure::AddedTo(OWN_RENAME),
        goal_ns: None,
        calls: SCOPED_CALLS,
        measure: |setup, calls| {
            let counter = FsyncCounter::under(setup.directory.path()).with_entries();
            let ns = setup.time_rename(libc::rename, calls);
            assert_eq!(counter.events().len(), calls as usize);
            ns
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
            Figure::AddedTo(name) => round[at] - round[position(name)],
        }))
    })
}

fn position(name: &str) -> usize {
    let found = CASES.iter().position(|case| case.name == name);
    found.expect("a case of that name")
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
    println!("| a call | ns | goal | |");
    println!("|---|---|---|---|");
    for (case, figure) in CASES.iter().zip(figures) {
        let is_added = case.figure != Figure::InAll;
        let sign = if is_added { "+" } else { "" };
        let goal = case
            .goal_ns
            .map_or_else(String::new, |goal| format!("≤ {sign}{goal}"));
        let verdict = match case.goal_ns {
            None => "",
            Some(_) if is_missed(case, *figure) => "MISSED",
            Some(_) => "reached",
        };
        let ns = if is_added {
            format!("{figure:+.1}")
        } else {
            format!("{figure:.1}")
        };
        println!("| {} | {ns} | {goal} | {verdict} |", case.name);
    }
    println!("\n+: more than the C library's own function, in the same round");
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
                Figure::AddedTo(_) => "added",
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
///
/// # Safety
/// `F` is the type of a pointer to that function.
unsafe fn of_the_c_library<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut libc::c_void>());
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "the baseline needs a shared C library");
    // SAFETY: the name is a C string.
    let first = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert_ne!(
        found, first,
        "the program's {name:?} is the C library's: nothing is hooked"
    );
    // SAFETY: of the same size; that it is such a pointer is the caller's promise.
    unsafe { std::mem::transmute_copy(&found) }
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
