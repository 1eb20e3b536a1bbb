//! Which copies of a session's cookie are refused, and what they say of themselves to be told by.

use std::time::Duration;

use crate::base64url;
use crate::clock::Timestamp;
use crate::record::lifetime::{LONGEST_UNUSED, Timeouts};
use crate::record::{Handle, Record, StoreKey, Values};

const EXCEPT: &str = "except";
const SINCE: &str = "since";

/// In the version of a record in a cookie: copies of the cookie have been made that live longer than this one.
const HAS_LONGER_COPIES: u64 = 1 << 62;

/// What was stamped up to a time is refused.
///
/// The stamp of a session is the time of its login, as the version of its record: nobody needs that to tell two writes of
/// a cookie apart. It is a time of its own because it may be ahead of every clock. A revocation reaches as far into the
/// future as the clock of another node may be, and a login after it is stamped with a time that lies behind that, while
/// what the application is told of the login stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) until: Timestamp,
    /// The one session that goes on, and its stamp: an older copy that was refused before stays refused.
    pub(super) except: Option<(Handle, Timestamp)>,
}

impl Limit {
    /// The limit of a session that has ended.
    pub(super) const ALL: Self = Self { until: Timestamp::from_millis(u64::MAX), except: None };

    /// Whether the session is refused.
    pub(super) fn ends(&self, session: &Record) -> bool {
        let stamp = stamp_of(session);
        let is_except = self.except.is_some_and(|(handle, since)| handle == session.handle && stamp >= since);
        stamp <= self.until && !is_except
    }

    /// Writes the limit down as what a store keeps.
    pub(super) fn to_record(self, key: &StoreKey, expires_at: Timestamp) -> Record {
        let mut record = Record::new(handle_of(key), self.until, expires_at);
        if let Some((handle, since)) = self.except {
            let (handle, since) = (format!("\"{handle}\""), since.as_millis().to_string());
            record.values = Values::from_pairs([(EXCEPT, handle.as_bytes()), (SINCE, since.as_bytes())]);
        }
        record
    }

    /// Reads what [`to_record`](Self::to_record) wrote.
    pub(super) fn from_record(record: &Record) -> Option<Self> {
        let except = match record.values.get(EXCEPT) {
            None => None,
            Some(handle) => {
                let handle = handle.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                let since = str::from_utf8(record.values.get(SINCE)?).ok()?.parse().ok()?;
                Some((Handle::from_bytes(base64url::decode_array(handle)?), Timestamp::from_millis(since)))
            }
        };
        Some(Self { until: record.created_at, except })
    }
}

/// The login of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Login {
    /// Nobody logs in.
    None,
    /// The session is stamped with this time.
    At(Timestamp),
    /// It is made in a session that has been ended meanwhile, and is lost with it.
    InEnded,
}

/// Returns the handle of a record that is no session's: no two keys have the same.
pub(super) fn handle_of(key: &StoreKey) -> Handle {
    let mut handle = [0; 16];
    handle.copy_from_slice(&key.as_bytes()[..16]);
    Handle::from_bytes(handle)
}

pub(super) fn stamp_of(session: &Record) -> Timestamp {
    Timestamp::from_millis(session.version & !HAS_LONGER_COPIES)
}

/// Stamps a record that is about to be sealed. `before` is what it was made from, if the session is still that one; without
/// a login it keeps its stamp.
pub(in crate::state) fn stamp(record: &mut Record, before: Option<&Record>, login: Login, timeouts: &Timeouts) {
    let stamp = match login {
        Login::At(stamp) => stamp,
        Login::None | Login::InEnded => before.map(stamp_of).unwrap_or_default(),
    };
    let is_shortened = before.is_some_and(|before| life_of(before, timeouts) > life_of(record, timeouts));
    record.version = stamp.as_millis() & !HAS_LONGER_COPIES;
    if is_shortened {
        record.version |= HAS_LONGER_COPIES;
    }
}

