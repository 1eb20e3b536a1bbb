//! The store as a request sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::Config;
use crate::clock::Timestamp;
use crate::random;
use crate::record::Record;
use crate::record::id::SessionId;
use crate::store::{Answer, Entry, ErasedStore, Limited, Outcome, Renewal, Store, StoreError};

/// Where the records are.
#[derive(Clone, Debug)]
pub(crate) struct ServerState {
    pub(crate) store: Arc<dyn ErasedStore>,
    /// The mark of the next write. It begins anywhere, so that two nodes seldom use the same.
    marks: Arc<AtomicU32>,
}

impl ServerState {
    pub(crate) fn new(store: impl Store) -> Self {
        let marks = AtomicU32::new(u32::from_ne_bytes(random::nonce()));
        Self { store: Arc::new(store), marks: Arc::new(marks) }
    }

    /// Returns what tells one write of a version from another.
    pub(in crate::state) fn mark(&self) -> u32 {
        self.marks.fetch_add(1, Ordering::Relaxed)
    }
}

/// The calls of the store, for IDs instead of keys and with the layer's time limit.
#[derive(Clone, Copy)]
pub(super) struct Records<'c> {
    pub(super) config: &'c Config,
    pub(super) server: &'c ServerState,
}

impl<'c> Records<'c> {
    pub(super) fn load<'a>(self, id: &'a SessionId, now: Timestamp) -> Limited<'a, Option<Entry>>
    where
        'c: 'a,
    {
        self.within(self.server.store.load(id.store_key(), now))
    }

    pub(super) fn create<'a>(self, id: &'a SessionId, record: &Arc<Record>, now: Timestamp) -> Limited<'a, bool>
    where
        'c: 'a,
    {
        self.within(self.server.store.create(id.store_key(), Arc::clone(record), now))
    }

    pub(super) fn update<'a>(
        self,
        id: &'a SessionId,
        expected: u64,
        record: &Arc<Record>,
        now: Timestamp,
    ) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        self.within(self.server.store.update(id.store_key(), expected, Arc::clone(record), now))
    }

    pub(super) fn touch<'a>(
        self,
        id: &'a SessionId,
        expected: u64,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        self.within(self.server.store.touch(id.store_key(), expected, now, expires_at, now))
    }

    pub(super) fn renew(self, renewal: Renewal, now: Timestamp) -> Limited<'c, Outcome> {
        self.within(self.server.store.renew(renewal, now))
    }

    pub(super) fn delete<'a>(self, id: &'a SessionId, now: Timestamp) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        self.within(self.server.store.delete(id.store_key(), now))
    }

    pub(super) fn failed(self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::failed(self.server.store.name(), source)
    }

    fn within<T>(self, answer: Answer<'_, T>) -> Limited<'_, T> {
        answer.within(self.config.store_timeout, self.server.store.name())
    }
}
