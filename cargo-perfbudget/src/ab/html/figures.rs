//! Places on an axis, and the middle of what stands there.

/// A place on an axis from `from` to `to`, in per cent of its width.
pub(super) fn place(value: f64, from: f64, to: f64) -> f64 {
    let width = to - from;
    if width <= 0.0 || !value.is_finite() {
        return 50.0;
    }
    ((value - from) / width * 100.0).clamp(0.0, 100.0)
}

/// The median; nothing of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_on_the_axis() {
        for (value, expected) in [(-10.0, 0.0), (0.0, 50.0), (20.0, 100.0), (f64::NAN, 50.0)] {
            assert!((place(value, -10.0, 10.0) - expected).abs() < 1e-9);
        }
        assert!((place(3.0, 3.0, 3.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
