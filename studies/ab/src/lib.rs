//! The A/B study: how often `cargo perfbudget compare` errs and how small a change it finds, beside
//! tango-bench, criterion and perfgate on the same code in the same run. See `scripts/ab-study`.
//!
//! Nothing is modelled: each comparison is a run of the tool as a user would run it, and what it
//! said is what counts.

pub mod amounts;
pub mod cells;
pub mod loads;
mod plots;
pub mod report;
pub mod results;
pub mod sides;
pub mod study;
mod ways;
