//! Writes whose reply has not come: the store failed, took too long, or the request stopped waiting.
//!
//! Such a write may have taken place, now or in a moment. Making it again as if nothing had been would count twice what
//! is to be counted once, and leave a session behind whose ID no client has. So each is remembered until it is known
//! what became of it: the version of a record tells one write from another.

use super::super::loaded::{ClientId, Loaded, StoredSession};
use super::super::retry::LostReplyError;
use super::super::work::{NewRecord, PendingUpdate, PendingWrite, SharedWork, Work};
use super::commit::{Commit, Progress};
use super::conflict::{reload, successor};
use super::records::{Found, WriteOutcome};
use crate::error::Error;
use crate::record::plan::Plan;
use crate::store::{Forward, StoreError};

impl<W: SharedWork> Commit<'_, W> {
    /// Finds out what became of a write whose reply has not come. One that has taken place is done, and what the
    /// request has asked for since is based on it.
    pub(super) async fn resolve(&mut self) -> Result<Progress, Error> {
        match self.work.with(|work| work.pending.clone()) {
            PendingWrite::None => Ok(Progress::Again),
            PendingWrite::Update(update) => self.resolve_update(update).await,
            PendingWrite::New(new) => self.resolve_new(*new).await,
        }
    }

    async fn resolve_update(&self, update: PendingUpdate) -> Result<Progress, Error> {
        let records = self.records;
        let Some(session) = self.work.with(|work| work.loaded.stored().cloned()) else { return self.forget() };
        let version = update.record.version;
        match records.load(&session.id, records.config.now()).await? {
            Some(Found::Live(found)) if found.record().version == version => {
                let session = StoredSession { record: update.record, ..session };
                let note =
                    |work: &mut Work| work.note_written(Plan::Update, Loaded::Stored(session), update.parts.as_deref());
                self.work.with(note).release(records.config);
                Ok(Progress::Again)
            }
            Some(Found::Live(found)) if found.record().version == session.record.version => {
                // Not yet. It may take place in a moment, before it is made again.
                self.work.with(Work::expect_late_write);
                Ok(Progress::Again)
            }
            // Another write followed on the one that this was based on, so this one never will.
            Some(Found::Live(found)) if found.record().version.is_next_to(session.record.version) => self.forget(),
            Some(Found::Live(_)) => self.fail_once(),
            Some(Found::Retired(forward)) => {
                let next = successor(records.config.id_domain, &session.id, &forward);
                match next.map(|next| reload(records, next)) {
                    Some(reloaded) => match reloaded.await? {
                        Some((_, record)) if !record.version.is_next_to(session.record.version) => self.fail_once(),
                        Some(_) | None => self.forget(),
                    },
                    None => self.forget(),
                }
            }
            // The session has ended: the next attempt says so.
            None => self.forget(),
        }
    }

    /// Goes on as if the write had not been made.
    fn forget(&self) -> Result<Progress, Error> {
        self.work.with(|work| work.pending = PendingWrite::None);
        Ok(Progress::Again)
    }

    /// Fails, because nobody can tell what became of the write. When this is said, it counts as not made.
    fn fail_once(&self) -> Result<Progress, Error> {
        self.work.with(|work| work.pending = PendingWrite::None);
        let lost = LostReplyError { what: "session" };
        Err(StoreError::failed(self.records.server.store.name(), lost).into())
    }

    async fn resolve_new(&mut self, new: NewRecord) -> Result<Progress, Error> {
        let (records, config) = (self.records, self.records.config);
        let session = self.work.with(|work| work.loaded.stored().cloned());
        let is_whole = match (&new.forward, &session) {
            (Some(forward), Some(session)) => self.is_retired(session, forward).await?,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let found = if is_whole { reload(records, new.id.clone()).await? } else { None };
        // Should it take place yet, it and its repetition are one: the ID stays the same.
        let Some((id, record)) = found else { return self.forget() };
        if new.plan == Plan::Replace
            && let Some(progress) = self.end_replaced(&new.id, config.now()).await?
        {
            return Ok(progress);
        }
        let is_latest = (&id, record.version) == (&new.id, new.record.version);
        let client = match (new.plan, session) {
            (Plan::Renew { grace: true }, Some(StoredSession { client: ClientId::Dead, .. })) => ClientId::Dead,
            _ => ClientId::Older,
        };
        let session = StoredSession { record: new.record, id: new.id, client };
        let note = |work: &mut Work| work.note_written(new.plan, Loaded::Stored(session), new.parts.as_deref());
        self.work.with(note).release(config);
        // The work is not based on later writes of other requests.
        Ok(if is_latest { Progress::Again } else { Progress::conflict(WriteOutcome::Conflict(None)) })
    }

    /// Whether the old ID of a renewal is what the renewal was to leave of it. A store may have got no further than the
    /// new one: then both IDs are live, and the renewal is to be made again.
    async fn is_retired(&self, session: &StoredSession, forward: &Forward) -> Result<bool, Error> {
        let entry = self.records.load(&session.id, self.records.config.now()).await?;
        let left = |forward: &Forward| (forward.successor, forward.grace_until);
        Ok(matches!(entry, Some(Found::Retired(found)) if left(&found) == left(forward)))
    }
}
