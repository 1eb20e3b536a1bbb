//! A part that has a record of its own, in a store.

use std::sync::Arc;

use super::at_rest::{self, SealedRow};
use super::outside::StoredPart;
use super::server::{LostReplyError, MAX_ATTEMPTS, pause};
use super::{Config, ConflictPolicy, State, Work};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::part::InStore;
use crate::random;
use crate::record::changes::Change;
use crate::record::lifetime::LONGEST_UNUSED;
use crate::record::{Handle, Record, StoreKey, Values, version_after};
use crate::seal::KeyRing;
use crate::store::{Answer, Entry, Outcome, StoreError, StoreErrorKind};

/// Under which key the record holds the part.
const PART_KEY: &str = "part";

/// The record of a part of one session.
pub(super) struct PartRecord<'c> {
    config: &'c Config,
    place: &'c InStore,
    name: &'static str,
    key: StoreKey,
    handle: Handle,
    session: Handle,
    keys: Option<&'c KeyRing>,
}

impl<'c> PartRecord<'c> {
    pub(super) fn new(config: &'c Config, place: &'c InStore, name: &'static str, session: Handle) -> Self {
        let (key, handle) = StoreKey::of_part(session, name);
        let keys_of_layer = match &config.state {
            State::Server(server) => server.at_rest.as_ref(),
            State::Client(_) => None,
        };
        Self { config, place, name, key, handle, session, keys: place.keys.as_ref().or(keys_of_layer) }
    }

    /// Loads the part, and lets it live as long as its session may.
    pub(super) async fn load(&self, session: &Record) -> Result<StoredPart, Error> {
        let Some(record) = self.find().await? else { return Ok(StoredPart::default()) };
        if self.is_ahead_of(&record, session.authenticated_at) {
            self.config.tell(&SessionEvent::RetiredIdUsed);
            return Ok(StoredPart::default());
        }
        let now = self.config.now();
        let deadline = self.config.timeouts.absolute_deadline(session.into());
        // Where there is no such deadline, half of the longest time is soon enough.
        if record.expires_at < deadline.unwrap_or(now.after(LONGEST_UNUSED / 2)) {
            let expires_at = deadline.unwrap_or(now.after(LONGEST_UNUSED));
            let store = &self.place.store;
            self.ask(|| store.touch(&self.key, record.version, now, expires_at, now)).await?;
        }
        self.read(&record)
    }

    /// Removes the part of a session that has ended, unless that was an older copy of one that goes on.
    pub(super) async fn delete_of(&self, session: &Record) -> Result<(), Error> {
        let is_of_copy = match &self.config.state {
            State::Server(_) => false,
            State::Client(_) => {
                self.find().await?.is_some_and(|record| self.is_ahead_of(&record, session.authenticated_at))
            }
        };
        if is_of_copy { Ok(()) } else { self.delete().await }
    }

    /// Whether the part was written after a login that a session knows nothing of.
    ///
    /// State in the cookie keeps its name through a login, and a copy of the cookie from before it stays what it was. Who
    /// has planted or seen that must not find what was written since.
    fn is_ahead_of(&self, part: &Record, authenticated_at: Option<Timestamp>) -> bool {
        matches!(self.config.state, State::Client(_)) && part.authenticated_at > authenticated_at
    }

    pub(super) async fn delete(&self) -> Result<(), Error> {
        let now = self.config.now();
        self.ask(|| self.place.store.delete(&self.key, now)).await?;
        Ok(())
    }

    /// Writes the part as the request has changed it. When another request was faster, the changes are made again on what
    /// it left.
    pub(super) async fn commit(&self, work: &mut Work) -> Result<(), Error> {
        for attempt in 0..MAX_ATTEMPTS {
            let part = work.draft.outside().and_then(|outside| outside.find(self.name));
            let Some((before, Some(value))) = part.map(|part| (part.version, part.value.clone())) else { break };
            let record = self.record(work, before, &value)?;
            let Some(newer) = self.write(before, &record).await? else {
                self.rebase(work, StoredPart { value: Some(value), version: Some(record.version) })?;
                work.changes.forget_part(self.name);
                return Ok(());
            };
            self.config.tell(&SessionEvent::Conflict { session: self.session });
            let is_copy = newer.as_ref().is_some_and(|newer| self.is_ahead_of(newer, record.authenticated_at));
            if is_copy || self.config.conflict_policy == ConflictPolicy::Fail {
                return Err(Error::conflict());
            }
            let newer = newer.map(|newer| self.read(&newer)).transpose()?;
            self.rebase(work, newer.unwrap_or_default())?;
            self.replay(work)?;
            pause(attempt).await?;
        }
        Err(Error::conflict())
    }

