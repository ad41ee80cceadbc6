//! What the outbox does with real files, through its public face.
//!
//! Nothing here depends on time passing or on a real fsync: clocks and faults come in
//! through the seams.

mod bad_input;
mod cli;
mod concurrency;
mod crashes;
mod disk_faults;
mod growth;
mod identity;
mod support;
mod sync_counts;
mod sync_kills;
mod sync_order;
