//! The contract of a store: its calls, what they take and what they return.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey, Version};

/// A store of sessions on the server.
///
/// The [module's page](super) lists the rules, and [the guide](crate::guide::stores) has a complete example. The
/// methods may be written as `async fn`.
///
/// # Errors
///
/// Every call fails with a [`StoreError`] if the engine cannot be reached or rejects the call. A missing entry is not
/// an error.
///
/// # Cancel safety
///
/// The layer drops a call that takes longer than its store timeout. A call that is dropped has either taken place as a
/// whole or not at all.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Whether a call may have to wait. The default is `true`.
    ///
    /// A store whose calls are always ready at the first poll, such as one in memory, sets `false` and saves an
    /// allocation for each call. A call that waits all the same fails.
    const WAITS: bool = true;

    /// Whether the store finds sessions by their principal, with [`list`](Self::list), [`count`](Self::count) and
    /// [`revoke`](Self::revoke). The default is `false`, and these calls fail.
    const FINDS_PRINCIPALS: bool = false;

    /// Returns the name of the kind of store for errors and events, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns the entry under `key`, unless it has expired at `now`.
    ///
    /// The layer may pass a `now` far in the past and judge the expiry itself, to learn about sessions that have
    /// expired.
    fn load(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Inserts a new record under `key`. Returns `false`, and changes nothing, if the key has a record or a forward
    /// that has not expired: so a call that takes place late cannot bring back a session that has ended.
    ///
    /// A deadline that is later than the engine can store becomes the latest that it can.
    fn create(
        &self,
        key: &StoreKey,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces the record under `key`, its deadline included, if its version is `expected`.
    fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Extends the deadline of the live record under `key`, if its version is `expected`. The version stays.
    ///
    /// Neither of the two times moves backwards. With another version the call changes nothing: another request has
    /// written the record, including its deadline. [`Done`](Outcome::Done) and [`Conflict`](Outcome::Conflict) mean
    /// that the session is still live under this key; only then does the layer send its cookie again.
    fn touch(
        &self,
        key: &StoreKey,
        expected: Version,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Moves a session to a new key and leaves a forward under the old one, if its version is the expected one.
    ///
    /// A retry after a lost reply returns [`Outcome::Retired`] with the renewal's own forward, and changes nothing
    /// under either key.
    fn renew(&self, renewal: Renewal, now: Timestamp) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Deletes the record under `key`, whatever its version, and leaves `forward` in its place, if there is one, in one
    /// atomic step.
    ///
    /// Returns [`Outcome::Done`] if this call deleted the record, [`Outcome::Retired`] with the forward that was there,
    /// which stays, and [`Outcome::Gone`] for an expired entry or none; then it leaves no forward.
    fn delete(
        &self,
        key: &StoreKey,
        forward: Option<Forward>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Deletes entries that have expired at `now`, up to about `limit`, and returns how many.
    ///
    /// Several nodes may sweep at once. A store whose engine expires entries by itself does nothing.
    fn sweep(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (now, limit);
        std::future::ready(Ok(0))
    }

    /// Returns up to `limit` live sessions of a principal in the order of their [handles](Record::handle), from the
    /// first handle that is greater than `after`.
    ///
    /// The records may come without their values. The list has every session that is live during the whole call, even
    /// if it is renewed meanwhile.
    fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Arc<Record>>, StoreError>> + Send {
        let _ = (principal, after, limit, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }

    /// Returns the number of live sessions of a principal.
    fn count(&self, principal: &str, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (principal, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }

    /// Deletes the live sessions of a principal that have one of these handles, whatever their versions and even if
    /// they are renewed meanwhile. Leaves `forward` under the key of each, as [`delete`](Self::delete) does. Returns
    /// the handles of the sessions that this call deleted.
    ///
    /// The layer passes at most a hundred handles.
    fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Option<Forward>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Handle>, StoreError>> + Send {
        let _ = (principal, sessions, forward, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }
}

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

/// A session's move from one key to another.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The present key.
    pub old: StoreKey,
    /// The version that the session must have.
    pub expected: Version,
    /// The new key, which was never used.
    pub new: StoreKey,
    /// The record to write under the new key.
    pub record: Arc<Record>,
    /// The forward to write under the old key.
    pub forward: Forward,
}

/// The outcome of an [`update`](Store::update), a [`touch`](Store::touch), a [`renew`](Store::renew) or a
/// [`delete`](Store::delete).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call took effect.
    Done,
    /// The call had no effect: the live record has another version. The record is included if the engine returned it in
    /// the same round trip; otherwise the layer loads it.
    Conflict(Option<Arc<Record>>),
    /// The call had no effect: the session was renewed and is under another key, or it has ended.
    Retired(Forward),
    /// The call had no effect: the key has no live entry.
    Gone,
}
