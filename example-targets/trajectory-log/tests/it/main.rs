//! What the logger promises, seen from outside.

mod back_pressure;
mod bad_input;
mod cancellation;
mod cli;
mod closing;
mod crashes;
mod disk_full;
mod failures;
mod fairness;
mod order;
mod queries;
mod storage;
mod syncs;
mod timer;
