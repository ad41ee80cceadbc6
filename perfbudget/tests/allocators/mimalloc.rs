//! A program whose global allocator is mimalloc.
//!
//! `cargo test -p perfbudget --features mimalloc --test allocator-mimalloc`
#![cfg(target_os = "linux")]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/mimalloc_allocator.rs"]
mod mimalloc_allocator;
#[path = "support/operations.rs"]
mod operations;

use clock::{as_it_comes, assert_quiet, panicking, warm};
use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};
use perfbudget::{allocator, trimmed_mean_warm};

/// `mi_option_purge_delay`, milliseconds.
const PURGE_DELAY: mi_option_t = 15;

fn delay() -> libc::c_long {
    // SAFETY: reads an option.
    unsafe { mi_option_get(PURGE_DELAY) }
}

fn set_delay(milliseconds: libc::c_long) {
    // SAFETY: sets an option.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) };
}

/// One test: mimalloc's options are the process's.
#[test]
fn mimalloc_gives_nothing_back_inside_the_clock_and_has_its_option_back() {
    assert_eq!(allocator::in_use(), "mimalloc");

    // Everything is given back at once: what comes at some moment, at every moment.
    set_delay(0);
    let without = as_it_comes(operations::BUFFERS.1);
    assert!(without.given_back >= 11, "{without:?}");
    assert!(without.page_faults > 11 * 100, "{without:?}");
    for (name, operation) in operations::ALL {
        assert_quiet(name, &warm(operation), 2, 0);
    }
    assert_eq!(delay(), 0);

    set_delay(1_234);
    trimmed_mean_warm(|| assert_eq!(delay(), -1));
    assert_eq!(delay(), 1_234);
    panicking(|| assert_eq!(delay(), -1));
    assert_eq!(delay(), 1_234);
}
