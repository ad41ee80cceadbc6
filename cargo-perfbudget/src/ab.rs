//! A/B decisions: of two histories, is the candidate better, no worse, worse, or can't it be known?
//!
//! What is measured comes in as repetitions ([`history`]), is estimated ([`statistics`]), judged by
//! a policy ([`policy`], [`decide`]) and goes out as a decision ([`decision`]) and a page ([`html`]).
//! Only [`compare`](mod@compare) runs gates.

mod artifacts;
mod calibration;
mod compare;
pub(crate) mod decide;
pub(crate) mod decision;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod history;
mod html;
mod insights;
pub(crate) mod policy;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod schema;
pub(crate) mod sequential;
pub(crate) mod statistics;
mod stored;
mod table;
mod text;

pub(crate) use calibration::{CalibratePolicyArguments, run as calibrate};
pub(crate) use compare::{CompareArguments, compare};
pub(crate) use stored::{DecideArguments, run as decide_stored};
