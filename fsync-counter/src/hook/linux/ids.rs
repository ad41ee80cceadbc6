//! The kernel's ids of the calling thread and of its process, mostly without asking the kernel.
//!
//! A thread remembers its own. That is wrong in a child made by `fork`, whose one thread remembers
//! what the parent's did; a page that the kernel hands to such a child empty
//! (`MADV_WIPEONFORK`) tells. Where there is no such page (Linux before 4.14, or no scope was
//! opened yet) every call asks.
//!
//! A child made by `vfork` shares its parent's memory until it calls `exec`, and passes for it.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::raw;

/// Null, or a word that is the id of this process, or 0 in a process that has not asked for it.
/// It is never unmapped.
static PROCESS: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// This thread's id and its process's; zeros before they are asked.
    static IDS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// The ids of the calling thread and of its process.
pub(crate) fn thread_and_process() -> (u32, u32) {
    // Acquire: a word that is seen here is mapped.
    // SAFETY: the pointer is null or to a word that stays mapped (see the static); it is only used
    // as an atomic.
    let word = unsafe { PROCESS.load(Ordering::Acquire).as_ref() };
    let remembered = IDS.get();
    if let Some(word) = word {
        let process = word.load(Ordering::Relaxed);
        if process != 0 && process == remembered.1 {
            return remembered;
        }
    }
    let ids = (raw::gettid(), raw::getpid());
    IDS.set(ids);
    if let Some(word) = word {
        word.store(ids.1, Ordering::Relaxed);
    }
    ids
}

/// Maps the word, once a process. Failing is no error: the ids are asked for then.
pub(crate) fn remember_until_fork() {
    if !PROCESS.load(Ordering::Relaxed).is_null() {
        return;
    }
    let length = size_of::<AtomicU32>();
    // SAFETY: a fresh private mapping, at a place that the kernel chooses.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return;
    }
    // SAFETY: the mapping is this function's own.
    let is_wiped = unsafe { libc::madvise(page, length, libc::MADV_WIPEONFORK) } == 0;
    let stored = is_wiped
        && PROCESS
            .compare_exchange(
                ptr::null_mut(),
                page.cast(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok();
    if !stored {
        // SAFETY: nobody else knows this mapping.
        unsafe { libc::munmap(page, length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_remembers_its_own() {
        remember_until_fork();
        let told = || {
            assert_eq!(thread_and_process(), (raw::gettid(), raw::getpid()));
            thread_and_process()
        };
        let here = told();
        let there = std::thread::spawn(told).join().unwrap();
        assert_eq!(here.1, there.1);
        assert_ne!(here.0, there.0);
        assert_eq!(told(), here);
    }
}
