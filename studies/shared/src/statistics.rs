//! The statistics of reports.

/// The median of what is not empty; NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile by linear interpolation between the closest ranks (R's type 7, the default of R and
/// NumPy); NaN of nothing.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// The least; NaN of nothing.
#[must_use]
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// The most; NaN of nothing.
#[must_use]
pub fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// Sample standard deviation over mean, in per cent; NaN of fewer than two.
#[must_use]
pub fn cv_percent(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    100.0 * (squares / (n - 1.0)).sqrt() / mean
}

/// The exact one-sided 95 % upper bound on a rate of which `events` of `trials` were seen: the rate
/// at which so few would be seen one time in twenty. For no events about 3 ÷ trials.
///
/// Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
/// binomial", Biometrika 26 (1934).
#[must_use]
pub fn upper_bound(events: u64, trials: u64) -> f64 {
    const CHANCE: f64 = 0.05;
    if events >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let rate = f64::midpoint(low, high);
        if at_most(events, trials, rate) > CHANCE {
            low = rate;
        } else {
            high = rate;
        }
    }
    high
}

/// The exact one-sided 95 % lower bound: the mirror image of [`upper_bound`].
#[must_use]
pub fn lower_bound(events: u64, trials: u64) -> f64 {
    1.0 - upper_bound(trials - events, trials)
}

/// The chance of at most `events` in `trials` at `rate`. In logarithms, because the chance of none
/// is too small for a number where the rate is large.
fn at_most(events: u64, trials: u64, rate: f64) -> f64 {
    let (log_yes, log_no) = (rate.ln(), (-rate).ln_1p());
    let mut log_ways = 0.0;
    let mut sum = 0.0;
    for k in 0..=events {
        if k > 0 {
            log_ways += ((trials - k + 1) as f64 / k as f64).ln();
        }
        sum += (log_ways + k as f64 * log_yes + (trials - k) as f64 * log_no).exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upper ends of two-sided 90 % Clopper-Pearson intervals, which are one-sided 95 % bounds.
    #[test]
    fn upper_bounds_are_the_published_ones() {
        for (events, trials, bound) in [
            (0, 10, 0.2589),
            (1, 10, 0.3942),
            (5, 10, 0.7776),
            (9, 10, 0.9949),
            (10, 10, 1.0),
            (0, 20, 0.1391),
            (0, 3000, 0.000_998_1),
        ] {
            let found = upper_bound(events, trials);
            assert!((found - bound).abs() < 1e-4, "{events}/{trials}: {found}");
        }
        // The rule of three.
        assert!((upper_bound(0, 1000) * 1000.0 - 3.0).abs() < 0.01);
        // Large counts don't underflow.
        let most = upper_bound(2900, 3000);
        assert!((0.966..0.973).contains(&most), "{most}");
    }

    #[test]
    fn lower_bounds_mirror_them() {
        assert!((lower_bound(10, 10) - 0.7411).abs() < 1e-4);
        assert!(lower_bound(0, 10).abs() < 1e-9);
    }

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert!((median(&values) - 2.5).abs() < 1e-12);
        assert!((quantile(&values, 1.0) - 4.0).abs() < 1e-12);
        assert!((quantile(&values, 0.95) - 3.85).abs() < 1e-12);
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_ends_are_those_of_any_order() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert!((least(&values) - 1.0).abs() < 1e-12);
        assert!((most(&values) - 4.0).abs() < 1e-12);
        assert!(least(&[]).is_nan() && most(&[]).is_nan());
    }

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert!((cv_percent(&[9.0, 10.0, 11.0]) - 10.0).abs() < 1e-12);
        assert!(cv_percent(&[1.0]).is_nan());
    }
}
