//! The few statistics that a gate needs, over samples of time.
//!
//! - Trimmed mean: of 11 sorted samples the 2 smallest and the 2 largest are dropped and the other
//!   7 averaged. It stands up to two disturbed samples and varies less than the median where
//!   nothing is disturbed.
//! - Median: stands up to five disturbed samples of 11. A verdict wants both.
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
    fn degenerate_inputs_are_defined() {
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
