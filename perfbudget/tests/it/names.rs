//! Names: their form, and that one gate has one.

use std::panic::{UnwindSafe, catch_unwind};
use std::time::Duration;

use perfbudget::{Budget, Gate};

use crate::child::{Run, is_child};

const BUDGET: Budget = Budget::warm(Duration::from_millis(1));

fn message_of(f: impl FnOnce() + UnwindSafe) -> String {
    let panic = catch_unwind(f).expect_err("it panics");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn names_are_words_separated_by_slashes() {
    for name in ["a", "outbox/drain-25", "a/b/c", "0", "-"] {
        _ = Gate::new(name, BUDGET);
        _ = Gate::counts(name);
    }
    for name in [
        "", "/", "a/", "/a", "a//b", "A", "a_b", "a b", "a.b", "../a", "ü", "a\n",
    ] {
        for message in [
            message_of(|| _ = Gate::new(name, BUDGET)),
            message_of(|| _ = Gate::counts(name)),
        ] {
            assert!(
                message.starts_with(&format!("{name:?} is not the name of a gate")),
                "{message}"
            );
        }
    }
}

#[test]
fn a_budget_of_zero_is_refused() {
    let message = message_of(|| _ = Gate::new("a", Budget::warm(Duration::ZERO)));
    assert!(
        message.starts_with("gate a: its budget is zero"),
        "{message}"
    );
}

#[test]
fn a_batch_of_zero_is_refused() {
    for message in [
        message_of(|| _ = Gate::new("a", BUDGET).batch(0)),
        message_of(|| _ = Gate::new("a", BUDGET.batch(0))),
        message_of(|| _ = Gate::new("a", BUDGET).setup(|| ()).batch(0)),
    ] {
        assert!(message.starts_with("gate a: a batch of zero"), "{message}");
    }
}

#[test]
fn child_takes_a_name_twice() {
    if is_child() {
        for n in [1, 2] {
            Gate::counts("tests/twice").exactly([("n", n)], [("n", n)]);
        }
    }
}

#[test]
fn the_same_place_replaces_its_record() {
    let run = Run::new();
    let output = run.test("names::child_takes_a_name_twice", &[]);
    assert!(output.passed, "{}", output.text);
    assert_eq!(run.record("tests/twice").counts["n"], 2);
    assert_eq!(run.files(), ["tests.twice.json"]);
}

#[test]
fn a_second_place_of_a_process_is_told_both() {
    Gate::counts("tests/of-two-places").exactly([], []);
    let first = line!() - 1;
    let second = line!() + 1;
    let message = message_of(|| Gate::counts("tests/of-two-places").exactly([], []));
    for place in [format!("names.rs:{first},"), format!("names.rs:{second}\n")] {
        assert!(message.contains(&place), "{place} is not in:\n{message}");
    }
}

#[test]
fn child_takes_one_name_at_two_places() {
    if is_child() {
        Gate::counts("tests/of-one-process").exactly([], []);
        Gate::counts("tests/of-one-process").exactly([], []);
    }
}

/// Also where no records are kept that could tell.
#[test]
fn a_second_place_of_a_process_is_told_both_without_records() {
    let run = Run::new();
    let name = "names::child_takes_one_name_at_two_places";
    let output = run.test_in(run.dir.path(), "", name, &[]);
    assert!(!output.passed);
    let error = "two gates have the name \"tests/of-one-process\"";
    assert!(output.text.contains(error), "{}", output.text);
}

#[test]
fn child_takes_a_name() {
    if is_child() {
        Gate::counts("tests/of-two-processes").exactly([], []);
    }
}

#[test]
fn child_takes_the_same_name_elsewhere() {
    if is_child() {
        Gate::counts("tests/of-two-processes").exactly([], []);
    }
}

#[test]
fn a_second_place_in_another_process_of_the_run_is_told_both() {
    let run = Run::new();
    assert!(run.test("names::child_takes_a_name", &[]).passed);
    assert!(run.test("names::child_takes_a_name", &[]).passed);
    let second = run.test("names::child_takes_the_same_name_elsewhere", &[]);
    assert!(!second.passed);
    assert!(
        second
            .text
            .contains("two gates have the name \"tests/of-two-processes\""),
        "{}",
        second.text
    );
    assert_eq!(
        second.text.matches("names.rs:").count(),
        3,
        "two places and the panic's"
    );
    assert_eq!(run.files(), ["tests.of-two-processes.json"]);
}

fn gate_in_a_helper() {
    Gate::counts("tests/in-a-helper").exactly([], []);
}

#[test]
fn child_calls_the_helper() {
    if is_child() {
        gate_in_a_helper();
    }
}

#[test]
fn child_calls_the_helper_too() {
    if is_child() {
        gate_in_a_helper();
    }
}

#[test]
fn a_test_that_replaces_the_record_of_another_says_so() {
    let run = Run::new();
    assert!(run.test("names::child_calls_the_helper", &[]).passed);
    let warnings = run.record("tests/in-a-helper").warnings;
    assert_eq!(warnings.len(), 1, "only of its name: {warnings:?}");
    assert!(run.test("names::child_calls_the_helper_too", &[]).passed);
    let warnings = run.record("tests/in-a-helper").warnings;
    assert!(
        warnings[0]
            .starts_with("it replaces the record of the test names::child_calls_the_helper:"),
        "{warnings:?}"
    );
}
