//! Cutoffs, which reject copies of a session's cookie by their stamp.

use std::time::Duration;

use crate::base64url;
use crate::clock::Timestamp;
use crate::record::lifetime::{LONGEST_UNUSED, Timeouts};
use crate::record::{Handle, Record, StoreKey, Values, Version};

const MADE_AT: &str = "made_at";
const EXCEPT: &str = "except";
const SINCE: &str = "since";

/// Rejects sessions stamped at or before `until`.
///
/// The stamp of a session is the time of its login. It is kept as the version of its record, which cookies do not need
/// otherwise. It is separate from the login time shown to the application because it may be ahead of every clock: a
/// revocation reaches into the future by the largest clock skew, and a login after it gets a later stamp than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cutoff {
    pub(super) until: Timestamp,
    /// The one session that stays valid, and its stamp: an older copy that was already rejected stays rejected.
    pub(super) except: Option<(Handle, Timestamp)>,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// A login has taken an anonymous session along. Its former cookie can still be read, and logged in with.
    pub(super) by_login: bool,
}

impl Cutoff {
    /// Returns the cutoff of a session that ended at `made_at`.
    pub(super) fn of_ended(made_at: Timestamp) -> Self {
        Self { until: Timestamp::from_millis(u64::MAX), except: None, made_at, by_login: false }
    }

    /// Returns `true` if the session is rejected.
    pub(super) fn ends(&self, session: &Record) -> bool {
        let stamp = stamp_of(session);
        let is_except = self.except.is_some_and(|(handle, since)| handle == session.handle && stamp >= since);
        stamp <= self.until && !is_except
    }

    /// Returns the record that a store keeps for the cutoff.
    pub(super) fn to_record(self, key: &StoreKey, expires_at: Timestamp) -> Record {
        let mut record = Record::new(handle_of(key), self.until, expires_at);
        let made_at = self.made_at.as_millis().to_string();
        let made_at = (MADE_AT, made_at.as_bytes());
        record.values = match self.except {
            None => Values::from_pairs([made_at]),
            Some((handle, since)) => {
                let (handle, since) = (format!("\"{handle}\""), since.as_millis().to_string());
                Values::from_pairs([made_at, (EXCEPT, handle.as_bytes()), (SINCE, since.as_bytes())])
            }
        };
        record
    }

    /// Reads a record written by [`to_record`](Self::to_record).
    pub(super) fn from_record(record: &Record) -> Option<Self> {
        let time = |key| Some(Timestamp::from_millis(str::from_utf8(record.values.get(key)?).ok()?.parse().ok()?));
        let except = match record.values.get(EXCEPT) {
            None => None,
            Some(handle) => {
                let handle = handle.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                Some((Handle::from_bytes(base64url::decode_array(handle)?), time(SINCE)?))
            }
        };
        Some(Self { until: record.created_at, except, made_at: time(MADE_AT)?, by_login: false })
    }
}

/// The login of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Login {
    /// The request does not log in.
    None,
    /// The session is stamped with this time.
    At(Timestamp),
    /// The session has ended, so the login is lost with it.
    InEnded,
}

/// Returns the handle of a mark: unique for each key.
pub(super) fn handle_of(key: &StoreKey) -> Handle {
    let mut handle = [0; 16];
    handle.copy_from_slice(&key.as_bytes()[..16]);
    Handle::from_bytes(handle)
}

pub(super) fn stamp_of(session: &Record) -> Timestamp {
    Timestamp::from_millis(session.version.as_u64())
}

impl Login {
    /// Stamps a record before it is sealed. Without a login the record keeps the stamp of `before`, the loaded record
    /// of the same session.
    pub(in crate::state) fn stamp(self, record: &mut Record, before: Option<&Record>) {
        record.version = match self {
            Self::At(stamp) => Version::from_u64(stamp.as_millis()),
            Self::None | Self::InEnded => before.map_or(Version::NONE, |before| before.version),
        };
    }
}

