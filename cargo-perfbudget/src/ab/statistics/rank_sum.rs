//! The Mann–Whitney test (Wilcoxon's of the sum of ranks).
//!
//! H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is stochastically
//! larger than the other", Ann. Math. Statist. 18 (1947). Ties have mid-ranks; the distribution is
//! then that of all ways to choose a side's repetitions among these ranks (E. L. Lehmann,
//! *Nonparametrics*, 1.4).

use super::quantiles;
use super::ranks::{RankTest, doubled};

/// Up to as many repetitions in all the distribution is exact.
const EXACT_MAX: usize = 60;

/// Of two sides of numbers; the direction is the candidate's.
pub(super) fn test(baseline: &[f64], candidate: &[f64]) -> RankTest {
    let ranks = doubled(&[baseline, candidate].concat());
    let sum: usize = ranks[baseline.len()..].iter().sum();
    if ranks.len() <= EXACT_MAX {
        exact(&ranks, candidate.len(), sum)
    } else {
        approximate(&ranks, candidate.len(), sum)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of ranks")]
fn exact(ranks: &[usize], chosen: usize, sum: usize) -> RankTest {
    let ways = of_all_choices(ranks, chosen);
    let all: f64 = ways.iter().sum();
    let below = ways[..=sum].iter().sum::<f64>() / all;
    let above = ways[sum..].iter().sum::<f64>() / all;
    RankTest::of_tails(sum as f64, expected(ranks, chosen), below, above)
}

/// Normal, with the variance of these very ranks, which has the correction for ties in it, and half
/// a rank of continuity.
#[expect(clippy::cast_precision_loss, reason = "sums of ranks")]
fn approximate(ranks: &[usize], chosen: usize, sum: usize) -> RankTest {
    let all = ranks.len() as f64;
    let mean = ranks.iter().sum::<usize>() as f64 / all;
    let squares: f64 = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum();
    let (m, n) = (chosen as f64, all - chosen as f64);
    let variance = m * n / (all * (all - 1.0)) * squares;
    let expected = expected(ranks, chosen);
    let away = (sum as f64 - expected).abs() - 1.0;
    let tail = if variance > 0.0 {
        quantiles::normal_above(away.max(0.0) / variance.sqrt())
    } else {
        1.0
    };
    RankTest::of_tails(sum as f64, expected, tail, tail)
}

#[expect(clippy::cast_precision_loss, reason = "sums of ranks")]
fn expected(ranks: &[usize], chosen: usize) -> f64 {
    let all = ranks.len().max(1) as f64;
    ranks.iter().sum::<usize>() as f64 * chosen as f64 / all
}

/// In how many ways `chosen` of the ranks have each sum.
fn of_all_choices(ranks: &[usize], chosen: usize) -> Vec<f64> {
    let total: usize = ranks.iter().sum();
    // By how many are chosen so far.
    let mut ways = vec![vec![0.0; total + 1]; chosen + 1];
    ways[0][0] = 1.0;
    let mut largest = 0;
    for &rank in ranks {
        largest += rank;
        for several in (1..=chosen).rev() {
            let (fewer, more) = ways.split_at_mut(several);
            let (fewer, more) = (&fewer[several - 1], &mut more[0]);
            for sum in rank..=largest {
                more[sum] += fewer[sum - rank];
            }
        }
    }
    ways.pop().unwrap_or_default()
}

/// The least two-sided p: the sides do not overlap.
pub(super) fn least_p(baseline: u32, candidate: u32) -> f64 {
    // 1 / C(m + n, m), factor by factor.
    let one_side: f64 = (1..=baseline)
        .map(|i| f64::from(i) / (f64::from(candidate) + f64::from(i)))
        .product();
    (2.0 * one_side).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// The two-sample example of R's `wilcox.test` (Hollander and Wolfe, table 4.1): W = 35, p-value
    /// = 0.1272 one-sided. Of the C(15, 5) = 3,003 choices 382 have a sum as small or smaller.
    #[test]
    fn the_permeability_data_have_the_p_that_r_gives_them() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = test(&term, &early);
        assert!(near(test.p, 2.0 * 382.0 / 3003.0), "{test:?}");
        assert!((test.p / 2.0 - 0.1272).abs() < 5e-5, "{test:?}");
        assert_eq!(test.direction, Ordering::Less);
    }

    /// Every choice, one by one.
    fn p_by_enumeration(baseline: &[f64], candidate: &[f64]) -> f64 {
        let ranks = doubled(&[baseline, candidate].concat());
        let observed: usize = ranks[baseline.len()..].iter().sum();
        let (mut below, mut above, mut all) = (0_u32, 0_u32, 0_u32);
        for set in 0..1_u32 << ranks.len() {
            if set.count_ones() as usize == candidate.len() {
                let chosen = (0..ranks.len()).filter(|i| set >> i & 1 == 1);
                let sum: usize = chosen.map(|i| ranks[i]).sum();
                below += u32::from(sum <= observed);
                above += u32::from(sum >= observed);
                all += 1;
            }
        }
        (2.0 * f64::from(below.min(above)) / f64::from(all)).min(1.0)
    }

    #[test]
    fn the_distribution_is_that_of_enumeration_with_ties() {
        let mut random = crate::ab::statistics::simulation::Random::new(5);
        for (m, n) in [
            (1, 1),
            (1, 4),
            (4, 1),
            (3, 3),
            (4, 4),
            (5, 3),
            (4, 7),
            (6, 6),
        ] {
            for values in [3.0, 8.0, 1e6] {
                for _ in 0..10 {
                    let mut side = |n| -> Vec<f64> {
                        (0..n)
                            .map(|_| (random.uniform() * values).floor())
                            .collect()
                    };
                    let (baseline, candidate) = (side(m), side(n));
                    let p = test(&baseline, &candidate).p;
                    let all = p_by_enumeration(&baseline, &candidate);
                    assert!(near(p, all), "{baseline:?} {candidate:?}: {p} {all}");
                }
            }
        }
    }

    /// By hand: 2 of the C(4, 2) = 6 choices are as extreme; with a tie between the sides the ranks
    /// are 1, 2.5, 2.5, 4, and two choices have the largest sum.
    #[test]
    fn small_cases_by_hand() {
        assert!(near(test(&[1.0, 2.0], &[3.0, 4.0]).p, 2.0 / 6.0));
        assert!(near(test(&[1.0, 2.0], &[2.0, 3.0]).p, 4.0 / 6.0));
        assert_eq!(test(&[1.0, 2.0], &[3.0, 4.0]).direction, Ordering::Greater);
        assert!(near(test(&[1.0; 3], &[1.0; 4]).p, 1.0));
        assert_eq!(test(&[1.0; 3], &[1.0; 4]).direction, Ordering::Equal);
        assert!(near(test(&[1.0; 50], &[1.0; 50]).p, 1.0));
        assert!(near(test(&[], &[]).p, 1.0));
    }

    #[test]
    fn the_least_p_is_that_of_sides_that_do_not_overlap() {
        for (m, n) in [(1, 1), (3, 4), (4, 4), (8, 8), (5, 9)] {
            let baseline: Vec<f64> = (0..m).map(f64::from).collect();
            let candidate: Vec<f64> = (0..n).map(|i| f64::from(i) + 100.0).collect();
            assert!(
                near(test(&baseline, &candidate).p, least_p(m, n)),
                "{m} {n}"
            );
        }
        assert!(near(least_p(8, 8), 2.0 / 12_870.0));
        assert!(near(least_p(0, 9), 1.0));
    }

    #[test]
    fn the_normal_distribution_takes_over_without_a_step() {
        let mut random = crate::ab::statistics::simulation::Random::new(13);
        for (shift, steps) in [(0.0, 1e6), (0.5, 1e6), (0.9, 1e6), (0.5, 4.0)] {
            let mut side = |shift: f64| -> Vec<f64> {
                let value = |normal: f64| ((normal + shift) * steps).floor();
                (0..EXACT_MAX / 2).map(|_| value(random.normal())).collect()
            };
            let ranks = doubled(&[side(0.0), side(shift)].concat());
            let sum = ranks[EXACT_MAX / 2..].iter().sum();
            let exact = exact(&ranks, EXACT_MAX / 2, sum);
            let normal = approximate(&ranks, EXACT_MAX / 2, sum);
            assert!((exact.p - normal.p).abs() < 0.004, "{exact:?} {normal:?}");
            assert_eq!(exact.direction, normal.direction);
        }
    }
}
