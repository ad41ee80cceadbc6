//! Verdicts on a busy machine: real busy processes, bounded in number and time, beside a gate in a
//! process of its own.
#![cfg(all(target_os = "linux", not(debug_assertions)))]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use perfbudget::{Budget, Gate, Record, Verdict};

use crate::child::{Run, is_child};

/// No test keeps the machine busy for longer.
const AT_MOST: Duration = Duration::from_secs(60);

/// Processes that do nothing but use a CPU, until they are dropped.
struct BusyProcesses(Vec<Child>);

impl BusyProcesses {
    /// So many for each CPU, running when this returns.
    fn each_cpu(n: usize) -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let start = || {
            Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "busy::red_child_is_busy", "--nocapture"])
                .env("PERFBUDGET_TEST_CHILD", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this binary starts")
        };
        let mut busy = Self((0..n * cpus).map(|_| start()).collect());
        for child in &mut busy.0 {
            let lines = BufReader::new(child.stdout.as_mut().expect("a pipe")).lines();
            let is_busy = |line: std::io::Result<String>| line.expect("text").contains("busy now");
            assert!(lines.into_iter().any(is_busy), "it did not start");
        }
        busy
    }
}

impl Drop for BusyProcesses {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            _ = child.kill();
            _ = child.wait();
        }
    }
}

#[test]
fn red_child_is_busy() {
    if is_child() {
        thread::spawn(|| {
            // The pipe ends with who started it, however that ends.
            _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        println!("busy now");
        std::io::stdout().flush().expect("a pipe");
        let start = Instant::now();
        while start.elapsed() < AT_MOST {
            std::hint::spin_loop();
        }
    }
}

/// Takes so much CPU time, however long that takes.
fn burn(time: Duration) {
    let end = thread_cpu() + time;
    while thread_cpu() < end {}
}

fn thread_cpu() -> Duration {
    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes a timespec to where there is room for one.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()) };
    assert_eq!(outcome, 0);
    // SAFETY: the call succeeded, so that it was written.
    let time = unsafe { time.assume_init() };
    Duration::new(
        time.tv_sec.try_into().expect("positive"),
        time.tv_nsec.try_into().expect("below a second"),
    )
}

/// A warm budget whose limit is this.
fn limited_to(limit: Duration) -> Budget {
    Budget::warm(limit / 3)
}

const MS: Duration = Duration::from_millis(1);

fn verdicts(run: &Run, gates: &[&str]) -> Vec<Verdict> {
    gates
        .iter()
        .map(|gate| {
            let record = run.record(gate);
            assert_eq!(
                record.verdict_anew(),
                Some(record.verdict),
                "decided anew from its file: {record:#?}"
            );
            record.verdict
        })
        .collect()
}

#[test]
fn red_child_is_innocent() {
    if is_child() {
        // Until the machine was in the way once; each alone takes 11 × 3 ms of CPU.
        for n in 0..40 {
            let gate = Gate::new(format!("tests/innocent-{n}"), limited_to(5 * MS));
            let record = gate.check(|| burn(3 * MS));
            println!("verdict {}", record.verdict);
            if record.verdict == Verdict::Contended {
                break;
            }
        }
    }
}

#[test]
fn red_innocent_code_on_a_busy_machine_is_contended() {
    let run = Run::new();
    let busy = BusyProcesses::each_cpu(4);
    let output = run.test("busy::red_child_is_innocent", &[]);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    let count = |verdict: &str| output.text.matches(&format!("verdict {verdict}")).count();
    assert_eq!(count("over") + count("undecided"), 0, "{}", output.text);
    assert_eq!(count("contended"), 1, "{}", output.text);
    let last = format!("tests/innocent-{}", count("within"));
    assert_eq!(verdicts(&run, &[&last]), [Verdict::Contended]);
    let record = run.record(&last);
    let wall = record.wall_ns.expect("measured").trimmed_mean;
    let (lo, hi) = (record.lo_ns.expect("known"), record.hi_ns.expect("known"));
    assert!(wall > 5_000_000 && hi <= 5_000_000, "{wall} {hi}");
    // It burns 3 ms; run delay that a reading can't place, some microseconds, is left to it.
    assert!((2_900_000..=hi).contains(&lo), "{lo} {hi}");
    assert!(record.bounds.is_none(), "{:?}", record.bounds);
    assert_eq!(record.host.alone, Some(true));
    assert!(record.host.involuntary_switches > Some(0));
}

