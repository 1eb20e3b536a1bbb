//! Entries under their keys, each with the CAS number of its state.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::connection::{ClientError, Code};
use super::pool::Pool;
use crate::base64url;
use crate::clock::{Clock as _, SystemClock, Timestamp, whole_millis};
use crate::store::{Entry, Forward, Record, StoreError, StoreKey};

pub(super) const NAME: &str = "memcached";

/// How often a call retries after a concurrent write. Each retry means that another call succeeded.
pub(super) const MAX_ATTEMPTS: usize = 1_000;

/// memcached interprets a longer time to live, in seconds, as a date.
const LONGEST_RELATIVE: u64 = 60 * 60 * 24 * 30;

/// The items of a server under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Items {
    pub(super) pool: Arc<Pool>,
    pub(super) prefix: Arc<str>,
}

impl Items {
    pub(super) fn key(&self, key: &StoreKey) -> String {
        format!("{}{}", self.prefix, base64url::encode(key.as_bytes()))
    }

    /// Returns the entry, expired or not.
    pub(super) async fn fetch(&self, key: &StoreKey) -> Result<Option<Found>, StoreError> {
        let reply = self.pool.call(&format!("mg {} v c", self.key(key)), None).await.map_err(failed)?;
        match (reply.code, reply.cas) {
            (Code::NotFound, _) => Ok(None),
            (Code::Value, Some(cas)) => {
                let entry = Entry::decode(&reply.value).map_err(|error| StoreError::undecodable(NAME, error))?;
                Ok(Some(Found { cas, entry }))
            }
            _ => Err(failed(ClientError::Malformed)),
        }
    }

    /// Stores a value under the condition of `mode`. Returns its CAS number, or `None` if the condition is not met.
    pub(super) async fn put(
        &self,
        key: &StoreKey,
        value: &Value<'_>,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let (bytes, lifetime) = (&value.bytes, lifetime(value.expires_at, now, SystemClock.now()));
        let command = format!("ms {} {} {mode} T{lifetime} c", self.key(key), bytes.len());
        let reply = self.pool.call(&command, Some(bytes)).await.map_err(failed)?;
        match (reply.code, reply.cas) {
            (Code::Done, Some(cas)) => Ok(Some(cas)),
            (Code::NotStored | Code::NotFound | Code::Changed, _) => Ok(None),
            _ => Err(failed(ClientError::Malformed)),
        }
    }

    /// Deletes the entry if it still has this CAS number; with `None`, in any state.
    pub(super) async fn remove(&self, key: &StoreKey, cas: Option<u64>) -> Result<bool, StoreError> {
        let condition = cas.map_or(String::new(), |cas| format!(" C{cas}"));
        let reply = self.pool.call(&format!("md {}{condition}", self.key(key)), None).await.map_err(failed)?;
        match reply.code {
            Code::Done => Ok(true),
            Code::NotFound | Code::Changed => Ok(false),
            Code::Value | Code::NotStored => Err(failed(ClientError::Malformed)),
        }
    }

    /// Stores a value under a free key, or one whose entry `gives_way`. Returns its CAS number, or `None` if another
    /// entry is there.
    pub(super) async fn insert(
        &self,
        key: &StoreKey,
        value: Value<'_>,
        gives_way: impl Fn(&Found) -> bool + Send,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let mut mode = Mode::Add;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(cas) = self.put(key, &value, mode, now).await? {
                return Ok(Some(cas));
            }
            mode = match self.fetch(key).await? {
                None => Mode::Add,
                Some(found) if gives_way(&found) => Mode::Swap(found.cas),
                Some(_) => return Ok(None),
            };
        }
        Err(failed(ClientError::Contended))
    }
}

/// An entry under a key.
pub(super) struct Found {
    /// The CAS number of its state.
    pub(super) cas: u64,
    pub(super) entry: Entry,
}

/// A value to store under a key.
pub(super) struct Value<'v> {
    pub(super) bytes: Cow<'v, [u8]>,
    pub(super) expires_at: Timestamp,
}

impl Value<'_> {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { bytes: entry.encode().into(), expires_at: entry.expires_at() }
    }

    pub(super) fn of_record(record: &Record) -> Self {
        Self { bytes: record.encode().into(), expires_at: record.expires_at }
    }

    pub(super) fn of_forward(forward: &Forward) -> Self {
        Self { bytes: forward.encode().into(), expires_at: forward.expires_at }
    }

    pub(super) fn borrow(&self) -> Value<'_> {
        Value { bytes: Cow::Borrowed(&self.bytes), expires_at: self.expires_at }
    }
}

/// The condition for storing a value.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// The key is free.
    Add,
    /// The entry has this CAS number.
    Swap(u64),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add => f.write_str("ME"),
            Self::Swap(cas) => write!(f, "C{cas}"),
        }
    }
}

/// Returns the time to live of an entry that expires at `expires_at`, in the form of the protocol. One second is added,
/// since the server's clock ticks once a second and must not expire the entry early.
///
/// More than 30 days are a date. A date after 2038, which the server cannot represent, becomes 0: no expiry.
fn lifetime(expires_at: Timestamp, now: Timestamp, real_now: Timestamp) -> u64 {
    let seconds = whole_millis(expires_at.since(now)).div_ceil(1_000).saturating_add(1);
    if seconds <= LONGEST_RELATIVE {
        return seconds;
    }
    let date = (real_now.as_millis() / 1_000).saturating_add(seconds);
    if date <= i32::MAX as u64 { date } else { 0 }
}

pub(super) fn failed(error: ClientError) -> StoreError {
    match error {
        ClientError::TooLarge { size, limit } => StoreError::too_large(NAME, size, limit),
        ClientError::OutOfMemory => StoreError::full(NAME),
        ClientError::Contended => StoreError::contended(NAME, error),
        error => StoreError::failed(NAME, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_never_cut_short() {
        const DAY: u64 = 24 * 60 * 60;
        let real_now = Timestamp::from_millis(1_800_000_000_999);
        let of = |millis: u64| {
            let now = Timestamp::from_millis(5);
            lifetime(Timestamp::from_millis(5_u64.saturating_add(millis)), now, real_now)
        };
        assert_eq!((of(0), of(1), of(1_000), of(1_001)), (1, 2, 2, 3));
        let thirty_days = 30 * DAY * 1_000;
        assert_eq!(of(thirty_days - 1_000), 30 * DAY);
        assert_eq!(of(thirty_days - 999), 1_800_000_000 + 30 * DAY + 1, "longer times are a date");
        assert_eq!(of(400 * DAY * 1_000), 1_800_000_000 + 400 * DAY + 1);
        let last = i32::MAX as u64 - 1_800_000_000 - 1;
        assert_eq!((of(last * 1_000), of(last * 1_000 + 1), of(u64::MAX)), (i32::MAX as u64, 0, 0));
        let past = lifetime(Timestamp::from_millis(1), Timestamp::from_millis(2), real_now);
        assert_eq!(past, 1, "0 would never expire");
    }
}
