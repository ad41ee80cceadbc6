//! The kernel scope: what the hook can't see, seen by the kernel.
//!
//! One half for each platform, with the same inner face:
//!
//! - `try_filter()`: whether the kernel lets a thread be watched, and how well;
//! - `watch(options, f, tell)`: runs `f` on a watched thread and tells of every call; what `f`
//!   returned, or its panic.

mod scope;
mod unavailable;

#[cfg(linux_hook)]
mod linux;
#[cfg(linux_hook)]
use linux::{try_filter, watch};

#[cfg(not(linux_hook))]
mod other;
#[cfg(not(linux_hook))]
use other::{try_filter, watch};

pub(crate) mod origin;

pub use scope::KernelScope;
pub(crate) use scope::{note, watched};
pub use unavailable::KernelScopeUnavailable;

use crate::event::Event;
use crate::incomplete::Incomplete;
use origin::Origin;

/// What the kernel offers of what a scope wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Only a deadly signal interrupts a call that is being noted (Linux 5.19): none counts twice.
    is_exact: bool,
}

/// How to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    offer: Offer,
    /// Find class and path of each sync.
    classify: bool,
    /// Say of each sync where it was called from.
    trace: bool,
    /// Issue the syncs on behalf of the watched, so that their results and times are known.
    timed: bool,
    /// Go on until all that the closure started has ended.
    to_the_last: bool,
}

/// A sync that was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) event: Event,
    /// Where it came from; only with [`Options::trace`].
    pub(crate) origin: Option<Origin>,
}

/// What is told to whoever watches.
#[derive(Debug)]
pub(crate) enum Told {
    Sync(Seen),
    Incomplete(Incomplete),
}
