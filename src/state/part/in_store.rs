//! A part in a separate record of a store.
//!
//! If the session is in a store too, its record refers to the current text of the part ([`PartRef`]). A request that
//! also changes the session writes the new text *ahead* of the session's record, next to the current text. So the
//! session's write decides: if it fails, the prepared text stays invisible and expires with the part's record, which
//! lives as long as its session. A request that changes only the part writes it in place: the
//! [generation](Record::generation) in the part's record shows whether the part still belongs to the request's session.
//!
//! If the session is in the client's cookie, there are no references: any copy of the cookie may be the current one.
//! The latest text is current. A login gives the session another handle, so its parts are written under that: a cookie
//! from before the login neither reads nor changes them.

use std::sync::Arc;

use super::super::at_rest::{self, Form, Opened, SealedRow};
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
use crate::seal::AtRest;
use crate::store::{Entry, Forward, Outcome, StoreError, StoreErrorKind, Touch};

/// The record of a part of one session.
pub(crate) struct PartRecord<'c> {
    config: &'c Config,
    calls: Calls<'c>,
    name: &'static str,
    key: StoreKey,
    handle: Handle,
    at_rest: Option<&'c AtRest>,
}

/// Result of loading a part.
#[derive(Debug)]
pub(crate) enum FoundPart {
    Text(StoredText),
    /// The text is gone or ahead: another request changed the part, or a login came in between.
    Moved,
    Missing,
}

/// A loaded text.
#[derive(Debug)]
pub(crate) struct StoredText {
    pub(crate) text: JsonText,
    /// The version of the part's record.
    pub(crate) version: Version,
    /// Another request has prepared a text, which must not be overwritten while its outcome is open.
    pub(crate) is_contested: bool,
    pub(crate) expires_at: Timestamp,
}

impl StoredText {
    /// Returns the version for a compare-and-swap, unless the part is contested.
    pub(crate) fn expected(&self) -> Option<Version> {
        (!self.is_contested).then_some(self.version)
    }
}

/// State of a part's record after a failed compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Missing,
    /// No text was prepared after the current one.
    Alone(Version),
    /// Another request has prepared a text.
    Contested(Version),
    /// The current text differs from the one the request knows.
    Changed,
    /// A login came in between.
    Ahead,
}

/// A write of a part's texts.
#[derive(Debug)]
pub(crate) struct PartWrite<'t> {
    /// The current version of the record, if there is one.
    pub(crate) expected: Option<Version>,
    pub(crate) texts: &'t [(Slot, &'t JsonText)],
    pub(crate) session: Binding,
    pub(crate) expires_at: Timestamp,
    /// The new version of the record.
    pub(crate) version: Version,
}

impl<'c> PartRecord<'c> {
    pub(crate) fn new(config: &'c Config, place: &'c InStore, name: &'static str, session: Handle) -> Self {
        let (key, handle) = StoreKey::of_part(session, name);
        let of_layer = match &config.state {
            State::Server(server) => server.at_rest.as_ref(),
            State::Client(_) => None,
        };
        let (calls, at_rest) = (Calls::new(config, &*place.store), place.at_rest.as_ref().or(of_layer));
        Self { config, calls, name, key, handle, at_rest }
    }

    /// Loads the text that a session refers to.
    pub(crate) async fn load(&self, slot: Slot, session: Binding) -> Result<FoundPart, Error> {
        let Some(record) = self.find().await? else { return Ok(FoundPart::Missing) };
        if is_ahead_of(&record, session) {
            return Ok(FoundPart::Moved);
        }
        let (version, expires_at, opened) = (record.version, record.expires_at, self.open(record)?.record);
        let Some(text) = JsonText::of(&opened, &slot_key(slot)) else { return Ok(FoundPart::Moved) };
        let is_contested = !is_latest(&opened, slot);
        Ok(FoundPart::Text(StoredText { text, version, is_contested, expires_at }))
    }

