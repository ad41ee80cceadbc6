//! What a warm measurement asks of the allocator: no deferred work inside the clock.
//!
//! An allocator puts work off. Freed blocks wait to be joined, and whole regions to be given back to
//! the kernel; which call pays is chance. So while measuring, giving back is off; before each
//! sample what is put off is settled, outside the clock; and one purge before the warm-up makes the
//! gates of a process begin alike, after which the warm-up touches everything again.
//!
//! It does *not* give memory back before each sample: the timed run would then pay a page fault for
//! every page that it touches, which no steady state has.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;

/// One allocator's way to do that.
pub(crate) trait Discipline: Sync {
    /// Its name in the record.
    fn name(&self) -> &'static str;

    /// Turns giving back off where it is on, and gives everything back that is free, once before a
    /// round's warm-up.
    fn purge(&self);

    /// Does what the calling thread's frees have put off, and gives nothing back. Before each
    /// sample.
    fn settle(&self);
}

/// An allocator of which nothing is known: it is left alone.
struct Unknown;

impl Discipline for Unknown {
    fn name(&self) -> &'static str {
        "none"
    }

    fn purge(&self) {}

    fn settle(&self) {}
}

/// The discipline for this process's global allocator.
pub(crate) fn discipline() -> &'static dyn Discipline {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if glibc::serves_the_global_allocator() {
        return &glibc::Glibc;
    }
    &Unknown
}
