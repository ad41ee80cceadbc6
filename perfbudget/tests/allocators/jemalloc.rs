//! A program whose global allocator is jemalloc.
//!
//! `cargo test -p perfbudget --features jemalloc --test allocator-jemalloc`; `make platforms` builds
//! jemalloc with background threads too, which have to be stopped.
#![cfg(target_os = "linux")]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/jemalloc_allocator.rs"]
mod jemalloc_allocator;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/operations.rs"]
mod operations;

use std::ffi::{CStr, CString, c_uint};
use std::mem::MaybeUninit;
use std::ptr;

use clock::{as_it_comes, assert_quiet, panicking, warm};
use perfbudget::{allocator, trimmed_mean_warm};
use tikv_jemalloc_sys::mallctl;

/// How regions are cut, and so whether a page is touched for the first time, is not the same in each
/// process: a handful of faults in eleven samples (at most 8 were seen), of the thousands that each
/// has without.
const SCATTERED_FAULTS: u64 = 20;

/// One test: jemalloc's controls are the process's.
#[test]
fn jemalloc_gives_nothing_back_inside_the_clock_and_has_its_controls_back() {
    assert_eq!(allocator::in_use(), "jemalloc");

    // Everything is given back at once: what the curve does at some moment, at every moment.
    set_everywhere(0);
    let without = as_it_comes(operations::BUFFERS.1);
    assert!(without.given_back >= 11, "{without:?}");
    assert!(without.page_faults > 11 * 100, "{without:?}");
    for (name, operation) in operations::ALL {
        assert_quiet(name, &warm(operation), 0, SCATTERED_FAULTS);
    }
    assert!(decays().iter().all(|(_, ms)| *ms == 0), "{:?}", decays());

    // Other times for each arena, and for those to come.
    set_everywhere(5_000);
    set("arena.0.dirty_decay_ms", 1_234_isize);
    set("arena.0.muzzy_decay_ms", 0_isize);
    let has_background_threads = get::<bool>("background_thread").is_some();
    if has_background_threads {
        set("background_thread", true);
    }
    let before = decays();
    let quiet = || {
        assert!(decays().iter().all(|(_, ms)| *ms == -1), "{:?}", decays());
        assert_ne!(get("background_thread"), Some(true));
    };
    trimmed_mean_warm(quiet);
    assert_eq!(decays(), before);
    panicking(quiet);
    assert_eq!(decays(), before);
    if has_background_threads {
        assert_eq!(get("background_thread"), Some(true));
    }

    // An arena that comes while they are changed is like the others afterwards.
    let mut made = None;
    trimmed_mean_warm(|| {
        made = made.or_else(|| get::<c_uint>("arenas.create"));
        quiet();
    });
    let made = made.expect("an arena");
    for kind in ["dirty", "muzzy"] {
        let name = format!("arena.{made}.{kind}_decay_ms");
        assert_eq!(get::<isize>(&name), Some(5_000), "{name}");
    }
}

const KINDS: [&str; 2] = ["dirty_decay_ms", "muzzy_decay_ms"];

/// Every decay time there is, with its name.
fn decays() -> Vec<(String, isize)> {
    let arenas = get::<c_uint>("arenas.narenas").expect("a number");
    let groups = (0..arenas).map(|n| format!("arena.{n}"));
    groups
        .chain(["arenas".to_owned()])
        .flat_map(|group| KINDS.map(|kind| format!("{group}.{kind}")))
        .filter_map(|name| get(&name).map(|ms| (name, ms)))
        .collect()
}

fn set_everywhere(ms: isize) {
    for (name, _) in decays() {
        set(&name, ms);
    }
}

fn get<T: Copy>(name: &str) -> Option<T> {
    let name = CString::new(name).expect("no zero in it");
    let mut value = MaybeUninit::<T>::uninit();
    let mut length = size_of::<T>();
    // SAFETY: jemalloc writes a value of the control's type, which the caller names; it refuses
    // another length.
    let answer = unsafe {
        mallctl(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    // SAFETY: it has written all of it.
    (answer == 0).then(|| unsafe { value.assume_init() })
}

#[track_caller]
fn set<T>(name: &str, mut value: T) {
    let text = CString::new(name).expect("no zero in it");
    let name: &CStr = &text;
    // SAFETY: jemalloc reads a value of the control's type, which the caller names; it refuses
    // another length.
    let answer = unsafe {
        mallctl(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut value).cast(),
            size_of::<T>(),
        )
    };
    assert_eq!(answer, 0, "{name:?}");
}
