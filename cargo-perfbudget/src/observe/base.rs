//! The base that follows from what was observed, and how it is written down.

use perfbudget::Class;
use perfbudget::record::Nanoseconds;
use serde::Serialize;

/// A base, and what it gives at multiplier 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Given {
    /// Of one operation.
    pub(crate) base_ns: u64,
    /// Of a sample.
    pub(crate) limit_ns: u64,
    /// The limit, in multiples of what was observed.
    pub(crate) headroom: f64,
    /// Whether the floor sets the limit.
    pub(crate) is_floored: bool,
}

/// What a gate's limit is made of, but for the base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) batch: u32,
    pub(crate) factor: u32,
    pub(crate) floor_ns: u64,
}

impl Terms {
    /// `max(base × batch × factor, floor)` against `observed_ns`, the time of one operation.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub(crate) fn give(self, base_ns: u64, observed_ns: f64) -> Given {
        let own = base_ns
            .saturating_mul(u64::from(self.batch))
            .saturating_mul(u64::from(self.factor));
        let limit_ns = own.max(self.floor_ns);
        Given {
            base_ns,
            limit_ns,
            headroom: limit_ns as f64 / (observed_ns * f64::from(self.batch)).max(1.0),
            is_floored: own < self.floor_ns,
        }
    }

    /// The least batch with which the base, and not the floor, sets the limit.
    pub(crate) fn batch_above_floor(self, base_ns: u64) -> u64 {
        let own = base_ns.saturating_mul(u64::from(self.factor)).max(1);
        self.floor_ns.div_ceil(own)
    }
}

/// Three significant digits; at least a nanosecond, as a budget of zero is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and far below 2^53 in three digits; what is larger saturates"
)]
pub(crate) fn rounded(nanoseconds: f64) -> u64 {
    let whole = nanoseconds.round().max(1.0) as u64;
    let unit = 10_u64.pow(whole.ilog10().saturating_sub(2));
    // Of what was measured, not of `whole`: 999.5 is rounded once.
    let units = (nanoseconds / unit as f64).round().max(1.0) as u64;
    units.saturating_mul(unit)
}

/// The constructor of [`Duration`](std::time::Duration) with the largest unit that holds it in
/// whole numbers.
pub(crate) fn duration_literal(nanoseconds: u64) -> String {
    let (constructor, number) = match nanoseconds {
        ns if ns.is_multiple_of(1_000_000) => ("from_millis", ns / 1_000_000),
        ns if ns.is_multiple_of(1_000) => ("from_micros", ns / 1_000),
        ns => ("from_nanos", ns),
    };
    format!("Duration::{constructor}({})", grouped(number))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A name for the constant, from the gate's last word: `outbox/drain-25` is `DRAIN_25`. A word
/// that begins with a digit has the one before it in front, as a name of Rust can't.
pub(crate) fn constant_name(gate: &str) -> String {
    let begins_with_a_letter = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic());
    let mut name = String::new();
    for word in gate.rsplit('/') {
        let word = word.replace('-', "_");
        let word = word.trim_matches('_');
        name = match (word, name.as_str()) {
            ("", _) => name,
            (word, "") => word.to_owned(),
            (word, rest) => format!("{word}_{rest}"),
        };
        if begins_with_a_letter(&name) {
            break;
        }
    }
    if !begins_with_a_letter(&name) {
        name = format!("gate_{name}");
    }
    name.to_ascii_uppercase()
}

/// The line that belongs beside the test.
pub(crate) fn line(gate: &str, class: Class, observed_ns: f64, source: &str) -> String {
    let class = match class {
        Class::Cold => "cold",
        Class::Warm => "warm",
    };
    format!(
        "const {}: Budget = Budget::{class}({}); // {}, {source}",
        constant_name(gate),
        duration_literal(rounded(observed_ns)),
        shown(observed_ns)
    )
}

