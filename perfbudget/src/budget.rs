//! Budgets: how long a gate's operation may take, and how that follows from what was observed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::multiplier::Multiplier;

/// No limit is below this, before the multiplier: what takes less varies by more than its factor
/// for reasons that are not the code's.
pub const FLOOR: Duration = Duration::from_millis(1);

/// How much of the machine a gate's operation leans on, and so how far it may vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Leaves the process: starts a child, waits for a real disk or a network.
    Cold,
    /// In-process work with the disk factored out.
    Warm,
}

impl Class {
    /// The limit in multiples of the base: 5 for cold work, 3 for warm.
    #[must_use]
    pub const fn factor(self) -> u32 {
        match self {
            Self::Cold => 5,
            Self::Warm => 3,
        }
    }
}

/// What one operation was observed to take, and its class: a constant beside the test, with the
/// observation cited in a comment.
///
/// ```
/// use std::time::Duration;
/// use perfbudget::{Budget, Multiplier};
///
/// // 2.1 ms, median of 6 processes, <machine>, 2026-11-21
/// const DRAIN: Budget = Budget::warm(Duration::from_micros(2_100));
/// assert_eq!(DRAIN.limit(Multiplier::ONE), Duration::from_micros(6_300));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    class: Class,
    base: Duration,
    batch: u32,
}

impl Budget {
    /// A budget for work that leaves the process. `base` is the last observed median of one
    /// operation.
    #[must_use]
    pub const fn cold(base: Duration) -> Self {
        Self::new(Class::Cold, base)
    }

    /// A budget for in-process work. `base` is the last observed median of one operation.
    #[must_use]
    pub const fn warm(base: Duration) -> Self {
        Self::new(Class::Warm, base)
    }

    const fn new(class: Class, base: Duration) -> Self {
        Self {
            class,
            base,
            batch: 1,
        }
    }

    /// The same budget for samples of `n` operations each.
    #[must_use]
    pub const fn batch(mut self, n: u32) -> Self {
        self.batch = n;
        self
    }

    /// Its class.
    #[must_use]
    pub const fn class(self) -> Class {
        self.class
    }

    /// The observed time of one operation.
    #[must_use]
    pub const fn base(self) -> Duration {
        self.base
    }

    /// Operations a sample.
    #[must_use]
    pub const fn operations(self) -> u32 {
        self.batch
    }

    /// What a sample may take: `max(base × batch × factor, FLOOR) × multiplier`, to the
    /// nanosecond, and [`Duration::MAX`] where that is too large. The floor comes before the
    /// multiplier, so that a slow machine's multiplier raises it too.
    #[must_use]
    pub fn limit(self, multiplier: Multiplier) -> Duration {
        multiplier.scale(self.floored())
    }

    /// Whether the floor sets the limit. Such a gate catches nothing below [`FLOOR`], however
    /// many times the base that is: batch it.
    #[must_use]
    pub fn is_floored(self) -> bool {
        self.unfloored() < FLOOR
    }

    fn floored(self) -> Duration {
        self.unfloored().max(FLOOR)
    }

    fn unfloored(self) -> Duration {
        self.base
            .saturating_mul(self.batch)
            .saturating_mul(self.class.factor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(multiplier: &str) -> Multiplier {
        multiplier.parse().expect("a multiplier")
    }

    #[test]
    fn limits_are_the_reference_systems() {
        let drain = Budget::warm(Duration::from_micros(2_100));
        assert_eq!(drain.limit(times("1.0")), Duration::from_micros(6_300));
        assert_eq!(drain.limit(times("2.0")), Duration::from_micros(12_600));
        let start = Budget::cold(Duration::from_millis(40));
        assert_eq!(start.limit(times("1.0")), Duration::from_millis(200));
    }

    #[test]
    fn the_floor_comes_before_the_multiplier() {
        let tiny = Budget::warm(Duration::from_nanos(10));
        assert_eq!(tiny.limit(times("1")), FLOOR);
        assert_eq!(tiny.limit(times("2")), 2 * FLOOR);
        assert_eq!(tiny.limit(times("0.5")), FLOOR / 2);
        assert!(tiny.is_floored());
    }

    #[test]
    fn a_batch_multiplies_the_base_before_the_floor() {
        let each = Budget::warm(Duration::from_micros(120));
        assert!(each.is_floored());
        let batch = each.batch(8);
        assert!(!batch.is_floored());
        assert_eq!(batch.limit(Multiplier::ONE), Duration::from_micros(2_880));
        assert_eq!(batch.base(), each.base());
    }

    #[test]
    fn limits_saturate() {
        let endless = Budget::cold(Duration::MAX).batch(u32::MAX);
        assert_eq!(endless.limit(times("1")), Duration::MAX);
        assert_eq!(endless.limit(times("1e308")), Duration::MAX);
        assert_eq!(
            Budget::warm(Duration::from_secs(1)).limit(times("1e308")),
            Duration::MAX
        );
        assert_eq!(
            Budget::warm(Duration::from_secs(1)).limit(times("1e-308")),
            Duration::ZERO
        );
    }

    #[test]
    fn a_budget_is_a_constant_and_copies() {
        const BUDGET: Budget = Budget::warm(Duration::from_micros(7)).batch(3);
        let (one, other) = (BUDGET, BUDGET);
        assert_eq!(one, other);
        assert_eq!((one.class(), one.operations()), (Class::Warm, 3));
    }
}
