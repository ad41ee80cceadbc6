//! A durable outbox: the children of a parent commit finished turns, the parent drains them.
//!
//! Any number of threads and processes may commit and drain at once. Nothing runs in the
//! background and there is no server: an outbox is a handful of files.
//!
//! ```
//! use outbox::{Event, Outbox};
//!
//! let root = tempfile::tempdir()?;
//! let outbox = Outbox::open(root.path(), "session-1")?;
//! outbox.commit(Event::new("task-7", "turn 3").with_summary("half done"))?;
//! outbox.commit(Event::new("task-7", "turn 4").with_summary("all tests pass"))?;
//!
//! // A child's later event replaces its pending one.
//! let drained = outbox.drain()?;
//! assert_eq!(drained.len(), 1);
//! assert_eq!(drained[0].summary, "all tests pass");
//!
//! // The same turn again, however late: it is not delivered twice.
//! outbox.commit(Event::new("task-7", "turn 4").with_summary("all tests pass"))?;
//! assert!(outbox.drain()?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! - A commit that returned is durable, and its record is pending, delivered, replaced by a
//!   later one of the same child, or in the dead-letter file with the reason: never gone.
//! - A turn is delivered once, whichever process dies. A drain that dies is taken over by the
//!   next one, which delivers what nobody received. With [`Outbox::drain_with`] the consumer may die at any
//!   point too: its effects happen at least once, and a turn's fingerprint tells it which
//!   ones it has had. With [`Outbox::drain`] turns that were returned are the caller's.
//! - A drain that delivers costs 2 file and 2 directory fsyncs however many turns it
//!   delivers, also when it takes over from a dead one; one that finds nothing costs none.
//!   A commit costs 1 and 1. Lines to be set aside cost 1 and 1 more.
//!
//! # How
//!
//! A parent's directory, `<root>/<encoded id>/`:
//!
//! | file | holds | is changed under |
//! |---|---|---|
//! | `inbox.jsonl` | committed events, one a line | the inbox lock |
//! | `wal.jsonl` | the records of a drain in progress, and its batch number | both; removed under the ledger lock |
//! | `ledger.json` | consumed turns: fingerprint, time, batch | the ledger lock |
//! | `dead-letters.jsonl` | what was set aside: reason and line | the inbox lock |
//! | `inbox.lock`, `ledger.lock` | nothing; `flock` | the ledger's is always taken first |
//!
//! A *durable write* is a temporary file, its fsync, a rename, an fsync of the directory.
//! A commit appends a line and syncs file and directory; now and then it rewrites the inbox
//! instead, durably, without what later lines replaced. A drain holds the ledger lock and
//!
//! 1. under the inbox lock reads the write-ahead file (a dead drain's) and the inbox, keeps
//!    the last record of each child, sets bad lines and records older than 7 days aside,
//!    durably writes the rest to the write-ahead file and removes the inbox;
//! 2. drops the turns that the ledger lists, except those listed by this very batch, marks
//!    the others, durably writes the ledger without entries older than 14 days, hands the
//!    turns over and removes the write-ahead file.
//!
//! The batch number closes the gap between the ledger and the hand-over. A drain that dies
//! there leaves turns that are marked and that nobody has; its write-ahead file still
//! carries the batch of those marks, and the drain that takes over keeps it.
//!
//! The removals are not synced: the next fsync of the directory makes them durable, at the
//! latest that of the next commit. A power failure before it can bring a file back.
//!
//! - The inbox: its records are in the write-ahead file too, and fold into one, because the
//!   ledger's directory fsync comes before that file is removed. A drain of nothing but
//!   repetitions and dead lines writes no ledger: the repetitions are dropped again, and the
//!   dead letters are there already.
//! - The write-ahead file: it carries the batch of its marks, so its turns count as turns
//!   that nobody received. They are delivered again.
//!
//! # What it does not promise
//!
//! - What a disk keeps when the power fails rests on the order of the fsyncs above, and on
//!   disks that honour them. It is tested against a model of such disks, not by pulling
//!   plugs. On a file system that refuses to sync directories a rename may be lost with the
//!   power.
//! - After a power failure, a drain whose write-ahead file comes back is delivered again.
//!   That can happen to the last drain, while no commit has come after it.
//! - A commit that failed is taken back, and that is not synced: a power failure right after
//!   it can bring the event back, as if the commit had succeeded.
//! - Time is the system's clock. When it steps forward by more than 7 days, what is pending is
//!   set aside by the next drain or sweep, and by more than 14, what was consumed is
//!   forgotten. What was stamped by a clock that was ahead counts as young until the time has
//!   come. Nothing is ordered by time, and a step loses nothing.
//! - A drain reads the whole ledger and rewrites it: its cost grows with the turns that were
//!   consumed in the last 14 days, not only with those that it delivers.
//! - Dead letters are kept, not counted: a line that equals one set aside shortly before, for
//!   the same reason, is not written again.
//! - Last wins, whatever is last: a child that sends a consumed turn again while a newer one
//!   is pending has replaced the newer one.
//! - The parent's directory must not be removed or renamed while a handle is open.
//! - Unix only, and a file system on which `flock` excludes other processes.
#![forbid(unsafe_code)]

mod clock;
mod dead_letters;
mod directory;
mod disk;
mod drain;
mod error;
mod event;
mod ledger;
mod lines;
mod lock;
mod outbox;
mod parent_id;

pub use clock::{Clock, SystemClock};
pub use dead_letters::{DeadLetter, Reason, Source};
pub use disk::{Disk, SystemDisk};
pub use drain::Drained;
pub use error::{Action, DrainError, Error};
pub use event::{Event, SUMMARY_BYTES_MAX, Turn};
pub use outbox::{Outbox, Swept};

/// Handles are shared among threads; nothing inside may stop that.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Outbox>();
    is_shared::<Drained>();
    is_shared::<Error>();
};
