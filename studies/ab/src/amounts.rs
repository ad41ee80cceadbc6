//! How much a program of the study has to do: it reads that from its own name, so that the programs
//! of both sides are copies of one file and differ in nothing else.

use std::env;

use subject::PAGES;

/// Pages of code that is slower by so many per cent.
///
/// # Panics
/// When that is no whole number of pages.
#[must_use]
pub const fn pages(slower_percent: u64) -> u64 {
    assert!(PAGES.is_multiple_of(100), "1 % is a whole number of pages");
    PAGES + PAGES / 100 * slower_percent
}

/// The name of a copy of a program.
#[must_use]
pub fn named(program: &str, slower_percent: u64) -> String {
    format!("{program}-{:04}", pages(slower_percent))
}

/// The pages in this program's own name.
///
/// # Panics
/// When there is no number: this program was not started by the study.
#[must_use]
pub fn of_this_program() -> u64 {
    let program = env::current_exe().expect("a program knows its path");
    let name = program.to_string_lossy().into_owned();
    name.rsplit_once('-')
        .and_then(|(_, pages)| pages.parse().ok())
        .expect("the study starts copies of this program with the number of pages in their names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_pages_and_is_as_long_for_both_sides() {
        assert_eq!((pages(0), pages(5)), (PAGES, PAGES * 105 / 100));
        assert_eq!(named("x", 0).len(), named("x", 5).len());
        assert!(named("x", 5).ends_with(&pages(5).to_string()));
    }
}
