//! How often a gate fails for the machine's sake, and how often it catches code that got slower.
//!
//! `make noise-study` builds this, runs it and writes `docs/noise-study.md`. Data moves one way:
//! [`ops`] run beside [`loads`], [`tools`] decide or estimate, [`study`] samples the grid into
//! [`results`] (a file of lines, so that a run can be taken up again), [`report`] and [`plots`] are
//! made from that file alone.

pub mod loads;
pub mod ops;
pub mod plots;
pub mod report;
pub mod results;
pub mod study;
pub mod summary;
pub mod tools;
