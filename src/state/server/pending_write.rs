//! Writes without a reply: the store failed or timed out, or the request was dropped.
//!
//! Such a write may have taken effect, or may do so later. Repeating it blindly could apply a change twice, or leave an
//! orphaned session. So it is remembered until its outcome is known: the version of a record identifies the write.

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
    /// Determines the outcome of a write without a reply. If it took effect, later changes are based on it.
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
                // It may still take effect, before the repeated write.
                self.work.with(Work::expect_late_write);
                Ok(Progress::Again)
            }
            // Another write has replaced the expected version, so this one can no longer take effect.
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

    /// Continues as if the write had not been made.
    fn forget(&self) -> Result<Progress, Error> {
        self.work.with(|work| work.pending = PendingWrite::None);
        Ok(Progress::Again)
    }

    /// Fails, because the outcome of the write cannot be determined. The write then counts as not made.
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
        // A late write is harmless: its repetition uses the same ID.
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

    /// Returns `true` if the old ID holds the forward of the renewal. A store that failed in between may leave both IDs
    /// live; the renewal must be repeated then.
    async fn is_retired(&self, session: &StoredSession, forward: &Forward) -> Result<bool, Error> {
        let entry = self.records.load(&session.id, self.records.config.now()).await?;
        let left = |forward: &Forward| (forward.successor, forward.grace_until);
        Ok(matches!(entry, Some(Found::Retired(found)) if left(&found) == left(forward)))
    }
}
