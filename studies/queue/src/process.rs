//! A program that prints one JSON object: run to its end, watched from outside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// How often it is looked at: a hundredth of a second is little of the seconds that are measured.
const LOOK: Duration = Duration::from_millis(10);

/// How often its memory is read, in looks. The kernel keeps the largest value, so only growth in
/// the last moment can be missed.
const LOOKS_A_READING: u32 = 5;

/// What came of a program that ended well.
#[derive(Debug)]
pub struct Ended<T> {
    /// What it printed.
    pub printed: T,
    /// From its start to its end.
    pub wall: Duration,
    /// Its largest resident set, in bytes, where the kernel tells.
    pub peak_memory_bytes: Option<u64>,
}

/// Runs a program to its end. What it says on standard error goes to the file `log`.
///
/// # Errors
/// When it can't be started, ends with a failure, prints something else than the object, or is
/// still there after `limit`; then it is killed.
pub fn run<T: DeserializeOwned>(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> io::Result<Ended<T>> {
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(log)?)
        .spawn()?;
    // A pipe that nobody reads holds up who writes to it.
    let mut stdout = child.stdout.take().expect("it is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let (ended, peak_memory_bytes) = watch(&mut child, begun, limit)?;
    let wall = begun.elapsed();
    let text = reader
        .join()
        .map_err(|_| io::Error::other("the reader of its output panicked"))??;
    let said = || last_lines(log);
    match ended {
        None => Err(io::Error::other(format!(
            "it was still there after {} s: {}",
            limit.as_secs(),
            said()
        ))),
        Some(status) if !status.success() => Err(io::Error::other(format!("{status}: {}", said()))),
        Some(_) => {
            let printed = serde_json::from_str(&text).map_err(|error| {
                io::Error::other(format!("it printed no result: {error}: {text:?}"))
            })?;
            Ok(Ended {
                printed,
                wall,
                peak_memory_bytes,
            })
        }
    }
}

/// Its status, or `None` where it had to be killed; and its largest resident set.
fn watch(
    child: &mut Child,
    begun: Instant,
    limit: Duration,
) -> io::Result<(Option<std::process::ExitStatus>, Option<u64>)> {
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let mut looks = 0_u32;
    loop {
        if looks.is_multiple_of(LOOKS_A_READING) {
            let now = fs::read_to_string(&status_file)
                .ok()
                .and_then(|status| high_water_mark(&status));
            peak = peak.max(now);
        }
        looks = looks.wrapping_add(1);
        if let Some(status) = child.try_wait()? {
            return Ok((Some(status), peak));
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok((None, peak));
        }
        thread::sleep(LOOK);
    }
}

/// `VmHWM`, in bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

fn last_lines(log: &Path) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<&str> = said.lines().rev().take(3).collect();
    lines.reverse();
    if lines.is_empty() {
        "it said nothing".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> io::Result<Ended<serde_json::Value>> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        run(Command::new("sh").args(["-c", script]), &log, limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_it_prints_is_read() {
        let ended = shell("sleep 0.1; echo '{\"n\": 1}'", LONG).expect("it ends");
        assert_eq!(ended.printed["n"], 1);
        assert!(ended.wall >= Duration::from_millis(100));
        if cfg!(target_os = "linux") {
            assert!(ended.peak_memory_bytes.is_some_and(|bytes| bytes > 100_000));
        }
    }

    #[test]
    fn what_goes_wrong_is_said() {
        for (script, said) in [
            ("echo no >&2; exit 3", "exit status: 3: no"),
            ("exit 1", "it said nothing"),
            ("echo hello", "it printed no result"),
        ] {
            let error = shell(script, LONG).expect_err(script).to_string();
            assert!(error.contains(said), "{script}: {error}");
        }
    }

    #[test]
    fn what_hangs_is_killed() {
        let error = shell("exec sleep 1000", Duration::ZERO).expect_err("it hangs");
        assert!(error.to_string().contains("still there"), "{error}");
    }

    #[test]
    fn the_kernels_figure_is_in_kib() {
        assert_eq!(
            high_water_mark("VmPeak: 9 kB\nVmHWM:\t  2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(high_water_mark("Name: x\n"), None);
    }
}
