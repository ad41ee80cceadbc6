//! The time of day, as the outbox asks for it.
//!
//! Only expiry and the stamps on records use it; nothing is ordered by it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the outbox gets the time from.
pub trait Clock: Send + Sync {
    /// Returns the present time. It may step backwards.
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Milliseconds since the Unix epoch, the form in which the files keep a time. A time
/// before the epoch is 0.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The time that [`unix_ms`] wrote, or `None` when this platform cannot represent it.
pub(crate) fn from_unix_ms(ms: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}

/// Whether something stamped `at_ms` is older than `lifetime`. A stamp in the future (the
/// clock stepped backwards) is young.
pub(crate) fn is_older(at_ms: u64, now_ms: u64, lifetime: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) > lifetime.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_means_past_the_lifetime_and_the_future_is_young() {
        let lifetime = Duration::from_millis(10);
        assert!(!is_older(100, 110, lifetime));
        assert!(is_older(100, 111, lifetime));
        assert!(!is_older(100, 5, lifetime));
    }

    #[test]
    fn times_survive_the_round_trip() {
        let ms = 1_790_000_000_123;
        assert_eq!(unix_ms(from_unix_ms(ms).unwrap()), ms);
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
