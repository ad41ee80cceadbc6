//! Counts that should not grow: the helper for "the same for every N".

use std::fmt::Debug;

/// Calls `count` with each `n` and returns the one value that all gave.
///
/// ```
/// use perfbudget::constant_across;
///
/// let batches = constant_across([1, 25, 400], |n: usize| usize::from(n > 0));
/// assert_eq!(batches, 1);
/// ```
///
/// # Panics
/// When the values differ, with each `n` beside its value; and when there is no `n` at all.
#[track_caller]
pub fn constant_across<N, V>(ns: impl IntoIterator<Item = N>, mut count: impl FnMut(N) -> V) -> V
where
    N: Copy + Debug,
    V: PartialEq + Debug,
{
    let mut values: Vec<(N, V)> = ns.into_iter().map(|n| (n, count(n))).collect();
    let Some((_, first)) = values.first() else {
        panic!("constant_across was given no n: there is nothing to compare");
    };
    if values.iter().any(|(_, value)| value != first) {
        let table: Vec<String> = values
            .iter()
            .map(|(n, value)| format!("  n = {n:<8?} {value:?}"))
            .collect();
        panic!(
            "not the same for every n:\n{}\n\
             a count that grows with n is work done for each instead of once for all",
            table.join("\n")
        );
    }
    values.swap_remove(0).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn message_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = catch_unwind(f).expect_err("it panics");
        *panic.downcast::<String>().expect("a text")
    }

    #[test]
    fn one_value_comes_back() {
        assert_eq!(constant_across([1, 25, 400], |_| "same"), "same");
    }

    #[test]
    fn values_that_differ_are_shown_beside_their_n() {
        let message = message_of(|| {
            constant_across([1, 25, 400], |n| if n < 400 { 2 } else { 3 });
        });
        assert_eq!(
            message,
            "not the same for every n:\n  n = 1        2\n  n = 25       2\n  n = 400      3\n\
             a count that grows with n is work done for each instead of once for all"
        );
    }

    #[test]
    fn no_n_at_all_is_no_pass() {
        let panic = catch_unwind(|| constant_across([0; 0], |n| n)).expect_err("it panics");
        let message = panic.downcast_ref::<&str>().expect("a text");
        assert!(message.contains("no n"), "{message}");
    }
}
