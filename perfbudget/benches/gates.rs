//! What a walltime gate costs, and what its readings of the kernel's books cost.
//!
//! `cargo bench -p perfbudget --profile perf --bench gates -- [--check]`
//!
//! `--check` makes a missed goal the exit code 1.

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use perfbudget::record::Nanoseconds;
use perfbudget::{Budget, Gate, Verdict, trimmed_mean_warm, trimmed_mean_warm_with_setup};

const GATES_OF_1_MS: usize = 9;

fn main() -> ExitCode {
    let gate = median((0..GATES_OF_1_MS).map(|_| one_ms_gate()).collect());
    println!("medians of {GATES_OF_1_MS}\n");
    println!("| a Tier 1 gate | measured | goal | |");
    println!("|---|---|---|---|");
    let mut missed = gate >= Duration::from_millis(40);
    println!(
        "| operation of 1 ms: warm-up, 11 samples, record | {} | < 40 ms | {} |\n",
        Nanoseconds(nanoseconds(gate)),
        if missed { "MISSED" } else { "reached" }
    );

    missed |= print_readings();

    if missed && std::env::args().any(|argument| argument == "--check") {
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
