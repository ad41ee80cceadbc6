//! Gates as a user's tests meet them.

mod allocations;
mod auto;
mod busy;
mod child;
mod commands;
mod counts;
mod names;
mod records;
mod sqlite;
mod walltime;
