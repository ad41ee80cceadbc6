//! How many syncs a commit costs, of one storage engine after the other.
//!
//! `make engines` builds this, runs it and writes `docs/engines.md`. Data moves one way: a [`Cell`]
//! is an engine with a durability setting, [`drive`] takes it through its [`Phase`]s with a mark
//! between them, [`scopes`] watch that and [`phases`] cut what they saw at the marks. [`study`]
//! repeats it in processes of its own, holds the repetitions and [`strace`] against each other and
//! writes [`results`]; [`report`] is made from those alone. [`postgres`] is a server and goes its
//! own way to the same results.
//!
//! It counts syncs and says nothing of time.

pub mod cell;
pub mod drive;
pub mod notes;
pub mod phases;
pub mod pins;
pub mod postgres;
pub mod report;
pub mod results;
pub mod scopes;
pub mod stores;
pub mod strace;
pub mod study;
pub mod sync;

pub use cell::{Cell, Store};
pub use drive::Phase;
pub use sync::{Class, SyncCall, Tally};

/// Whatever an engine, a process or a file answers.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