#[test]
fn red_child_is_guilty() {
    if is_child() {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let gate = |name: &str| Gate::new(format!("tests/{name}"), limited_to(2 * MS));
        gate("cpu").check(|| burn(3 * MS));
        gate("sleep").check(|| thread::sleep(3 * MS));
        // On a CPU of its own each would be within.
        gate("threads").check(|| {
            thread::scope(|scope| {
                for _ in 0..4 * cpus {
                    scope.spawn(|| burn(MS));
                }
            });
        });
        gate("worker").check(|| thread::scope(|s| s.spawn(|| burn(3 * MS)).join().is_ok()));
    }
}

#[test]
fn red_guilty_code_never_passes_as_innocent_on_a_busy_machine() {
    let run = Run::new();
    let busy = BusyProcesses::each_cpu(4);
    let output = run.test("busy::red_child_is_guilty", &[]);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    // Nobody else can have made a single thread slow, but for a hypervisor that took the CPU away.
    for gate in ["tests/cpu", "tests/sleep"] {
        let [verdict] = verdicts(&run, &[gate])[..] else {
            unreachable!("of one gate")
        };
        let mut record = run.record(gate);
        let is_stolen_from = record.rounds.iter().any(|round| round.delays.steal_ns > 0);
        assert!(
            verdict == Verdict::Over || verdict == Verdict::Undecided && is_stolen_from,
            "{record:#?}"
        );
        for round in &mut record.rounds {
            round.delays.steal_ns = 0;
        }
        assert_eq!(record.verdict_anew(), Some(Verdict::Over), "{record:#?}");
    }
    for verdict in verdicts(&run, &["tests/threads", "tests/worker"]) {
        assert!(
            matches!(verdict, Verdict::Over | Verdict::Undecided),
            "{verdict}"
        );
    }
}

/// The limit of a child's gate, in nanoseconds.
const LIMIT_ENV: &str = "PERF_TEST_LIMIT_NS";

/// One thread without children, some milliseconds.
const COUNTS: &str = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done; echo $i";

fn count() -> std::io::Result<std::process::Output> {
    perfbudget::command_output(Command::new("sh").args(["-c", COUNTS]))
}

#[test]
fn red_child_is_innocent_with_threads() {
    if is_child() {
        let (to_worker, work) = std::sync::mpsc::channel();
        let (done, finished) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for time in work {
                burn(time);
                done.send(()).expect("the gate waits");
            }
        });
        let gate = |name: &str| Gate::new(format!("tests/{name}"), limited_to(2 * MS));
        gate("kept").check(|| {
            to_worker.send(MS / 2).expect("the worker waits");
            finished.recv().expect("the worker works");
        });
        gate("spawned").check(|| thread::spawn(|| burn(MS / 2)).join().is_ok());
        let quick = || Command::new("true").status().is_ok();
        // Far more than a process takes, far less than waiting for a CPU does.
        Gate::new("tests/process", limited_to(6 * MS)).check(quick);
    }
}

#[test]
fn red_innocent_code_on_other_threads_is_never_over_on_a_busy_machine() {
    let run = Run::new();
    let busy = BusyProcesses::each_cpu(4);
    let output = run.test("busy::red_child_is_innocent_with_threads", &[]);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    let all = ["tests/kept", "tests/spawned", "tests/process"];
    for (gate, verdict) in all.into_iter().zip(verdicts(&run, &all)) {
        assert_ne!(verdict, Verdict::Over, "{gate}: {}", output.text);
    }
}

