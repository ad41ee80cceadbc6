//! What the studies have in common.

#[cfg(feature = "drawing")]
pub mod drawing;
pub mod loads;
pub mod machine;
pub mod statistics;
pub mod terminal;