/// A time for people.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive; what is larger saturates"
)]
pub(crate) fn shown(nanoseconds: f64) -> Nanoseconds {
    Nanoseconds(nanoseconds.round() as u64)
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Sample standard deviation over mean, in per cent; `None` of fewer than two.
#[expect(clippy::cast_precision_loss, reason = "a handful of processes")]
pub(crate) fn cv_percent(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 || mean <= 0.0 {
        return None;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(100.0 * (squares / (n - 1.0)).sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_has_three_digits_and_is_never_zero() {
        for (observed, base) in [
            (0.0, 1),
            (0.4, 1),
            (1.4, 1),
            (12.4, 12),
            (99.6, 100),
            (999.4, 999),
            (999.6, 1_000),
            (1_004.9, 1_000),
            (1_005.0, 1_010),
            (84_812.5, 84_800),
            (99_949.0, 99_900),
            (99_950.0, 100_000),
            (1_626_000.0, 1_630_000),
            (2.0e12, 2_000_000_000_000),
        ] {
            assert_eq!(rounded(observed), base, "{observed}");
        }
    }

    #[test]
    fn a_duration_is_exact_in_the_largest_unit_that_it_has() {
        for (nanoseconds, text) in [
            (1, "Duration::from_nanos(1)"),
            (9_900, "Duration::from_nanos(9_900)"),
            (84_800, "Duration::from_nanos(84_800)"),
            (85_000, "Duration::from_micros(85)"),
            (1_630_000, "Duration::from_micros(1_630)"),
            (2_000_000, "Duration::from_millis(2)"),
            (1_230_000_000, "Duration::from_millis(1_230)"),
        ] {
            assert_eq!(duration_literal(nanoseconds), text);
        }
    }

    #[test]
    fn a_constant_is_named_after_the_gates_last_word() {
        for (gate, name) in [
            ("outbox/drain-25", "DRAIN_25"),
            ("commit", "COMMIT"),
            ("queue/rows/25-of-400", "ROWS_25_OF_400"),
            ("2025/25", "GATE_2025_25"),
            ("a/-x-", "X"),
            ("-/-", "GATE_"),
        ] {
            assert_eq!(constant_name(gate), name, "{gate}");
        }
    }

    #[test]
    fn a_line_is_the_constant_with_its_observation() {
        assert_eq!(
            line(
                "outbox/drain-25",
                Class::Warm,
                84_812.5,
                "median of 6 processes, AMD EPYC, 2 cores, 2026-11-21"
            ),
            "const DRAIN_25: Budget = Budget::warm(Duration::from_nanos(84_800)); \
             // 84.8 µs, median of 6 processes, AMD EPYC, 2 cores, 2026-11-21"
        );
    }

    const WARM_8: Terms = Terms {
        batch: 8,
        factor: 3,
        floor_ns: 1_000_000,
    };

    #[test]
    fn the_limit_is_that_of_the_library() {
        use perfbudget::{Budget, Multiplier};
        use std::time::Duration;
        for base in [1, 10_000, 41_666, 41_667, 85_000, 5_000_000] {
            for batch in [1, 8] {
                let terms = Terms { batch, ..WARM_8 };
                let budget = Budget::warm(Duration::from_nanos(base)).batch(batch);
                let limit = budget.limit(Multiplier::ONE).as_nanos();
                let given = terms.give(base, 1.0);
                assert_eq!(u128::from(given.limit_ns), limit);
                assert_eq!(given.is_floored, budget.is_floored(), "{base} × {batch}");
            }
        }
    }

    #[test]
    fn headroom_is_the_limit_over_what_was_observed() {
        let given = WARM_8.give(85_000, 85_000.0);
        assert!((given.headroom - 3.0).abs() < 1e-9, "{given:?}");
        let given = WARM_8.give(1_000, 1_000.0);
        assert!((given.headroom - 125.0).abs() < 1e-9, "{given:?}");
    }

    #[test]
    fn the_batch_is_the_least_that_the_floor_does_not_limit() {
        for base in [1, 999, 10_000, 333_333, 333_334, 2_000_000] {
            let batch = WARM_8.batch_above_floor(base);
            let floored = |batch: u64| {
                let batch = u32::try_from(batch).expect("small");
                Terms { batch, ..WARM_8 }.give(base, 1.0).is_floored
            };
            assert!(!floored(batch), "{base}");
            assert!(batch == 1 || floored(batch - 1), "{base}");
        }
    }

    #[test]
    fn median_and_spread_are_those_of_the_sample() {
        let median_is = |values: &[f64], m: f64| (median(values) - m).abs() < 1e-12;
        assert!(median_is(&[], 0.0));
        assert!(median_is(&[3.0, 1.0, 2.0], 2.0));
        assert!(median_is(&[4.0, 1.0, 3.0, 2.0], 2.5));
        // Mean 5, squared deviations 9, 1, 1, 1, 0, 0, 4 and 16.
        let cv = cv_percent(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("of eight");
        assert!((cv - 100.0 * (32.0_f64 / 7.0).sqrt() / 5.0).abs() < 1e-9);
        assert_eq!(cv_percent(&[1.0]), None);
    }
}
