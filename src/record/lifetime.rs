//! The lifetime of a session: idle and absolute timeouts, touches, renewals.

use std::time::Duration;

use super::Record;
use crate::clock::{Timestamp, whole_millis};

/// The idle timeout of a session without any timeout: 400 days, the longest that a browser keeps a cookie (RFC 6265bis
/// §5.5).
pub(crate) const LONGEST_UNUSED: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Largest accepted clock skew: times sealed by another node may be this far in the future.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How long after a request has loaded a cookie that it leaves as it is, the response may send it again: to move its
/// idle deadline, or sealed with another key. Later, another request may have logged out or changed it, and the cookie
/// would undo that.
pub(crate) const RESEND_WINDOW: Duration = Duration::from_secs(1);

/// The timeouts of a layer. Each of the first two can be overridden by a session.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    /// Since the last use.
    pub(crate) idle: Option<Duration>,
    /// Since creation or login.
    pub(crate) absolute: Option<Duration>,
    /// How old an ID gets before it is renewed.
    pub(crate) renewal: Option<Duration>,
    /// The minimum interval between two touches, if it was set.
    pub(crate) touch_interval: Option<Duration>,
    /// How long a renewed ID still leads to its successor.
    pub(crate) grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(30 * 60)),
            absolute: Some(Duration::from_secs(12 * 60 * 60)),
            renewal: None,
            touch_interval: None,
            grace: Duration::from_secs(10),
        }
    }
}

/// The times of a record that its timeouts count from, and its own timeouts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    pub(crate) created_at: Timestamp,
    pub(crate) last_seen_at: Timestamp,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) absolute_timeout: Option<Duration>,
}

impl From<&Record> for Age {
    fn from(record: &Record) -> Self {
        Self {
            created_at: record.created_at,
            last_seen_at: record.last_seen_at,
            idle_timeout: record.idle_timeout,
            absolute_timeout: record.absolute_timeout,
        }
    }
}

/// Why a session has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// It was idle for its idle timeout.
    Idle,
    /// It is as old as its absolute timeout.
    Absolute,
}

impl Timeouts {
    /// Returns when a session expires unless it is used again.
    pub(crate) fn expires_at(&self, age: Age) -> Timestamp {
        earliest(self.deadlines(age), age)
    }

    /// Returns until when the record of a part is kept: as long as its session, rounded up to a quarter of the idle
    /// timeout so that it seldom moves, plus the touch interval, for which a use of the session may go unrecorded.
    pub(crate) fn expires_at_of_part(&self, age: Age) -> Timestamp {
        let idle = age.idle_timeout.or(self.idle).unwrap_or(LONGEST_UNUSED);
        let step = whole_millis(idle / 4).max(1);
        let life = whole_millis(self.expires_at(age).since(age.created_at)).div_ceil(step).saturating_mul(step);
        let expires_at = age.created_at.after(Duration::from_millis(life)).after(self.touch_interval(age.idle_timeout));
        expires_at.min(self.absolute_deadline(age).unwrap_or(expires_at))
    }

    /// Returns the absolute deadline of a session, if it has one.
    pub(crate) fn absolute_deadline(&self, age: Age) -> Option<Timestamp> {
        self.deadlines(age).1
    }

    /// Returns whether a record has expired, by its own deadline or by the layer's present timeouts, whichever is
    /// sooner.
    pub(crate) fn expiry(&self, record: &Record, now: Timestamp) -> Option<Expiry> {
        let age = record.into();
        let deadlines = self.deadlines(age);
        if deadlines.1.is_some_and(|absolute| now >= absolute) {
            return Some(Expiry::Absolute);
        }
        (record.is_expired(now) || now >= earliest(deadlines, age)).then_some(Expiry::Idle)
    }

    /// Returns whether the session has an idle or absolute timeout of its own that is longer than the layer's. None is
    /// longer than the lack of a timeout.
    #[inline]
    pub(crate) fn are_exceeded_by(&self, record: &Record) -> bool {
        // Seldom set, and asked for with each write.
        if record.idle_timeout.is_none() && record.absolute_timeout.is_none() {
            return false;
        }
        let is_longer = |own: Option<Duration>, layers: Option<Duration>| own > layers && layers.is_some();
        is_longer(record.idle_timeout, self.idle) || is_longer(record.absolute_timeout, self.absolute)
    }

