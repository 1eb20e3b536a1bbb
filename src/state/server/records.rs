//! Store access by ID, with the layer's time limit and with decrypted values.

use std::sync::Arc;

use super::super::at_rest::{self, Opened, SealedRow};
use super::super::config::Config;
use super::super::loaded::StoredSession;
use super::super::part::Rows;
use super::super::retry::Calls;
use super::server_state::ServerState;
use crate::clock::Timestamp;
use crate::record::id::SessionId;
use crate::record::{Record, Version};
use crate::store::{Answer, Entry, Forward, Limited, Outcome, RecordCall, Renewal, StoreError};

/// Calls of the store.
#[derive(Clone, Copy)]
pub(in crate::state) struct Records<'c> {
    pub(in crate::state) config: &'c Config,
    pub(in crate::state) server: &'c ServerState,
}

/// A record from the store, whose values may be encrypted.
#[derive(Debug)]
pub(in crate::state) struct Unopened(Arc<Record>);

/// Entry found under an ID.
#[derive(Debug)]
pub(in crate::state) enum Found {
    Live(Unopened),
    Retired(Forward),
}

/// Outcome of a write.
#[derive(Debug)]
pub(in crate::state) enum WriteOutcome {
    Done,
    /// The record is live and has another version. Holds the record if the store returned it in the same round trip.
    Conflict(Option<Unopened>),
    /// The session was renewed and has another ID.
    Retired(Forward),
    /// Nothing live is under the ID.
    Gone,
}

impl Unopened {
    /// Returns the record, for everything but its values.
    pub(in crate::state) fn record(&self) -> &Record {
        &self.0
    }
}

impl From<Entry> for Found {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Live(record) => Self::Live(Unopened(record)),
            Entry::Retired(forward) => Self::Retired(forward),
        }
    }
}

impl From<Outcome> for WriteOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Conflict(record) => Self::Conflict(record.map(Unopened)),
            Outcome::Retired(forward) => Self::Retired(forward),
            Outcome::Gone => Self::Gone,
        }
    }
}

impl<'c> Records<'c> {
    pub(in crate::state) fn calls(self) -> Calls<'c> {
        Calls::new(self.config, &*self.server.store)
    }

    /// Loads the entry of an ID.
    pub(in crate::state) async fn load(self, id: &SessionId, now: Timestamp) -> Result<Option<Found>, StoreError> {
        Ok(self.entry(id, now).await?.map(Found::from))
    }

    /// Loads the entry without wrapping the call in another future.
    #[inline(always)]
    pub(super) fn entry<'a>(self, id: &'a SessionId, now: Timestamp) -> Limited<'a, Option<Entry>>
    where
        'c: 'a,
    {
        self.limit(self.server.store.load(id.store_key(), now))
    }

    /// Decrypts a record's values.
    pub(in crate::state) fn open(self, id: &SessionId, record: Unopened) -> Result<Arc<Record>, StoreError> {
        self.open_noting_form(id, record).map(|opened| opened.record)
    }

    /// Decrypts a record's values and returns the form it was read in.
    #[inline]
    pub(super) fn open_noting_form(self, id: &SessionId, record: Unopened) -> Result<Opened, StoreError> {
        let (at_rest, row) = (self.server.at_rest.as_ref(), || SealedRow::of_session(id));
        at_rest::open(at_rest, row, record.0, || self.config.now())
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
            None => self.limit(self.server.store.create(key, record, now)).await,
            Some(rows) => {
                let written = self.with_rows(rows, "create", RecordCall::Create { key, record }, now).await;
                written.map(|outcome| outcome == Outcome::Done)
            }
        }
    }

    /// Replaces a record that has the `expected` version, and writes rows of parts along with it.
    #[inline(always)]
    pub(super) fn update<'a>(
        self,
        id: &'a SessionId,
        expected: Version,
        record: &Arc<Record>,
        rows: Option<Box<Rows>>,
        now: Timestamp,
    ) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        let (key, record) = (id.store_key(), self.sealed(id, record));
        match rows {
            None => self.limit(self.server.store.update(key, expected, record, now)),
            Some(rows) => self.with_rows(rows, "update", RecordCall::Update { key, expected, record }, now),
        }
    }

    /// Moves a session to a new ID, and writes rows of parts along with it.
    pub(super) fn renew(
        self,
        old: &StoredSession,
        (new, record): (&SessionId, &Arc<Record>),
        forward: Forward,
        rows: Option<Box<Rows>>,
        now: Timestamp,
    ) -> Limited<'c, Outcome> {
        let (expected, record) = (old.record.version, self.sealed(new, record));
        let renewal = Renewal { old: *old.id.store_key(), expected, new: *new.store_key(), record, forward };
        match rows {
            None => self.limit(self.server.store.renew(renewal, now)),
            Some(rows) => self.with_rows(rows, "renew", RecordCall::Renew(renewal), now),
        }
    }

    pub(super) fn delete<'a>(self, id: &'a SessionId, forward: Forward, now: Timestamp) -> Limited<'a, Outcome>
    where
        'c: 'a,
    {
        self.limit(self.server.store.delete(id.store_key(), Some(forward), now))
    }

    /// Returns the record to store, encrypted if so configured.
    pub(super) fn sealed(self, id: &SessionId, record: &Arc<Record>) -> Arc<Record> {
        at_rest::seal(self.server.at_rest.as_ref(), || SealedRow::of_session(id), record)
    }

    fn with_rows<'a>(
        self,
        rows: Box<Rows>,
        operation: &'static str,
        call: RecordCall<'a>,
        now: Timestamp,
    ) -> Limited<'a, Outcome> {
        self.limit(rows.write(self.server.store.name(), operation, call, now))
    }

    #[inline(always)]
    fn limit<T>(self, answer: Answer<'_, T>) -> Limited<'_, T> {
        self.calls().limit(answer)
    }
}
