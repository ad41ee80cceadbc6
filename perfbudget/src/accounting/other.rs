//! Systems that do not tell how long a thread waited for a CPU.

use std::time::{Duration, Instant};

use super::{Evidence, RoundReadings};
use crate::record::{SampleTimes, nanoseconds};

#[derive(Debug)]
pub(crate) struct Accounting;

pub(crate) struct Before;

impl Accounting {
    pub(crate) fn new(_served_elsewhere: bool) -> Self {
        Self
    }

    pub(crate) fn begin_round(&mut self) {}

    pub(crate) fn before(&mut self) -> Before {
        Before
    }

    pub(crate) fn after(&mut self, _before: &Before, start: Instant, end: Instant) -> SampleTimes {
        SampleTimes {
            wall_ns: nanoseconds(end.saturating_duration_since(start)),
            ..SampleTimes::default()
        }
    }

    pub(crate) fn end_round(&mut self, _probe: Option<Duration>) -> RoundReadings {
        RoundReadings {
            why_wall: Some(format!(
                "{} does not tell how long a thread waited for a CPU",
                std::env::consts::OS
            )),
            ..RoundReadings::default()
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::default()
    }
}
