//! Ranks of values, and the result of a test that is made of them.

use std::cmp::Ordering;

/// What a rank test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RankTest {
    /// Two-sided: twice the smaller tail, the observed value included in both.
    pub(super) p: f64,
    /// Where the statistic is of its expectation.
    pub(super) direction: Ordering,
}

impl RankTest {
    /// Of a statistic in units of half ranks, with the two tails from it.
    pub(super) fn of_tails(statistic: f64, expected: f64, below: f64, above: f64) -> Self {
        Self {
            p: (2.0 * below.min(above)).min(1.0),
            direction: statistic.total_cmp(&expected),
        }
    }
}

/// Ranks from 1, doubled so that the mean of the ranks that tied values share is whole, too.
pub(super) fn doubled(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0; values.len()];
    let mut before = 0;
    for group in order.chunk_by(|a, b| same(values[*a], values[*b])) {
        for position in group {
            // The group's first rank and its last.
            ranks[*position] = (before + 1) + (before + group.len());
        }
        before += group.len();
    }
    ranks
}

#[expect(clippy::float_cmp, reason = "a tie is a tie to the last bit")]
fn same(a: f64, b: f64) -> bool {
    a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_values_share_the_mean_of_their_ranks() {
        assert_eq!(doubled(&[]), [0; 0]);
        assert_eq!(doubled(&[3.0, 1.0, 2.0]), [6, 2, 4]);
        assert_eq!(doubled(&[5.0, 5.0]), [3, 3]);
        assert_eq!(doubled(&[2.0, 1.0, 2.0, 2.0, 9.0]), [6, 2, 6, 6, 10]);
        assert_eq!(doubled(&[0.0, -0.0]), [3, 3]);
    }
}
