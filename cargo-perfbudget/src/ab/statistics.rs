//! The statistics that decide, and no others.
//!
//! - [`paired`], of a comparison whose sides took turns in blocks: the Hodges–Lehmann estimate of the
//!   blocks' log ratios, the p of the Wilcoxon signed-rank test, and the interval that is the
//!   inversion of that same test.
//! - [`independent`], of two stored histories: the difference of the means of the logs with Welch's
//!   interval, and the p of the Mann–Whitney test.
//! - [`cv_percent`], which says that a machine was too noisy to ask.
//!
//! All work on logs: times are positive, what disturbs them multiplies them, and a ratio is what a
//! policy is about. `docs/ab-decisions.md` derives each with its source.

mod quantiles;
mod rank_sum;
mod ranks;
mod signed_rank;
#[cfg(test)]
pub(crate) mod simulation;
mod welch;

use std::cmp::Ordering;

/// Repetitions beyond which no number is looked for.
const REPETITIONS_MAX: u32 = 1000;

/// How the logs of two sides differ: candidate less baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    /// The logarithm of the ratio.
    pub(crate) log_ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Of the rank test: two-sided.
    pub(crate) p: f64,
    /// The side of no difference that the ranks are on.
    pub(crate) ranks: Ordering,
}

impl Difference {
    /// The ratio's change in per cent, with its interval.
    pub(crate) fn percent(&self) -> [f64; 3] {
        [self.log_ratio, self.low, self.high].map(|log| log.exp_m1() * 100.0)
    }

    /// Whether a difference is shown at the level that the interval was made for: by the interval,
    /// by the rank test, and by both in the same direction.
    pub(crate) fn is_shown(&self, alpha: f64) -> bool {
        let direction = match (self.low > 0.0, self.high < 0.0) {
            (true, _) => Ordering::Greater,
            (_, true) => Ordering::Less,
            _ => Ordering::Equal,
        };
        direction != Ordering::Equal && direction == self.ranks && self.p <= alpha
    }
}

/// Of the log ratios of blocks. `None` where there is no interval of that level: too few blocks for
/// the rank test to reach `alpha`, or a number that is none.
pub(crate) fn paired(log_ratios: &[f64], alpha: f64) -> Option<Difference> {
    if !are_numbers(log_ratios) {
        return None;
    }
    let walsh = signed_rank::walsh_averages(log_ratios);
    let (low, high) = signed_rank::interval(&walsh, log_ratios.len(), alpha)?;
    let test = signed_rank::test(log_ratios);
    Some(Difference {
        log_ratio: signed_rank::median_of_sorted(&walsh)?,
        low,
        high,
        p: test.p,
        ranks: test.direction,
    })
}

/// The Hodges–Lehmann estimate alone. `None` of nothing, or with a number that is none.
pub(crate) fn estimate(log_ratios: &[f64]) -> Option<f64> {
    are_numbers(log_ratios)
        .then(|| signed_rank::walsh_averages(log_ratios))
        .and_then(|walsh| signed_rank::median_of_sorted(&walsh))
}

/// Of the logs of two sides that did not take turns. `None` with fewer than two on a side, or with
/// a number that is none.
pub(crate) fn independent(baseline: &[f64], candidate: &[f64], alpha: f64) -> Option<Difference> {
    if !are_numbers(baseline) || !are_numbers(candidate) {
        return None;
    }
    let welch = welch::interval(baseline, candidate, alpha)?;
    let test = rank_sum::test(baseline, candidate);
    Some(Difference {
        log_ratio: welch.difference,
        low: welch.low,
        high: welch.high,
        p: test.p,
        ranks: test.direction,
    })
}

/// Blocks with which the signed-rank test can reach a two-sided `alpha`.
pub(crate) fn blocks_needed(alpha: f64) -> u32 {
    first(|n| signed_rank::least_p(n) <= alpha)
}

