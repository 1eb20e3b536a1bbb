//! What the steps of a commit note in the work of a request.

use std::mem;
use std::sync::Arc;

use http::HeaderValue;

use super::loaded::{Binding, ClientId, Loaded, StoredSession};
use super::work::{Aftermath, LateWrite, PendingUpdate, PendingWrite, Work};
use crate::clock::Timestamp;
use crate::event::SessionEvent;
use crate::record::changes::Change;
use crate::record::draft::Draft;
use crate::record::external::{ExternalParts, Medium};
use crate::record::json_text::JsonText;
use crate::record::plan::Plan;
use crate::record::{Handle, Record, Version};

impl Work {
    /// Notes that a write is about to be made with all the changes there are.
    pub(crate) fn begin_write(&mut self, pending: PendingWrite) {
        self.pending = pending;
        self.changes.mark_attempted();
    }

    /// Begins a commit that writes nothing to the record: returns the session, and the parts as they are.
    pub(crate) fn begin_keep(&mut self) -> (Option<StoredSession>, Option<Arc<ExternalParts>>) {
        self.changes.mark_attempted();
        (self.loaded.stored().cloned(), self.draft.external().cloned().map(Arc::new))
    }

    /// Ends it. What was changed without effect is forgotten; cookies are still to be sent.
    pub(crate) fn note_kept(&mut self, parts: Option<&ExternalParts>, cookie: Option<HeaderValue>) -> Aftermath {
        self.set_cookie(cookie);
        let discarded = self.changes.take_attempted();
        self.changes.renews &= self.loaded.record().is_some();
        if let Some(parts) = parts {
            self.note_parts(parts);
        }
        Aftermath { discarded, ..Aftermath::default() }
    }

    /// Goes on from parts that have been written. When the session is to end, by what has come in since, they are no
    /// longer the request's, unless that is refused.
    fn note_parts(&mut self, parts: &ExternalParts) {
        match (&mut self.before_takeover, self.changes.ends_session) {
            (Some(before), true) => before.note_saved(parts),
            (None, true) => {}
            (_, false) => self.draft.external_mut().note_saved(parts),
        }
    }

    /// Takes a cookie in the place of those of earlier commits.
    #[inline]
    pub(crate) fn set_cookie(&mut self, cookie: Option<HeaderValue>) {
        let Some(cookie) = cookie else { return };
        self.cookies.clear();
        self.cookies.push(cookie);
        if let Loaded::Stored(stored) = &mut self.loaded
            && stored.client == ClientId::Older
        {
            stored.client = ClientId::Current;
            self.changes.renews = false;
        }
    }

    /// Forgets an update of which it is known now that it did not take place.
    pub(crate) fn forget_pending_update(&mut self) {
        if let PendingWrite::Update(_) = self.pending {
            self.pending = PendingWrite::None;
        }
    }

    /// Goes on without the pending update, which may take place yet.
    pub(crate) fn expect_late_write(&mut self) {
        if let PendingWrite::Update(update) = mem::take(&mut self.pending) {
            let attempted = self.changes.attempted().unwrap_or(0);
            self.late_write = Some(Box::new(LateWrite { update, attempted }));
        }
    }

    /// Goes on from the late write if that is what another look has found.
    pub(crate) fn adopt_late_write(&mut self, found: &StoredSession) -> Option<Aftermath> {
        let late = self.late_write.take()?;
        if late.update.record.version != found.record.version {
            return None;
        }
        let PendingUpdate { record, parts } = late.update;
        self.changes.set_attempted(late.attempted);
        let session = StoredSession { record, ..found.clone() };
        Some(self.note_written(Plan::Update, Loaded::Stored(session), parts.as_deref()))
    }

    /// Takes note of a part that was loaded for a session, unless that is not the request's any more.
    pub(crate) fn note_part(
        &mut self,
        session: Binding,
        name: &'static str,
        medium: Medium,
        value: Option<JsonText>,
        stored: Option<Version>,
    ) {
        if self.draft.kept_handle() == Some(session.session) {
            self.draft.external_mut().load(name, medium, value, stored);
        }
    }

    /// Notes that a login was refused: everything that was asked for is forgotten.
    pub(crate) fn note_refused(&mut self) -> Aftermath {
        self.pending = PendingWrite::None;
        let discarded = self.discard();
        Aftermath { discarded, ..Aftermath::default() }
    }

    /// Goes on from a record that has been written as planned, with the changes that were there when the write began.
    pub(crate) fn note_written(&mut self, plan: Plan, loaded: Loaded, parts: Option<&ExternalParts>) -> Aftermath {
        let aftermath = match loaded.record() {
            Some(record) => self.note_write(plan, record, parts),
            None => Aftermath::default(),
        };
        self.loaded = loaded;
        aftermath
    }

