//! Parts on the server that live outside the session's record: when they are loaded, and when they are written.
//!
//! A part in a store is written before the session's record, and removed after it. A part in tables is written together with
//! the record, in one transaction, and goes with it: see [`rows`](super::server).

use std::any::TypeId;
use std::sync::Arc;

use super::part_record::PartRecord;
use super::{Committed, Config, Work, commit_session};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::part::{Collection, InStore, MappedPart, PartPlace, SessionPart};
use crate::random;
use crate::record::outside::OutsidePart;
use crate::record::{Handle, Record};
use crate::store::{Answer, ErasedStore, StoreErrorKind};

/// Where a part lives.
#[derive(Clone, Debug)]
pub(crate) struct OutsidePlace {
    pub(crate) part: TypeId,
    pub(crate) name: &'static str,
    /// The fields of the part that are rows.
    pub(crate) collections: Arc<[Collection]>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Store(InStore),
    Tables(Arc<dyn MappedPart>),
}

/// A part as it was found.
#[derive(Debug, Default)]
pub(crate) struct StoredPart {
    /// Its JSON text.
    pub(crate) value: Option<Arc<[u8]>>,
    /// The version of its own record, if it has one.
    pub(crate) version: Option<u64>,
}

impl OutsidePlace {
    pub(crate) fn in_store<T: SessionPart>(place: InStore) -> Self {
        Self { part: TypeId::of::<T>(), name: T::NAME, collections: Arc::default(), place: Place::Store(place) }
    }

    pub(crate) fn in_tables<T: SessionPart>(mapped: Arc<dyn MappedPart>) -> Self {
        let collections = mapped.collections().into();
        Self { part: TypeId::of::<T>(), name: T::NAME, collections, place: Place::Tables(mapped) }
    }

    /// Returns the tables of a part that lives in some.
    pub(crate) fn tables(&self) -> Option<&Arc<dyn MappedPart>> {
        match &self.place {
            Place::Store(_) => None,
            Place::Tables(mapped) => Some(mapped),
        }
    }

    pub(crate) fn kind(&self) -> PartPlace {
        match &self.place {
            Place::Store(_) => PartPlace::Store,
            Place::Tables(_) => PartPlace::Tables,
        }
    }

    pub(crate) async fn load(&self, config: &Config, session: &Record) -> Result<StoredPart, Error> {
        match &self.place {
            Place::Store(place) => PartRecord::new(config, place, self.name, session.handle).load(session).await,
            Place::Tables(mapped) => {
                Ok(StoredPart { value: load_rows(config, &**mapped, session.handle).await?, version: None })
            }
        }
    }

    /// Returns the store of a part that has one.
    pub(crate) fn store(&self) -> Option<&dyn ErasedStore> {
        match &self.place {
            Place::Store(place) => Some(&*place.store),
            Place::Tables(_) => None,
        }
    }

    fn record<'c>(&'c self, config: &'c Config, session: Handle) -> Option<PartRecord<'c>> {
        match &self.place {
            Place::Store(place) => Some(PartRecord::new(config, place, self.name, session)),
            Place::Tables(_) => None,
        }
    }
}

impl Work {
    /// Returns the session that a part is to be loaded for: there is one, and that has not been done.
    pub(crate) fn session_of_unloaded(&self, place: &OutsidePlace) -> Option<Arc<Record>> {
        let is_loaded = self.draft.outside().is_some_and(|outside| outside.find(place.name).is_some());
        let session = self.draft.kept_handle().and(self.loaded.record.as_ref());
        session.filter(|_| !is_loaded).cloned()
    }

    /// Takes note of a part that was loaded for a session, unless that has ended meanwhile.
    pub(crate) fn note_loaded(&mut self, place: &OutsidePlace, session: Handle, stored: StoredPart) {
        if self.draft.kept_handle() == Some(session) {
            let StoredPart { value, version } = stored;
            self.loaded.outside.get_or_insert_default().load(place.name, value.clone(), version);
            self.draft.outside_mut().load(place.name, value, version);
        }
    }

    /// Returns the session that the parts of this request belong to, which may be one that it is going to make.
    fn session_of_parts(&mut self) -> Result<Handle, Error> {
        if let Some(session) = self.draft.kept_handle() {
            return Ok(session);
        }
        let new_session = &mut self.draft.outside_mut().new_session;
        match new_session {
            Some(session) => Ok(*session),
            None => Ok(*new_session.insert(Handle::from_bytes(random::bytes()?))),
        }
    }
}

/// Reads the rows that a session has of a part, as a JSON text. A store that fails is asked once more.
pub(super) async fn load_rows(
    config: &Config,
    mapped: &dyn MappedPart,
    session: Handle,
) -> Result<Option<Arc<[u8]>>, Error> {
    let store = config.store_name();
    let ask = || Answer::later(store, "load_rows", mapped.load(session)).within(config.store_timeout, store);
    let mut answer = ask().await;
    if answer.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Failed) {
        answer = ask().await;
    }
    Ok(answer?.map(Into::into))
}

/// Commits the session and its parts.
pub(super) async fn commit(config: &Config, work: &mut Work, may_set_cookie: bool) -> Result<Committed, Error> {
    let now = config.now();
    if !may_set_cookie && work.plan(config, may_set_cookie, now).needs_cookie() {
        return Err(Error::too_late());
    }
    for place in &config.outside {
        let part = work.draft.outside().and_then(|outside| outside.find(place.name));
        if !part.is_some_and(OutsidePart::is_changed) {
            continue;
        }
        let session = work.session_of_parts()?;
        if let Some(record) = place.record(config, session) {
            record.commit(work).await?;
        }
    }
    let before = work.loaded.record.clone();
    let ends_session = work.ends_session();
    let committed = commit_session(config, work, may_set_cookie).await?;
    match (before, work.loaded.record.clone()) {
        (Some(ended), _) if ends_session => {
            for record in config.outside.iter().filter_map(|place| place.record(config, ended.handle)) {
                tell_failure(config, record.delete_of(&ended).await);
            }
        }
        (Some(before), Some(after)) if deadline(config, &after) > deadline(config, &before) => {
            extend(config, &after).await;
        }
        _ => {}
    }
    Ok(committed)
}

fn deadline(config: &Config, session: &Record) -> Option<Timestamp> {
    config.timeouts.absolute_deadline(session.into())
}

/// Removes the parts of a session that was ended from outside. One that cannot be removed now is out of reach, and expires.
pub(super) async fn end(config: &Config, session: Handle) {
    for record in config.outside.iter().filter_map(|place| place.record(config, session)) {
        tell_failure(config, record.delete().await);
    }
}

/// Lets the parts of a session live as long as it may live now.
async fn extend(config: &Config, session: &Record) {
    for record in config.outside.iter().filter_map(|place| place.record(config, session.handle)) {
        // What is loaded is extended.
        tell_failure(config, record.load(session).await.map(drop));
    }
}

fn tell_failure(config: &Config, done: Result<(), Error>) {
    if let Err(error) = done {
        config.tell(&SessionEvent::StoreFailed { error });
    }
}
