//! A part that has a record of its own, in a store.
//!
//! Where the session is in a store too, its record refers to the text of the part that counts ([`PartRef`]). A request
//! that changes the session as well writes the part *ahead* of the session's record, beside the text that counts until
//! then. So the session's write decides: if that is refused, lost or never made, what was prepared is visible to no
//! one, and goes with the record of the part, which lives as long as its session. A request that changes nothing but
//! the part writes it in place: the part's record has the [generation](Record::generation) of the session's last login,
//! which tells whether the request's session is still the one that the part belongs to.
//!
//! Where the session is in the client's cookie, nothing can be referred to: of several cookies any may be the one that
//! counts. The latest text counts, under the rule of the generation, so that a copy of the cookie from before a login
//! neither finds nor changes what was written since.

use std::sync::Arc;

use super::super::at_rest::{self, SealedRow};
use super::super::config::{Config, State};
use super::super::loaded::Binding;
use super::super::retry::{Calls, LostReplyError, MAX_ATTEMPTS, pause};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::part::InStore;
use crate::random;
use crate::record::external::{PartRef, Prepared, Slot};
use crate::record::json_text::JsonText;
use crate::record::{Handle, Record, StoreKey, Values, Version};
use crate::seal::KeyRing;
use crate::store::{Entry, Outcome, StoreError, StoreErrorKind};

/// The record of a part of one session.
pub(crate) struct PartRecord<'c> {
    config: &'c Config,
    calls: Calls<'c>,
    name: &'static str,
    key: StoreKey,
    handle: Handle,
    keys: Option<&'c KeyRing>,
}

/// A part as it was found.
#[derive(Debug)]
pub(crate) enum FoundPart {
    Text(StoredText),
    /// The session has moved on: it refers to another text, or a login came between.
    Moved,
    Missing,
}

/// The text that was looked for.
#[derive(Debug)]
pub(crate) struct StoredText {
    pub(crate) text: JsonText,
    /// The version of the part's record.
    pub(crate) version: Version,
    /// Another request has prepared a text, which must not be written over before it is known what becomes of it.
    pub(crate) is_contested: bool,
    pub(crate) expires_at: Timestamp,
}

impl StoredText {
    /// Returns the version that a write may expect.
    pub(crate) fn expected(&self) -> Option<Version> {
        (!self.is_contested).then_some(self.version)
    }
}

/// State of a part's record after a failed compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Missing,
    /// It has nothing but the text that counts.
    Alone(Version),
    /// Another request has prepared a text.
    Contested(Version),
    /// The text that counts is another one than the request knows.
    Changed,
    /// A login came between.
    Ahead,
}

/// The texts of a part that are to be written, and what they belong to.
#[derive(Debug)]
pub(crate) struct PartWrite<'t> {
    /// The version that the record has now, if there is one.
    pub(crate) expected: Option<Version>,
    pub(crate) texts: &'t [(Slot, &'t JsonText)],
    pub(crate) session: Binding,
    pub(crate) expires_at: Timestamp,
    /// The version that the record gets.
    pub(crate) version: Version,
}

impl<'c> PartRecord<'c> {
    pub(crate) fn new(config: &'c Config, place: &'c InStore, name: &'static str, session: Handle) -> Self {
        let (key, handle) = StoreKey::of_part(session, name);
        let keys_of_layer = match &config.state {
            State::Server(server) => server.at_rest.as_ref(),
            State::Client(_) => None,
        };
        let (calls, keys) = (Calls::new(config, &*place.store), place.keys.as_ref().or(keys_of_layer));
        Self { config, calls, name, key, handle, keys }
    }

    /// Loads the text that a session refers to.
    pub(crate) async fn load(&self, slot: Slot, session: Binding) -> Result<FoundPart, Error> {
        let Some(record) = self.find().await? else { return Ok(FoundPart::Missing) };
        if is_ahead_of(&record, session) {
            return Ok(FoundPart::Moved);
        }
        let (version, expires_at, opened) = (record.version, record.expires_at, self.open(&record)?);
        let Some(text) = JsonText::of(&opened, &slot_key(slot)) else { return Ok(FoundPart::Moved) };
        let is_contested = opened.values.iter().nth(1).is_some();
        Ok(FoundPart::Text(StoredText { text, version, is_contested, expires_at }))
    }

