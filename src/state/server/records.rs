//! The store as a request sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::Config;
use super::super::at_rest::{self, SealedRow};
use super::rows::Rows;
use crate::clock::Timestamp;

use crate::random;
use crate::record::Record;
use crate::record::StoreKey;
use crate::record::id::SessionId;
use crate::seal::KeyRing;
use crate::store::{
    Answer, Entry, ErasedStore, Forward, Limited, Outcome, RecordCall, Renewal, Store, StoreError, StoreErrorKind,
};

/// Where the records are.
#[derive(Clone, Debug)]
pub(crate) struct ServerState {
    pub(crate) store: Arc<dyn ErasedStore>,
    /// The mark of the next write. It begins anywhere, so that two nodes seldom use the same.
    marks: Arc<AtomicU32>,
    /// Seals the values of the records, if they are to be sealed.
    pub(in crate::state) at_rest: Option<KeyRing>,
}

impl ServerState {
    pub(crate) fn new(store: impl Store) -> Self {
        let marks = AtomicU32::new(u32::from_ne_bytes(random::nonce()));
        Self { store: Arc::new(store), marks: Arc::new(marks), at_rest: None }
    }

    pub(crate) fn encrypt_at_rest(&mut self, keys: KeyRing) {
        self.at_rest = Some(keys);
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
    /// Returns what is under an ID. A live record is still to be [opened](Self::open).
    pub(super) fn load<'a>(self, id: &'a SessionId, now: Timestamp) -> Limited<'a, Option<Entry>>
    where
        'c: 'a,
    {
        self.within(self.server.store.load(id.store_key(), now))
    }

    /// Reads a record as the store gave it.
    pub(super) fn open(self, id: &SessionId, record: Arc<Record>) -> Result<Arc<Record>, StoreError> {
        let Some(keys) = &self.server.at_rest else { return Ok(record) };
        at_rest::open(keys, &SealedRow::of_session(id), &record)
            .map_err(|error| StoreError::undecodable(self.server.store.name(), error))
    }

    /// Creates a record, and the rows of its parts along with it.
    pub(super) async fn create(
        self,
        id: &SessionId,
        record: &Arc<Record>,
        rows: Option<Box<Rows>>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, record) = (id.store_key(), self.sealed(id, record));
        match rows {
            None => self.within(self.server.store.create(key, record, now)).await,
            Some(rows) => {
                let written = self.with_rows(rows, "create", RecordCall::Create { key, record }, now).await;
                written.map(|outcome| outcome == Outcome::Done)
            }
        }
    }

    #[inline(always)]
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
        self.within(self.server.store.update(id.store_key(), expected, self.sealed(id, record), now))
    }

    /// Changes a record, and the rows of its parts along with it.
    pub(super) fn update_with_rows<'a>(
        self,
        id: &'a SessionId,
        expected: u64,
        record: &Arc<Record>,
        rows: Box<Rows>,
        now: Timestamp,
    ) -> Limited<'a, Outcome> {
        let (key, record) = (id.store_key(), self.sealed(id, record));
        self.with_rows(rows, "update", RecordCall::Update { key, expected, record }, now)
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

    /// Moves the session from one ID, which has the `expected` version, to another.
    pub(super) fn renew(
        self,
        (old, expected): (&SessionId, u64),
        (new, record): (&SessionId, &Arc<Record>),
        forward: Forward,
        rows: Option<Box<Rows>>,
        now: Timestamp,
    ) -> Limited<'c, Outcome> {
        let (old, new, record) = (*old.store_key(), *new.store_key(), self.sealed(new, record));
        let renewal = Renewal { old, expected, new, record, forward };
        match rows {
            None => self.within(self.server.store.renew(renewal, now)),
            Some(rows) => self.with_rows(rows, "renew", RecordCall::Renew(renewal), now),
        }
    }

    pub(super) fn delete<'a>(self, id: &'a SessionId, now: Timestamp) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        self.within(self.server.store.delete(id.store_key(), now))
    }

    /// Puts a record that holds others off under a key, unless one is there. Whose it is shows in its handle.
    pub(super) async fn reserve(self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let store = &self.server.store;
        match self.within(store.create(key, Arc::clone(&record), now)).await {
            Err(error) if error.kind() == StoreErrorKind::Failed => {
                if self.within(store.create(key, Arc::clone(&record), now)).await? {
                    return Ok(true);
                }
                // It may be there from the first call, whose reply was lost.
                let found = self.within(store.load(key, now)).await?;
                Ok(matches!(found, Some(Entry::Live(found)) if found.handle == record.handle))
            }
            reserved => reserved,
        }
    }

    /// Removes what was reserved.
    pub(super) async fn release(self, key: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        self.within(self.server.store.delete(key, now)).await.map(drop)
    }

    pub(super) fn failed(self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::failed(self.server.store.name(), source)
    }

    /// Returns the record as the store is to keep it.
    pub(super) fn sealed(self, id: &SessionId, record: &Arc<Record>) -> Arc<Record> {
        match &self.server.at_rest {
            Some(keys) => at_rest::seal(keys, &SealedRow::of_session(id), record),
            None => Arc::clone(record),
        }
    }

    fn with_rows<'a>(
        self,
        rows: Box<Rows>,
        operation: &'static str,
        call: RecordCall<'a>,
        now: Timestamp,
    ) -> Limited<'a, Outcome> {
        self.within(rows.write(self.server.store.name(), operation, call, now))
    }

    #[inline(always)]
    fn within<T>(self, answer: Answer<'_, T>) -> Limited<'_, T> {
        answer.within(self.config.store_timeout, self.server.store.name())
    }
}
