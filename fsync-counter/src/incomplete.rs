//! Why a count may be too low: durability that no sync call asked for, and syncs that a scope could
//! not see.

use std::fmt;
use std::path::PathBuf;

/// A reason why a scope may have missed something: counts below what made data durable.
///
/// Its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Incomplete {
    /// A file was opened with `O_SYNC` or `O_DSYNC`: every write through it is durable without a
    /// sync call.
    DurableOpen {
        /// The file, where its path is known.
        path: Option<PathBuf>,
    },
    /// A write had `RWF_SYNC` or `RWF_DSYNC`: it was durable without a sync call.
    DurableWrite {
        /// The file, where its path is known.
        path: Option<PathBuf>,
    },
    /// An io_uring was set up: what is submitted through it, syncs included, are no system calls.
    IoUring,
    /// A context for asynchronous I/O was set up (`io_setup`): syncs submitted through it are no
    /// system calls of their own.
    Aio,
    /// Threads that existed before the kernel scope synced while it was open: it does not cover
    /// them, and they may have worked for its closure (a runtime's pool).
    OtherThreads {
        /// How many syncs the hook saw of them.
        syncs: u64,
        /// Their names, or their ids where they have ended.
        threads: Vec<String>,
    },
    /// Threads or processes that the closure started went on after it: what they sync from then on
    /// is not counted.
    Outlived,
    /// The closure closed the descriptor through which the kernel scope watches: what it synced
    /// later was refused by the kernel (`ENOSYS`) and is not counted.
    DescriptorClosed,
    /// The kernel is older than 5.19: a sync that a signal interrupts may count twice.
    Approximate,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |f: &mut fmt::Formatter<'_>, path: &Option<PathBuf>| match path {
            Some(path) => write!(f, " {}", path.display()),
            None => f.write_str(" a file"),
        };
        match self {
            Self::DurableOpen { path } => {
                f.write_str("opened with O_SYNC or O_DSYNC:")?;
                of(f, path)?;
                f.write_str("; each write to it is durable without a sync")
            }
            Self::DurableWrite { path } => {
                f.write_str("written with RWF_SYNC or RWF_DSYNC:")?;
                of(f, path)?;
                f.write_str("; durable without a sync")
            }
            Self::IoUring => f.write_str(
                "an io_uring was set up: syncs submitted through it are no system calls",
            ),
            Self::Aio => f.write_str(
                "asynchronous I/O was set up (io_setup): syncs submitted through it are no system \
                 calls of their own",
            ),
            Self::OtherThreads { syncs, threads } => write!(
                f,
                "{syncs} syncs meanwhile by threads from before the scope, which it does not \
                 cover: {}",
                threads.join(", ")
            ),
            Self::Outlived => f.write_str(
                "threads or processes that the closure started went on after it: their later \
                 syncs are not counted",
            ),
            Self::DescriptorClosed => f.write_str(
                "the closure closed the scope's descriptor: its later syncs failed with ENOSYS \
                 and are not counted",
            ),
            Self::Approximate => {
                f.write_str("Linux before 5.19: a sync that a signal interrupts may count twice")
            }
        }
    }
}
