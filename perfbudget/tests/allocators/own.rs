//! A program with an allocator of its own, which it tells perfbudget how to keep quiet.

#[cfg(target_os = "linux")]
#[path = "support/clock.rs"]
mod clock;
#[cfg(target_os = "linux")]
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/pages.rs"]
mod pages;

use std::panic::catch_unwind;

use pages::{PAGES, Pages, is_keeping};
use perfbudget::allocator::{self, Discipline, use_discipline};
use perfbudget::trimmed_mean_warm;

#[global_allocator]
static ALLOCATOR: Pages = Pages;

#[test]
fn it_is_in_force_inside_the_clock_and_not_afterwards() {
    use_discipline(&PAGES);
    use_discipline(&PAGES);
    assert_eq!(allocator::in_use(), "pages");
    pages::alone(|| {
        assert!(!is_keeping());
        trimmed_mean_warm(|| assert!(is_keeping()));
        assert!(!is_keeping());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn it_ends_when_the_operation_panics() {
    use_discipline(&PAGES);
    pages::alone(|| {
        clock::panicking(|| assert!(is_keeping()));
        assert!(!is_keeping());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_given_back_inside_the_clock() {
    use_discipline(&PAGES);
    pages::alone(|| {
        let operation = || {
            let buffers: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n + 1; 1024 * 1024]).collect();
            std::hint::black_box(&buffers).len()
        };
        let without = clock::as_it_comes(operation);
        assert!(without.given_back >= 8 * 11, "{without:?}");
        assert!(without.page_faults > 11 * 100, "{without:?}");
        clock::assert_quiet("buffers", &clock::warm(operation), 0, 0);
    });
}

#[test]
fn a_program_has_one() {
    struct Another;
    impl Discipline for Another {
        fn name(&self) -> &'static str {
            "another"
        }
        fn begin(&self) {}
        fn settle(&self) {}
        fn end(&self) {}
    }
    use_discipline(&PAGES);
    let panic = catch_unwind(|| use_discipline(&Another)).expect_err("there is one already");
    let text = panic.downcast_ref::<String>().expect("a text");
    assert!(
        text.contains("`pages`") && text.contains("`another`"),
        "{text}"
    );
    assert_eq!(allocator::in_use(), "pages");
}
