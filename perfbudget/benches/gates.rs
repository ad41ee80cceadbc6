//! What a walltime gate costs, what its readings of the kernel's books cost, and what the allocator
//! does inside its clock.
//!
//! `cargo bench -p perfbudget --profile perf --bench gates -- [--check]`
//!
//! The allocator's part: an operation is sampled eleven times in the four ways below, each in a
//! process of its own, because glibc's thresholds can't be put back. The page faults of the thread
//! inside the clock tell what was given back before: memory that stays costs none when it is
//! touched again.
//!
//! - *as it comes*: a warm-up and eleven runs, nothing else;
//! - *given back*: `malloc_trim` before each run, the translation of "collect garbage before each
//!   timed run" into an allocator's terms;
//! - *perfbudget*: the warm measurement of this crate;
//! - *steady state*: as it comes, after two thousand runs.
//!
//! `--check` makes a missed goal the exit code 1.

use std::collections::VecDeque;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use perfbudget::record::Nanoseconds;
use perfbudget::{
    Budget, Gate, Verdict, trimmed_mean, trimmed_mean_warm, trimmed_mean_warm_with_setup,
};

const PROCESSES: usize = 9;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, operation, way] = &arguments[..]
        && flag == "--sample"
    {
        sample(operation, way);
        return ExitCode::SUCCESS;
    }

    let gate = median((0..PROCESSES).map(|_| one_ms_gate()).collect());
    println!("medians of {PROCESSES}\n");
    println!("| a Tier 1 gate | measured | goal | |");
    println!("|---|---|---|---|");
    let mut missed = gate >= Duration::from_millis(40);
    println!(
        "| operation of 1 ms: warm-up, 11 samples, record | {} | < 40 ms | {} |\n",
        Nanoseconds(nanoseconds(gate)),
        if missed { "MISSED" } else { "reached" }
    );

    missed |= print_readings();

    println!("medians of {PROCESSES} processes\n");
    println!("| operation | way | page faults a sample | time | CV |");
    println!("|---|---|---|---|---|");
    for (operation, _) in OPERATIONS {
        let mut steady = 0.0;
        for way in ["steady state", "as it comes", "given back", "perfbudget"] {
            let samples: Vec<Sample> = (0..PROCESSES).map(|_| child(operation, way)).collect();
            let of = |figure: fn(&Sample) -> f64| median_f64(samples.iter().map(figure).collect());
            let faults = of(|s| s.faults);
            let mut note = "";
            if way == "steady state" {
                steady = faults;
            } else if way == "perfbudget" && faults > steady {
                note = " MISSED: more than in the steady state";
                missed = true;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time in nanoseconds"
            )]
            let time = Nanoseconds(of(|s| s.nanoseconds) as u64);
            println!(
                "| {operation} | {way} | {faults:.1}{note} | {time} | {:.1} % |",
                of(|s| s.cv_percent)
            );
        }
    }
    if missed && arguments.iter().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

fn median_f64(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn one_ms_gate() -> Duration {
    let start = Instant::now();
    let record = Gate::new("bench/one-ms", Budget::warm(Duration::from_millis(1))).check(|| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    });
    assert_eq!(record.verdict, Verdict::Within);
    start.elapsed()
}

const GATES: usize = 99;

/// Prints what the readings cost; whether they cost more than they should.
fn print_readings() -> bool {
    const GOAL: Duration = Duration::from_micros(4);
    let nothing = gaps(|op| _ = trimmed_mean_warm(op));
    let print = |what: &str, with: &Gaps, goal: &str, reached: &str| {
        let [median, tenth] = [
            with.median.saturating_sub(nothing.median),
            with.tenth.saturating_sub(nothing.tenth),
        ]
        .map(|time| Nanoseconds(nanoseconds(time)));
        println!("| {what} | {median} | {tenth} | {goal} | {reached} |");
    };
    println!("of {GATES} gates of 11 samples\n");
    println!("| readings of the kernel's books | median | fastest tenth | goal | |");
    println!("|---|---|---|---|---|");
    let by_itself = gaps(|op| _ = quiet_gate().check(op));
    let is_missed = by_itself.median.saturating_sub(nothing.median) >= GOAL;
    let reached = if is_missed { "MISSED" } else { "reached" };
    print(
        "for each sample, outside its timer",
        &by_itself,
        "≤ 4 µs",
        reached,
    );
    let asleep = gaps_of(true, |op| _ = quiet_gate().check(op));
    print("the same where the operation sleeps", &asleep, "", "");
    // What a phase in which everything is slow does to a single one.
    if let Ok(books) = std::fs::File::open("/proc/thread-self/schedstat") {
        let one = gaps(|op| {
            let read = || _ = black_box(books.read_at(&mut [0; 64], 0));
            _ = trimmed_mean_warm_with_setup(read, |()| op());
        });
        print("one read of `schedstat` in the same place", &one, "", "");
    }
    println!(
        "| around each round | {} | | | |\n",
        Nanoseconds(nanoseconds(around_a_round()))
    );
    is_missed
}

