//! The Wilcoxon signed-rank test, its estimate and its interval.
//!
//! F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945); zeros as
//! in J. W. Pratt, "Remarks on zeros and ties in the Wilcoxon signed rank procedures", JASA 54
//! (1959); estimate and interval as in J. L. Hodges, E. L. Lehmann, "Estimates of location based on
//! rank tests", Ann. Math. Statist. 34 (1963), and Hollander, Wolfe, Chicken, *Nonparametric
//! Statistical Methods*, 3.1–3.3.

use super::quantiles;
use super::ranks::{RankTest, doubled};

/// Up to as many differences the distribution is exact. A sum of ranks of 100 is at most 5,050, and
/// the normal distribution is then right to three digits.
const EXACT_MAX: usize = 100;

/// Of differences, all numbers. Zeros have ranks, and no sign to count them with; tied sizes share
/// their ranks. The distribution is that of these very ranks under all signs.
pub(super) fn test(differences: &[f64]) -> RankTest {
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = doubled(&sizes);
    let with_sign: Vec<(f64, usize)> = differences
        .iter()
        .copied()
        .zip(ranks)
        .filter(|(difference, _)| difference.abs() > 0.0)
        .collect();
    let ranks: Vec<usize> = with_sign.iter().map(|(_, rank)| *rank).collect();
    let positive: usize = with_sign
        .iter()
        .filter(|(difference, _)| *difference > 0.0)
        .map(|(_, rank)| rank)
        .sum();
    if ranks.len() <= EXACT_MAX {
        exact(&ranks, positive)
    } else {
        approximate(&ranks, positive)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of ranks")]
fn exact(ranks: &[usize], positive: usize) -> RankTest {
    let distribution = of_all_signs(ranks);
    let below = distribution[..=positive].iter().sum();
    let above = distribution[positive..].iter().sum();
    let expected = ranks.iter().sum::<usize>() as f64 / 2.0;
    RankTest::of_tails(positive as f64, expected, below, above)
}

/// Normal, with the variance of these very ranks, which has the corrections for ties and zeros in
/// it, and half a rank of continuity.
#[expect(clippy::cast_precision_loss, reason = "sums of ranks")]
fn approximate(ranks: &[usize], positive: usize) -> RankTest {
    let expected = ranks.iter().sum::<usize>() as f64 / 2.0;
    let variance: f64 = ranks.iter().map(|rank| (*rank as f64).powi(2) / 4.0).sum();
    let away = (positive as f64 - expected).abs() - 1.0;
    let tail = quantiles::normal_above(away.max(0.0) / variance.sqrt());
    RankTest::of_tails(positive as f64, expected, tail, tail)
}

/// How probable each sum is when every rank is a part of it or not, with even chances.
fn of_all_signs(ranks: &[usize]) -> Vec<f64> {
    let mut probabilities = vec![0.0; ranks.iter().sum::<usize>() + 1];
    probabilities[0] = 1.0;
    let mut largest = 0;
    for &rank in ranks {
        largest += rank;
        for sum in (0..=largest).rev() {
            let without = probabilities[sum];
            let with = sum
                .checked_sub(rank)
                .map_or(0.0, |rest| probabilities[rest]);
            probabilities[sum] = f64::midpoint(without, with);
        }
    }
    probabilities
}

/// The least two-sided p of `n` differences: all of one sign.
pub(super) fn least_p(n: u32) -> f64 {
    (0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)) * 2.0).min(1.0)
}

/// The means of all pairs, each with itself, too: sorted.
pub(super) fn walsh_averages(differences: &[f64]) -> Vec<f64> {
    let mut averages: Vec<f64> = (0..differences.len())
        .flat_map(|i| {
            let others = &differences[i..];
            others
                .iter()
                .map(move |d| f64::midpoint(differences[i], *d))
        })
        .collect();
    averages.sort_by(f64::total_cmp);
    averages
}

