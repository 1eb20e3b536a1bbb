//! A clock that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// 2025-01-01 00:00:00 UTC.
const START: Timestamp = Timestamp::from_millis(1_735_689_600_000);

/// [`Clock`] that stands still until the test moves it. Clones share their time.
///
/// ```
/// use std::time::Duration;
///
/// use session_state::Clock as _;
/// use session_state::test_kit::FakeClock;
///
/// let clock = FakeClock::default();
/// let given_to_the_layer = clock.clone();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(30 * 60));
/// assert_eq!(given_to_the_layer.now().since(start), Duration::from_secs(30 * 60));
/// ```
#[derive(Clone, Debug)]
pub struct FakeClock {
    millis: Arc<AtomicU64>,
}

impl FakeClock {
    /// Creates a clock that stands at `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { millis: Arc::new(AtomicU64::new(at.as_millis())) }
    }

    /// Moves the clock forward, by whole milliseconds.
    pub fn advance(&self, duration: Duration) {
        let later = |millis| Some(Timestamp::from_millis(millis).after(duration).as_millis());
        // The closure always returns a value, so the result is always `Ok`.
        let _ = self.millis.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, at: Timestamp) {
        self.millis.store(at.as_millis(), Ordering::SeqCst);
    }
}

/// Stands at 2025-01-01 00:00:00 UTC.
impl Default for FakeClock {
    fn default() -> Self {
        Self::new(START)
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_still_until_it_is_told_to_move() {
        let clock = FakeClock::default();
        assert_eq!(clock.now(), START);
        assert_eq!(clock.now(), START);
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now(), START.after(Duration::from_millis(5)));
        clock.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
    }

    #[test]
    fn clones_share_their_time() {
        let clock = FakeClock::new(Timestamp::from_millis(1));
        let other = clock.clone();
        other.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::from_millis(1001));
    }

    #[test]
    fn the_clock_saturates_at_the_end_of_time() {
        let clock = FakeClock::default();
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::from_millis(u64::MAX));
    }
}
