//! In which order processes are run, and when it is looked at what they came to.
//!
//! A block has two processes of each arm in mirrored order, as A B A' A' B A: what changes evenly
//! with time, a machine that warms up for one, weighs on all arms alike. From block to block the
//! arms change places, so that none of them is always the first, which finds the caches as another
//! test left them.

use std::time::Duration;

use crate::ab::history::Side;

/// The arms in the places of the first block.
const ARMS: [Side; 3] = [Side::Baseline, Side::Candidate, Side::Control];

/// Processes of an arm in a block.
pub(crate) const PER_BLOCK: u32 = 2;

/// The arms of a block, in the order in which their processes are run.
pub(crate) fn block(number: u32) -> [Side; 6] {
    let mut arms = ARMS;
    arms.rotate_left(number as usize % ARMS.len());
    let [first, second, third] = arms;
    [first, second, third, third, second, first]
}

/// What is left of a run, by what it took so far.
#[derive(Debug, Default)]
pub(crate) struct TimeLeft {
    spent: Duration,
    processes: u32,
}

impl TimeLeft {
    pub(crate) fn add(&mut self, took: Duration) {
        self.spent += took;
        self.processes += 1;
    }

    /// For so many processes more, at most.
    pub(crate) fn of(&self, processes: usize) -> Duration {
        let mean = self.spent.as_secs_f64() / f64::from(self.processes.max(1));
        #[expect(clippy::cast_precision_loss, reason = "a number of processes")]
        let left = mean * processes as f64;
        Duration::try_from_secs_f64(left).unwrap_or_default()
    }
}

/// A duration for people: `7 s`, `3 min 20 s`, `1 h 5 min`.
pub(crate) fn said(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of seconds, which is whole and saturates"
    )]
    let seconds = seconds as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arm_has_each_place_as_often_in_three_blocks() {
        for arm in ARMS {
            for place in 0..6 {
                let times = (0..3).filter(|n| block(*n)[place] == arm).count();
                assert_eq!(times, 1, "{arm:?} in place {place}");
            }
        }
        assert_eq!(block(3), block(0));
    }

    #[test]
    fn a_block_is_its_own_mirror_image() {
        for number in 0..3 {
            let forward = block(number);
            let mut backward = forward;
            backward.reverse();
            assert_eq!(forward, backward);
        }
    }

    #[test]
    fn the_time_left_is_that_of_as_many_processes() {
        let mut left = TimeLeft::default();
        assert_eq!(left.of(7), Duration::ZERO);
        left.add(Duration::from_secs(1));
        left.add(Duration::from_secs(3));
        assert_eq!(left.of(7), Duration::from_secs(14));
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (6_100, "7 s"),
            (200_000, "3 min 20 s"),
            (3_900_000, "1 h 5 min"),
        ] {
            assert_eq!(said(Duration::from_millis(milliseconds)), text);
        }
    }
}
