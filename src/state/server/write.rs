//! Carries out plans: each makes one call of the store, and then updates the work.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::super::at_rest::Form;
use super::super::config::Config;
use super::super::loaded::{ClientId, Loaded, StoredSession};
use super::super::work::{Aftermath, PendingUpdate, PendingWrite, SharedWork, Work};
use super::commit::{Commit, Progress};
use super::conflict::Ending;
use super::new_write::{NewWrite, Update};
use super::records::{Found, Records, WriteOutcome};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::Record;
use crate::record::draft::Draft;
use crate::record::external::ExternalParts;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::record::version::Stamp;
use crate::store::{Forward, Outcome, Touch};

/// Longest lifetime of a forward. Without this cap, a months-long session would leave thousands of forwards.
const LONGEST_FORWARD: Duration = Duration::from_secs(24 * 60 * 60);

impl<W: SharedWork> Commit<'_, W> {
    /// Writes nothing. Sends the ID to the client if it is still current.
    pub(super) async fn keep(&self, now: Timestamp) -> Result<Progress, Error> {
        let config = self.records.config;
        let Some((session, parts)) = self.begin_keep(Plan::Keep, now) else { return Ok(Progress::Again) };
        let cookie = match session.filter(|session| session.client == ClientId::Older) {
            Some(session) if self.is_current(&session, now).await => Some(id_cookie(config, &session, now)),
            _ => None,
        };
        self.finish_kept(parts, cookie, now).await
    }

    /// Checks that the session is still live, and writes nothing.
    pub(super) async fn confirm(&self, now: Timestamp) -> Result<Progress, Error> {
        let Some((Some(session), parts)) = self.begin_keep(Plan::Confirm, now) else { return Ok(Progress::Again) };
        match self.records.load(&session.id, now).await? {
            Some(Found::Live(_)) => {}
            Some(Found::Retired(forward)) => return Ok(Progress::conflict(WriteOutcome::Retired(forward))),
            None => return Ok(Progress::conflict(WriteOutcome::Gone)),
        }
        let config = self.records.config;
        let cookie = (session.client == ClientId::Older).then(|| id_cookie(config, &session, now));
        self.finish_kept(parts, cookie, now).await
    }

    /// Moves the idle deadline. Retries once if the store fails, which is harmless if the first call succeeded. A
    /// failure does not fail the request; the next request tries again.
    ///
    /// After the response, follows a session that another request has changed, renewed or ended. Before it, sends the
    /// cookie only if the store has just found the session live under its ID. After a logout, login or renewal it would
    /// overwrite a newer one.
    pub(super) async fn touch(&self, now: Timestamp) -> Result<Progress, Error> {
        let (config, store) = (self.records.config, &self.records.server.store);
        let Some((Some(mut session), parts)) = self.begin_keep(Plan::Touch, now) else { return Ok(Progress::Again) };
        let must_be_live = parts.as_ref().is_some_and(|parts| parts.change_bound_cookie() || parts.change_server());
        // Not `now` if the session is only written to be sealed.
        let age = self.work.with(|work| work.draft.age(&config.timeouts, now));
        let times = (age.last_seen_at, config.timeouts.expires_at(age));
        let rewritten = match session.form {
            Form::Current => None,
            Form::Outdated | Form::Unsealed => Box::pin(self.rewrite(&mut session, times, now)).await,
        };
        let touched = match rewritten {
            Some(outcome) => Ok(outcome),
            None => {
                let (key, version) = (session.id.store_key(), session.record.version);
                self.records
                    .calls()
                    .ask(|_| {
                        store.touch(key, Touch { expected: version, last_seen_at: times.0, expires_at: times.1 }, now)
                    })
                    .await
            }
        };
        let cookie = match touched.map(WriteOutcome::from) {
            Ok(WriteOutcome::Done) => {
                self.work.with(|work| work.note_touched(times));
                let record = Arc::make_mut(&mut session.record);
                (record.last_seen_at, record.expires_at) = times;
                moved_cookie(config, &session, now)
            }
            // A task that holds the session goes on from what is there now, or its next touch would miss it again.
            Ok(outcome) if !self.may_set_cookie => return Ok(Progress::conflict(outcome)),
            Ok(WriteOutcome::Conflict(newer)) => {
                let newer = newer.and_then(|newer| self.records.open(&session.id, newer).ok());
                session.record = newer.unwrap_or(session.record);
                moved_cookie(config, &session, now)
            }
            Ok(outcome) if must_be_live => return Ok(Progress::conflict(outcome)),
            Ok(WriteOutcome::Retired(_) | WriteOutcome::Gone) => None,
            Err(error) if must_be_live => return Err(error.into()),
            Err(error) => {
                config.tell(&SessionEvent::StoreFailed { error: error.into() });
                None
            }
        };
        self.finish_kept(parts, cookie, now).await
    }

    /// Writes a record in the form in which the layer now writes, instead of touching it: after one idle timeout, every
    /// live session has that form. Returns `None` if this fails, and the record can be touched as it is: sealed, it may
    /// be too large for its store.
    async fn rewrite(
        &self,
        session: &mut StoredSession,
        (last_seen_at, expires_at): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Option<Outcome> {
        let (before, records) = (&session.record, self.records);
        let version = before.version.next(records.server.write_id());
        let record = Arc::new(Record { version, last_seen_at, expires_at, ..Record::clone(before) });
        match records.update(&session.id, before.version, &record, None, now).await {
            Ok(Outcome::Done) => {
                (session.record, session.form) = (record, Form::Current);
                self.work.with(|work| work.note_version(session.clone()));
                Some(Outcome::Done)
            }
            Ok(outcome) => Some(outcome),
            Err(error) => {
                records.config.tell(&SessionEvent::StoreFailed { error: error.into() });
                None
            }
        }
    }

    /// Begins a commit that leaves the record as it is, if `plan` is still current.
    fn begin_keep(&self, plan: Plan, now: Timestamp) -> Option<(Option<StoredSession>, Option<Arc<ExternalParts>>)> {
        self.work.with(|work| self.is_planned(work, plan, now).then(|| work.begin_keep()))
    }

    /// Returns `true` if a plan is still current: a login may have come in since.
    fn is_planned(&self, work: &Work, plan: Plan, now: Timestamp) -> bool {
        work.plan(self.records.config, self.may_set_cookie, now) == plan
    }

    /// Returns `true` if all steps before the write of the record are done.
    fn is_prepared(&self, work: &Work, plan: Plan, now: Timestamp) -> bool {
        self.is_planned(work, plan, now) && work.has_prepared_parts(self.records.config, plan) && self.is_admitted(work)
    }

    /// Ends a commit that leaves the record as it is. Writes a changed part in a store in place.
    async fn finish_kept(
        &self,
        parts: Option<Arc<ExternalParts>>,
        cookie: Option<HeaderValue>,
        now: Timestamp,
    ) -> Result<Progress, Error> {
        let parts = match parts {
            None => None,
            Some(parts) => match Box::pin(self.write_in_place(parts, now)).await? {
                Ok(parts) => Some(parts),
                Err(progress) => return Ok(progress),
            },
        };
        self.work.with(|work| work.note_kept(parts.as_deref(), cookie)).release(self.records.config);
        Ok(Progress::Done)
    }

    /// Writes the changed record.
    pub(super) async fn update(&self, now: Timestamp) -> Result<Progress, Error> {
        let begun = self.work.with(|work| {
            if self.is_prepared(work, Plan::Update, now) { self.begin_update(work, now) } else { Ok(None) }
        })?;
        match begun {
            Some(mut update) => self.write_update(&mut update, now).await,
            None => Ok(Progress::Again),
        }
    }

    /// Begins the write of the changed record, under the same lock that checked the plan.
    #[inline(always)]
    pub(super) fn begin_update(&self, work: &mut Work, now: Timestamp) -> Result<Option<Update>, Error> {
        let records = self.records;
        let write = NewWrite::of(work, records.config, records.server.write_id(), now)?;
        let Some(session) = work.loaded.stored() else { return Ok(None) };
        let (id, expected) = (session.id.clone(), session.record.version);
        let (record, parts) = (Arc::clone(&write.record), write.parts.clone());
        work.begin_write(PendingWrite::Update(PendingUpdate { record, parts }));
        Ok(Some(Update { id, expected, write }))
    }

    /// Completes an update. Borrows it, since every request that changes something would move it with the future.
    pub(super) async fn write_update(&self, update: &mut Update, now: Timestamp) -> Result<Progress, Error> {
        let Update { id, expected, write: NewWrite { record, parts, rows } } = update;
        let outcome = self.records.update(id, *expected, record, rows.take(), now).await?;
        let is_done = match &outcome {
            Outcome::Done => true,
            // A store client that retries by itself finds its own write.
            Outcome::Conflict(found) => found.as_ref().is_some_and(|found| found.version == record.version),
            Outcome::Retired(_) | Outcome::Gone => false,
        };
        if !is_done {
            return Ok(Progress::conflict(outcome));
        }
        let config = self.records.config;
        self.work.with(|work| work.note_updated(config, record, parts.as_deref(), now)).release(config);
        if parts.is_some() {
            Box::pin(self.delete_removed_parts(parts.as_deref())).await;
        }
        Ok(Progress::Done)
    }

    /// Creates a session. The session it replaces ends afterwards, so a failure in between loses nothing. If another
    /// request has ended that session, the new one is deleted again.
    pub(super) async fn create(&mut self, plan: Plan, now: Timestamp) -> Result<Progress, Error> {
        let (records, config) = (self.records, self.records.config);
        let begun = self.work.with(|work| {
            if !self.is_prepared(work, plan, now) {
                return Ok(None);
            }
            let write = NewWrite::of(work, config, records.server.write_id(), now)?;
            let id = work.new_id(config)?;
            work.begin_write(write.pending(&id, plan, None));
            Ok::<_, Error>(Some((id, write)))
        })?;
        let Some((id, NewWrite { record, parts, rows })) = begun else { return Ok(Progress::Again) };
        // An ID of 256 random bits cannot collide: an earlier attempt, whose reply was lost, has created this record.
        if !records.create(&id, &record, rows, now).await?
            && !Box::pin(self.replace_earlier(&id, &record, parts.as_deref(), now)).await?
        {
            return Ok(Progress::Again);
        }
        let session = StoredSession::new(record, id, ClientId::Current);
        if plan == Plan::Replace
            && let Some(progress) = Box::pin(self.end_replaced(&session.id, now)).await?
        {
            return Ok(progress);
        }
        self.finish_new(plan, session, parts.as_deref(), now);
        Ok(Progress::Done)
    }

    /// Writes the record under a new ID. With `grace` the old ID stays valid for the grace period.
    pub(super) async fn renew(&self, grace: bool, now: Timestamp) -> Result<Progress, Error> {
        let (records, config, plan) = (self.records, self.records.config, Plan::Renew { grace });
        let begun = self.work.with(|work| {
            let is_prepared = self.is_prepared(work, plan, now);
            let Some(old) = work.loaded.stored().filter(|_| is_prepared).cloned() else { return Ok(None) };
            let mut write = NewWrite::of(work, config, records.server.write_id(), now)?;
            Arc::make_mut(&mut write.record).renewed_at = now;
            let id = work.new_id(config)?;
            let forward = forward(config, &old, &id, grace, now);
            work.begin_write(write.pending(&id, plan, Some(forward.clone())));
            Ok::<_, Error>(Some((old, id, forward, write)))
        })?;
        let Some((old, id, forward, write)) = begun else { return Ok(Progress::Again) };
        let NewWrite { record, parts, rows } = write;
        match records.renew(&old, (&id, &record), forward.clone(), rows, now).await? {
            Outcome::Done => {}
            // A store client that retries finds its own renewal.
            Outcome::Retired(found) if is_same_renewal(&found, &forward) && records.load(&id, now).await?.is_some() => {
                return Ok(Progress::Again);
            }
            outcome => {
                self.work.with(|work| work.pending = PendingWrite::None);
                return Ok(Progress::conflict(outcome));
            }
        }
        let client = if grace && old.client == ClientId::Dead { ClientId::Dead } else { ClientId::Current };
        let has_moved = old.record.handle != record.handle;
        self.finish_new(plan, StoredSession::new(record, id, client), parts.as_deref(), now);
        if has_moved {
            self.delete_parts_of(&old.record).await;
            return Ok(Progress::Done);
        }
        self.delete_removed_parts(parts.as_deref()).await;
        Ok(Progress::Done)
    }

    /// Ends the loaded session, following renewals of its ID. Removes the cookie only if this request ended the
    /// session.
    pub(super) async fn end(&mut self) -> Result<Progress, Error> {
        let config = self.records.config;
        let ended = self.work.with(|work| work.loaded.record().cloned());
        match self.delete_latest(None).await? {
            Ending::ByThis => {}
            Ending::ByAnother => return self.lose().await,
            // A logout that has not taken place must not look like a success.
            Ending::Replaced => return self.lose().await.and(Err(Error::ended())),
        }
        let note = |work: &mut Work| {
            work.cookies = vec![config.cookie_writer.removal()];
            work.note_ended()
        };
        self.work.with(note).release(config);
        if let Some(ended) = ended {
            self.delete_parts_of(&ended).await;
        }
        // Changes made since make a new session.
        Ok(Progress::Again)
    }

    /// Ends the session that a new one replaces. Returns the progress if another request has ended it first.
    pub(super) async fn end_replaced(&mut self, new: &SessionId, now: Timestamp) -> Result<Option<Progress>, Error> {
        let (ended, logs_in) = self.work.with(|work| (work.loaded.record().cloned(), work.changes.logs_in()));
        if self.delete_latest(logs_in.then_some(new)).await? != Ending::ByThis {
            self.records.delete(new, Forward::ended(now), now).await?;
            return self.lose().await.map(Some);
        }
        if let Some(ended) = ended {
            self.delete_parts_of(&ended).await;
        }
        Ok(None)
    }

    fn finish_new(&self, plan: Plan, session: StoredSession, parts: Option<&ExternalParts>, now: Timestamp) {
        let config = self.records.config;
        let cookie = (session.client != ClientId::Dead).then(|| id_cookie(config, &session, now));
        let note = |work: &mut Work| {
            work.set_cookie(cookie);
            work.note_written(plan, Loaded::Stored(session), parts)
        };
        self.work.with(note).release(config);
    }

    /// Returns `true` if the ID is still current, for a request that makes no other write that would detect it.
    async fn is_current(&self, session: &StoredSession, now: Timestamp) -> bool {
        match self.records.load(&session.id, now).await {
            Ok(found) => matches!(found, Some(Found::Live(_))),
            Err(error) => {
                self.records.config.tell(&SessionEvent::StoreFailed { error: error.into() });
                false
            }
        }
    }
}

