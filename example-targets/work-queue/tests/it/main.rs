//! The queue as its users meet it, on SQLite; what a store must do, on both.

mod bad_input;
mod cli;
mod crashes;
mod failures;
mod fixture;
mod shutdown;
mod store_suite;
mod trouble;
mod workflows;
