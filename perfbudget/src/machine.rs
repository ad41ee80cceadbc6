//! How fast this machine is: fixed reference work, timed.
//!
//! `PERF_BUDGET_MULTIPLIER=auto` compares its time here with the time that it took on the machine
//! where the bases were observed, which `cargo perfbudget calibrate-machine` writes into
//! [`perfbudget.toml`](crate::config). There are two works, because machines differ in two ways:
//!
//! - **cpu**, for [`Warm`](crate::Class::Warm) gates: integer arithmetic, hashing, unpredictable
//!   branches and memory within a second-level cache (128 KiB), 1.4 ms. The least of 11 runs
//!   after a warm-up, in CPU time of the thread where the platform has such a clock, so that
//!   waiting for a CPU is not in it.
//! - **process**, for [`Cold`](crate::Class::Cold) gates: a program that does nothing is started and
//!   waited for (`true` on Unix, `cmd /d /c exit 0` on Windows). The least of 21 elapsed times
//!   after a warm-up.
//!
//! Each is done once a process, when it is first asked for; some 20 ms.
//!
//! How far they differ from one process to the next (AMD EPYC, 2 cores of a virtual machine,
//! 2026-11-21): the middle half of the cpu times lies within 1 %, idle and beside 8 busy processes,
//! where their median is 2 % larger; that of the process times within 8 %, and within 24 % beside 8
//! busy processes, where their median is 19 % larger. There were idle minutes in which the machine
//! itself was slower, by 14 and 24 %. docs/perf-budget-suite.md has the figures.
//!
//! It is not a benchmark of machines: memory bandwidth, vector units, disks and the number of CPUs
//! are not in it.

#[cfg(unix)]
use std::env;
use std::error::Error;
use std::fmt;
use std::hint::black_box;
#[cfg(any(unix, windows))]
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::process::Command;
#[cfg(any(unix, windows))]
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::host;
use crate::record::Host;

/// Timed runs of the cpu work, after one that is not.
const CPU_RUNS: usize = 11;
/// Timed runs of the process work, after one that is not.
const PROCESS_RUNS: usize = 21;

/// What the cpu work takes on this machine. The first call of a process takes some 20 ms.
#[must_use]
pub fn cpu_time() -> Duration {
    static TIME: OnceLock<Duration> = OnceLock::new();
    *TIME.get_or_init(|| {
        let mut memory = Box::new([0; WORDS]);
        let mut run = || _ = black_box(cpu_work(black_box(&mut memory), black_box(SEED)));
        run();
        least(CPU_RUNS, || own_time(&mut run))
    })
}

/// What the process work takes on this machine. The first call of a process takes some 20 ms.
///
/// # Errors
/// When the program that does nothing can't be found, started or waited for, or fails.
pub fn process_time() -> Result<Duration, ProcessWorkError> {
    static TIME: OnceLock<Result<Duration, ProcessWorkError>> = OnceLock::new();
    TIME.get_or_init(|| {
        let mut command = does_nothing()?;
        process_work(&mut command)?;
        (0..PROCESS_RUNS)
            .map(|_| {
                let start = Instant::now();
                process_work(&mut command)?;
                Ok(start.elapsed())
            })
            .try_fold(Duration::MAX, |least, time| Ok(least.min(time?)))
    })
    .clone()
}

/// Whether times of this build can be compared with those of others: not in debug builds, under
/// coverage, Miri or a sanitizer, where no gate is timed either.
#[must_use]
pub fn is_timed() -> bool {
    host::why_not_timed().is_none()
}

/// The machine and the build, as records have them.
#[must_use]
pub fn host() -> Host {
    host::host()
}

fn least(runs: usize, mut time: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| time()).min().unwrap_or_default()
}

/// CPU time of the calling thread while `run` runs; elapsed time where there is no such clock.
fn own_time(run: impl FnOnce()) -> Duration {
    let (before, start) = (thread_cpu_time(), Instant::now());
    run();
    let elapsed = start.elapsed();
    match (before, thread_cpu_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => elapsed,
    }
}

/// CPU time that the calling thread has used; `None` where the platform does not say.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos"
))]
fn thread_cpu_time() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec of this frame, which the call may write to while it lasts; it
    // keeps no pointer to it.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (outcome == 0).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos"
)))]
fn thread_cpu_time() -> Option<Duration> {
    None
}

