//! The allocator of the C library, in a program of its own: one test, because glibc's thresholds
//! can't be put back.
#![cfg(target_os = "linux")]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/operations.rs"]
mod operations;

#[cfg(target_env = "gnu")]
use clock::assert_quiet;
use clock::{as_it_comes, panicking, warm};
use perfbudget::allocator;

#[cfg(target_env = "gnu")]
#[test]
fn glibc_gives_nothing_back_inside_the_clock() {
    assert_eq!(allocator::in_use(), "glibc");
    // Each buffer is a mapping of its own, which ends with its `free`.
    let without = as_it_comes(operations::BUFFERS.1);
    assert!(without.given_back >= 11, "{without:?}");
    assert!(without.page_faults > 11 * 100, "{without:?}");

    for (name, operation) in operations::ALL {
        assert_quiet(name, &warm(operation), 0, 0);
    }
    panicking(|| ());
    let (name, operation) = operations::BUFFERS;
    assert_quiet(name, &warm(operation), 0, 0);
}

#[cfg(target_env = "musl")]
#[test]
fn musl_has_no_controls_and_the_record_says_so() {
    assert_eq!(allocator::in_use(), "none (musl)");
    // What it gives back it gives back at each run, in a steady state too.
    let without = as_it_comes(operations::BUFFERS.1);
    assert!(without.given_back >= 11, "{without:?}");
    let with = warm(operations::BUFFERS.1);
    assert!(with.iter().all(|sample| sample.given_back > 0), "{with:?}");
    panicking(|| ());
}
