//! A command as what is compared: one run is one repetition.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::ab::history::Outcome;
use crate::children;

use super::repetition::with_output;

/// The name of the gate that a command is.
pub(crate) const GATE: &str = "command";

/// Up to here waiting is none: a hundredth of what it took.
const NONE_WITHIN: u32 = 100;

/// Runs it once; and whether another run might say more exactly what it takes.
pub(crate) fn run(text: &str) -> (Outcome, bool) {
    let before = machine_delay();
    let ran = children::timed(&mut command(text));
    let after = machine_delay();
    let timed = match ran {
        Ok(timed) => timed,
        Err(error) => {
            let why = format!("it could not be run: {error}");
            return (Outcome::Failed { why }, false);
        }
    };
    if !timed.output.status.success() {
        let streams = [&timed.output.stdout, &timed.output.stderr];
        let texts = streams.map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let why = format!("it ended with {}", timed.output.status);
        let why = with_output(&why, texts.join("\n").trim());
        return (Outcome::Failed { why }, false);
    }
    let (own, exact) = match timed.waited {
        Some(waited) => {
            let own = timed.wall.saturating_sub(waited);
            (own, timed.may_have_waited <= own / NONE_WITHIN)
        }
        // Of more tasks than one nobody tells how long they waited; but where nobody waited at
        // all on the machine, they did not.
        None => {
            let delay = after.zip(before);
            let delay = delay.map(|(after, before)| after.saturating_sub(before));
            let exact = delay.is_some_and(|delay| delay <= timed.wall / NONE_WITHIN);
            (timed.wall, exact)
        }
    };
    let outcome = Outcome::Times {
        own_ns: own.as_secs_f64() * 1e9,
        exact,
        wall_ns: timed.wall.as_secs_f64() * 1e9,
        pace_ns: None,
    };
    (outcome, !exact && before.is_some())
}

/// Words are started as they are; what looks like more than words is the shell's.
fn command(text: &str) -> Command {
    let is_plain = |c: char| c.is_alphanumeric() || " _-./:,+@%^=".contains(c);
    let mut words = text.split_whitespace();
    match words.next() {
        Some(program) if text.chars().all(is_plain) && !program.contains('=') => {
            let mut command = Command::new(program);
            command.args(words);
            command.stdin(std::process::Stdio::null());
            command
        }
        _ => shell(text),
    }
}

#[cfg(unix)]
fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", text])
        .stdin(std::process::Stdio::null());
    command
}

#[cfg(not(unix))]
fn shell(text: &str) -> Command {
    let mut command = Command::new("cmd");
    command
        .args(["/C", text])
        .stdin(std::process::Stdio::null());
    command
}

/// How long tasks of the machine have waited for a CPU since it was started: the sum over all of
/// them, or, where the kernel does not sum that up, how long any did.
fn machine_delay() -> Option<Duration> {
    let read = |path| fs::read_to_string(path).ok();
    read("/proc/schedstat")
        .and_then(|text| delay_of(&text))
        .or_else(|| pressure_of(&read("/proc/pressure/cpu")?))
}

/// The eighth number of each CPU's line, in nanoseconds (the kernel's
/// Documentation/scheduler/sched-stats.rst).
fn delay_of(schedstat: &str) -> Option<Duration> {
    let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
    let delays = cpus.map(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    let sum = delays.sum::<Option<u64>>()?;
    (sum > 0).then(|| Duration::from_nanos(sum))
}

/// Microseconds in which some task waited (the kernel's Documentation/accounting/psi.rst).
fn pressure_of(pressure: &str) -> Option<Duration> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    let total = some.split_whitespace().last()?.strip_prefix("total=")?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_need_no_shell_and_the_rest_does() {
        let words = |text| {
            let command = command(text);
            let program = command.get_program().to_string_lossy().into_owned();
            (program, command.get_args().count())
        };
        assert_eq!(words("./a --with this=that"), ("./a".to_owned(), 2));
        #[cfg(unix)]
        for text in ["a | b", "X=1 a", "a 'b c'", "a > b", ""] {
            assert_eq!(words(text), ("sh".to_owned(), 2), "{text}");
        }
    }

    #[test]
    fn the_delay_of_a_machine_is_that_of_its_cpus() {
        let text = "version 17\ntimestamp 4295\ncpu0 0 0 0 0 0 0 900 70 5\ndomain0 3 0 0 0\n\
                    cpu1 0 0 0 0 0 0 800 30 5\n";
        assert_eq!(delay_of(text), Some(Duration::from_nanos(100)));
        assert_eq!(delay_of("version 17\ncpu0 0 0\n"), None);
        assert_eq!(delay_of(""), None);
        let text = "some avg10=41.21 avg60=39.11 avg300=27.49 total=17992\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure_of(text), Some(Duration::from_micros(17_992)));
        assert_eq!(pressure_of(""), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_command_that_fails_says_what_it_printed() {
        let (outcome, again) = run("echo lost >&2; exit 7");
        let Outcome::Failed { why } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(why, "it ended with exit status: 7\n  | lost");
        assert!(!again);
        let (outcome, _) = run("/no/such/program");
        assert!(matches!(outcome, Outcome::Failed { .. }));
        let (outcome, _) = run("true");
        assert!(matches!(outcome, Outcome::Times { own_ns, wall_ns, .. } if own_ns <= wall_ns));
    }
}