/// 128 KiB of them: more than a first-level cache holds, less than a second-level one.
const WORDS: usize = 1 << 14;
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// An odd constant with as many ones as zeros, for multiplicative hashing.
const FACTOR: u64 = 0xD6E8_FEB8_6659_FD93;

/// The cpu work. A change of it is a change of every score: it needs `calibrate-machine` anew, and
/// a line in the changelog.
///
/// It calls no algorithm of std, whose versions differ. Not inlined, so that what is around it
/// makes no difference; each step needs the one before it, so that vector instructions don't
/// either.
#[inline(never)]
fn cpu_work(memory: &mut [u64; WORDS], seed: u64) -> u64 {
    let mut random = Random(seed);
    let found = hash_table(memory, &mut random);
    let walked = walk(memory, &mut random);
    let scanned = scan(memory);
    let sorted = heap_sort(memory, &mut random);
    found
        .wrapping_add(walked.rotate_left(16))
        .wrapping_add(scanned.rotate_left(32))
        .wrapping_add(sorted.rotate_left(48))
}

/// Marsaglia's xorshift64, "Xorshift RNGs" (2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A place in memory from the upper bits of a word, the better ones of a product.
#[expect(
    clippy::cast_possible_truncation,
    reason = "50 bits are shifted out, 14 are left"
)]
fn place(word: u64) -> usize {
    (word >> (64 - WORDS.trailing_zeros())) as usize & (WORDS - 1)
}

/// Fills half of an open-addressing table, then looks for twice as many keys, of which some are
/// there. Returns the steps and the hits.
fn hash_table(memory: &mut [u64; WORDS], random: &mut Random) -> u64 {
    memory.fill(0);
    let mut steps = 0_u64;
    let mut seek = |memory: &[u64; WORDS], key: u64| {
        let mut at = place(key.wrapping_mul(FACTOR));
        while memory[at] != 0 && memory[at] != key {
            at = (at + 1) & (WORDS - 1);
            steps += 1;
        }
        at
    };
    let mut last = 1;
    for _ in 0..WORDS / 2 {
        last = random.next();
        let at = seek(memory, last);
        memory[at] = last;
    }
    let mut hits = 0;
    let mut key = last;
    for n in 0..WORDS {
        key = match n % 2 {
            0 => memory[place(key.wrapping_mul(FACTOR).wrapping_add(1))] | 1,
            _ => random.next(),
        };
        if memory[seek(memory, key)] == key {
            hits += 1;
        }
    }
    steps.wrapping_mul(WORDS as u64).wrapping_add(hits)
}

/// Each step goes where the word under it says, and changes it.
fn walk(memory: &mut [u64; WORDS], random: &mut Random) -> u64 {
    let mut word = random.next();
    for _ in 0..3 * WORDS {
        let at = place(word);
        word = (word ^ memory[at]).wrapping_mul(FACTOR).rotate_left(23);
        memory[at] = word;
    }
    word
}

/// Reads half of the memory as text, by the class of each byte: a branch that nothing
/// predicts.
fn scan(memory: &[u64; WORDS]) -> u64 {
    let (mut number, mut words, mut sum) = (0_u64, 0_u64, 0_u64);
    for byte in memory[..WORDS / 2]
        .iter()
        .flat_map(|word| word.to_le_bytes())
    {
        match byte & 0x3F {
            digit @ 0..=9 => number = number.wrapping_mul(10).wrapping_add(u64::from(digit)),
            10..=35 => {
                words += 1;
                sum = sum.rotate_left(5) ^ number;
            }
            36..=49 => {
                sum = sum.wrapping_add(number.wrapping_mul(words | 1));
                number = 0;
            }
            _ => sum ^= u64::from(byte) << (words % 56),
        }
    }
    sum ^ words
}

