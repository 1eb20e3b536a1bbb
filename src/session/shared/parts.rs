//! The parts of a request: which are in use, and those that live outside the session's record.

use std::any::TypeId;
use std::mem;
use std::sync::Arc;

use super::super::part_slot::{PartSlot, StoredPart};
use super::Shared;
use crate::error::Error;
use crate::record::values::JsonText;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::record::{Record, id::SessionId};

impl Shared {
    /// Takes a part into use, and opens its cookie the first time, if it lives in one.
    pub(crate) fn take_part(&self, name: &'static str, part: TypeId) -> Result<(), Error> {
        let mut inner = self.lock();
        if let Some(slot) = inner.parts.iter_mut().find(|slot| slot.name == name) {
            if mem::replace(&mut slot.is_in_use, true) {
                return Err(Error::part_in_use(name));
            }
            return Ok(());
        }
        let session = inner.work.as_ref().and_then(|work| work.draft.kept_handle());
        let open = |placed| StoredPart::open(&self.config, &self.received, placed, session);
        let (stored, event) = self.config.part_cookie(part).map(open).unzip();
        inner.parts.push(PartSlot { name, is_in_use: true, stored });
        drop(inner);
        event.flatten().iter().for_each(|event| self.config.tell(event));
        Ok(())
    }

    /// Loads a part that lives on the server outside the session's record, unless that has been done.
    pub(crate) async fn load_outside(&self, part: TypeId) -> Result<(), Error> {
        let Some(place) = self.config.outside_place(part) else { return Ok(()) };
        // While a commit is under way it has the session's parts.
        let _turn = self.commits.lock().await;
        let session = self.with(|work| work.session_of_unloaded(place));
        let Some(session) = session else { return Ok(()) };
        let stored = place.load(&self.config, &session).await?;
        self.with(|work| work.note_loaded(place, session.handle, stored));
        Ok(())
    }

    /// Returns the ID of the session, if it is live and has one.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.with(|work| work.session_id())
    }

    /// Takes note that the rows of a part have gone from the session, in a transaction that wrote this record.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) async fn note_taken(&self, part: &'static str, id: SessionId, record: Arc<Record>) {
        let _turn = self.commits.lock().await;
        self.with(|work| work.note_taken(part, id, record));
    }

    pub(crate) fn release_part(&self, name: &'static str) {
        if let Some(slot) = self.lock().parts.iter_mut().find(|slot| slot.name == name) {
            slot.is_in_use = false;
        }
    }

    /// Gives the cookie of a part to `work`, or `None` if the part lives with the session.
    pub(crate) fn with_part<T>(&self, name: &str, work: impl FnOnce(Option<&StoredPart>) -> T) -> T {
        let inner = self.lock();
        work(inner.parts.iter().find(|slot| slot.name == name).and_then(|slot| slot.stored.as_ref()))
    }

    /// Takes note of a part's new value, if the part lives in a cookie of its own.
    pub(crate) fn set_part(&self, name: &str, json: Arc<[u8]>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(slot) = inner.parts.iter_mut().find(|slot| slot.name == name) else { return };
        let Some(stored) = &mut slot.stored else { return };
        stored.value = Some(JsonText::Own(json));
        stored.is_changed = true;
        if stored.placed.is_bound {
            inner.work.get_or_insert_default().changes.needs_session = true;
        }
    }
}