/// The median: of Walsh averages it is the Hodges–Lehmann estimate.
pub(super) fn median_of_sorted(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// All shifts that the test does not refuse at a two-sided `alpha`: as many Walsh averages are cut
/// off at each end as the sum of ranks may have at most in its tail. `None` when all shifts are
/// possible.
///
/// With another shift the sizes have no ties, unless differences are equal; the test's distribution
/// without ties is then the wider one.
pub(super) fn interval(walsh: &[f64], n: usize, alpha: f64) -> Option<(f64, f64)> {
    let cut = largest_in_tail(n, alpha / 2.0)?;
    let high = walsh.len().checked_sub(cut + 1)?;
    (cut <= high).then(|| (walsh[cut], walsh[high]))
}

/// The largest sum of the ranks 1 to `n` with at most `tail` at it and below.
fn largest_in_tail(n: usize, tail: f64) -> Option<usize> {
    if n <= EXACT_MAX {
        exactly_largest_in_tail(n, tail)
    } else {
        roughly_largest_in_tail(n, tail)
    }
}

fn exactly_largest_in_tail(n: usize, tail: f64) -> Option<usize> {
    let distribution = of_all_signs(&(1..=n).collect::<Vec<_>>());
    let mut below = 0.0;
    let inside = distribution.iter().take_while(|probability| {
        below += **probability;
        below <= tail
    });
    inside.count().checked_sub(1)
}

/// Normal; far out its tails are the heavier ones, and the interval is then a little too wide.
fn roughly_largest_in_tail(n: usize, tail: f64) -> Option<usize> {
    #[expect(clippy::cast_precision_loss, reason = "a number of repetitions")]
    let n = n as f64;
    let expected = n * (n + 1.0) / 4.0;
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let cut = expected - 0.5 + quantiles::normal(tail) * deviation;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and less than a sum of ranks"
    )]
    (cut >= 0.0).then(|| cut.floor() as usize)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    /// Hamilton's depression scale, Hollander and Wolfe's table 3.1, which is the paired example of
    /// R's `wilcox.test`.
    #[expect(clippy::approx_constant, reason = "a score of 3.14 is one")]
    const DEPRESSION: [f64; 9] = [
        0.878 - 1.83,
        0.647 - 0.50,
        0.598 - 1.62,
        2.05 - 2.48,
        1.06 - 1.68,
        1.29 - 1.88,
        1.06 - 1.55,
        3.14 - 3.06,
        1.29 - 1.30,
    ];

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// R: V = 40 one way, so 5 the other, p-value = 0.01953 one-sided. By hand: 1 + 1 + 1 + 2 + 2 + 3
    /// = 10 of the 512 sets of 1 … 9 have a sum of at most 5.
    #[test]
    fn the_depression_data_have_the_p_that_r_gives_them() {
        let test = test(&DEPRESSION);
        assert!(near(test.p, 2.0 * 10.0 / 512.0), "{test:?}");
        assert_eq!(test.direction, Ordering::Less);
    }

    /// Hollander and Wolfe, 3.2 and 3.3: estimate -0.46; with P(T ≤ 5) = 0.0195 and
    /// P(T ≤ 6) = 14 / 512 = 0.027 the interval of 96.1 % is (-0.786, -0.010).
    #[test]
    fn the_depression_data_have_the_published_estimate_and_interval() {
        let walsh = walsh_averages(&DEPRESSION);
        assert_eq!(walsh.len(), 45);
        assert!(near(median_of_sorted(&walsh).expect("some"), -0.46));
        assert_eq!(largest_in_tail(9, 0.025), Some(5));
        let (low, high) = interval(&walsh, 9, 0.05).expect("some");
        assert!(near(low, -0.786) && near(high, -0.010), "{low} {high}");
    }

    /// Every assignment of signs, one by one.
    fn p_by_enumeration(differences: &[f64]) -> f64 {
        let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
        let ranks = doubled(&sizes);
        let signed: Vec<usize> = (0..ranks.len()).filter(|i| sizes[*i] > 0.0).collect();
        let observed: usize = signed
            .iter()
            .filter(|i| differences[**i] > 0.0)
            .map(|i| ranks[*i])
            .sum();
        let (mut below, mut above, all) = (0_u32, 0_u32, 1_u32 << signed.len());
        for signs in 0..all {
            let chosen = signed
                .iter()
                .enumerate()
                .filter(|(bit, _)| signs >> bit & 1 == 1);
            let sum: usize = chosen.map(|(_, i)| ranks[*i]).sum();
            below += u32::from(sum <= observed);
            above += u32::from(sum >= observed);
        }
        (2.0 * f64::from(below.min(above)) / f64::from(all)).min(1.0)
    }

    #[test]
    fn the_distribution_is_that_of_enumeration_with_ties_and_zeros() {
        // Whole numbers from -4 to 4: every pattern of ties and zeros comes up.
        let mut random = crate::ab::statistics::simulation::Random::new(3);
        for n in 1..=10 {
            for _ in 0..60 {
                let differences: Vec<f64> = (0..n)
                    .map(|_| (random.uniform() * 9.0).floor() - 4.0)
                    .collect();
                let (p, all) = (test(&differences).p, p_by_enumeration(&differences));
                assert!(near(p, all), "{differences:?}: {p} {all}");
            }
        }
    }

    /// By hand: sizes 1, 1, 2 have the ranks 1.5, 1.5, 3; a sum of at most 0 is 1 of 8.
    #[test]
    fn small_cases_by_hand() {
        assert!(near(test(&[1.0, 1.0, 2.0]).p, 0.25));
        // Pratt: the zero has rank 1, the others 2 and 3; of the sums 0, 2, 3, 5 the 2 is in the
        // lower half.
        assert!(near(test(&[0.0, 1.0, -2.0]).p, 1.0));
        assert!(near(test(&[0.0, 1.0, 2.0]).p, 0.5));
        assert!(near(test(&[0.0, 0.0]).p, 1.0));
        assert_eq!(test(&[0.0, 0.0]).direction, Ordering::Equal);
        assert!(near(test(&[]).p, 1.0));
    }

    #[test]
    fn the_least_p_is_that_of_one_sign() {
        for n in 1..=12_u32 {
            let all: Vec<f64> = (1..=n).map(f64::from).collect();
            assert!(near(test(&all).p, least_p(n)), "{n}");
        }
        assert!(near(least_p(0), 1.0));
        assert!(near(least_p(u32::MAX), 0.0));
    }

    /// What the interval leaves out the test refuses, and what is inside it does not.
    #[test]
    fn the_interval_is_the_inverted_test() {
        let mut random = crate::ab::statistics::simulation::Random::new(7);
        for n in [6, 7, 9, 12, 20] {
            for alpha in [0.05, 0.1, 0.3] {
                let differences: Vec<f64> = (0..n).map(|_| random.normal()).collect();
                let walsh = walsh_averages(&differences);
                let Some((low, high)) = interval(&walsh, n, alpha) else {
                    assert!(least_p(u32::try_from(n).expect("small")) > alpha);
                    continue;
                };
                let p =
                    |shift: f64| test(&differences.iter().map(|d| d - shift).collect::<Vec<_>>()).p;
                assert!(
                    p(low - 1e-9) <= alpha && p(high + 1e-9) <= alpha,
                    "{n} {alpha}"
                );
                assert!(
                    p(low + 1e-9) > alpha && p(high - 1e-9) > alpha,
                    "{n} {alpha}"
                );
            }
        }
    }

    #[test]
    fn too_few_have_no_interval() {
        let differences: Vec<f64> = (1..=5_u8).map(f64::from).collect();
        assert_eq!(interval(&walsh_averages(&differences), 5, 0.05), None);
        assert!(interval(&walsh_averages(&differences), 5, 0.0625).is_some());
        assert_eq!(interval(&[], 0, 0.05), None);
        assert_eq!(median_of_sorted(&[]), None);
    }

    /// On both sides of where the exact distribution ends.
    #[test]
    fn the_normal_distribution_takes_over_without_a_step() {
        let mut random = crate::ab::statistics::simulation::Random::new(11);
        for shift in [0.0, 0.2, 0.35] {
            let values: Vec<f64> = (0..EXACT_MAX).map(|_| random.normal() + shift).collect();
            let sizes: Vec<f64> = values.iter().map(|d| d.abs()).collect();
            let ranks = doubled(&sizes);
            let positive = (0..values.len()).filter(|i| values[*i] > 0.0);
            let positive = positive.map(|i| ranks[i]).sum();
            let (exact, normal) = (exact(&ranks, positive), approximate(&ranks, positive));
            assert!((exact.p - normal.p).abs() < 0.002, "{exact:?} {normal:?}");
            assert_eq!(exact.direction, normal.direction);
        }
        for (tail, apart) in [(0.025, 1), (0.005, 4), (0.0005, 12)] {
            let exact = exactly_largest_in_tail(EXACT_MAX, tail).expect("some");
            let normal = roughly_largest_in_tail(EXACT_MAX, tail).expect("some");
            assert!(normal <= exact, "{tail}: {exact} {normal}");
            assert!(exact - normal <= apart, "{tail}: {exact} {normal}");
        }
        let many: Vec<f64> = (0..300).map(|_| random.normal() + 0.5).collect();
        assert!(test(&many).p < 1e-6);
        assert_eq!(test(&[1.0; 200]).direction, Ordering::Greater);
    }
}