/// Repetitions on each side with which the Mann–Whitney test can reach a two-sided `alpha`.
pub(crate) fn repetitions_needed(alpha: f64) -> u32 {
    first(|n| rank_sum::least_p(n, n) <= alpha)
}

/// Whether the Mann–Whitney test can reach `alpha` with as many on the sides.
pub(crate) fn is_reachable(baseline: u32, candidate: u32, alpha: f64) -> bool {
    rank_sum::least_p(baseline, candidate) <= alpha
}

fn first(is_enough: impl Fn(u32) -> bool) -> u32 {
    (1..REPETITIONS_MAX)
        .find(|n| is_enough(*n))
        .unwrap_or(REPETITIONS_MAX)
}

/// By how much the second of each pair rises with the first, through the origin: the slope of the
/// least absolute deviations, which one pair that is far out hardly moves. It is the median of the
/// pairs' own slopes, each with the weight of its first. `None` where the first are all 0, or with a
/// number that is none.
pub(crate) fn slope(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let of_one = |(x, y): &(f64, f64)| (*x != 0.0).then(|| (y / x, x.abs()));
    let mut slopes: Vec<(f64, f64)> = pairs.iter().filter_map(of_one).collect();
    slopes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = slopes.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let is_middle = |(_, weight): &&(f64, f64)| {
        below += weight;
        below >= half
    };
    slopes.iter().find(is_middle).map(|(slope, _)| *slope)
}

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a number of repetitions")]
    let n = values.len() as f64;
    (n > 0.0).then(|| values.iter().sum::<f64>() / n)
}

/// The sample variance (n - 1); `None` of fewer than two.
fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of repetitions")]
    let others = values.len() as f64 - 1.0;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (others > 0.0).then(|| squares / others)
}

/// Sample standard deviation over mean, in per cent; `None` of fewer than two, or without a
/// positive mean.
pub(crate) fn cv_percent(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|mean| *mean > 0.0 && mean.is_finite())?;
    let deviation = variance(values)?.sqrt();
    deviation.is_finite().then(|| deviation / mean * 100.0)
}

