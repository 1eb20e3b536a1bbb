//! The store and the calls about one session.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::index::Index;
use super::shard::{SHARDS, Shard, Slot, shard_index};
use crate::clock::Timestamp;
use crate::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};

const NAME: &str = "memory";

/// Store in the memory of this process: fast, and lost when the process ends.
///
/// It is for single processes and tests, and the reference implementation of the [`Store`] contract. Clones share their
/// sessions. Requests for different sessions rarely wait for each other. An index finds sessions by their principal;
/// anonymous sessions are not in it.
///
/// Expired sessions are never returned. Writes remove some of them, so the store stays bounded without a sweeper.
/// Run [`SessionLayer::sweeper`](crate::SessionLayer::sweeper) beside the server to remove all of them in time, also
/// while nothing is written.
///
/// ```
/// use session_state::{MemoryStore, SessionLayer};
///
/// let store = MemoryStore::new().with_max_sessions(1_000_000);
/// let sessions = SessionLayer::server(store.clone());
/// assert_eq!(store.len(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    shards: Box<[Mutex<Shard>]>,
    pub(super) index: Index,
    /// The number of sessions in all shards, including expired ones.
    sessions: AtomicUsize,
    /// The number of forwards in all shards, including expired ones.
    forwards: AtomicUsize,
    max_sessions: AtomicUsize,
    /// The shard at which the next sweep begins.
    sweep_from: AtomicUsize,
    /// The time of the next search for expired sessions in a full store, in milliseconds.
    next_search: AtomicU64,
}

/// The minimum interval between two searches for expired sessions in a full store.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

impl MemoryStore {
    /// Creates an empty store without a limit.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            index: Index::new(),
            sessions: AtomicUsize::new(0),
            forwards: AtomicUsize::new(0),
            max_sessions: AtomicUsize::new(usize::MAX),
            sweep_from: AtomicUsize::new(0),
            next_search: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the maximum number of sessions. The default is no limit.
    ///
    /// A full store deletes expired sessions, at most once a second. If that makes no room, it rejects new sessions:
    /// the response is 503, with [`StoreErrorKind::Full`](crate::store::StoreErrorKind::Full) as the source of the
    /// error. It never evicts a live session: otherwise an attacker could log all users out by creating sessions.
    /// Changes, renewals and logins of existing sessions still succeed.
    ///
    /// The forward that a renewal or an end leaves under the old ID does not count as a session. The number of forwards
    /// is limited to about `max_sessions` too: one beyond that evicts another, one that expires soon. The
    /// lease of a login (see [`SessionLayer::with_max_sessions`](crate::SessionLayer::with_max_sessions)) does not
    /// count either.
    ///
    /// The limit applies to all clones of the store.
    #[must_use]
    pub fn with_max_sessions(self, max_sessions: usize) -> Self {
        self.inner.max_sessions.store(max_sessions, Ordering::Relaxed);
        self
    }

