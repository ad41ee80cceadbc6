//! One cluster for all the tests of a process.

use std::sync::OnceLock;

use crate::cluster::TemporaryPostgres;
use crate::error::Error;

static SHARED: OnceLock<Result<TemporaryPostgres, Error>> = OnceLock::new();

/// The process's cluster with default settings, started by the first call; tests take a
/// [`fresh_database`](TemporaryPostgres::fresh_database) each. It can't be stopped, and goes with
/// the process: a moment after, because nobody waits for the guardian then.
///
/// # Errors
///
/// Those of [`TemporaryPostgres::start`]; the same for every call.
pub fn shared() -> Result<&'static TemporaryPostgres, &'static Error> {
    SHARED.get_or_init(TemporaryPostgres::start).as_ref()
}