    /// Writes the record, and returns what is there instead if another request was faster.
    async fn write(&self, before: Option<u64>, record: &Arc<Record>) -> Result<Option<Option<Arc<Record>>>, Error> {
        let (store, now) = (&self.place.store, self.config.now());
        let mut is_doubtful = false;
        let outcome = loop {
            let written = match before {
                Some(expected) => self.within(store.update(&self.key, expected, self.sealed(record), now)).await,
                None => self
                    .within(store.create(&self.key, self.sealed(record), now))
                    .await
                    .map(|is_new| if is_new { Outcome::Done } else { Outcome::Conflict(None) }),
            };
            match written {
                Err(error) if error.kind() == StoreErrorKind::Failed && !is_doubtful => is_doubtful = true,
                written => break written.map_err(|error| self.error(error))?,
            }
        };
        let found = match outcome {
            Outcome::Done => return Ok(None),
            Outcome::Conflict(Some(found)) => Some(found),
            Outcome::Conflict(None) => self.find().await?,
            Outcome::Gone | Outcome::Retired(_) => None,
        };
        match found.as_ref().map(|found| found.version) {
            // It was written after all, and the reply was lost.
            Some(version) if version == record.version => Ok(None),
            version if is_doubtful && version != before => {
                Err(Error::unavailable(StoreError::failed(store.name(), LostReplyError("part")).into()))
            }
            _ => Ok(Some(found)),
        }
    }

    fn record(&self, work: &Work, before: Option<u64>, value: &[u8]) -> Result<Arc<Record>, Error> {
        let limit = self.config.max_record_size;
        if value.len() > limit {
            return Err(Error::too_large(self.name, value.len(), limit));
        }
        let (timeouts, now) = (&self.config.timeouts, self.config.now());
        let deadline = timeouts.absolute_deadline(work.draft.age(timeouts, now));
        let mark = u32::from_ne_bytes(random::bytes()?);
        let mut record = Record::new(self.handle, now, deadline.unwrap_or(now.after(LONGEST_UNUSED)));
        record.version = version_after(before.unwrap_or(0), mark);
        record.values = Values::from_pairs([(PART_KEY, value)]);
        if matches!(self.config.state, State::Client(_)) {
            record.authenticated_at = work.draft.authenticated_at(now);
        }
        Ok(Arc::new(record))
    }

    /// Bases the work on what the part is now.
    fn rebase(&self, work: &mut Work, stored: StoredPart) -> Result<(), Error> {
        let StoredPart { value, version } = stored;
        work.loaded.outside.get_or_insert_default().load(self.name, value.clone(), version);
        work.draft.outside_mut().load(self.name, value, version);
        Ok(())
    }

    fn replay(&self, work: &mut Work) -> Result<(), Error> {
        for change in work.changes.list() {
            if matches!(change, Change::Outside { part, .. } if *part == self.name) {
                work.draft.apply(change)?;
            }
        }
        Ok(())
    }

    async fn find(&self) -> Result<Option<Arc<Record>>, Error> {
        let now = self.config.now();
        match self.ask(|| self.place.store.load(&self.key, now)).await? {
            Some(Entry::Live(record)) => Ok(Some(record)),
            // A part is never renewed.
            Some(Entry::Retired(_)) | None => Ok(None),
        }
    }

    fn read(&self, record: &Record) -> Result<StoredPart, Error> {
        let opened = match self.keys {
            Some(keys) => at_rest::open(keys, &SealedRow::of_part(&self.key), record),
            None => Ok(Arc::new(record.clone())),
        };
        let opened = opened.map_err(|source| self.error(StoreError::undecodable(self.place.store.name(), source)))?;
        Ok(StoredPart { value: opened.values.get(PART_KEY).map(Arc::from), version: Some(record.version) })
    }

    fn sealed(&self, record: &Arc<Record>) -> Arc<Record> {
        match self.keys {
            Some(keys) => at_rest::seal(keys, &SealedRow::of_part(&self.key), record),
            None => Arc::clone(record),
        }
    }

    /// Asks the store, and once more if it fails, for what may be done twice.
    async fn ask<'a, T: Unpin + 'a>(&self, call: impl Fn() -> Answer<'a, T>) -> Result<T, Error> {
        let mut answer = self.within(call()).await;
        if answer.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Failed) {
            answer = self.within(call()).await;
        }
        answer.map_err(|error| self.error(error))
    }

    async fn within<T: Unpin>(&self, answer: Answer<'_, T>) -> Result<T, StoreError> {
        answer.within(self.config.store_timeout, self.place.store.name()).await
    }

    fn error(&self, error: StoreError) -> Error {
        match error.kind() {
            StoreErrorKind::TooLarge { size, limit } => Error::too_large(self.name, size, limit),
            StoreErrorKind::Undecodable => {
                self.config.tell(&SessionEvent::UndecodableRecord);
                Error::decode(self.name, error.into())
            }
            _ => error.into(),
        }
    }
}
