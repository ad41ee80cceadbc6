//! The statistics of the report.

/// The median of what is not empty; NaN of nothing. Of an even number the mean of the middle two.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (_, middle) => sorted[middle],
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        for (values, [low, middle, high]) in [
            (&[3.0, 1.0, 2.0][..], [1.0, 2.0, 3.0]),
            (&[4.0, 1.0, 3.0, 2.0], [1.0, 2.5, 4.0]),
            (&[7.0], [7.0, 7.0, 7.0]),
        ] {
            let found = [least(values), median(values), most(values)];
            for (found, wanted) in found.into_iter().zip([low, middle, high]) {
                assert!((found - wanted).abs() < 1e-12, "{values:?}: {found}");
            }
        }
        assert!(median(&[]).is_nan() && least(&[]).is_nan() && most(&[]).is_nan());
    }
}
