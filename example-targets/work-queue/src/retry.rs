//! When a failed action is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often an action is delivered, and how long it waits in between.
///
/// Every delivery counts: one that failed, one that timed out, and one whose worker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many deliveries there are at most, from 1.
    pub deliveries_max: u32,
    /// What is waited between them.
    pub backoff: Backoff,
}

/// What is waited between two deliveries of a failed action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Backoff {
    /// Nothing.
    None,
    /// `step_ms` × the number of failures, at most `max_ms`.
    Linear {
        /// After the first failure, in milliseconds.
        step_ms: u64,
        /// At most, in milliseconds.
        max_ms: u64,
    },
    /// `first_ms` × 2 to the number of failures less one, at most `max_ms`.
    Exponential {
        /// After the first failure, in milliseconds.
        first_ms: u64,
        /// At most, in milliseconds.
        max_ms: u64,
    },
}

impl Default for RetryPolicy {
    /// Four deliveries, 1, 2 and 4 seconds apart.
    fn default() -> Self {
        Self {
            deliveries_max: 4,
            backoff: Backoff::Exponential {
                first_ms: 1_000,
                max_ms: 60_000,
            },
        }
    }
}

impl RetryPolicy {
    /// One delivery: a failure is final.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            deliveries_max: 1,
            backoff: Backoff::None,
        }
    }

    /// What to wait after this delivery (from 1) has failed; `None` when it was the last.
    #[must_use]
    pub fn wait_after(&self, delivery: u32) -> Option<Duration> {
        (delivery < self.deliveries_max).then(|| self.backoff.after(delivery.max(1)))
    }
}

impl Backoff {
    fn after(self, failures: u32) -> Duration {
        let (wait, max) = match self {
            Self::None => (0, 0),
            Self::Linear { step_ms, max_ms } => (step_ms.saturating_mul(failures.into()), max_ms),
            Self::Exponential { first_ms, max_ms } => {
                let doubled = 1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX);
                (first_ms.saturating_mul(doubled), max_ms)
            }
        };
        Duration::from_millis(wait.min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(policy: RetryPolicy, deliveries: u32) -> Vec<Option<u64>> {
        let in_ms = |wait: Duration| u64::try_from(wait.as_millis()).expect("short");
        (1..=deliveries)
            .map(|delivery| policy.wait_after(delivery).map(in_ms))
            .collect()
    }

    #[test]
    fn waits_grow_as_they_say_up_to_the_limit() {
        let policy = |backoff| RetryPolicy {
            deliveries_max: 5,
            backoff,
        };
        assert_eq!(
            waits(policy(Backoff::None), 5),
            [Some(0), Some(0), Some(0), Some(0), None]
        );
        let linear = Backoff::Linear {
            step_ms: 10,
            max_ms: 25,
        };
        assert_eq!(
            waits(policy(linear), 5),
            [Some(10), Some(20), Some(25), Some(25), None]
        );
        let exponential = Backoff::Exponential {
            first_ms: 10,
            max_ms: 50,
        };
        assert_eq!(
            waits(policy(exponential), 5),
            [Some(10), Some(20), Some(40), Some(50), None]
        );
        assert_eq!(waits(RetryPolicy::never(), 1), [None]);
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let exponential = Backoff::Exponential {
            first_ms: u64::MAX,
            max_ms: 7,
        };
        for failures in [1, 64, 65, u32::MAX - 1] {
            assert_eq!(exponential.after(failures), Duration::from_millis(7));
        }
    }
}
