//! A PostgreSQL cluster for tests, made from the server that is installed here.
//!
//! ```no_run
//! use temporary_postgres::TemporaryPostgres;
//!
//! # fn main() -> Result<(), temporary_postgres::Error> {
//! let postgres = TemporaryPostgres::start()?;
//! println!("{}", postgres.url());
//! // Stopped and removed here.
//! # Ok(())
//! # }
//! ```
//!
//! It lives in a directory of its own and listens on a Unix socket there, on no network. It is
//! stopped and removed when it is dropped, also by a panic, and when the process that owns it is
//! killed: a *guardian*, a shell that waits for its owner's end of a pipe to close, does the
//! removing in each case.
//!
//! # In tests
//!
//! Tests that are content with a database of their own share one cluster a process:
//!
//! ```no_run
//! # fn a_test() {
//! if temporary_postgres::left_out() {
//!     return; // no server here, and none required
//! }
//! let database = temporary_postgres::shared().unwrap().fresh_database().unwrap();
//! let url = database.url();
//! # }
//! ```
//!
//! Where no server is installed such a test passes, and [`left_out`] tells `make test`, which says
//! so in its last lines. With [`REQUIRE_ENV`]`=1` it fails.
//!
//! # What it is and what not
//!
//! - The server's own defaults, above all of durability: `fsync`, `synchronous_commit` and
//!   `full_page_writes` are on and can't be set. What `initdb` writes is not synced
//!   (`--no-sync`), which is sound because a cluster that a power failure interrupts is never
//!   started again; see [`Builder::settled`] for measurements.
//! - Run as root, the server runs as the user `postgres`, or `nobody`: it refuses to run as root.
//! - Started processes are in process groups of their own: a Ctrl-C or a runner's time limit ends
//!   the owner, whose end ends them in an orderly way.
//! - Removed with its owner, not with its owner's children: a child that outlives the owner loses
//!   the server.
//! - Unix only.
#![forbid(unsafe_code)]

mod builder;
mod cluster;
mod database;
mod error;
mod guardian;
mod installation;
mod left_out;
mod location;
mod readiness;
mod server;
mod shared;
mod template;

pub use builder::Builder;
pub use cluster::TemporaryPostgres;
pub use database::{Database, PORT, ROLE};
pub use error::Error;
pub use installation::{BIN_ENV, is_installed};
pub use left_out::{LEFT_OUT_ENV, REQUIRE_ENV, left_out};
pub use server::Stop;
pub use shared::shared;
pub use template::TEMPLATES_ENV;

/// Tests share clusters among threads.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<TemporaryPostgres>();
    is_shared::<Error>();
};
