//! The queue's gates, and the demonstration that planted defects turn them red.
//!
//! `make test-perf` runs the gates (`perf_…`), `make test` the demonstration (`red_…`).

mod fixture;
mod gates;
mod planted;
mod red;