/// Sorts half of the memory by Williams's heapsort (1964) and returns a word that depends on
/// the order.
fn heap_sort(memory: &mut [u64; WORDS], random: &mut Random) -> u64 {
    fn sift_down(heap: &mut [u64], mut parent: usize) {
        loop {
            let mut child = 2 * parent + 1;
            if child >= heap.len() {
                return;
            }
            if child + 1 < heap.len() && heap[child + 1] > heap[child] {
                child += 1;
            }
            if heap[parent] >= heap[child] {
                return;
            }
            heap.swap(parent, child);
            parent = child;
        }
    }
    let heap = &mut memory[..WORDS / 2];
    for word in heap.iter_mut() {
        *word ^= random.next();
    }
    for parent in (0..heap.len() / 2).rev() {
        sift_down(heap, parent);
    }
    for end in (1..heap.len()).rev() {
        heap.swap(0, end);
        sift_down(&mut heap[..end], 0);
    }
    heap.iter()
        .fold(0, |sum, word| sum.rotate_left(1).wrapping_add(*word))
}

fn process_work(command: &mut Command) -> Result<(), ProcessWorkError> {
    let why = match command.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("it ended with {status}"),
        Err(error) => error.to_string(),
    };
    Err(ProcessWorkError {
        program: command.get_program().to_string_lossy().into_owned(),
        why,
    })
}

/// The program that does nothing, ready to be started. Its environment is empty: a dynamic loader
/// looks through every directory that `cargo test` puts into its path, and a tool started by hand
/// has others.
#[cfg(unix)]
fn does_nothing() -> Result<Command, ProcessWorkError> {
    const PROGRAM: &str = "true";
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let program = on_path(PROGRAM, env::split_paths(&path)).ok_or_else(|| ProcessWorkError {
        program: PROGRAM.to_owned(),
        why: "it is in no directory of PATH".to_owned(),
    })?;
    let mut command = quiet(&program);
    command.env_clear();
    Ok(command)
}

/// Windows programs need some of their environment.
#[cfg(windows)]
fn does_nothing() -> Result<Command, ProcessWorkError> {
    let mut command = quiet(Path::new("cmd"));
    command.args(["/d", "/c", "exit 0"]);
    Ok(command)
}

#[cfg(not(any(unix, windows)))]
fn does_nothing() -> Result<Command, ProcessWorkError> {
    Err(ProcessWorkError {
        program: "a process".to_owned(),
        why: "this platform has no program that is known to do nothing".to_owned(),
    })
}

/// Looked up once, outside the clock: a path has its length for reasons that are not the machine's.
#[cfg(unix)]
fn on_path(program: &str, path: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    path.filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(any(unix, windows))]
fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Why the process work could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessWorkError {
    program: String,
    why: String,
}

impl fmt::Display for ProcessWorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to run {}: {}", self.program, self.why)
    }
}

impl Error for ProcessWorkError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a model of the work in another language comes to.
    const RESULT: u64 = 2_774_762_326_965_327_907;

    #[test]
    fn the_cpu_work_comes_to_the_same_everywhere_and_each_time() {
        let mut memory = Box::new([0; WORDS]);
        for _ in 0..2 {
            assert_eq!(cpu_work(&mut memory, SEED), RESULT);
        }
        assert_ne!(cpu_work(&mut memory, SEED + 1), RESULT);
    }

    #[test]
    fn each_time_is_positive_and_taken_once() {
        let (cpu, process) = (cpu_time(), process_time().expect("a process"));
        assert!(!cpu.is_zero() && !process.is_zero());
        assert_eq!((cpu, Ok(process)), (cpu_time(), process_time()));
    }

    /// A wait is none of it.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_cpu_work_is_timed_in_cpu_time() {
        let wait = Duration::from_millis(50);
        let own = own_time(|| std::thread::sleep(wait));
        assert!(own < wait / 2, "{own:?}");
        let before = thread_cpu_time().expect("a clock");
        while thread_cpu_time().expect("a clock") == before {}
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_cannot_be_run_says_why() {
        let why = |program: &str| process_work(&mut quiet(Path::new(program))).expect_err(program);
        let missing = why("/nowhere/true").to_string();
        assert!(
            missing.starts_with("failed to run /nowhere/true: No such file"),
            "{missing}"
        );
        let failing = on_path("false", env::split_paths("/usr/bin:/bin")).expect("false");
        let failed = why(&failing.to_string_lossy()).to_string();
        assert!(failed.contains("it ended with exit status: 1"), "{failed}");
        assert_eq!(on_path("true", env::split_paths("")), None);
        assert_eq!(on_path("true", env::split_paths("bin:.:/nowhere")), None);
        // It is in the directory that tests start in, wherever a process does.
        assert_eq!(on_path("Cargo.toml", env::split_paths(".:src/..")), None);
    }
}