fn are_numbers(values: &[f64]) -> bool {
    !values.is_empty() && values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_variation_has_the_deviation_of_a_sample() {
        // Squares of deviations 4 + 1 + 1 + 4 = 10, over 4; over a mean of 10.
        let cv = cv_percent(&[8.0, 9.0, 10.0, 11.0, 12.0]).expect("some");
        assert!(near(cv, 2.5_f64.sqrt() * 10.0), "{cv}");
        assert!(near(cv_percent(&[7.0; 4]).expect("some"), 0.0));
    }

    #[test]
    fn a_slope_is_that_of_the_least_absolute_deviations() {
        let deviations = |pairs: &[(f64, f64)], slope: f64| -> f64 {
            pairs.iter().map(|(x, y)| (y - slope * x).abs()).sum()
        };
        let mut random = simulation::Random::new(8);
        for n in 1..40 {
            let pairs: Vec<(f64, f64)> = (0..n)
                .map(|_| {
                    let x = random.normal();
                    (x, 0.7 * x + 0.3 * random.normal())
                })
                .collect();
            let found = slope(&pairs).expect("some");
            let least = deviations(&pairs, found);
            // It is a line through one of the pairs, and none of these does better.
            for (x, y) in &pairs {
                assert!(deviations(&pairs, y / x) >= least - 1e-12, "{found}");
            }
        }
        // One of nine is anywhere.
        let mut pairs = [(1.0, 0.5); 9];
        pairs[4] = (3.0, -70.0);
        assert_eq!(slope(&pairs), Some(0.5));
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(0.0, 2.0), (0.0, 3.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (2.0, f64::NAN)]), None);
    }

    #[test]
    fn what_has_no_variation_has_none() {
        for none in [
            &[][..],
            &[1.0],
            &[0.0, 0.0],
            &[-1.0, -2.0],
            &[1.0, f64::NAN],
            &[1.0, f64::INFINITY],
        ] {
            assert_eq!(cv_percent(none), None, "{none:?}");
        }
    }

    #[test]
    fn numbers_that_are_none_have_no_difference() {
        let good = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
        assert!(paired(&good, 0.05).is_some());
        assert!(independent(&good, &good, 0.05).is_some());
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0_f64.ln()] {
            let mut with_bad = good;
            with_bad[3] = bad;
            assert_eq!(paired(&with_bad, 0.05), None);
            assert_eq!(independent(&with_bad, &good, 0.05), None);
            assert_eq!(independent(&good, &with_bad, 0.05), None);
        }
    }

    #[test]
    fn none_and_one_have_no_difference() {
        for few in [&[][..], &[0.1]] {
            assert_eq!(paired(few, 0.05), None);
            assert_eq!(independent(few, &[0.1, 0.2], 0.05), None);
            assert_eq!(independent(&[0.1, 0.2], few, 0.05), None);
        }
    }

    #[test]
    fn all_equal_is_no_difference_and_certain() {
        let none = Difference {
            log_ratio: 0.0,
            low: 0.0,
            high: 0.0,
            p: 1.0,
            ranks: Ordering::Equal,
        };
        assert_eq!(paired(&[0.0; 8], 0.05), Some(none));
        assert_eq!(independent(&[2.0; 5], &[2.0; 6], 0.05), Some(none));
        assert!(!none.is_shown(0.05));
    }

    #[test]
    fn equal_within_the_sides_is_a_difference_without_width() {
        let paired = paired(&[0.1; 8], 0.05).expect("some");
        assert!(near(paired.low, 0.1) && near(paired.high, 0.1));
        assert!(near(paired.p, 2.0 / 256.0));
        assert!(paired.is_shown(0.05) && !paired.is_shown(0.005));
        let independent = independent(&[2.0; 5], &[2.5; 5], 0.05).expect("some");
        assert!(near(independent.low, 0.5) && near(independent.high, 0.5));
        assert!(near(independent.p, 2.0 / 252.0));
        assert!(independent.is_shown(0.05));
    }

    #[test]
    fn what_is_shown_is_shown_by_both_and_in_one_direction() {
        let shown = Difference {
            log_ratio: 0.1,
            low: 0.05,
            high: 0.15,
            p: 0.01,
            ranks: Ordering::Greater,
        };
        assert!(shown.is_shown(0.01) && !shown.is_shown(0.009));
        let other = |ranks, low, high| Difference {
            ranks,
            low,
            high,
            ..shown
        };
        assert!(!other(Ordering::Less, 0.05, 0.15).is_shown(0.05));
        assert!(!other(Ordering::Greater, 0.0, 0.15).is_shown(0.05));
        assert!(other(Ordering::Less, -0.15, -0.05).is_shown(0.05));
    }

    #[test]
    fn the_numbers_needed_are_the_least() {
        // 2 / 2^n: 6 blocks give 0.03125. 2 / C(8, 4) = 0.0286, 2 / C(6, 3) = 0.1.
        assert_eq!((blocks_needed(0.05), blocks_needed(0.05 / 3.0)), (6, 7));
        assert_eq!(
            (repetitions_needed(0.05), repetitions_needed(0.025)),
            (4, 5)
        );
        assert!(is_reachable(4, 4, 0.05) && !is_reachable(3, 4, 0.05));
        assert_eq!(blocks_needed(0.0), REPETITIONS_MAX);
    }

    #[test]
    fn a_change_is_of_the_ratio() {
        let half = Difference {
            log_ratio: 0.5_f64.ln(),
            low: 0.25_f64.ln(),
            high: 2.0_f64.ln(),
            p: 1.0,
            ranks: Ordering::Equal,
        };
        let [change, low, high] = half.percent();
        assert!(near(change, -50.0) && near(low, -75.0) && near(high, 100.0));
    }
}
