//! The calls about the sessions of a principal.

use std::sync::Arc;

use super::shard::Slot;
use super::store::MemoryStore;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey};
use crate::store::Forward;

/// How many index entries are read under one lock, so that a principal with many sessions does not block others.
const PAGE: usize = 128;

impl MemoryStore {
    /// Passes the live sessions of a principal to `show` in the order of their handles, until it returns `false`.
    pub(super) fn each_session(
        &self,
        principal: &str,
        after: Option<&Handle>,
        now: Timestamp,
        mut show: impl FnMut(Arc<Record>) -> bool,
    ) {
        let mut after = after.copied();
        loop {
            let entries = self.inner.index.page(principal, after.as_ref(), PAGE);
            for (handle, key) in &entries {
                let session = self.session(principal, handle, *key, now);
                if session.is_some_and(|record| !show(record)) {
                    return;
                }
            }
            match entries.last() {
                Some((handle, _)) if entries.len() == PAGE => after = Some(*handle),
                _ => return,
            }
        }
    }

    /// Returns a live session of a principal that was under this key, following renewals since.
    fn session(&self, principal: &str, handle: &Handle, mut key: StoreKey, now: Timestamp) -> Option<Arc<Record>> {
        loop {
            if let Some(Slot::Live(record)) = self.shard(&key).get(&key)
                && record.handle == *handle
            {
                return is_theirs(record, principal, now).then(|| Arc::clone(record));
            }
            // Follow a renewal. If the index has the same key, the session was deleted and another one created.
            key = self.inner.index.find(principal, handle).filter(|moved| *moved != key)?;
        }
    }

    /// Deletes a live session of a principal, and returns whether there was one.
    pub(super) fn end_session(
        &self,
        principal: &str,
        handle: &Handle,
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> bool {
        let place = self.inner.index.find(principal, handle);
        place.is_some_and(|key| self.end_session_from(principal, (handle, key), forward, now))
    }

    /// Deletes a session that was under this key, following renewals since.
    fn end_session_from(
        &self,
        principal: &str,
        (handle, mut key): (&Handle, StoreKey),
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> bool {
        loop {
            let mut shard = self.shard(&key);
            if let Some(Slot::Live(record)) = shard.get(&key)
                && record.handle == *handle
            {
                let ends = is_theirs(record, principal, now);
                if ends {
                    self.end(&mut shard, &key, forward.cloned());
                }
                return ends;
            }
            drop(shard);
            match self.inner.index.find(principal, handle) {
                Some(moved) if moved != key => key = moved,
                _ => return false,
            }
        }
    }
}

fn is_theirs(record: &Record, principal: &str, now: Timestamp) -> bool {
    record.principal.as_deref() == Some(principal) && !record.is_expired(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Outcome, Renewal, Store as _, Version};

    const HANDLE: Handle = Handle::from_bytes([7; 16]);
    const NOW: Timestamp = Timestamp::from_millis(0);
    const END: Timestamp = Timestamp::from_millis(10);

    fn key(n: u8) -> StoreKey {
        StoreKey::from_bytes([n; 32])
    }

    /// Returns a store with a session of `a` that has moved from key 1 to key 2 and on to key 3.
    async fn with_a_session_that_moved() -> MemoryStore {
        let record = Arc::new(Record { principal: Some("a".into()), ..Record::new(HANDLE, NOW, END) });
        let store = MemoryStore::new();
        assert!(store.create(&key(1), Arc::clone(&record), NOW).await.expect("an answer"));
        for n in 1..3 {
            let forward = Forward { successor: None, grace_until: NOW, expires_at: END };
            let renewal = Renewal {
                old: key(n),
                expected: Version::FIRST,
                new: key(n + 1),
                record: Arc::clone(&record),
                forward,
            };
            assert_eq!(store.renew(renewal, NOW).await.expect("an answer"), Outcome::Done);
        }
        store
    }

    #[tokio::test]
    async fn a_session_renewed_since_the_index_was_read_is_found_and_ended() {
        for known in 1..=3 {
            let store = with_a_session_that_moved().await;
            assert!(store.session("a", &HANDLE, key(known), NOW).is_some());
            assert!(store.end_session_from("a", (&HANDLE, key(known)), None, NOW));
            assert!(!store.end_session_from("a", (&HANDLE, key(known)), None, NOW));
            assert!(store.session("a", &HANDLE, key(known), NOW).is_none());
            assert_eq!((store.inner.index.len(), store.len()), (0, 0));
        }
    }

    /// Simulates a hash collision of two principals, or a takeover since the index was read.
    #[tokio::test]
    async fn a_session_of_another_principal_is_neither_found_nor_ended() {
        let store = with_a_session_that_moved().await;
        for known in 1..=3 {
            assert!(store.session("b", &HANDLE, key(known), NOW).is_none());
            assert!(!store.end_session_from("b", (&HANDLE, key(known)), None, NOW));
            assert!(!store.end_session_from("a", (&HANDLE, key(known)), None, END));
        }
        assert_eq!((store.inner.index.len(), store.len()), (1, 1));
    }
}