/// Returns how long a copy of a cookie may stay valid, given the session's `own` absolute timeout.
///
/// The copy was last used now at the latest, so the longest idle time is enough. Most copies expire sooner: their
/// absolute timeout began now at the latest.
pub(super) fn life_with(own: Option<Duration>, timeouts: &Timeouts) -> Duration {
    let longest = |of_layer: Duration| of_layer.max(own.unwrap_or_default()).min(LONGEST_UNUSED);
    timeouts.absolute.map_or(LONGEST_UNUSED, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const SESSION: Handle = Handle::from_bytes([1; 16]);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn session(stamp: u64) -> Record {
        let mut record = Record::new(SESSION, at(0), at(1));
        record.version = Version::from_u64(stamp);
        record
    }

    #[test]
    fn a_cutoff_rejects_earlier_stamps_except_for_one_session_but_not_its_older_copies() {
        let cutoff = Cutoff { until: at(10), except: None, made_at: at(9), by_login: false };
        assert_eq!([0, 10, 11].map(|stamp| cutoff.ends(&session(stamp))), [true, true, false]);
        let but_one = Cutoff { except: Some((SESSION, at(5))), ..cutoff };
        assert_eq!([4, 5, 10].map(|stamp| but_one.ends(&session(stamp))), [true, false, false]);
        let other = Record { handle: Handle::from_bytes([2; 16]), ..session(5) };
        assert!(but_one.ends(&other));
        assert!(Cutoff::of_ended(at(1)).ends(&session(u64::MAX)));
    }

    #[test]
    fn a_cutoff_survives_a_round_trip_through_its_record() {
        let key = StoreKey::of_not_before("alice");
        for except in [None, Some((SESSION, at(7)))] {
            let until = at(1_735_689_600_123);
            let cutoff = Cutoff { until, except, made_at: at(1_735_689_540_122), by_login: false };
            let record = cutoff.to_record(&key, at(1_735_689_700_000));
            assert_eq!(Cutoff::from_record(&record), Some(cutoff));
            let bytes = Record::decode(&record.encode()).expect("the encoded record");
            assert_eq!(Cutoff::from_record(&bytes), Some(cutoff));
        }
        let except = Some((SESSION, at(7)));
        let broken = Cutoff { until: at(1), except, made_at: at(1), by_login: false };
        let mut broken = broken.to_record(&key, at(2));
        broken.values = Values::from_pairs([(MADE_AT, b"1".as_slice()), (EXCEPT, b"\"x\""), (SINCE, b"7")]);
        assert_eq!(Cutoff::from_record(&broken), None);
    }

    #[test]
    fn a_session_keeps_its_stamp_until_the_next_login() {
        let stamped = |before: Option<&Record>, login: Login| {
            let mut record = session(77);
            login.stamp(&mut record, before);
            record.version.as_u64()
        };
        assert_eq!(stamped(None, Login::None), 0);
        assert_eq!(stamped(None, Login::At(at(5))), 5);
        assert_eq!(stamped(Some(&session(5)), Login::None), 5);
        assert_eq!(stamped(Some(&session(5)), Login::At(at(6))), 6);
    }

    #[test]
    fn a_copy_lives_for_the_longer_absolute_timeout_up_to_the_longest_idle_time() {
        let timeouts = Timeouts { absolute: Some(12 * HOUR), ..Timeouts::default() };
        for (own, life) in [
            (None, 12 * HOUR),
            (Some(HOUR), 12 * HOUR),
            (Some(1000 * HOUR), 1000 * HOUR),
            (Some(100_000 * HOUR), LONGEST_UNUSED),
        ] {
            assert_eq!(life_with(own, &timeouts), life);
            assert_eq!(life_with(own, &Timeouts { absolute: None, ..timeouts.clone() }), LONGEST_UNUSED);
        }
    }
}
