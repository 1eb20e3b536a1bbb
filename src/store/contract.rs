//! The contract of a store: its calls, what they take and what they return.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::answer::Answer;
use super::calls::{AlwaysWritten, NotPlaced, Outcome, Renewal, Touch};
use super::entry::{Entry, Forward};
use super::error::StoreError;
use super::principals::{ErasedPrincipals, PrincipalFinder};
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
/// The layer drops a call that takes longer than its store timeout. A dropped call takes effect as a whole, possibly
/// after the drop, or not at all. Only the default [`renew`](Self::renew) can stop in between.
pub trait Store: fmt::Debug + Send + Sync + Sized + 'static {
    /// Whether every call is ready at its first poll, as in memory. The default is `false`.
    ///
    /// `true` saves an allocation for each call. A call that is pending nevertheless fails.
    const NEVER_WAITS: bool = false;

    /// Returns the name of the kind of store for errors and events, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns the entry under `key`, unless it has expired at `now`.
    ///
    /// The layer may pass a `now` far in the past and judge the expiry itself, to learn about sessions that have
    /// expired.
    fn load(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Puts `entry` under `key` if the key has a live record of the version `expected`, or if `expected` is `None` and
    /// the key is free. Returns whether it did. This is one atomic step.
    ///
    /// A key is free if it has no entry, or one that has expired at `now`. A forward that has not expired takes the
    /// key, and has no version. A deadline that is later than the engine can store becomes the latest that it can. An
    /// entry that has already expired at `now` leaves the key free.
    ///
    /// The other calls follow from this one and [`load`](Self::load); implement those that the engine does better in
    /// one step.
    fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Inserts a new record under `key`. Returns `false`, and changes nothing, if the key has a record or a forward
    /// that has not expired, so a late call cannot revive an ended session.
    fn create(
        &self,
        key: &StoreKey,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        self.put(key, None, Entry::Live(record), now)
    }

    /// Replaces the record under `key`, its deadline included, if its version is `expected`.
    ///
    /// By default a put, and a load for the reason if it changes nothing.
    fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
        async move {
            if self.put(key, Some(expected), Entry::Live(record), now).await? {
                return Ok(Outcome::Done);
            }
            Ok(Outcome::refused(self.load(key, now).await?))
        }
    }

    /// Extends the deadline of the live record under `key`, if its version is the expected one. The version stays.
    ///
    /// Neither of the two times moves backwards. With another version the call changes nothing: another request has
    /// written the record, including its deadline. [`Done`](Outcome::Done) and [`Conflict`](Outcome::Conflict) mean
    /// that the session is still live under this key; only then does the layer send its cookie again.
    ///
    /// By default a load and a put. The last of two concurrent touches then wins, so both times may be earlier by the
    /// interval between the two.
    fn touch(
        &self,
        key: &StoreKey,
        touch: Touch,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
        async move {
            let current = match self.load(key, now).await? {
                Some(Entry::Live(current)) if current.version == touch.expected => current,
                found => return Ok(Outcome::refused(found)),
            };
            let touched = touch.of(&current);
            if touched == *current || self.put(key, Some(touch.expected), Entry::Live(touched.into()), now).await? {
                return Ok(Outcome::Done);
            }
            Ok(Outcome::refused(self.load(key, now).await?))
        }
    }

    /// Moves a session to a new key and leaves a forward under the old one, if its version is the expected one.
    ///
    /// A retry after a lost reply returns [`Outcome::Retired`] with the renewal's own forward, and changes nothing
    /// under either key.
    ///
    /// By default a load, a put under the new key, and a put under the old one. If it fails or is dropped between the
    /// two, a copy of the session remains under the new key, which no client knows, until a retry replaces it or it
    /// expires. A store that finds principals must find the session once while both keys have it. A store in which
    /// handles are unique must override the method.
    fn renew(&self, renewal: Renewal, now: Timestamp) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
        async move {
            let Renewal { old, expected, new, record, forward } = renewal;
            let (mut replaced, mut is_placed) = (None, false);
            for _ in 0..NotPlaced::MAX_ATTEMPTS {
                // The old key is checked before each put: a retry must neither revive a session that was deleted under
                // its new key meanwhile, nor undo what other requests have written there.
                match self.load(&old, now).await? {
                    Some(Entry::Live(current)) if current.version == expected => {}
                    found => return Ok(Outcome::refused(found)),
                }
                is_placed = self.put(&new, replaced, Entry::Live(Arc::clone(&record)), now).await?
                    || match self.load(&new, now).await? {
                        // It is left from an earlier attempt to renew an earlier version.
                        Some(Entry::Live(found)) if found.version != record.version => {
                            replaced = Some(found.version);
                            false
                        }
                        // An earlier attempt has placed it. The session may have moved on since.
                        Some(_) => true,
                        None => {
                            replaced = None;
                            false
                        }
                    };
                if is_placed {
                    break;
                }
            }
            if !is_placed {
                return Err(StoreError::failed(self.name(), NotPlaced));
            }
            if self.put(&old, Some(expected), Entry::Retired(forward.clone()), now).await? {
                return Ok(Outcome::Done);
            }
            let outcome = Outcome::refused(self.load(&old, now).await?);
            if outcome != Outcome::Retired(forward) {
                // No forward leads to the new key.
                self.delete(&new, None, now).await?;
            }
            Ok(outcome)
        }
    }

    /// Deletes the record under `key`, whatever its version, and leaves `forward` in its place, if there is one, in one
    /// atomic step.
    ///
    /// Returns [`Outcome::Done`] if this call deleted the record, [`Outcome::Retired`] with the forward that was there,
    /// which stays, and [`Outcome::Gone`] for an expired entry or none; then it leaves no forward.
    ///
    /// By default a load and a put. Without a forward, the put leaves one that has expired.
    fn delete(
        &self,
        key: &StoreKey,
        forward: Option<Forward>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
        async move {
            let end = Entry::Retired(forward.unwrap_or(Forward::EXPIRED));
            for _ in 0..AlwaysWritten::MAX_ATTEMPTS {
                let current = match self.load(key, now).await? {
                    Some(Entry::Live(current)) => current.version,
                    Some(Entry::Retired(forward)) => return Ok(Outcome::Retired(forward)),
                    None => return Ok(Outcome::Gone),
                };
                if self.put(key, Some(current), end.clone(), now).await? {
                    return Ok(Outcome::Done);
                }
            }
            Err(StoreError::contended(self.name(), AlwaysWritten))
        }
    }

    /// Deletes entries that have expired at `now`, up to about `limit`, and returns how many.
    ///
    /// An entry may be left for an hour after it has expired, if that makes the index of the engine cheaper. Several
    /// nodes may sweep at once. A store whose engine expires entries by itself does nothing.
    fn sweep(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (now, limit);
        std::future::ready(Ok(0))
    }

    /// Returns the store as one that finds sessions by their principal, with `Some(PrincipalFinder::of(self))`.
    ///
    /// The default is `None`: [`SessionLayer::sessions`](crate::SessionLayer::sessions) and
    /// [`with_max_sessions`](crate::SessionLayer::with_max_sessions) are errors then.
    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        None
    }
}

