//! The few statistics that a gate needs, over samples of time.
//!
//! - Trimmed mean: of 11 sorted samples the 2 smallest and the 2 largest are dropped and the other
//!   7 averaged. It stands up to two disturbed samples and varies less than the median where
//!   nothing is disturbed.
//! - Median: stands up to five disturbed samples of 11. A verdict wants both.
//! - The least that a trimmed mean or a median can become when a budget of time is taken from the
//!   samples in the way that lowers it most: the lower bound of a round of which it is known how
//!   long others delayed it in all, but not when.
//! - Coefficient of variation: sample standard deviation (n - 1) over mean, in per cent.

use std::time::Duration;

/// Samples dropped at each end by the trimmed mean.
pub(crate) const TRIMMED_EACH_END: usize = 2;

/// The mean of what is left when the smallest and the largest samples are dropped. With too few
/// samples to drop any it is the plain mean; of none it is zero.
pub(crate) fn trimmed_mean(samples: &[Duration]) -> Duration {
    let sorted = sorted(samples);
    let kept = if sorted.len() > 2 * TRIMMED_EACH_END {
        &sorted[TRIMMED_EACH_END..sorted.len() - TRIMMED_EACH_END]
    } else {
        &sorted
    };
    let Ok(n @ 1..) = u32::try_from(kept.len()) else {
        return Duration::ZERO;
    };
    kept.iter().sum::<Duration>() / n
}

/// The middle sample, or the mean of the middle two; of none it is zero.
pub(crate) fn median(samples: &[Duration]) -> Duration {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => Duration::ZERO,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2,
    }
}

/// The least trimmed mean that is reached by taking `budget` in all from any of the samples.
///
/// What is taken from the middle samples lowers the mean by its share, until they are level with
/// the largest of those that are dropped below. From there on those must sink along, which lowers
/// nothing by itself: then all up to the largest of the middle sink to one level.
pub(crate) fn least_trimmed_mean(samples: &[Duration], budget: Duration) -> Duration {
    let sorted = sorted(samples);
    let trimmed = if sorted.len() > 2 * TRIMMED_EACH_END {
        TRIMMED_EACH_END
    } else {
        0
    };
    let (below, middle) = sorted[..sorted.len() - trimmed].split_at(trimmed);
    let floor = below.last().copied().unwrap_or_default();
    let to_the_floor: Duration = middle.iter().map(|&s| s - floor).sum();
    match u32::try_from(middle.len()) {
        Ok(n @ 1..) if budget <= to_the_floor => (middle.iter().sum::<Duration>() - budget) / n,
        _ => level(&sorted[..sorted.len() - trimmed], budget),
    }
}

/// The least median that is reached by taking `budget` in all from any of an odd number of samples:
/// those up to the middle one sink to one level.
pub(crate) fn least_median(samples: &[Duration], budget: Duration) -> Duration {
    let sorted = sorted(samples);
    let up_to_the_middle = sorted.len() / 2 + 1;
    level(&sorted[..up_to_the_middle.min(sorted.len())], budget)
}

/// The level that the largest of these sorted samples sink to when `budget` is taken from them.
fn level(sorted: &[Duration], budget: Duration) -> Duration {
    let (mut sum, mut n) = (Duration::ZERO, 0);
    let mut samples = sorted.iter().rev().peekable();
    while let Some(&sample) = samples.next() {
        (sum, n) = (sum + sample, n + 1);
        let level = sum.saturating_sub(budget) / n;
        if samples.peek().is_none_or(|&&next| next <= level) {
            return level;
        }
    }
    Duration::ZERO
}

/// The coefficient of variation in per cent; of fewer than two samples, or of zeros, it is zero.
pub(crate) fn cv_percent(samples: &[Duration]) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let seconds: Vec<f64> = samples.iter().map(Duration::as_secs_f64).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of samples")]
    let n = seconds.len() as f64;
    let mean = seconds.iter().sum::<f64>() / n;
    if mean <= 0.0 {
        return 0.0;
    }
    let variance = seconds.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
    variance.sqrt() / mean * 100.0
}

