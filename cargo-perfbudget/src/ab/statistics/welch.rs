//! Welch's interval for the difference of two means whose variances may differ.
//!
//! B. L. Welch, "The generalization of 'Student's' problem when several different population
//! variances are involved", Biometrika 34 (1947); the degrees of freedom are Satterthwaite's.

use super::{mean, quantiles, variance};

/// Candidate less baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Welch {
    pub(super) difference: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// `None` with fewer than two on a side. Sides without any variance have an interval without width.
pub(super) fn interval(baseline: &[f64], candidate: &[f64], alpha: f64) -> Option<Welch> {
    #[expect(clippy::cast_precision_loss, reason = "numbers of repetitions")]
    let (m, n) = (baseline.len() as f64, candidate.len() as f64);
    let difference = mean(candidate)? - mean(baseline)?;
    let (of_baseline, of_candidate) = (variance(baseline)? / m, variance(candidate)? / n);
    let square = of_baseline + of_candidate;
    let width = if square > 0.0 {
        let degrees =
            square.powi(2) / (of_baseline.powi(2) / (m - 1.0) + of_candidate.powi(2) / (n - 1.0));
        quantiles::student(1.0 - alpha / 2.0, degrees)? * square.sqrt()
    } else {
        0.0
    };
    Some(Welch {
        difference,
        low: difference - width,
        high: difference + width,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R's `t.test(extra ~ group, data = sleep)`: df = 17.776, 95 per cent confidence interval
    /// -3.3654832 0.2054832, means 0.75 and 2.33 (the first example of its documentation; Student's
    /// own data). R's difference is of the first group less the second.
    #[test]
    fn the_sleep_data_have_the_interval_that_r_gives_them() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let welch = interval(&second, &first, 0.05).expect("some");
        assert!((welch.difference + 1.58).abs() < 1e-12, "{welch:?}");
        assert!((welch.low + 3.365_483_2).abs() < 1e-6, "{welch:?}");
        assert!((welch.high - 0.205_483_2).abs() < 1e-6, "{welch:?}");
    }

    /// With the variance on one side only, the degrees of freedom are that side's:
    /// t(0.975, 3) = 3.182446, standard error sqrt(20 / 3 / 4).
    #[test]
    fn a_side_without_variance_leaves_the_others_degrees_of_freedom() {
        let welch = interval(&[5.0; 4], &[2.0, 4.0, 6.0, 8.0], 0.05).expect("some");
        let width = 3.182_446_305 * (20.0_f64 / 12.0).sqrt();
        assert!(welch.difference.abs() < 1e-12);
        assert!((welch.high - width).abs() < 1e-6 && (welch.low + width).abs() < 1e-6);
    }

    #[test]
    fn few_and_equal_ones() {
        assert_eq!(interval(&[1.0], &[1.0, 2.0], 0.05), None);
        assert_eq!(interval(&[], &[], 0.05), None);
        let same = interval(&[1.0; 3], &[1.5; 3], 0.05).expect("some");
        assert!((same.high - same.low).abs() < 1e-12 && (same.low - 0.5).abs() < 1e-12);
    }
}