/// The time between the end of one operation and the beginning of the next.
struct Gaps {
    median: Duration,
    tenth: Duration,
}

fn gaps(measure: impl Fn(&mut dyn FnMut())) -> Gaps {
    gaps_of(false, measure)
}

fn gaps_of(an_operation_that_sleeps: bool, measure: impl Fn(&mut dyn FnMut())) -> Gaps {
    let mut all = Vec::with_capacity(GATES * 11);
    for _ in 0..GATES {
        let mut end: Option<Instant> = None;
        measure(&mut || {
            let start = Instant::now();
            all.extend(end.map(|end| start - end));
            if an_operation_that_sleeps {
                std::thread::sleep(Duration::from_micros(1));
            }
            while start.elapsed() < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
            end = Some(Instant::now());
        });
    }
    all.sort_unstable();
    Gaps {
        median: all[all.len() / 2],
        tenth: all[all.len() / 10],
    }
}

/// From the call of a gate to its warm-up and from its last sample to its verdict, less that of a
/// measurement that reads no books; the record's making is in it.
fn around_a_round() -> Duration {
    let around = |measure: &dyn Fn(&mut dyn FnMut())| {
        let each = (0..GATES).map(|_| {
            let mut inside = Duration::ZERO;
            let mut span: Option<(Instant, Instant)> = None;
            let start = Instant::now();
            measure(&mut || {
                let now = Instant::now();
                span = Some((span.map_or(now, |(first, _)| first), now));
            });
            if let Some((first, last)) = span {
                inside += last - first;
            }
            start.elapsed() - inside
        });
        median(each.collect())
    };
    around(&|op| _ = quiet_gate().check(op)).saturating_sub(around(&|op| _ = trimmed_mean_warm(op)))
}

fn quiet_gate() -> Gate {
    Gate::new("bench/readings", Budget::warm(Duration::from_millis(1)))
}

type Operation = fn() -> usize;

const OPERATIONS: [(&str, Operation); 3] = [
    ("a Vec that grows to 4 MiB", || {
        let mut numbers = Vec::new();
        for number in 0..512 * 1024_u64 {
            numbers.push(black_box(number));
        }
        numbers.len()
    }),
    ("20,000 boxes, freed in another order", || {
        let mut boxes: VecDeque<Box<[u64; 8]>> = (0..20_000).map(|n| Box::new([n; 8])).collect();
        let mut sum = 0;
        while let Some(first) = boxes.pop_front() {
            sum += black_box(first)[0];
            sum += boxes.pop_back().map_or(0, |last| last[7]);
        }
        usize::try_from(sum).unwrap_or(0)
    }),
    ("8 buffers of 1 MiB, touched", || {
        let buffers: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n + 1; 1024 * 1024]).collect();
        black_box(&buffers).iter().map(Vec::len).sum()
    }),
];

#[derive(Debug)]
struct Sample {
    faults: f64,
    nanoseconds: f64,
    cv_percent: f64,
}

fn child(operation: &str, way: &str) -> Sample {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--sample", operation, way])
        .output()
        .expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    Sample {
        faults: next(),
        nanoseconds: next(),
        cv_percent: next(),
    }
}

/// In the child: prints page faults a sample, nanoseconds and CV.
fn sample(name: &str, way: &str) {
    let (_, operation) = OPERATIONS
        .into_iter()
        .find(|(candidate, _)| *candidate == name)
        .expect("an operation");
    let mut faults = VecDeque::new();
    let counted = || {
        let before = page_faults();
        let result = black_box(operation)();
        faults.push_back(page_faults() - before);
        result
    };
    let measured = match way {
        "perfbudget" => trimmed_mean_warm(counted),
        "given back" => perfbudget::trimmed_mean_with_setup(
            || {
                // SAFETY: gives free memory back under the allocator's own locks.
                unsafe { libc::malloc_trim(0) };
            },
            {
                let mut counted = counted;
                move |()| counted()
            },
        ),
        _ => {
            let runs = if way == "steady state" { 2_000 } else { 0 };
            for _ in 0..runs {
                black_box(operation)();
            }
            trimmed_mean(counted)
        }
    };
    faults.pop_front(); // the warm-up
    let mut faults: Vec<i64> = faults.into();
    faults.sort_unstable();
    println!(
        "{} {} {}",
        faults[faults.len() / 2],
        nanoseconds(measured.mean()),
        measured.cv_percent()
    );
}

/// Page faults of this thread so far that needed no disk.
fn page_faults() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: writes one `rusage` to a place of that size.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    assert_eq!(answer, 0);
    // SAFETY: the call succeeded, so that all of it is written.
    unsafe { usage.assume_init() }.ru_minflt
}