    /// Does so, but for what the request is based on.
    #[inline]
    pub(crate) fn note_write(&mut self, plan: Plan, record: &Arc<Record>, parts: Option<&ExternalParts>) -> Aftermath {
        // A login or a reauthentication makes a new record or a new ID, never an update.
        let events = if plan == Plan::Update { Vec::new() } else { self.events_of(plan, record.handle) };
        let is_current = self.changes.attempted().is_some();
        let discarded = self.changes.take_attempted();
        (self.pending, self.late_write) = (PendingWrite::None, None);
        match plan {
            Plan::Renew { .. } => {
                self.changes.renews = false;
                self.has_ended_session |= self.draft.kept_handle().is_none();
            }
            Plan::Replace => {
                // Unless it is to end once more.
                self.changes.ends_session &= !is_current;
                self.has_ended_session = true;
            }
            _ => {}
        }
        if !self.changes.ends_session {
            self.draft.note_written(Arc::clone(record), parts, self.changes.list());
        }
        (self.new_handle, self.new_id, self.login_id) = (None, None, None);
        match parts {
            Some(parts) if self.changes.ends_session => self.note_parts(parts),
            _ if self.changes.ends_session => {}
            _ => self.before_takeover = None,
        }
        Aftermath { events, discarded }
    }

    /// Notes that the loaded session has been ended by this request. What has been written since makes another.
    pub(crate) fn note_ended(&mut self) -> Aftermath {
        let events = self.events_of_end();
        (self.pending, self.loaded) = (PendingWrite::None, Loaded::Nothing);
        self.changes.ends_session = false;
        self.has_ended_session = true;
        Aftermath { events, ..Aftermath::default() }
    }

    /// Notes that the session is no longer the request's, by what another request has done. Says whether anything that
    /// was asked for is lost by it.
    pub(crate) fn note_lost(&mut self) -> (bool, Aftermath) {
        // That it should end is not lost: it has ended.
        let is_lost = self.changes.renews || self.changes.list().iter().any(Change::is_of_session);
        let record = self.loaded.record().filter(|_| is_lost);
        let events = record.map(|record| SessionEvent::ChangesDiscarded { session: record.handle });
        let discarded = self.changes.discard();
        self.draft = Draft::with_external(self.external_without_session());
        (self.pending, self.loaded) = (PendingWrite::None, Loaded::Ended);
        // Sent now, they would take the place of newer ones.
        self.cookies.clear();
        (is_lost, Aftermath { events: events.into_iter().collect(), discarded })
    }

    /// Moves the times of the loaded record, without another version.
    pub(crate) fn note_touched(&mut self, last_seen_at: Timestamp, expires_at: Timestamp) {
        if let Some(record) = self.loaded.record_mut() {
            let record = Arc::make_mut(record);
            (record.last_seen_at, record.expires_at) = (last_seen_at, expires_at);
        }
    }

    /// Returns what the observers are to be told of a write.
    fn events_of(&self, plan: Plan, session: Handle) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        match plan {
            Plan::Create => events.push(SessionEvent::Created { session }),
            Plan::Replace => {
                events = self.events_of_end();
                events.push(SessionEvent::Created { session });
            }
            // From one principal to another it is another session, with another name.
            Plan::Renew { .. } if self.draft.kept_handle().is_none() => {
                events = self.events_of_end();
                events.push(SessionEvent::Created { session });
            }
            Plan::Renew { .. } => events.push(SessionEvent::Renewed { session }),
            _ => {}
        }
        if self.changes.logs_in() {
            events.push(SessionEvent::LoggedIn { session });
        } else if self.changes.reauthenticates() {
            events.push(SessionEvent::Reauthenticated { session });
        }
        events
    }

    /// Returns what the observers are to be told of the end of the loaded session.
    fn events_of_end(&self) -> Vec<SessionEvent> {
        let Some(record) = self.loaded.record() else { return Vec::new() };
        let session = record.handle;
        let logged_out = record.principal.as_ref().map(|_| SessionEvent::LoggedOut { session });
        logged_out.into_iter().chain([SessionEvent::Destroyed { session }]).collect()
    }

    pub(super) fn external(&self) -> Option<Box<ExternalParts>> {
        self.draft.external().cloned().map(Box::new)
    }

    /// Returns the external parts as they belong to the session that was loaded.
    pub(super) fn external_of_loaded(&mut self) -> Option<Box<ExternalParts>> {
        match (self.before_takeover.take(), self.changes.ends_session) {
            (Some(before), false) => Some(before),
            _ => self.external(),
        }
    }

    /// Returns the external parts as they are without a session.
    pub(super) fn external_without_session(&self) -> Option<Box<ExternalParts>> {
        let mut external = self.external()?;
        external.forget();
        Some(external)
    }
}