    /// Returns the state of the record, relative to the `base` text that the request knows in slot `own`.
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
        let (version, opened) = (record.version, self.open(record)?.record);
        let is_alone = own.map_or(opened.values.iter().next().is_none(), |own| is_latest(&opened, own));
        let is_changed = own.is_some_and(|own| opened.values.get(&slot_key(own)) != base.map(JsonText::as_bytes));
        Ok(match (is_alone, is_changed) {
            (true, _) => Standing::Alone(version),
            (false, true) => Standing::Changed,
            (false, false) => Standing::Contested(version),
        })
    }

    /// Replaces the texts. Returns `false` on a conflict with another request.
    pub(crate) async fn write(&self, write: PartWrite<'_>) -> Result<bool, Error> {
        write.texts.iter().try_for_each(|(_, text)| self.check_size(text))?;
        self.write_of_any_size(write).await
    }

    /// Writes the text of a part that no other request knows yet. Returns the version of its record.
    ///
    /// The text may be larger than the limit: it may have been stored under a larger one.
    pub(crate) async fn put(&self, text: &JsonText, session: Binding, expires_at: Timestamp) -> Result<Version, Error> {
        let mut expected = None;
        for _ in 0..MAX_ATTEMPTS {
            let version = expected.unwrap_or(Version::NONE).next(u32::from_ne_bytes(random::bytes()?));
            let texts = [(Slot::ONLY, text)];
            if self.write_of_any_size(PartWrite { expected, texts: &texts, session, expires_at, version }).await? {
                return Ok(version);
            }
            // An earlier attempt of this request has written it.
            expected = self.find().await?.map(|record| record.version);
        }
        Err(Error::conflict())
    }

    /// Replaces a part that now belongs to `successor` by a record without text. For a while, requests that still come
    /// with the cookie of the former session find the part ahead, and cannot begin another one.
    ///
    /// Returns `false` if another request has written the part since it had the version `expected`, or was missing.
    pub(crate) async fn retire(&self, expected: Option<Version>, successor: Binding) -> Result<bool, Error> {
        let version = expected.unwrap_or(Version::NONE).next(u32::from_ne_bytes(random::bytes()?));
        let expires_at = self.config.now().after(Forward::JUST_DIED);
        let write = PartWrite { expected, texts: &[], session: successor, expires_at, version };
        self.write(write).await
    }

    async fn write_of_any_size(&self, write: PartWrite<'_>) -> Result<bool, Error> {
        let (expected, version, now) = (write.expected, write.version, self.config.now());
        let sealed = self.seal(self.record(&write));
        let (outcome, was_repeated) = match expected {
            Some(expected) => {
                let updated =
                    self.calls.ask_noting_repeat(|store| store.update(&self.key, expected, Arc::clone(&sealed), now));
                updated.await.map_err(|error| self.error(error))?
            }
            None => {
                let created = self.calls.ask_noting_repeat(|store| store.create(&self.key, Arc::clone(&sealed), now));
                let (is_done, was_repeated) = created.await.map_err(|error| self.error(error))?;
                (if is_done { Outcome::Done } else { Outcome::Conflict(None) }, was_repeated)
            }
        };
        let found = match outcome {
            Outcome::Done => return Ok(true),
            Outcome::Conflict(Some(found)) => Some(found.version),
            _ => self.find().await?.map(|record| record.version),
        };
        match found {
            // The first of two calls has succeeded. The second came from here, or from a store client that retries.
            Some(found) if found == version => Ok(true),
            found if !was_repeated || found == expected => Ok(false),
            // It may have succeeded before another request's write.
            _ => Err(self.lost_reply()),
        }
    }

    /// Returns the error for a write whose outcome can no longer be determined.
    pub(crate) fn lost_reply(&self) -> Error {
        StoreError::failed(self.calls.store.name(), LostReplyError { what: "part" }).into()
    }

    /// Removes a prepared text that will not be used, and keeps the current text. Without a current text the record
    /// expires. Leaves newer writes of other requests alone.
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
            // Other requests expect the version they have loaded.
            version: current.map_or(prepared.version, |(version, ..)| version),
        };
        let record = self.seal(self.record(&write));
        let done = self.calls.ask(|store| store.update(&self.key, prepared.version, Arc::clone(&record), now)).await;
        self.tell_failure(done.map(drop));
    }

    /// Extends the record's lifetime to at least `expires_at`, and rewrites a record that is in another [form](Form)
    /// than it would be written. Returns `true` if it lives that long.
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
            if record.expires_at >= expires_at
                || self.rewrite_outdated(&record, expires_at).await
                || self.touch(record.version, expires_at).await?
            {
                return Ok(true);
            }
            pause(attempt).await?;
        }
        Ok(false)
    }

    /// Rewrites the record if it is in another form than it would be written. Keeps its version, which other requests
    /// expect: the texts stay the same. Returns whether it is written; else it can be touched as it is.
    async fn rewrite_outdated(&self, record: &Arc<Record>, expires_at: Timestamp) -> bool {
        let Ok(Opened { record, form }) = self.open(Arc::clone(record)) else { return false };
        if form == Form::Current {
            return false;
        }
        let (version, now) = (record.version, self.config.now());
        let rewritten = self.seal(Record { expires_at, ..Record::clone(&record) });
        let done = self.calls.ask(|store| store.update(&self.key, version, Arc::clone(&rewritten), now)).await;
        let is_done = matches!(done, Ok(Outcome::Done));
        self.tell_failure(done.map(drop));
        is_done
    }

    /// Removes the part of an ended session. If this fails, the part is unreachable and expires.
    pub(crate) async fn delete(&self) {
        let now = self.config.now();
        let done = self.calls.ask(|store| store.delete(&self.key, None, now)).await;
        self.tell_failure(done.map(drop));
    }

    /// Expires the record of a part that the session no longer refers to, if it has this version, or its current
    /// version for `None`. Leaves newer writes of other requests alone.
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

    /// Removes the part of a session in a cookie, unless that cookie is from before a login.
    pub(crate) async fn delete_of(&self, session: Binding) -> Result<(), Error> {
        if self.find().await?.is_some_and(|record| !is_ahead_of(&record, session)) {
            let now = self.config.now();
            let deleted = self.calls.ask(|store| store.delete(&self.key, None, now)).await;
            deleted.map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    /// Fails if a text is too large to be stored.
    pub(crate) fn check_size(&self, text: &JsonText) -> Result<(), Error> {
        let (size, limit) = (text.as_bytes().len(), self.config.max_record_size);
        if size > limit { Err(Error::too_large(self.name, size, limit)) } else { Ok(()) }
    }

    /// Moves the deadline of the record, if it has this version.
    pub(crate) async fn touch(&self, version: Version, expires_at: Timestamp) -> Result<bool, Error> {
        let now = self.config.now();
        let touched = self
            .calls
            .ask(|store| store.touch(&self.key, Touch { expected: version, last_seen_at: now, expires_at }, now))
            .await;
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

    fn open(&self, record: Arc<Record>) -> Result<Opened, Error> {
        at_rest::open(self.at_rest, || SealedRow::of_part(&self.key), record, || self.config.now())
            .map_err(|source| self.error(StoreError::undecodable(self.calls.store.name(), source)))
    }

    fn seal(&self, record: Record) -> Arc<Record> {
        at_rest::seal(self.at_rest, || SealedRow::of_part(&self.key), &Arc::new(record))
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

/// Returns the key of a text in the record.
fn slot_key(slot: Slot) -> String {
    slot.as_u64().to_string()
}

/// Returns `true` if no text was prepared after the one in the slot: it is the only one, or the record was last written
/// for it.
fn is_latest(record: &Record, slot: Slot) -> bool {
    slot == Slot::of(record.version) || record.values.iter().all(|(key, _)| key.parse() == Ok(slot.as_u64()))
}

/// Returns `true` if a part was written after a login that this session has not seen.
fn is_ahead_of(part: &Record, session: Binding) -> bool {
    part.generation != session.generation && !part.generation.is_older_than(session.generation)
}
