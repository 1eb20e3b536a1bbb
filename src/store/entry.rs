//! What a store keeps under a key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::record::Record;

/// The entry under a key.
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
        match self {
            Self::Live(record) => record.is_expired(now),
            Self::Retired(forward) => now >= forward.expires_at,
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

    /// Returns the forward that a session leaves which has ended.
    pub(crate) fn ended(now: Timestamp) -> Self {
        Self { successor: None, grace_until: Self::NO_GRACE, expires_at: now.after(Self::JUST_DIED) }
    }

    /// Returns `true` if the old ID has had no grace.
    pub(crate) fn died_at_once(&self) -> bool {
        self.grace_until == Self::NO_GRACE
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("grace_until", &self.grace_until)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
