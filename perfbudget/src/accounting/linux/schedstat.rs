//! `/proc/…/schedstat` of one task: `<CPU time> <run delay> <timeslices>`, the times in
//! nanoseconds (the kernel's Documentation/scheduler/sched-stats.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The open file, read again and again.
#[derive(Debug)]
pub(crate) struct Schedstat(File);

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// CPU time, up to the last time that the scheduler or a CPU clock settled it.
    pub(crate) cpu: u64,
    /// Time ready to run, waiting for a CPU.
    pub(crate) run_delay: u64,
}

impl Schedstat {
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Allocates nothing.
    pub(crate) fn read(&self) -> Option<Times> {
        let mut buffer = [0; 64];
        let n = self.0.read_at(&mut buffer, 0).ok()?;
        times(&buffer[..n])
    }
}

fn times(text: &[u8]) -> Option<Times> {
    let (cpu, rest) = number(text)?;
    let (run_delay, _) = number(rest.strip_prefix(b" ")?)?;
    Some(Times { cpu, run_delay })
}

/// The number that a text begins with, and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_run_delay_are_the_first_two_numbers() {
        let expected = Times {
            cpu: 1_239_950_489,
            run_delay: 7_317_114,
        };
        assert_eq!(times(b"1239950489 7317114 24\n"), Some(expected));
        for text in ["", "12", "12 ", "a b c", "99999999999999999999 1 1", " 1 2"] {
            assert_eq!(times(text.as_bytes()), None, "{text:?}");
        }
    }
}