    /// Returns what the record is now, to a request that knows the text that counts as `base`.
    pub(crate) async fn standing(
        &self,
        own: Option<Slot>,
        base: Option<&JsonText>,
        session: Binding,
    ) -> Result<Standing, Error> {
        let Some(record) = self.find().await? else { return Ok(Standing::Missing) };
        if is_ahead_of(&record, session) {
            return Ok(Standing::Ahead);
        }
        let own = own.map(slot_key);
        let opened = self.open(&record)?;
        let is_alone = opened.values.iter().all(|(key, _)| Some(key) == own.as_deref());
        let is_changed = own.is_some_and(|own| opened.values.get(&own) != base.map(JsonText::as_bytes));
        Ok(match (is_alone, is_changed) {
            (true, _) => Standing::Alone(record.version),
            (false, true) => Standing::Changed,
            (false, false) => Standing::Contested(record.version),
        })
    }

    /// Writes texts in the place of those there are. Returns `false` if another request was faster.
    pub(crate) async fn write(&self, write: PartWrite<'_>) -> Result<bool, Error> {
        write.texts.iter().try_for_each(|(_, text)| self.check_size(text))?;
        let (expected, version, now) = (write.expected, write.version, self.config.now());
        let sealed = self.seal(self.record(&write));
        let (is_done, was_repeated) = match expected {
            Some(expected) => {
                let updated =
                    self.calls.ask_noting_repeat(|store| store.update(&self.key, expected, Arc::clone(&sealed), now));
                let (outcome, was_repeated) = updated.await.map_err(|error| self.error(error))?;
                (outcome == Outcome::Done, was_repeated)
            }
            None => {
                let created = self.calls.ask_noting_repeat(|store| store.create(&self.key, Arc::clone(&sealed), now));
                created.await.map_err(|error| self.error(error))?
            }
        };
        if is_done || !was_repeated {
            return Ok(is_done);
        }
        // The first of two calls may have done it.
        match self.find().await?.map(|record| record.version) {
            Some(found) if found == version => Ok(true),
            found if found == expected => Ok(false),
            // Or it has, and another request has written since.
            _ => Err(self.lost_reply()),
        }
    }

    /// Returns the error for a write whose outcome can no longer be determined.
    pub(crate) fn lost_reply(&self) -> Error {
        StoreError::failed(self.calls.store.name(), LostReplyError { what: "part" }).into()
    }

    /// Takes back what was prepared and will not count: the text that counts stays alone. Where there is none, the
    /// record expires. What another request has written since is left alone.
    pub(crate) async fn withdraw(
        &self,
        prepared: &Prepared,
        current: Option<(Version, Slot, &JsonText)>,
        session: Binding,
    ) {
        let now = self.config.now();
        let texts = current.map(|(_, slot, text)| [(slot, text)]);
        let write = PartWrite {
            expected: Some(prepared.version),
            texts: texts.as_ref().map_or(&[], |texts| texts.as_slice()),
            session,
            expires_at: if current.is_some() { prepared.reference.expires_at } else { now },
            // Other requests expect the version that they have loaded.
            version: current.map_or(prepared.version, |(version, ..)| version),
        };
        let record = self.seal(self.record(&write));
        let done = self.calls.ask(|store| store.update(&self.key, prepared.version, Arc::clone(&record), now)).await;
        self.tell_failure(done.map(drop));
    }

    /// Lets the part belong to a session in which somebody has just logged in: requests from before find it ahead of
    /// them. What they have prepared goes. Returns the version that the part's record has then.
    pub(crate) async fn restamp(
        &self,
        slot: Slot,
        mut known: Option<(Version, &JsonText)>,
        session: Binding,
        expires_at: Timestamp,
    ) -> Option<Version> {
        for attempt in 0..MAX_ATTEMPTS {
            match self.try_restamp(slot, known.take(), session, expires_at).await {
                Ok(None) => pause(attempt).await.ok()?,
                Ok(version) => return version,
                Err(error) => {
                    self.config.tell(&SessionEvent::StoreFailed { error });
                    return None;
                }
            }
        }
        None
    }

    async fn try_restamp(
        &self,
        slot: Slot,
        known: Option<(Version, &JsonText)>,
        session: Binding,
        expires_at: Timestamp,
    ) -> Result<Option<Version>, Error> {
        let found = match known {
            Some((version, text)) => (text.clone(), version, expires_at),
            None => match self.load(slot, session).await? {
                FoundPart::Text(found) => (found.text, found.version, found.expires_at),
                // There is nothing to do.
                FoundPart::Moved | FoundPart::Missing => return Ok(Some(Version::NONE)),
            },
        };
        let (text, before, kept_until) = found;
        let (texts, expires_at) = ([(slot, &text)], expires_at.max(kept_until));
        let version = before.next(u32::from_ne_bytes(random::nonce()));
        let write = PartWrite { expected: Some(before), texts: &texts, session, expires_at, version };
        Ok(self.write(write).await?.then_some(version))
    }