    /// Returns `true` if the times of a sealed record are in the future by more than the accepted clock skew.
    pub(crate) fn is_from_the_future(record: &Record, now: Timestamp) -> bool {
        let limit = now.after(CLOCK_SKEW);
        record.created_at > limit || record.renewed_at > limit || record.last_seen_at > limit
    }

    /// Returns whether this use of a session must be recorded.
    pub(crate) fn touch_is_due(&self, record: &Record, now: Timestamp) -> bool {
        now.since(record.last_seen_at) >= self.touch_interval(record.idle_timeout)
    }

    /// Returns whether the ID has reached the age at which it is renewed.
    pub(crate) fn renewal_is_due(&self, record: &Record, now: Timestamp) -> bool {
        self.renewal.is_some_and(|age| now.since(record.renewed_at) >= age)
    }

    /// Returns the timeouts of a session and their remaining time, when it is used `now`.
    pub(crate) fn lifetime(&self, age: Age, now: Timestamp) -> Lifetime {
        let (idle, absolute) = self.deadlines(age);
        Lifetime {
            idle_timeout: age.idle_timeout.or(self.idle),
            absolute_timeout: age.absolute_timeout.or(self.absolute),
            idle_remaining: idle.map(|deadline| deadline.since(now)),
            absolute_remaining: absolute.map(|deadline| deadline.since(now)),
        }
    }

    /// Touching at every request would double the writes of a store; long intervals would end sessions early. No
    /// interval is longer than half the idle timeout: otherwise a session in steady use would expire.
    fn touch_interval(&self, idle_override: Option<Duration>) -> Duration {
        const LONGEST_DEFAULT: Duration = Duration::from_secs(60);
        match (self.touch_interval, idle_override.or(self.idle)) {
            (Some(interval), Some(idle)) => interval.min(idle / 2),
            (Some(interval), None) => interval,
            (None, Some(idle)) => LONGEST_DEFAULT.min(idle / 10),
            (None, None) => LONGEST_DEFAULT,
        }
    }

    fn deadlines(&self, age: Age) -> (Option<Timestamp>, Option<Timestamp>) {
        let idle = age.idle_timeout.or(self.idle).map(|idle| age.last_seen_at.after(idle));
        let absolute = age.absolute_timeout.or(self.absolute).map(|absolute| age.created_at.after(absolute));
        (idle, absolute)
    }
}

/// Returns the sooner of the idle and the absolute deadline.
fn earliest(deadlines: (Option<Timestamp>, Option<Timestamp>), age: Age) -> Timestamp {
    match deadlines {
        (None, None) => age.last_seen_at.after(LONGEST_UNUSED),
        (idle, absolute) => idle.into_iter().chain(absolute).min().unwrap_or(age.last_seen_at),
    }
}

