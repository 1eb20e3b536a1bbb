//! The entry that a store keeps under a key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::record::{DecodeRecordError, Record, Version};

/// The first byte of an encoded forward: format 1, and a bit that no format of a record has.
const FORWARD: u8 = 0x81;

/// The entry under a key.
///
/// A store can keep it as the bytes of [`encode`](Self::encode), next to its [version](Self::version) and its
/// [deadline](Self::expires_at), which decide whether a call applies. Every format that was ever released
/// stays readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session.
    Live(Arc<Record>),
    /// A session that was renewed and is under another key, or that has ended.
    Retired(Forward),
}

impl Entry {
    /// Returns whether the entry has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at()
    }

    /// Returns the time at which the entry expires.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        match self {
            Self::Live(record) => record.expires_at,
            Self::Retired(forward) => forward.expires_at,
        }
    }

    /// Returns the version of a record. A forward has none.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Live(record) => Some(record.version),
            Self::Retired(_) => None,
        }
    }

    /// Returns the entry as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Live(record) => record.encode(),
            Self::Retired(forward) => forward.encode(),
        }
    }

    /// Reads an entry from the bytes of [`encode`](Self::encode), of this release or any earlier one.
    ///
    /// # Errors
    ///
    /// [`DecodeRecordError`] when the bytes are not an entry, or are one of a later release. A store returns it as
    /// [`StoreError::undecodable`](super::StoreError::undecodable).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeRecordError> {
        match bytes.first() {
            Some(&first) if first >= 0x80 => Forward::decode(bytes).map(Self::Retired),
            _ => Ok(Self::Live(Arc::new(Record::decode(bytes)?))),
        }
    }
}

/// The entry that a renewal leaves under the old key of a session, and an end under its last key.
#[derive(Clone, PartialEq, Eq)]
pub struct Forward {
    /// The new ID, sealed so that only a holder of the old ID can open it. `None` if the session has ended.
    pub successor: Option<[u8; 32]>,
    /// Until when the old ID leads to its successor. 0 if it died at once: if that was in a login, it leads there for
    /// one purpose alone, another login of the same principal.
    pub grace_until: Timestamp,
    /// Until when the forward is kept, to detect a use of the old ID after its death.
    pub expires_at: Timestamp,
}

impl Forward {
    /// The `grace_until` of an ID that died at once.
    pub(crate) const NO_GRACE: Timestamp = Timestamp::from_millis(0);

    /// How long after its death an ID is known to have just died. A request that still comes with it was sent before
    /// the client got the response of the request that ended or replaced it: what it writes is rejected, since a new
    /// session's cookie would overwrite the client's.
    pub(crate) const JUST_DIED: Duration = Duration::from_secs(60);

    /// A forward that has expired, so its key is free.
    pub(crate) const EXPIRED: Self =
        Self { successor: None, grace_until: Self::NO_GRACE, expires_at: Timestamp::from_millis(0) };

    /// Returns the forward as bytes: the format, both times in milliseconds, eight bytes each, and the successor if
    /// there is one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + 32);
        bytes.push(FORWARD);
        for time in [self.grace_until, self.expires_at] {
            bytes.extend_from_slice(&time.as_millis().to_be_bytes());
        }
        bytes.extend(self.successor.iter().flatten());
        bytes
    }

    /// Reads a forward from the bytes of [`encode`](Self::encode), of this release or any earlier one.
    ///
    /// # Errors
    ///
    /// [`DecodeRecordError`] when the bytes are not a forward, or are one of a later release.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeRecordError> {
        match bytes.split_first() {
            Some((&FORWARD, rest)) => decode_format_1(rest).ok_or(DecodeRecordError::malformed()),
            Some((&format, _)) if format > FORWARD => Err(DecodeRecordError::of_format(format & 0x7f)),
            _ => Err(DecodeRecordError::malformed()),
        }
    }

    /// Returns the forward that a session leaves which has ended.
    pub(crate) fn ended(now: Timestamp) -> Self {
        Self { successor: None, grace_until: Self::NO_GRACE, expires_at: now.after(Self::JUST_DIED) }
    }

    /// Returns `true` if the old ID has had no grace.
    pub(crate) fn died_at_once(&self) -> bool {
        self.grace_until == Self::NO_GRACE
    }
}

fn decode_format_1(bytes: &[u8]) -> Option<Forward> {
    let (&grace_until, rest) = bytes.split_first_chunk()?;
    let (&expires_at, rest) = rest.split_first_chunk()?;
    let [grace_until, expires_at] =
        [grace_until, expires_at].map(|time| Timestamp::from_millis(u64::from_be_bytes(time)));
    let successor = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
    Some(Forward { successor, grace_until, expires_at })
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("grace_until", &self.grace_until)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Handle;

    fn forward() -> Forward {
        let at = Timestamp::from_millis;
        Forward { successor: Some([5; 32]), grace_until: at(3), expires_at: at(u64::MAX) }
    }

    fn entries() -> [Entry; 3] {
        let record = Record::new(Handle::from_bytes([7; 16]), Timestamp::from_millis(1), Timestamp::from_millis(9));
        let ended = Forward { successor: None, ..forward() };
        [Entry::Live(Arc::new(record)), Entry::Retired(forward()), Entry::Retired(ended)]
    }

    #[test]
    fn entries_survive_a_round_trip() {
        for entry in entries() {
            assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let times = [[0, 0, 0, 0, 0, 0, 0, 3], [255; 8]].concat();
        assert_eq!(forward().encode(), [&[0x81][..], &times, &[5; 32]].concat());
        let ended = Forward { successor: None, ..forward() };
        assert_eq!(ended.encode(), [&[0x81][..], &times].concat());
        let [record, ..] = entries();
        let Entry::Live(live) = &record else { panic!("the first is live") };
        assert_eq!(record.encode(), live.encode(), "that of the record");
    }

    #[test]
    fn malformed_entries_are_rejected_and_never_panic() {
        for entry in entries() {
            let bytes = entry.encode();
            for cut in 0..bytes.len() {
                let _ = Entry::decode(&bytes[..cut]);
            }
        }
        let bytes = forward().encode();
        for bytes in [&bytes[..bytes.len() - 1], &bytes[..16], &[&bytes[..], b"1"].concat(), b"", &[0x80], &[0x81]] {
            assert_eq!(Entry::decode(bytes), Err(DecodeRecordError::malformed()), "{bytes:?}");
        }
        let later = Entry::decode(&[&[0x82], &bytes[1..]].concat()).expect_err("a later format");
        assert!(later.to_string().contains("format 2"), "{later}");
    }
}