/// A [`Store`] that finds sessions by their principal, for [`SessionLayer::sessions`](crate::SessionLayer::sessions)
/// and [`with_max_sessions`](crate::SessionLayer::with_max_sessions).
///
/// Such a store returns itself from [`Store::principals`]. Its index is never stale: a call finds exactly what the
/// calls that ended before it have written. Principals are compared byte by byte. During a renewal the session is found
/// exactly once.
///
/// # Errors
///
/// As for [`Store`](Store#errors).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not find sessions by their principal",
    note = "implement `FindPrincipals`, or run the conformance suite `without principals`"
)]
pub trait FindPrincipals: Store {
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
    ) -> impl Future<Output = Result<Vec<Arc<Record>>, StoreError>> + Send;

    /// Returns the number of live sessions of a principal.
    fn count(&self, principal: &str, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Deletes the live sessions of a principal that have one of these handles, whatever their versions and even if
    /// they are renewed meanwhile. Leaves `forward` under the key of each, as [`delete`](Store::delete) does. Returns
    /// the handles of the sessions that this call deleted.
    ///
    /// The layer passes at most a hundred handles.
    fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Handle>, StoreError>> + Send;
}

/// Makes a call of a store.
#[inline]
pub(super) fn answer<'a, S: Store, T>(
    store: &S,
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> Answer<'a, T> {
    Answer::of(store.name(), S::NEVER_WAITS, operation, call)
}

