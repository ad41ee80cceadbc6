//! A test binary whose package lists the crate and whose code does not name it: there is no hook in
//! it, and nothing to count with. A library that brings a copy of the hook along says that it is
//! dead.
//!
//! `LINKAGE_COPY`: the library to load; where it is empty nothing is tested.

mod support;

#[test]
fn a_copy_of_the_hook_in_a_library_says_that_it_is_dead() {
    if let Some(said) = support::what_the_copy_says() {
        assert!(said.contains("is not linked"), "{said}");
    }
}
