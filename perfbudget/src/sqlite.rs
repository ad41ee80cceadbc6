//! Counts of what a SQLite connection does. Feature `sqlite`.
//!
//! SQLite itself tells: it calls a hook for each commit, rollback, statement and row. Nothing is
//! parsed, and no time is measured. What is counted is one connection's; a program with several
//! has a counter for each.

mod books;
mod counter;
mod counts;
mod hooks;

pub use counter::SqliteCounter;
pub use counts::SqliteCounts;