impl<'s> PrincipalFinder<'s> {
    /// Returns the finder of a store.
    #[must_use]
    pub fn of(store: &'s impl FindPrincipals) -> Self {
        Self(store)
    }
}

impl<S: FindPrincipals> ErasedPrincipals for S {
    fn list<'a>(
        &'a self,
        principal: &'a str,
        after: Option<&'a Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Record>>> {
        answer(self, "list", FindPrincipals::list(self, principal, after, limit, now))
    }

    fn count<'a>(&'a self, principal: &'a str, now: Timestamp) -> Answer<'a, usize> {
        answer(self, "count", FindPrincipals::count(self, principal, now))
    }

    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        sessions: &'a [Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Answer<'a, Vec<Handle>> {
        answer(self, "revoke", FindPrincipals::revoke(self, principal, sessions, forward, now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;

    /// A store with no more than the required methods.
    #[derive(Debug, Default)]
    struct SmallestStore {
        entries: Mutex<HashMap<StoreKey, Entry>>,
        has_unique_handles: bool,
    }

    impl Store for SmallestStore {
        fn name(&self) -> &'static str {
            "smallest"
        }

        async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
            Ok(self.entries.lock().unwrap().get(key).filter(|entry| !entry.is_expired(now)).cloned())
        }

        async fn put(
            &self,
            key: &StoreKey,
            expected: Option<Version>,
            entry: Entry,
            now: Timestamp,
        ) -> Result<bool, StoreError> {
            let mut entries = self.entries.lock().unwrap();
            let current = entries.get(key).filter(|entry| !entry.is_expired(now));
            let is_expected = current.map(Entry::version) == expected.map(Some);
            let handle = |entry: &Entry| if let Entry::Live(record) = entry { Some(record.handle) } else { None };
            let is_there = |(other, found): (&StoreKey, &Entry)| other != key && handle(found) == handle(&entry);
            if !is_expected || self.has_unique_handles && entries.iter().any(is_there) {
                return Ok(false);
            }
            entries.insert(*key, entry);
            Ok(true)
        }
    }

    #[tokio::test]
    async fn a_renewal_replaces_what_an_earlier_attempt_has_left_under_the_new_key() {
        let (now, end) = (Timestamp::from_millis(1), Timestamp::from_millis(9));
        let [old, new] = [1, 2].map(|byte| StoreKey::from_bytes([byte; 32]));
        let of_version = |version| {
            let record = Record::new(Handle::from_bytes([0; 16]), now, end);
            Arc::new(Record { version: Version::from_u64(version), ..record })
        };
        for left in [None, Some(2), Some(3)] {
            let store = SmallestStore::default();
            assert!(store.create(&old, of_version(1), now).await.unwrap());
            if let Some(left) = left {
                // The attempt has failed before it wrote the forward.
                assert!(store.create(&new, of_version(left), now).await.unwrap());
            }
            let forward = Forward { successor: Some([3; 32]), grace_until: now, expires_at: end };
            let expected = Version::from_u64(1);
            let renewal = Renewal { old, expected, new, record: of_version(3), forward: forward.clone() };
            assert_eq!(store.renew(renewal, now).await.unwrap(), Outcome::Done);
            assert_eq!(store.load(&new, now).await.unwrap(), Some(Entry::Live(of_version(3))), "over {left:?}");
            assert_eq!(store.load(&old, now).await.unwrap(), Some(Entry::Retired(forward)));
        }
    }

    #[tokio::test]
    async fn a_renewal_fails_and_the_session_stays_where_it_is_if_its_record_is_refused() {
        let (now, end) = (Timestamp::from_millis(1), Timestamp::from_millis(9));
        let [old, new] = [1, 2].map(|byte| StoreKey::from_bytes([byte; 32]));
        let store = SmallestStore { has_unique_handles: true, ..SmallestStore::default() };
        let record = Arc::new(Record::new(Handle::from_bytes([0; 16]), now, end));
        assert!(store.create(&old, Arc::clone(&record), now).await.unwrap());
        let forward = Forward { successor: Some([3; 32]), grace_until: now, expires_at: end };
        let renewal = Renewal { old, expected: record.version, new, record: Arc::clone(&record), forward };
        let error = store.renew(renewal, now).await.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("overrides `renew`"));
        assert_eq!(store.load(&old, now).await.unwrap(), Some(Entry::Live(record)));
    }
}
