//! Count gates.

use std::panic;
use std::sync::{Arc, Mutex};
use std::thread;

use perfbudget::{Gate, Verdict};

#[test]
fn order_zeros_and_repeated_keys_make_no_difference() {
    let record = Gate::counts("tests/same-counts").check(
        [("files", 2), ("dirs", 1), ("other", 0)],
        [("dirs", 1), ("files", 1), ("weak", 0), ("files", 1)],
    );
    assert_eq!(record.verdict, Verdict::Exact);
    assert_eq!(record.counts, record.expected);
    assert_eq!(record.counts.len(), 2);
}

#[test]
fn any_difference_is_a_difference() {
    for (observed, what) in [
        (vec![("files", 3)], "more"),
        (vec![("files", 1)], "fewer"),
        (vec![("files", 2), ("dirs", 1)], "another key"),
        (vec![], "nothing"),
    ] {
        let record = Gate::counts("tests/differing-counts").check([("files", 2)], observed);
        assert_eq!(record.verdict, Verdict::Differs, "{what}");
    }
}

#[test]
fn nothing_expected_and_nothing_observed_is_exact() {
    Gate::counts("tests/no-counts").exactly([], []);
}

#[test]
fn evidence_is_kept_up_to_forty_lines() {
    let record = Gate::counts("tests/evidence")
        .evidence(1..=50)
        .check([("files", 1)], [("files", 50)]);
    assert_eq!(record.evidence.len(), 41);
    assert_eq!(record.evidence[0], "1");
    assert_eq!(record.evidence[40], "… and 10 more");
}

#[test]
fn a_difference_panics_at_the_callers_line() {
    let place = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&place);
    let this_thread = thread::current().id();
    let before = panic::take_hook();
    // The hook is the process's: other tests' panics pass through it.
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == this_thread {
            *seen.lock().unwrap() = info.location().map(|l| (l.file().to_owned(), l.line()));
        }
    }));
    let line = line!() + 1;
    let outcome = panic::catch_unwind(|| Gate::counts("tests/at-the-line").exactly([("a", 1)], []));
    panic::set_hook(before);
    assert!(outcome.is_err());
    let (file, at) = place.lock().unwrap().clone().expect("a place");
    assert!(file.ends_with("counts.rs"), "{file}");
    assert_eq!(at, line);
}