/// Returns how long a copy of the session's cookie may be good from now on, whoever has it and however old it is.
///
/// Each copy was last used now at the latest, and no use of it is accepted any more, so the longest time that a session may
/// lie unused is enough. Most sessions end sooner: at their absolute limit, which for none of them began later than now.
pub(super) fn life_of(session: &Record, timeouts: &Timeouts) -> Duration {
    if session.version & HAS_LONGER_COPIES != 0 {
        return LONGEST_UNUSED;
    }
    let own = session.absolute_timeout.unwrap_or_default();
    timeouts.absolute.map_or(LONGEST_UNUSED, |of_layer| of_layer.max(own).min(LONGEST_UNUSED))
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
        record.version = stamp;
        record
    }

    #[test]
    fn a_limit_ends_what_was_stamped_up_to_it_but_for_the_exception_and_its_older_copies() {
        let limit = Limit { until: at(10), except: None };
        assert_eq!([0, 10, 11].map(|stamp| limit.ends(&session(stamp))), [true, true, false]);
        assert!(limit.ends(&session(10 | HAS_LONGER_COPIES)));
        assert!(!limit.ends(&session(11 | HAS_LONGER_COPIES)));
        let but_one = Limit { except: Some((SESSION, at(5))), ..limit };
        assert_eq!([4, 5, 10].map(|stamp| but_one.ends(&session(stamp))), [true, false, false]);
        let other = Record { handle: Handle::from_bytes([2; 16]), ..session(5) };
        assert!(but_one.ends(&other));
        assert!(Limit::ALL.ends(&session(u64::MAX)));
    }

    #[test]
    fn a_limit_comes_back_from_its_record() {
        let key = StoreKey::of_not_before("alice");
        for except in [None, Some((SESSION, at(7)))] {
            let limit = Limit { until: at(1_735_689_600_123), except };
            let record = limit.to_record(&key, at(1_735_689_700_000));
            assert_eq!(Limit::from_record(&record), Some(limit));
            let bytes = Record::decode(&record.encode()).expect("what was encoded");
            assert_eq!(Limit::from_record(&bytes), Some(limit));
        }
        let mut broken = Limit { until: at(1), except: Some((SESSION, at(7))) }.to_record(&key, at(2));
        broken.values = Values::from_pairs([(EXCEPT, b"\"x\"".as_slice()), (SINCE, b"7")]);
        assert_eq!(Limit::from_record(&broken), None);
    }

    #[test]
    fn a_session_keeps_its_stamp_until_somebody_logs_in() {
        let timeouts = Timeouts::default();
        let stamped = |before: Option<&Record>, login: Option<Timestamp>| {
            let mut record = session(77);
            stamp(&mut record, before, login.map_or(Login::None, Login::At), &timeouts);
            record.version
        };
        assert_eq!(stamped(None, None), 0);
        assert_eq!(stamped(None, Some(at(5))), 5);
        assert_eq!(stamped(Some(&session(5)), None), 5);
        assert_eq!(stamped(Some(&session(5)), Some(at(6))), 6);
    }

    #[test]
    fn a_session_whose_timeout_was_shortened_is_remembered_for_as_long_as_any_copy_can_be_good() {
        let timeouts = Timeouts { absolute: Some(12 * HOUR), ..Timeouts::default() };
        let with_own = |own| Record { absolute_timeout: own, ..session(5) };
        let (short, long, longest) =
            (with_own(Some(HOUR)), with_own(Some(1000 * HOUR)), with_own(Some(100_000 * HOUR)));
        assert_eq!(life_of(&with_own(None), &timeouts), 12 * HOUR);
        assert_eq!(life_of(&short, &timeouts), 12 * HOUR);
        assert_eq!(life_of(&long, &timeouts), 1000 * HOUR);
        assert_eq!(life_of(&longest, &timeouts), LONGEST_UNUSED);
        assert_eq!(life_of(&short, &Timeouts { absolute: None, ..timeouts.clone() }), LONGEST_UNUSED);
        for (before, after, life) in [
            (&long, &short, LONGEST_UNUSED),
            (&long, &with_own(None), LONGEST_UNUSED),
            (&short, &long, 1000 * HOUR),
            (&with_own(None), &short, 12 * HOUR),
        ] {
            let mut changed = after.clone();
            stamp(&mut changed, Some(before), Login::None, &timeouts);
            assert_eq!((life_of(&changed, &timeouts), stamp_of(&changed)), (life, at(5)));
            // And it stays so.
            let mut later = after.clone();
            stamp(&mut later, Some(&changed), Login::None, &timeouts);
            assert_eq!(life_of(&later, &timeouts), life);
        }
    }
}