    /// Returns the number of sessions, including expired ones that were not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.sessions.load(Ordering::Relaxed)
    }

    /// Returns whether the store has no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn shard(&self, key: &StoreKey) -> MutexGuard<'_, Shard> {
        self.lock(shard_index(key))
    }

    /// No code that can panic runs under the lock while a shard is inconsistent, so a poisoned one is consistent.
    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.inner.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the shards of two keys, always in the same order, and passes them to `work`.
    fn with_both<T>(
        &self,
        old: &StoreKey,
        new: &StoreKey,
        work: impl FnOnce(&mut Shard, Option<&mut Shard>) -> T,
    ) -> T {
        let (old, new) = (shard_index(old), shard_index(new));
        if old == new {
            return work(&mut self.lock(old), None);
        }
        let (mut first, mut second) = (self.lock(old.min(new)), self.lock(old.max(new)));
        if old < new { work(&mut first, Some(&mut second)) } else { work(&mut second, Some(&mut first)) }
    }

    /// Counts a new session, if the limit allows it.
    fn reserve(&self) -> bool {
        let max_sessions = self.inner.max_sessions.load(Ordering::Relaxed);
        let one_more = |sessions| (sessions < max_sessions).then_some(sessions + 1);
        self.inner.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Deletes expired sessions, unless another call has just done so.
    fn make_room(&self, now: Timestamp) {
        let next = now.after(SEARCH_INTERVAL).as_millis();
        // A search that is due later than one interval from now was noted before the clock was set back.
        let is_due = |due| (now.as_millis() >= due || due > next).then_some(next);
        if self.inner.next_search.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
            self.sweep_at(now, usize::MAX);
        }
    }

    /// Deletes the entry of a key, and leaves `forward` in its place. The caller has locked the shard.
    pub(super) fn end(&self, shard: &mut Shard, key: &StoreKey, forward: Option<Forward>) {
        if let Some(slot) = shard.remove(key) {
            self.forget(key, &slot);
        }
        if let Some(forward) = forward {
            self.retire(shard, *key, forward);
        }
    }

    /// Replaces a session by a forward. If there are too many forwards, evicts another one of the shard.
    fn retire(&self, shard: &mut Shard, key: StoreKey, forward: Forward) {
        if self.inner.forwards.load(Ordering::Relaxed) >= self.inner.max_sessions.load(Ordering::Relaxed) {
            let forwards = shard.iter().filter_map(|(key, slot)| Some((slot.forward()?.expires_at, *key)));
            if let Some((_, first)) = forwards.min_by_key(|(expires_at, _)| *expires_at) {
                shard.remove(&first);
                self.inner.forwards.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.inner.forwards.fetch_add(1, Ordering::Relaxed);
        shard.insert(key, Slot::Retired(Box::new(forward)));
    }

    /// Removes a deleted slot from the index and from the counts. The caller has locked its shard.
    pub(super) fn forget(&self, key: &StoreKey, slot: &Slot) {
        match slot {
            Slot::Live(record) => {
                self.inner.index.remove(key, record);
                if !is_lease(key, record) {
                    self.inner.sessions.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Slot::Retired(_) => drop(self.inner.forwards.fetch_sub(1, Ordering::Relaxed)),
        }
    }

    fn sweep_at(&self, now: Timestamp, limit: usize) -> usize {
        let mut removed = 0;
        for _ in 0..SHARDS {
            if removed >= limit {
                break;
            }
            let index = self.inner.sweep_from.fetch_add(1, Ordering::Relaxed) % SHARDS;
            removed += self.lock(index).remove_expired(now, |key, slot| self.forget(key, slot));
        }
        removed
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    const NEVER_WAITS: bool = true;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        Ok(self.shard(key).get(key).filter(|slot| !slot.is_expired(now)).map(Slot::to_entry))
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match (expected, entry) {
            (None, Entry::Live(record)) => self.create(key, record, now).await,
            (Some(expected), Entry::Live(record)) => {
                Ok(self.update(key, expected, record, now).await? == Outcome::Done)
            }
            (expected, Entry::Retired(forward)) => {
                let mut shard = self.shard(key);
                let found = shard.get(key).filter(|slot| !slot.is_expired(now)).map(Slot::version);
                let applies = found == expected.map(Some);
                if applies {
                    self.end(&mut shard, key, Some(forward));
                }
                Ok(applies)
            }
        }
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let is_session = !is_lease(key, &record);
        if is_session && !self.reserve() {
            self.make_room(now);
            if !self.reserve() {
                return Err(StoreError::full(NAME));
            }
        }
        let mut shard = self.shard(key);
        if let Some(slot) = shard.get(key) {
            if !slot.is_expired(now) {
                self.inner.sessions.fetch_sub(usize::from(is_session), Ordering::Relaxed);
                return Ok(false);
            }
            self.forget(key, slot);
        }
        self.inner.index.insert(key, &record);
        shard.insert(*key, Slot::Live(record));
        shard.sweep_some(now, |key, slot| self.forget(key, slot));
        Ok(true)
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let mut shard = self.shard(key);
        let has_expired = record.is_expired(now);
        match live_of_version(shard.get_mut(key), expected, now) {
            Ok(current) => {
                self.inner.index.replace((key, current), (key, &record));
                *current = record;
            }
            Err(outcome) => return Ok(outcome),
        }
        if has_expired && let Some(slot) = shard.remove(key) {
            self.forget(key, &slot);
        }
        shard.sweep_after_write(now, |key, slot| self.forget(key, slot));
        Ok(Outcome::Done)
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let Touch { expected, last_seen_at, expires_at } = touch;
        let mut shard = self.shard(key);
        match live_of_version(shard.get_mut(key), expected, now) {
            Ok(current) => {
                let record = Arc::make_mut(current);
                record.last_seen_at = record.last_seen_at.max(last_seen_at);
                record.expires_at = record.expires_at.max(expires_at);
            }
            Err(outcome) => return Ok(outcome),
        }
        shard.sweep_after_write(now, |key, slot| self.forget(key, slot));
        Ok(Outcome::Done)
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        if self.inner.forwards.load(Ordering::Relaxed) >= self.inner.max_sessions.load(Ordering::Relaxed) {
            self.make_room(now);
        }
        Ok(self.with_both(&old, &new, |old_shard, new_shard| {
            match live_of_version(old_shard.get_mut(&old), expected, now) {
                Ok(current) => self.inner.index.replace((&old, current), (&new, &record)),
                Err(outcome) => return outcome,
            }
            // It is the same session, so the count stays.
            self.retire(old_shard, old, forward);
            let new_shard = new_shard.unwrap_or(old_shard);
            new_shard.insert(new, Slot::Live(record));
            new_shard.sweep_some(now, |key, slot| self.forget(key, slot));
            Outcome::Done
        }))
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let mut shard = self.shard(key);
        match shard.get(key) {
            None => return Ok(Outcome::Gone),
            Some(slot) if slot.is_expired(now) => return Ok(Outcome::Gone),
            Some(Slot::Retired(forward)) => return Ok(Outcome::Retired((**forward).clone())),
            Some(Slot::Live(_)) => {}
        }
        self.end(&mut shard, key, forward);
        shard.sweep_after_write(now, |key, slot| self.forget(key, slot));
        Ok(Outcome::Done)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Ok(self.sweep_at(now, limit))
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Some(PrincipalFinder::of(self))
    }
}

impl FindPrincipals for MemoryStore {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let mut sessions = Vec::new();
        if limit > 0 {
            self.each_session(principal, after, now, |record| {
                sessions.push(record);
                sessions.len() < limit
            });
        }
        Ok(sessions)
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let mut count = 0;
        self.each_session(principal, None, now, |_| {
            count += 1;
            true
        });
        Ok(count)
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        Ok(sessions.iter().filter(|handle| self.end_session(principal, handle, Some(&forward), now)).copied().collect())
    }
}

/// Whether a record is the lease of a login, which is deleted at the end of the login.
fn is_lease(key: &StoreKey, record: &Record) -> bool {
    record.handle == key.lease_handle()
}

/// Returns the live record of the expected version, or the outcome if there is none.
fn live_of_version(slot: Option<&mut Slot>, expected: Version, now: Timestamp) -> Result<&mut Arc<Record>, Outcome> {
    match slot.filter(|slot| !slot.is_expired(now)) {
        Some(Slot::Live(record)) => {
            let version = record.version;
            if version == expected { Ok(record) } else { Err(Outcome::Conflict(Some(Arc::clone(record)))) }
        }
        Some(Slot::Retired(forward)) => Err(Outcome::Retired((**forward).clone())),
        None => Err(Outcome::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(0);
    const END: Timestamp = Timestamp::from_millis(10);

    /// Returns a forward that has expired.
    fn over(now: Timestamp) -> Forward {
        Forward { expires_at: now, ..Forward::ended(now) }
    }

    fn key(n: u32) -> StoreKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        bytes[28..].copy_from_slice(&n.to_be_bytes());
        StoreKey::from_bytes(bytes)
    }

    /// Returns a record, with or without a principal.
    fn record_of(n: u32, principal: Option<&str>) -> Arc<Record> {
        let mut handle = [0; 16];
        handle[..4].copy_from_slice(&n.to_le_bytes());
        let record = Record::new(Handle::from_bytes(handle), START, END);
        Arc::new(Record { principal: principal.map(Into::into), ..record })
    }

    fn renewal(n: u32, new: u32, principal: Option<&str>) -> Renewal {
        let forward = Forward { successor: None, grace_until: START, expires_at: END };
        Renewal { old: key(n), expected: Version::FIRST, new: key(new), record: record_of(n, principal), forward }
    }

    /// Asserts that the index has exactly the records that have a principal.
    fn assert_index_is_exact(store: &MemoryStore) {
        let mut named = 0;
        for index in 0..SHARDS {
            for (key, slot) in store.lock(index).iter() {
                if let Slot::Live(record) = slot
                    && record.principal.is_some()
                {
                    named += 1;
                    assert!(store.inner.index.has(key, record), "a session with a principal is not in the index");
                }
            }
        }
        assert_eq!(store.inner.index.len(), named, "index entries and records with a principal");
    }

    #[tokio::test]
    async fn a_store_that_is_never_swept_does_not_grow() {
        for (live, renews) in [(1_000, false), (30_000, false), (10_000, true)] {
            let store = MemoryStore::new();
            let (mut most, spread) = (0, |n: u32| key(n.wrapping_mul(0x9e37_79b1)));
            for n in 0..100_000 {
                let now = Timestamp::from_millis(n.into());
                let end = now.after(Duration::from_millis(live));
                let principal = Some("somebody").filter(|_| n % 2 == 0);
                let record = Arc::new(Record { expires_at: end, ..Record::clone(&record_of(n, principal)) });
                assert!(store.create(&spread(n), Arc::clone(&record), now).await.expect("an answer"));
                if renews {
                    let forward = Forward { successor: None, grace_until: now, expires_at: end };
                    let (old, new) = (spread(n), spread(n + 1_000_000));
                    let renewal = Renewal { old, expected: Version::FIRST, new, record, forward };
                    assert_eq!(store.renew(renewal, now).await.expect("an answer"), Outcome::Done);
                }
                if n % 1_000 == 0 {
                    most = most.max((0..SHARDS).map(|index| store.lock(index).len()).sum());
                }
            }
            let entries = if renews { 2 * live } else { live };
            assert!(most as u64 <= 3 * entries, "{most} entries, of which {entries} live");
            assert!(store.len() <= most);
            assert_index_is_exact(&store);
        }
    }

    #[tokio::test]
    async fn an_anonymous_session_is_not_in_the_index() {
        let store = MemoryStore::new();
        store.create(&key(1), record_of(1, None), START).await.expect("an answer");
        store.update(&key(1), Version::FIRST, record_of(1, None), START).await.expect("an answer");
        store.renew(renewal(1, 2, None), START).await.expect("an answer");
        assert_eq!((store.len(), store.inner.index.len()), (1, 0));
    }

    #[tokio::test]
    async fn the_index_drops_sessions_that_ended_or_became_anonymous() {
        let store = MemoryStore::new();
        for n in 0..600 {
            let principal = format!("user {}", n % 100);
            store.create(&key(n), record_of(n, Some(&principal)), START).await.expect("an answer");
            assert_index_is_exact(&store);
            match n % 6 {
                0 => assert_eq!(store.delete(&key(n), None, START).await.expect("an answer"), Outcome::Done),
                1 => {
                    let handle = record_of(n, None).handle;
                    let ended = store.revoke(&principal, &[handle], over(START), START).await.expect("an answer");
                    assert_eq!(ended, [handle]);
                }
                2 => {
                    let outcome =
                        store.update(&key(n), Version::FIRST, record_of(n, None), START).await.expect("an answer");
                    assert_eq!(outcome, Outcome::Done);
                }
                3 => {
                    let outcome = store.renew(renewal(n, n + 1_000, None), START).await.expect("an answer");
                    assert_eq!(outcome, Outcome::Done);
                }
                4 => assert!(store.create(&key(n), record_of(n, None), END).await.expect("an answer")),
                _ => {
                    store.renew(renewal(n, n + 1_000, Some(&principal)), START).await.expect("an answer");
                    assert_index_is_exact(&store);
                }
            }
            assert_index_is_exact(&store);
        }
        assert_eq!(store.inner.index.len(), 100, "those that were renewed");
        store.sweep_at(END, usize::MAX);
        assert_eq!(store.inner.index.len(), 0);
    }

    /// Creates, changes, renews and ends sessions, reusing a few keys. Returns the largest number of index entries.
    async fn use_at_random(store: &MemoryStore, thread: u32) -> Result<usize, StoreError> {
        let mut random = 0x9e37_79b9_u32.wrapping_mul(thread + 1);
        let (mut moved, mut most) = (0, 0);
        for step in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (n, now) = ((random >> 8) % 16, if random >> 28 == 0 { END } else { START });
            let principal = ["a", "b"].get(((random >> 12) % 3) as usize).copied();
            let record = record_of(n, principal);
            match (random >> 16) % 8 {
                0 | 1 => drop(store.create(&key(n), record, now).await?),
                2 => drop(store.update(&key(n), Version::FIRST, record, now).await?),
                3 => drop(store.delete(&key(n), None, now).await?),
                4 => drop(store.revoke(principal.unwrap_or("a"), &[record.handle], over(now), now).await?),
                5 => drop(store.list(principal.unwrap_or("b"), None, 10, now).await?),
                6 => {
                    moved = 1_000 + thread * 100_000 + step;
                    drop(store.renew(renewal(n, moved, principal), now).await?);
                }
                _ if step % 100 == 0 => drop(store.sweep(END, usize::MAX).await?),
                _ => drop(store.delete(&key(moved), None, now).await?),
            }
            if step % 50 == 0 {
                most = most.max(store.inner.index.len());
            }
        }
        Ok(most)
    }

    #[test]
    fn the_index_is_exact_after_many_threads_have_used_the_store() {
        let store = MemoryStore::new();
        let work = |thread| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(use_at_random(&store, thread)).expect("an answer")
        };
        let most: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        assert!(most.iter().all(|most| *most > 0), "no thread saw the index in use: {most:?}");
        assert_index_is_exact(&store);
        store.sweep_at(END, usize::MAX);
        assert_eq!((store.inner.index.len(), store.len()), (0, 0));
    }

    #[test]
    fn a_sweep_frees_the_memory_of_removed_entries() {
        let store = MemoryStore::new();
        let record = |end| {
            let handle = crate::record::Handle::from_bytes([0; 16]);
            Slot::Live(Arc::new(Record::new(handle, Timestamp::from_millis(0), Timestamp::from_millis(end))))
        };
        for n in 0..1_000_u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            // All in one shard; every hundredth stays live.
            store.lock(0).insert(StoreKey::from_bytes(bytes), record(if n % 100 == 0 { 20 } else { 10 }));
            assert!(store.reserve());
        }
        assert_eq!(store.sweep_at(Timestamp::from_millis(10), usize::MAX), 990);
        let shard = store.lock(0);
        assert_eq!((shard.len(), store.len()), (10, 10));
        assert!(shard.capacity() < 100, "room for {} is left", shard.capacity());
    }
}