/// The timeouts of a session and their remaining time.
///
/// `None` where the session has no such timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lifetime {
    /// How long the session lives without use.
    pub idle_timeout: Option<Duration>,
    /// How long the session lives from its beginning or its principal's last login, whatever its use.
    pub absolute_timeout: Option<Duration>,
    /// The remaining time of the idle timeout, from this request on; from the last use, if the request only
    /// [peeks](crate::SessionLoader::peek).
    pub idle_remaining: Option<Duration>,
    /// The remaining time of the absolute timeout.
    pub absolute_remaining: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Handle;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn timeouts(idle: Option<u64>, absolute: Option<u64>) -> Timeouts {
        let seconds = |n: Option<u64>| n.map(Duration::from_secs);
        Timeouts { idle: seconds(idle), absolute: seconds(absolute), ..Timeouts::default() }
    }

    fn record(created: u64, seen: u64) -> Record {
        let mut record = Record::new(Handle::from_bytes([0; 16]), at(created), at(1_000_000_000));
        record.last_seen_at = at(seen);
        record
    }

    #[test]
    fn the_sooner_deadline_ends_a_session_to_the_millisecond() {
        let cases = [
            (Some(10), Some(100), 50, 60, Expiry::Idle),
            (Some(10), Some(55), 50, 55, Expiry::Absolute),
            (Some(10), None, 50, 60, Expiry::Idle),
            (None, Some(70), 50, 70, Expiry::Absolute),
        ];
        for (idle, absolute, seen, end, expiry) in cases {
            let timeouts = timeouts(idle, absolute);
            let record = record(0, seen);
            assert_eq!(timeouts.expires_at((&record).into()), at(end));
            assert_eq!(timeouts.expiry(&record, Timestamp::from_millis(end * 1000 - 1)), None);
            assert_eq!(timeouts.expiry(&record, at(end)), Some(expiry));
        }
    }

    #[test]
    fn a_sessions_own_timeout_exceeds_the_layers_of_the_same_kind() {
        let cases = [
            (Some(10), Some(100), None, None, false),
            (Some(10), Some(100), Some(9), Some(99), false),
            (Some(10), Some(100), Some(10), Some(100), false),
            (Some(10), Some(100), Some(11), None, true),
            (Some(10), Some(100), None, Some(101), true),
            (Some(10), Some(100), Some(11), Some(50), true),
            (Some(10), None, Some(9), Some(u64::MAX), false),
            (None, Some(100), Some(u64::MAX), Some(100), false),
            (None, None, Some(u64::MAX), Some(u64::MAX), false),
        ];
        for (idle, absolute, own_idle, own_absolute, exceeds) in cases {
            let mut record = record(0, 0);
            record.idle_timeout = own_idle.map(Duration::from_secs);
            record.absolute_timeout = own_absolute.map(Duration::from_secs);
            let case = format!("{idle:?} {absolute:?} {own_idle:?} {own_absolute:?}");
            assert_eq!(timeouts(idle, absolute).are_exceeded_by(&record), exceeds, "{case}");
        }
    }

    #[test]
    fn without_any_timeout_a_session_ends_when_unused_for_400_days() {
        let timeouts = timeouts(None, None);
        assert_eq!(timeouts.expires_at((&record(0, 5)).into()), at(5).after(LONGEST_UNUSED));
        assert_eq!(timeouts.expiry(&record(0, 5), at(400_000)), None);
    }

    #[test]
    fn a_sessions_own_timeouts_replace_those_of_the_layer() {
        let timeouts = timeouts(Some(10), Some(100));
        let mut record = record(0, 50);
        record.idle_timeout = Some(500 * SECOND);
        record.absolute_timeout = Some(1000 * SECOND);
        assert_eq!(timeouts.expires_at((&record).into()), at(550));
        assert_eq!(timeouts.lifetime((&record).into(), at(60)).idle_remaining, Some(490 * SECOND));
    }

    #[test]
    fn a_records_own_deadline_applies_even_if_the_layer_now_allows_more() {
        let mut record = record(0, 0);
        record.expires_at = at(5);
        assert_eq!(timeouts(Some(100), None).expiry(&record, at(5)), Some(Expiry::Idle));
    }

    #[test]
    fn a_touch_is_due_after_a_tenth_of_the_idle_timeout_and_at_most_a_minute() {
        for (idle, set, due) in [
            (Some(100), None, 10),
            (Some(100_000), None, 60),
            (None, None, 60),
            (Some(100), Some(30), 30),
            (Some(100), Some(90), 50),
        ] {
            let mut timeouts = timeouts(idle, None);
            timeouts.touch_interval = set.map(Duration::from_secs);
            assert!(!timeouts.touch_is_due(&record(0, 5), at(5 + due - 1)), "{idle:?} {set:?}");
            assert!(timeouts.touch_is_due(&record(0, 5), at(5 + due)), "{idle:?} {set:?}");
        }
    }

    #[test]
    fn an_id_is_renewed_when_it_is_old_enough() {
        let mut timeouts = timeouts(None, None);
        assert!(!timeouts.renewal_is_due(&record(0, 0), at(1_000_000)));
        timeouts.renewal = Some(10 * SECOND);
        assert!(!timeouts.renewal_is_due(&record(0, 9), at(9)));
        assert!(timeouts.renewal_is_due(&record(0, 9), at(10)));
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        assert!(!Timeouts::is_from_the_future(&record(60, 60), at(0)));
        assert!(Timeouts::is_from_the_future(&record(0, 61), at(0)));
        assert!(Timeouts::is_from_the_future(&record(61, 0), at(0)));
    }
}
