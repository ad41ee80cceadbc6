//! What the kernel's books say of a measurement: who waited for a CPU, and who had it.
//!
//! A sample's readings are outside its timer and allocate nothing; a round's are around its
//! warm-up and samples.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Accounting, TaskBooks, TaskTimes, read_both, wait_with_usage};

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Accounting;

use crate::record::Delays;

/// What a gate's readings say of the machine meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) quota_cpus: Option<f64>,
    pub(crate) throttled_ns: Option<u64>,
    pub(crate) steal_ns: Option<u64>,
    pub(crate) voluntary_switches: Option<u64>,
    pub(crate) involuntary_switches: Option<u64>,
}

/// What was read of a round besides its samples.
#[derive(Debug, Default)]
pub(crate) struct RoundReadings {
    pub(crate) delays: Delays,
    /// Why the bounds are no better than wall, if so.
    pub(crate) why_wall: Option<String>,
    /// A thread of the process that ran while no operation did.
    pub(crate) neighbour: Option<String>,
    /// What was read of others in the warm-up and in each sample, if it was.
    pub(crate) others: Vec<Others>,
    /// CPU that other threads had after the last operation was over.
    pub(crate) out_of_sight: Option<String>,
}

/// What was read of others in a sample; what each is stands at the fields of
/// [`SampleTimes`](crate::record::SampleTimes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Others {
    pub(crate) foreign_ns: Option<u64>,
    pub(crate) spare_ns: Option<u64>,
    pub(crate) begins_quiet: bool,
}
