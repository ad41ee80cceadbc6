//! What a logged turn costs, by strategy, durability and buffer size.
//!
//! `make logger-study` builds this, runs it and writes `docs/logger-study.md`. Data moves one way:
//! [`drive`] logs and times, [`study`] repeats it in interleaved rounds into [`results`], [`report`]
//! and [`plots`] are made from those alone.

pub mod drive;
pub mod machine;
pub mod plots;
pub mod report;
pub mod results;
pub mod study;

/// What fails says why, to whoever runs the study.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
