//! Time: [`Timestamp`] and the [`Clock`] it comes from, for times that are stored; [`MonotonicTime`], for ages within
//! this process. The only calls of the system's clocks.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time, in whole milliseconds since the Unix epoch.
///
/// Records and seals store times in this form, so that what one node writes another can judge. All arithmetic
/// saturates: a time cannot overflow or run below the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Makes a timestamp from milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time `duration` after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// Returns how long before this time `earlier` was; zero when it was not before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The end of the year 9999. A later time is "never" all the same, and some platforms have no `SystemTime` for it.
const END_OF_TIME: u64 = 253_402_300_799_999;

/// A time after the year 9999 becomes the end of that year.
impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0.min(END_OF_TIME))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, whole_millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Returns a duration as whole milliseconds, saturating.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    // In 64 bits: `as_millis` computes in 128, several times a request.
    duration.as_secs().saturating_mul(1000).saturating_add(u64::from(duration.subsec_millis()))
}

/// A source of the current time.
///
/// The layer asks no other clock, so a test can give it one that stands still (`FakeClock` in the test kit, feature
/// `test-kit`) and never has to sleep.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The system's clock: the default of every layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A point in monotonic time, for ages and deadlines within this process.
///
/// Unlike a [`Timestamp`] it does not jump when the wall clock is set. Tests drive it by tokio's paused time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonotonicTime(Instant);

impl MonotonicTime {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }

    /// Returns how long ago this time was.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_age_grows_with_monotonic_time() {
        let start = MonotonicTime::now();
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(90));
    }

    #[test]
    fn a_time_that_never_comes_is_shown_as_the_end_of_the_year_9999() {
        let never = SystemTime::from(Timestamp::from_millis(u64::MAX));
        assert_eq!(never, UNIX_EPOCH + Duration::from_millis(253_402_300_799_999));
        for millis in [0, 1, 1_735_689_600_123] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }
}
