//! Quantiles of the two distributions that have tables.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The quantile of Student's t for any positive number of degrees of freedom.
pub(super) fn student(probability: f64, degrees: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, degrees).ok()?;
    let quantile = t.inverse_cdf(probability);
    quantile.is_finite().then_some(quantile)
}

/// The normal quantile.
pub(super) fn normal(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// What is above `z` in the normal distribution.
pub(super) fn normal_above(z: f64) -> f64 {
    Normal::standard().sf(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As R's `qt`, `qnorm` and `pnorm` have them, and any table to its digits.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, degrees, quantile) in [
            (0.975, 1.0, 12.706_204_736),
            (0.975, 3.0, 3.182_446_305),
            (0.995, 10.0, 3.169_272_673),
            (0.975, 30.0, 2.042_272_456),
            (0.975, 100.0, 1.983_971_519),
            (0.975, 1000.0, 1.962_339_081),
        ] {
            let t = student(probability, degrees).expect("finite");
            assert!((t - quantile).abs() < 1e-6, "{probability} {degrees}: {t}");
            let other = student(1.0 - probability, degrees).expect("finite");
            assert!((t + other).abs() < 1e-6, "{probability} {degrees}: {other}");
        }
        assert!((normal(0.975) - 1.959_963_985).abs() < 1e-8);
        assert!((normal_above(3.0) - 1.349_898_032e-3).abs() < 1e-10);
        assert!((normal_above(0.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_of_degrees_has_no_quantile() {
        for degrees in [0.0, -1.0, f64::NAN] {
            assert_eq!(student(0.975, degrees), None, "{degrees}");
        }
    }
}
