//! What an allocator does inside the clock: operations, each in several ways.
//!
//! - *steady state*: a warm-up and eleven runs, after [`SETTLING_RUNS`];
//! - *as it comes*: a warm-up and eleven runs, nothing else;
//! - *given back*: all that is free is given back before each run, the translation of "collect
//!   garbage before each timed run" into an allocator's terms;
//! - *perfbudget*: the warm measurement of this crate.
//!
//! A process for each, because what one way leaves behind would be the next one's beginning; and
//! one more of each for its times, because being watched takes time.
//!
//! `--check` makes it the exit code 1 where the warm measurement has a page fault or a give-back
//! that the steady state has not.

use std::env;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use perfbudget::record::Nanoseconds;
use perfbudget::{
    SAMPLES, allocator, trimmed_mean, trimmed_mean_warm_with_setup, trimmed_mean_with_setup,
};

use crate::kernel::{page_faults, watched};
use crate::operations::{self, Operation};

const PROCESSES: usize = 3;
/// Runs after which a steady state is assumed.
const SETTLING_RUNS: usize = 300;
/// Before each run of an operation that has pauses: longer than jemalloc's steps of giving back,
/// and in eleven runs as long as mimalloc waits.
const PAUSE: Duration = Duration::from_millis(250);

struct Case {
    name: &'static str,
    operation: Operation,
    pause: Duration,
}

fn cases() -> impl Iterator<Item = Case> {
    let all = operations::ALL.into_iter().map(|(name, operation)| Case {
        name,
        operation,
        pause: Duration::ZERO,
    });
    all.chain([Case {
        name: "8 buffers of 1 MiB, touched, ¼ s apart",
        operation: operations::BUFFERS.1,
        pause: PAUSE,
    }])
}

/// The figures of one process.
#[derive(Debug)]
struct Figures {
    page_faults: f64,
    given_back: f64,
    taken: f64,
    nanoseconds: f64,
    cv_percent: f64,
}

/// The whole program: prints the table, or, called by itself, takes one process's samples.
pub(crate) fn main(give_back: Option<fn()>) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, case, way, what] = &arguments[..]
        && flag == "--sample"
    {
        let case = cases().find(|known| known.name == case).expect("a case");
        sample(&case, way, what, give_back);
        return ExitCode::SUCCESS;
    }

    println!(
        "{}, medians of {PROCESSES} processes; faults and calls are the mean of {SAMPLES} samples\n",
        allocator::in_use()
    );
    println!("| operation | way | page faults | gives back | takes | time | CV |");
    println!("|---|---|---|---|---|---|---|");
    let mut ways = vec!["steady state", "as it comes"];
    ways.extend(give_back.map(|_| "given back"));
    ways.push("perfbudget");
    let mut missed = false;
    for case in cases() {
        let mut steady = (0.0, 0.0);
        for way in &ways {
            let all: Vec<Figures> = (0..PROCESSES).map(|_| figures(case.name, way)).collect();
            let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure).collect());
            let (faults, given_back) = (of(|f| f.page_faults), of(|f| f.given_back));
            let mut note = "";
            if *way == "steady state" {
                steady = (faults, given_back);
            } else if *way == "perfbudget" && (faults > steady.0 || given_back > steady.1) {
                note = " MISSED: more than in the steady state";
                missed = true;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time in nanoseconds"
            )]
            let time = Nanoseconds(of(|f| f.nanoseconds) as u64);
            println!(
                "| {} | {way} | {faults:.1}{note} | {given_back:.1} | {:.1} | {time} | {:.1} % |",
                case.name,
                of(|f| f.taken),
                of(|f| f.cv_percent)
            );
        }
    }
    if missed && arguments.iter().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn figures(case: &str, way: &str) -> Figures {
    let counts = child(case, way, "counts");
    let times = child(case, way, "times");
    Figures {
        page_faults: counts[0],
        given_back: counts[1],
        taken: counts[2],
        nanoseconds: times[0],
        cv_percent: times[1],
    }
}

fn child(case: &str, way: &str, what: &str) -> Vec<f64> {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--sample", case, way, what])
        .output()
        .expect("this program starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect()
}

/// In the child: prints the means of faults and calls, or time in nanoseconds and CV.
fn sample(case: &Case, way: &str, what: &str, give_back: Option<fn()>) {
    if what == "times" {
        let measured = measure(case, way, give_back, &mut || (case.operation)());
        println!("{} {}", measured.mean().as_nanos(), measured.cv_percent());
        return;
    }
    let sums = watched(|calls| {
        let mut sums = [0_u64; 3];
        let mut runs = 0;
        let mut counted = || {
            let before = [page_faults(), calls.given_back(), calls.taken()];
            let result = black_box(case.operation)();
            let after = [page_faults(), calls.given_back(), calls.taken()];
            // The first is the warm-up.
            if runs > 0 {
                for (sum, (after, before)) in sums.iter_mut().zip(after.iter().zip(before)) {
                    *sum += after - before;
                }
            }
            runs += 1;
            result
        };
        measure(case, way, give_back, &mut counted);
        assert_eq!(runs, SAMPLES + 1);
        sums
    });
    let samples = u32::try_from(SAMPLES).expect("a small number");
    for sum in sums {
        let sum = u32::try_from(sum).expect("a small number");
        print!("{} ", f64::from(sum) / f64::from(samples));
    }
    println!();
}

fn measure(
    case: &Case,
    way: &str,
    give_back: Option<fn()>,
    operation: &mut dyn FnMut() -> usize,
) -> perfbudget::Measurement {
    let pause = || thread::sleep(case.pause);
    match way {
        "perfbudget" => trimmed_mean_warm_with_setup(pause, |()| operation()),
        "given back" => trimmed_mean_with_setup(
            || {
                pause();
                give_back.expect("a way to")();
            },
            |()| operation(),
        ),
        "steady state" => {
            for _ in 0..SETTLING_RUNS {
                black_box(case.operation)();
            }
            // A steady state has no pauses.
            trimmed_mean(operation)
        }
        _ => trimmed_mean_with_setup(pause, |()| operation()),
    }
}
