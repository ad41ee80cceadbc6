//! What a temporary cluster does, with the server that is installed here.
//!
//! A process that is to die is this binary again, in the role of an *owner* (`owner.rs`).

mod left_out;
mod owner;
mod refusals;
mod removal;
mod restarts;
mod starting;
mod support;
mod unprivileged;