    /// Keeps the record at least this long. Returns whether that is so.
    pub(crate) async fn keep_until(&self, expires_at: Timestamp) -> bool {
        match self.try_keep_until(expires_at).await {
            Ok(is_kept) => is_kept,
            Err(error) => {
                self.config.tell(&SessionEvent::StoreFailed { error });
                false
            }
        }
    }

    async fn try_keep_until(&self, expires_at: Timestamp) -> Result<bool, Error> {
        for attempt in 0..MAX_ATTEMPTS {
            let Some(record) = self.find().await? else { return Ok(false) };
            match record.expires_at < expires_at {
                true if self.touch(record.version, expires_at).await? => return Ok(true),
                true => pause(attempt).await?,
                false => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Removes the part of a session that has ended. If that fails now, it is out of reach and expires.
    pub(crate) async fn delete(&self) {
        let now = self.config.now();
        let done = self.calls.ask(|store| store.delete(&self.key, now)).await;
        self.tell_failure(done.map(drop));
    }

    /// Removes the record of a part that the session does not refer to any more, if it has this version, or the one
    /// that it has now. What another request has written since is left alone.
    pub(crate) async fn expire(&self, version: Option<Version>, session: Binding) {
        let version = match version {
            Some(version) => Some(version),
            None => match self.find().await {
                Ok(record) => record.map(|record| record.version),
                Err(error) => return self.config.tell(&SessionEvent::StoreFailed { error }),
            },
        };
        if let Some(version) = version {
            let reference = PartRef { slot: Slot::of(version), expires_at: self.config.now() };
            let text = JsonText::Own(Arc::default());
            self.withdraw(&Prepared { reference, version, text }, None, session).await;
        }
    }

    /// Removes the part of a session in a cookie, unless that was a copy from before a login.
    pub(crate) async fn delete_of(&self, session: Binding) -> Result<(), Error> {
        if self.find().await?.is_some_and(|record| !is_ahead_of(&record, session)) {
            let now = self.config.now();
            let deleted = self.calls.ask(|store| store.delete(&self.key, now)).await;
            deleted.map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    /// Fails if a text is too large to be stored.
    pub(crate) fn check_size(&self, text: &JsonText) -> Result<(), Error> {
        let (size, limit) = (text.as_bytes().len(), self.config.max_record_size);
        if size > limit { Err(Error::too_large(self.name, size, limit)) } else { Ok(()) }
    }

    /// Moves the deadline of a record that has this version.
    pub(crate) async fn touch(&self, version: Version, expires_at: Timestamp) -> Result<bool, Error> {
        let now = self.config.now();
        let touched = self.calls.ask(|store| store.touch(&self.key, version, now, expires_at, now)).await;
        touched.map(|outcome| outcome == Outcome::Done).map_err(|error| self.error(error))
    }

    fn record(&self, write: &PartWrite<'_>) -> Record {
        let mut record = Record::new(self.handle, self.config.now(), write.expires_at);
        (record.version, record.generation) = (write.version, write.session.generation);
        let texts: Vec<_> = write.texts.iter().map(|(slot, text)| (slot_key(*slot), text.as_bytes())).collect();
        record.values = Values::from_pairs(texts.iter().map(|(key, text)| (&**key, *text)));
        record
    }

    async fn find(&self) -> Result<Option<Arc<Record>>, Error> {
        let now = self.config.now();
        let found = self.calls.ask(|store| store.load(&self.key, now)).await.map_err(|error| self.error(error))?;
        // A part is never renewed.
        Ok(found.and_then(|entry| if let Entry::Live(record) = entry { Some(record) } else { None }))
    }

    fn open(&self, record: &Arc<Record>) -> Result<Arc<Record>, Error> {
        let Some(keys) = self.keys else { return Ok(Arc::clone(record)) };
        at_rest::open(keys, &SealedRow::of_part(&self.key), record)
            .map_err(|source| self.error(StoreError::undecodable(self.calls.store.name(), source)))
    }

    fn seal(&self, record: Record) -> Arc<Record> {
        match self.keys {
            Some(keys) => at_rest::seal(keys, &SealedRow::of_part(&self.key), &record),
            None => Arc::new(record),
        }
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

    fn tell_failure(&self, done: Result<(), StoreError>) {
        if let Err(error) = done {
            self.config.tell(&SessionEvent::StoreFailed { error: self.error(error) });
        }
    }
}

/// Under which key the record holds a text.
fn slot_key(slot: Slot) -> String {
    slot.as_u64().to_string()
}

/// Whether a part was written since a login that this session knows nothing of.
fn is_ahead_of(part: &Record, session: Binding) -> bool {
    part.generation != session.generation && !part.generation.is_older_than(session.generation)
}