fn sorted(samples: &[Duration]) -> Vec<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(samples: &[u64]) -> Vec<Duration> {
        samples.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn two_samples_at_each_end_count_for_nothing() {
        let calm = millis(&[10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        assert_eq!(trimmed_mean(&calm), Duration::from_millis(15));
        let wild = millis(&[9000, 0, 12, 13, 14, 15, 16, 17, 18, 0, 9000]);
        assert_eq!(trimmed_mean(&wild), Duration::from_millis(15));
    }

    #[test]
    fn three_disturbed_samples_move_the_trimmed_mean_but_not_the_median() {
        let samples = millis(&[10, 10, 10, 10, 10, 10, 10, 10, 80, 80, 80]);
        assert_eq!(trimmed_mean(&samples), Duration::from_millis(20));
        assert_eq!(median(&samples), Duration::from_millis(10));
    }

    #[test]
    fn a_small_budget_lowers_the_trimmed_mean_by_its_share() {
        let spread = millis(&[10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        let least = |budget| least_trimmed_mean(&spread, Duration::from_millis(budget));
        assert_eq!(least(0), Duration::from_millis(15));
        assert_eq!(least(7), Duration::from_millis(14));
        // All of the middle at 11, as the second smallest is.
        assert_eq!(least(28), Duration::from_millis(11));
        // Now nine of them sink: 1 + 8 × … : 11 - 1 leaves the smallest, too, at 10 for 8 more.
        assert_eq!(least(28 + 8), Duration::from_millis(10));
        assert_eq!(least(28 + 8 + 9), Duration::from_millis(9));
        assert_eq!(least(9_999), Duration::ZERO);
    }

    #[test]
    fn of_equal_samples_nine_must_sink_for_the_trimmed_mean_and_six_for_the_median() {
        let equal = millis(&[20; 11]);
        let budget = Duration::from_millis(54);
        assert_eq!(
            least_trimmed_mean(&equal, budget),
            Duration::from_millis(14)
        );
        assert_eq!(least_median(&equal, budget), Duration::from_millis(11));
    }

    /// Against every way to take whole milliseconds from seven samples, of which three are the middle.
    #[test]
    fn no_way_to_spend_a_budget_reaches_less() {
        fn spend(samples: &mut Vec<u64>, at: usize, left: u64, seen: &mut impl FnMut(&[u64])) {
            seen(samples);
            if at == samples.len() {
                return;
            }
            for taken in 0..=left.min(samples[at]) {
                samples[at] -= taken;
                spend(samples, at + 1, left - taken, seen);
                samples[at] += taken;
            }
        }
        for samples in [[1, 2, 3, 3, 4, 7, 9], [4; 7], [0, 1, 1, 5, 5, 6, 6]] {
            for budget in 0..9 {
                let (mut mean, mut middle) = (Duration::MAX, Duration::MAX);
                spend(&mut samples.to_vec(), 0, budget, &mut |way| {
                    mean = mean.min(trimmed_mean(&millis(way)));
                    middle = middle.min(median(&millis(way)));
                });
                let budget = Duration::from_millis(budget);
                let samples = millis(&samples);
                let within_rounding = |least: Duration, tried: Duration| {
                    least <= tried && tried - least < Duration::from_millis(1)
                };
                let least = least_trimmed_mean(&samples, budget);
                assert!(within_rounding(least, mean), "{samples:?} {budget:?}");
                let least = least_median(&samples, budget);
                assert!(within_rounding(least, middle), "{samples:?} {budget:?}");
            }
        }
    }

    #[test]
    fn degenerate_inputs_are_defined() {
        assert_eq!(least_trimmed_mean(&[], Duration::MAX), Duration::ZERO);
        assert_eq!(least_median(&[], Duration::MAX), Duration::ZERO);
        let two = millis(&[1, 3]);
        assert_eq!(
            least_trimmed_mean(&two, Duration::from_millis(2)),
            Duration::from_millis(1)
        );
        assert_eq!(trimmed_mean(&[]), Duration::ZERO);
        assert_eq!(trimmed_mean(&millis(&[1, 3])), Duration::from_millis(2));
        assert_eq!(median(&[]), Duration::ZERO);
        assert_eq!(median(&millis(&[3, 1])), Duration::from_millis(2));
        assert!(cv_percent(&[]).abs() < f64::EPSILON);
        assert!(cv_percent(&millis(&[5])).abs() < f64::EPSILON);
        assert!(cv_percent(&millis(&[0, 0])).abs() < f64::EPSILON);
        assert!(cv_percent(&millis(&[7, 7, 7])).abs() < f64::EPSILON);
    }

    /// 2, 4, 4, 4, 5, 5, 7, 9: mean 5, sum of squared deviations 32, so that the sample deviation
    /// is √(32 / 7) = 2.13809.
    #[test]
    fn the_deviation_is_the_samples_not_the_populations() {
        let cv = cv_percent(&millis(&[2, 4, 4, 4, 5, 5, 7, 9]));
        assert!((cv - 42.7618).abs() < 0.0001, "{cv}");
    }
}
