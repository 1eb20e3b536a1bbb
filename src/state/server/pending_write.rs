//! Writes without a reply: the store failed or timed out, or the request was dropped.
//!
//! Such a write may have taken effect, or may do so later. Repeating it blindly could apply a change twice, or leave an
//! orphaned session. So it is remembered until its outcome is known: the version of a record identifies the write.
//!
//! A write that has not taken effect is shut out before the next one: by another version of the record that it
//! expects, or by a record under the ID that it would create. A late write would otherwise refer to texts of parts that
//! have been replaced by then.

use std::sync::Arc;

use super::super::loaded::{ClientId, Loaded, StoredSession};
use super::super::part::Rows;
use super::super::retry::LostReplyError;
use super::super::work::{NewRecord, PendingUpdate, PendingWrite, SharedWork, Work};
use super::commit::{Commit, Progress};
use super::conflict::{reload, successor};
use super::records::{Found, WriteOutcome};
use super::write::{is_same_renewal, next_record};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::record::Record;
use crate::record::external::ExternalParts;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::store::{Forward, Outcome, StoreError};

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
                let session = StoredSession::new(update.record, session.id, session.client);
                let note =
                    |work: &mut Work| work.note_written(Plan::Update, Loaded::Stored(session), update.parts.as_deref());
                self.work.with(note).release(records.config);
                Ok(Progress::Again)
            }
            Some(Found::Live(found)) if found.record().version == session.record.version => {
                self.forget_if(self.shut_out_writes(session, records.config.now()).await?)
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

    /// Gives the session another version, so that no write based on the present version can take effect. Returns
    /// `false` if such a write was faster.
    pub(super) async fn shut_out_writes(&self, session: StoredSession, now: Timestamp) -> Result<bool, Error> {
        let record = next_record(self.records, &session.record, now);
        let outcome = self.records.update(&session.id, session.record.version, &record, None, now).await?;
        let is_done = outcome == Outcome::Done;
        if is_done {
            self.work.with(|work| work.note_version(StoredSession::new(record, session.id, session.client)));
        }
        Ok(is_done)
    }

    /// Continues as if the write had not been made.
    fn forget(&self) -> Result<Progress, Error> {
        self.work.with(|work| work.pending = PendingWrite::None);
        Ok(Progress::Again)
    }

    /// Continues as if the write had not been made, if it is shut out. Otherwise the next attempt looks for it again.
    fn forget_if(&self, is_shut_out: bool) -> Result<Progress, Error> {
        if is_shut_out { self.forget() } else { Ok(Progress::Again) }
    }

    /// Fails, because the outcome of the write cannot be determined. The write then counts as not made.
    fn fail_once(&self) -> Result<Progress, Error> {
        self.work.with(|work| {
            work.pending = PendingWrite::None;
            work.doubt_references();
        });
        let lost = LostReplyError { what: "session" };
        Err(StoreError::failed(self.records.server.store.name(), lost).into())
    }

    async fn resolve_new(&mut self, new: NewRecord) -> Result<Progress, Error> {
        let (records, config) = (self.records, self.records.config);
        let session = self.work.with(|work| work.loaded.stored().cloned());
        let found = match (&new.forward, &session) {
            (Some(forward), Some(session)) => match self.retired(session, forward).await? {
                Retired::ByThis => reload(records, new.id.clone()).await?,
                Retired::NotYet => return self.forget_if(self.shut_out_writes(session.clone(), config.now()).await?),
                Retired::Never => None,
            },
            (Some(_), None) => None,
            // Another record under the ID is that of an earlier attempt. The next attempt replaces it.
            (None, _) => {
                reload(records, new.id.clone()).await?.filter(|(_, found)| found.version == new.record.version)
            }
        };
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
        let session = StoredSession::new(new.record, new.id, client);
        let note = |work: &mut Work| work.note_written(new.plan, Loaded::Stored(session), new.parts.as_deref());
        self.work.with(note).release(config);
        // The work is not based on later writes of other requests.
        Ok(if is_latest { Progress::Again } else { Progress::conflict(WriteOutcome::Conflict(None)) })
    }

    /// Determines whether the old ID holds the forward of the renewal.
    async fn retired(&self, session: &StoredSession, forward: &Forward) -> Result<Retired, Error> {
        Ok(match self.records.load(&session.id, self.records.config.now()).await? {
            Some(Found::Retired(found)) if is_same_renewal(&found, forward) => Retired::ByThis,
            Some(Found::Live(found)) if found.record().version == session.record.version => Retired::NotYet,
            _ => Retired::Never,
        })
    }

    /// Writes a new record over the one that an earlier attempt of this request has left under the ID, which no other
    /// request knows. Returns `false` if the record is gone or has changed again.
    pub(super) async fn replace_earlier(
        &self,
        id: &SessionId,
        record: &Arc<Record>,
        parts: Option<&ExternalParts>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (records, config) = (self.records, self.records.config);
        let Some(Found::Live(found)) = records.load(id, now).await? else { return Ok(false) };
        let expected = found.record().version;
        if expected == record.version {
            return Ok(true);
        }
        let rows = parts.map_or(Ok(None), |parts| Rows::replacing(config, parts))?;
        Ok(records.update(id, expected, record, rows, now).await? == Outcome::Done)
    }
}

/// State of the old ID of a renewal.
enum Retired {
    /// It holds the forward of this renewal.
    ByThis,
    /// It is live and unchanged. A store that failed in between may leave both IDs live; the renewal must be repeated
    /// then.
    NotYet,
    /// Another write was faster.
    Never,
}