#[test]
fn red_child_is_innocent_beside_other_tests() {
    if is_child() {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 * cpus {
                let neighbour = thread::Builder::new().name("another_test".into());
                let spin = || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                };
                neighbour.spawn_scoped(scope, spin).expect("a thread");
            }
            Gate::new("tests/neighbours", limited_to(5 * MS)).check(|| burn(3 * MS));
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn red_other_tests_of_the_process_are_no_guilt_of_the_gate() {
    let run = Run::new();
    let output = run.test("busy::red_child_is_innocent_beside_other_tests", &[]);
    assert!(output.passed, "{}", output.text);
    assert_ne!(verdicts(&run, &["tests/neighbours"]), [Verdict::Over]);
    let warnings = run.record("tests/neighbours").warnings;
    let says =
        |w: &String| w.starts_with("the thread \"another_test\" of its process ran beside it");
    assert!(warnings.iter().any(says), "{warnings:?}");
}

#[test]
fn red_child_ignores_its_children() {
    if is_child() {
        // SAFETY: sets what a signal does; nothing else in this process waits for children.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let limit = std::env::var(LIMIT_ENV).expect("a limit").parse();
        let limit = Duration::from_nanos(limit.expect("nanoseconds"));
        let record = Gate::new("tests/vanish", limited_to(limit)).check(|| {
            let mut child = Command::new("sh")
                .args(["-c", COUNTS])
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut text = String::new();
            let stdout = child.stdout.as_mut().expect("a pipe");
            stdout.read_to_string(&mut text).expect("text");
            assert_eq!(text, "4000\n");
            // Fails, as the kernel has forgotten it.
            assert!(child.wait().is_err());
        });
        let bounds = record.bounds.unwrap_or_default();
        assert!(bounds.contains("SIGCHLD is ignored"), "{bounds}");
    }
}

#[test]
fn red_children_that_vanish_are_no_proof_of_guilt() {
    let run = Run::new();
    let limit = 2 * perfbudget::trimmed_mean(count).min().as_nanos();
    let busy = BusyProcesses::each_cpu(4);
    let limit = [(LIMIT_ENV, &*limit.to_string())];
    let output = run.test("busy::red_child_ignores_its_children", &limit);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    assert_ne!(verdicts(&run, &["tests/vanish"]), [Verdict::Over]);
}

#[test]
fn red_child_begins_to_ignore_its_children() {
    if is_child() {
        let record = Gate::new("tests/vanish-later", limited_to(1000 * MS)).check(|| {
            // SAFETY: sets what a signal does; nothing else in this process waits for children.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) }
        });
        assert_eq!(record.verdict, Verdict::Within);
        let bounds = record.bounds.unwrap_or_default();
        assert!(bounds.contains("SIGCHLD is ignored"), "{bounds}");
    }
}

#[test]
fn red_children_that_begin_to_vanish_in_a_round_are_seen_at_its_end() {
    let output = Run::new().test("busy::red_child_begins_to_ignore_its_children", &[]);
    assert!(output.passed, "{}", output.text);
}

#[test]
fn red_child_runs_commands() {
    if is_child() {
        let limit = std::env::var(LIMIT_ENV).expect("a limit").parse();
        let limit = Duration::from_nanos(limit.expect("nanoseconds"));
        for n in 0..10 {
            let gate = Gate::new(format!("tests/command-{n}"), limited_to(limit));
            let record = gate.check(|| {
                let output = count().expect("it starts");
                assert_eq!(output.stdout, b"4000\n");
                assert!(output.stderr.is_empty() && output.status.success());
            });
            println!("verdict {}", record.verdict);
            if record.verdict == Verdict::Contended {
                break;
            }
        }
    }
}

#[test]
fn red_a_command_that_waited_for_a_cpu_is_contended() {
    let run = Run::new();
    // Twice the time that it takes without them.
    let limit = 2 * perfbudget::trimmed_mean(count).min().as_nanos();
    let busy = BusyProcesses::each_cpu(4);
    let limit = [(LIMIT_ENV, &*limit.to_string())];
    let output = run.test("busy::red_child_runs_commands", &limit);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    assert!(!output.text.contains("verdict over"), "{}", output.text);
    assert!(output.text.contains("verdict contended"), "{}", output.text);
}

#[test]
fn red_child_leaves_work_behind() {
    if is_child() {
        // Until the thread had a CPU in the moment that is looked at: the first time, if others
        // leave it one.
        for n in 0..20 {
            let gate = Gate::new(format!("tests/thread-{n}"), limited_to(50 * MS));
            let record = gate.check(|| {
                let flusher = thread::Builder::new().name("flusher".into());
                flusher.spawn(|| burn(3 * MS)).expect("a thread");
            });
            let warning = record
                .warnings
                .iter()
                .find(|w| w.contains("\"flusher\" had a CPU"));
            println!("{warning:?}");
            if warning.is_some() {
                break;
            }
        }
        let mut children = Vec::new();
        let record = Gate::new("tests/process", limited_to(2 * MS)).check(|| {
            let child = Command::new("sleep").arg("30").spawn().expect("it starts");
            children.push(child);
            thread::sleep(3 * MS);
        });
        for mut child in children {
            child.kill().expect("it runs");
            child.wait().expect("it is ours");
        }
        println!("{:?} {:?}", record.warnings, record.bounds);
    }
}

#[test]
fn red_work_that_goes_on_behind_the_clock_is_warned_about() {
    let run = Run::new();
    let output = run.test("busy::red_child_leaves_work_behind", &[]);
    assert!(output.passed, "{}", output.text);
    let warning = "its thread \"flusher\" had a CPU for";
    assert!(output.text.contains(warning), "{}", output.text);
    let warned = |record: &Record, text| record.warnings.iter().any(|w| w.contains(text));
    let record = run.record("tests/process");
    assert!(
        warned(&record, "a child process was still running"),
        "{:?}",
        record.warnings
    );
    let bounds = record.bounds.as_deref().unwrap_or_default();
    assert!(bounds.contains("a child process was still"), "{bounds}");
    assert_eq!(record.hi_ns, record.wall_ns.map(|wall| wall.trimmed_mean));
    let verdicts = verdicts(&run, &["tests/process"]);
    assert!(
        matches!(verdicts[..], [Verdict::Over | Verdict::Undecided]),
        "{verdicts:?}"
    );
}

#[test]
fn red_child_is_served_elsewhere() {
    if is_child() {
        let record = Gate::new("tests/served", limited_to(5 * MS))
            .served_elsewhere()
            .check(|| burn(3 * MS));
        assert_eq!(record.hi_ns, record.wall_ns.map(|wall| wall.trimmed_mean));
        assert!(record.served_elsewhere);
    }
}

#[test]
fn red_work_of_others_takes_the_excuse_away() {
    let run = Run::new();
    let busy = BusyProcesses::each_cpu(4);
    let output = run.test("busy::red_child_is_served_elsewhere", &[]);
    drop(busy);
    assert!(output.passed, "{}", output.text);
    let verdict = verdicts(&run, &["tests/served"]);
    assert_ne!(verdict, [Verdict::Contended]);
}

#[test]
fn red_child_measures_in_two_threads() {
    if is_child() {
        let operations = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for gate in ["tests/left", "tests/right"] {
                let operations = &operations;
                scope.spawn(move || {
                    let record = Gate::new(gate, limited_to(100 * MS)).check(|| {
                        operations.lock().expect("no panic").push(gate);
                        burn(MS);
                    });
                    assert_eq!(record.host.alone, Some(true));
                });
            }
        });
        let operations = operations.into_inner().expect("no panic");
        let changes = operations.windows(2).filter(|two| two[0] != two[1]).count();
        assert_eq!((operations.len(), changes), (24, 1), "{operations:?}");
        let nested = Gate::new("tests/outer", limited_to(1000 * MS));
        nested.check(|| {
            let inner = Gate::new("tests/inner", limited_to(100 * MS)).check(|| burn(MS));
            assert_eq!(inner.host.alone, Some(false));
        });
    }
}

#[test]
fn red_gates_of_one_machine_take_turns() {
    let run = Run::new();
    let (left, right) = thread::scope(|scope| {
        let one = || Run::new().test("busy::red_child_measures_in_two_threads", &[]);
        let left = scope.spawn(one);
        let right = run.test("busy::red_child_measures_in_two_threads", &[]);
        (left.join().expect("no panic"), right)
    });
    for output in [left, right] {
        assert!(output.passed, "{}", output.text);
    }
}
