//! The logger's gates, and the demonstration that planted defects turn them red.
//!
//! `make test-perf` runs the gates (`perf_…`), `make test` the demonstration (`red_…`).

mod fixture;
mod gap;
mod gates;
mod planted;
#[cfg(not(debug_assertions))]
mod red;