impl Work {
    /// Adopts an updated record.
    #[inline(always)]
    fn note_updated(
        &mut self,
        config: &Config,
        record: &Arc<Record>,
        parts: Option<&ExternalParts>,
        now: Timestamp,
    ) -> Aftermath {
        if let Loaded::Stored(session) = &mut self.loaded {
            let needs_cookie = match session.client {
                ClientId::Older => true,
                // With timeouts that are no longer longer, the cookie goes with the browser session again.
                ClientId::Current => config.keeps_cookie(&session.record) || config.keeps_cookie(record),
                ClientId::Dead => false,
            };
            (session.record, session.form) = (Arc::clone(record), Form::Current);
            if needs_cookie {
                let cookie = id_cookie(config, session, now);
                self.set_cookie(Some(cookie));
            }
        }
        self.note_write(Plan::Update, record, parts)
    }
}

/// Returns the next version of a record, with the same values.
pub(super) fn next_record(records: Records<'_>, before: &Arc<Record>, now: Timestamp) -> Arc<Record> {
    let stamp = Stamp { new_handle: before.handle, write_id: records.server.write_id(), login_id: None };
    Arc::new(Draft::new(Some(Arc::clone(before))).to_record(stamp, &records.config.timeouts, now))
}

/// Returns the forward that a renewal leaves under the old ID.
fn forward(config: &Config, old: &StoredSession, new: &SessionId, has_grace: bool, now: Timestamp) -> Forward {
    let successor = Some(old.id.seal_successor(new));
    if !has_grace {
        return Forward { successor, grace_until: Forward::NO_GRACE, expires_at: now.after(Forward::JUST_DIED) };
    }
    let grace_until = now.after(config.timeouts.grace);
    // The remaining lifetime of the old ID, up to a day, and at least the grace period.
    let expires_at = old.record.expires_at.min(now.after(LONGEST_FORWARD)).max(grace_until.after(Forward::JUST_DIED));
    Forward { successor, grace_until, expires_at }
}

/// Returns whether both forwards are those of one renewal. Forwards of two concurrent logins may be equal.
pub(super) fn is_same_renewal(one: &Forward, other: &Forward) -> bool {
    (one.successor, one.grace_until) == (other.successor, other.grace_until)
}

/// Returns the cookie for a session whose deadline has moved, if the client needs one: for a new ID, or for a new
/// `Max-Age`.
pub(super) fn moved_cookie(config: &Config, session: &StoredSession, now: Timestamp) -> Option<HeaderValue> {
    let needs_cookie = match session.client {
        ClientId::Older => true,
        ClientId::Current => config.keeps_cookie(&session.record),
        ClientId::Dead => false,
    };
    needs_cookie.then(|| id_cookie(config, session, now))
}

fn id_cookie(config: &Config, session: &StoredSession, now: Timestamp) -> HeaderValue {
    config.cookie_writer.set(&session.id.to_text(), config.max_age(&session.record, now))
}
