//! How fast `work-queue` is, by store and by number of instances.
//!
//! `make queue-study` builds this, runs it and writes `docs/queue-study.md`. Data moves one way:
//! [`study`] starts `work-queue bench queue-noop` and the [`peer`] queues in turn, each in a
//! [`process`] of its own, and appends what they print to [`results`] (a file of lines, so that a
//! run can be taken up again); [`report`] and [`plots`] are made from that file and from the
//! [`diary`] alone. It measures no code of its own.

pub mod diary;
pub mod goals;
pub mod machine;
pub mod peer;
pub mod plots;
pub mod process;
pub mod report;
pub mod results;
pub mod study;
