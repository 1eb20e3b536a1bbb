//! The index of sessions by principal.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{Handle, Record, StoreKey};

/// Only writes of sessions with a principal use the index.
const SHARDS: usize = 64;

/// The index of all records that have a principal.
///
/// It changes only while the shards of the affected records are locked, so it is exact for a key whose shard is locked.
/// Lock order: shards of records first, then shards of the index. No code that holds a lock of the index waits for a
/// record.
pub(super) struct Index {
    hasher: RandomState,
    shards: Box<[Mutex<BTreeSet<IndexEntry>>]>,
}

/// The hash of the principal, the handle of the session, and its key. Hash collisions are harmless: readers compare the
/// principal in the record.
type IndexEntry = (u64, Handle, StoreKey);

const FIRST_KEY: StoreKey = StoreKey::from_bytes([0; 32]);
const LAST_KEY: StoreKey = StoreKey::from_bytes([0xff; 32]);
const FIRST_HANDLE: Handle = Handle::from_bytes([0; 16]);
const LAST_HANDLE: Handle = Handle::from_bytes([0xff; 16]);

impl Index {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Adds a record that is about to be written under a key.
    #[inline]
    pub(super) fn insert(&self, key: &StoreKey, record: &Record) {
        if let Some(principal) = &record.principal {
            let hash = self.hash(principal);
            self.lock(hash).insert((hash, record.handle, *key));
        }
    }

    /// Removes the record under a key.
    #[inline]
    pub(super) fn remove(&self, key: &StoreKey, record: &Record) {
        if let Some(principal) = &record.principal {
            let hash = self.hash(principal);
            self.lock(hash).remove(&(hash, record.handle, *key));
        }
    }

    /// Replaces a record by another one, under the same key or a new one.
    #[inline]
    pub(super) fn replace(&self, old: (&StoreKey, &Record), new: (&StoreKey, &Record)) {
        if old.1.principal.is_some() || new.1.principal.is_some() {
            self.replace_named(old, new);
        }
    }

    fn replace_named(&self, (old_key, old): (&StoreKey, &Record), (new_key, new): (&StoreKey, &Record)) {
        match (&old.principal, &new.principal) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) || before == after => {
                let stays = std::ptr::eq(old_key, new_key) && old.handle == new.handle;
                if !stays {
                    // In one step: during a renewal the session is in the index exactly once.
                    let hash = self.hash(after);
                    let mut entries = self.lock(hash);
                    entries.remove(&(hash, old.handle, *old_key));
                    entries.insert((hash, new.handle, *new_key));
                }
            }
            _ => {
                self.remove(old_key, old);
                self.insert(new_key, new);
            }
        }
    }

    /// Returns the key of a session of a principal, if there is one.
    pub(super) fn find(&self, principal: &str, handle: &Handle) -> Option<StoreKey> {
        let hash = self.hash(principal);
        let all = (hash, *handle, FIRST_KEY)..=(hash, *handle, LAST_KEY);
        self.lock(hash).range(all).next().map(|(_, _, key)| *key)
    }

    /// Returns the handles and keys of up to `limit` sessions of a principal, in the order of their handles.
    pub(super) fn page(&self, principal: &str, after: Option<&Handle>, limit: usize) -> Vec<(Handle, StoreKey)> {
        let hash = self.hash(principal);
        let first = match after {
            Some(after) => Bound::Excluded((hash, *after, LAST_KEY)),
            None => Bound::Included((hash, FIRST_HANDLE, FIRST_KEY)),
        };
        let rest = (first, Bound::Included((hash, LAST_HANDLE, LAST_KEY)));
        self.lock(hash).range(rest).take(limit).map(|(_, handle, key)| (*handle, *key)).collect()
    }

    fn hash(&self, principal: &str) -> u64 {
        self.hasher.hash_one(principal)
    }

    /// No code that can panic runs under the lock while a set is inconsistent.
    fn lock(&self, hash: u64) -> MutexGuard<'_, BTreeSet<IndexEntry>> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn has(&self, key: &StoreKey, record: &Record) -> bool {
        let hash = self.hash(record.principal.as_deref().unwrap_or_default());
        self.lock(hash).contains(&(hash, record.handle, *key))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        (0..SHARDS as u64).map(|shard| self.lock(shard).len()).sum()
    }
}
