//! State transitions of [`Work`] during a commit.

use std::sync::Arc;

use http::HeaderValue;

use super::loaded::{Binding, ClientId, Loaded, StoredSession};
use super::work::{Aftermath, PendingWrite, Work};
use crate::clock::Timestamp;
use crate::event::SessionEvent;
use crate::record::changes::Change;
use crate::record::draft::Draft;
use crate::record::external::{ExternalParts, Medium};
use crate::record::json_text::JsonText;
use crate::record::plan::Plan;
use crate::record::{Handle, Record, Version};

impl Work {
    /// Notes that a write of all current changes begins.
    pub(crate) fn begin_write(&mut self, pending: PendingWrite) {
        self.pending = pending;
        self.changes.mark_attempted();
    }

    /// Begins a commit that leaves the record unwritten. Returns the session and its external parts.
    pub(crate) fn begin_keep(&mut self) -> (Option<StoredSession>, Option<Arc<ExternalParts>>) {
        self.changes.mark_attempted();
        (self.loaded.stored().cloned(), self.draft.external().cloned().map(Arc::new))
    }

    /// Ends a commit that left the record unwritten. Forgets changes without effect; cookies are still sent.
    pub(crate) fn note_kept(&mut self, parts: Option<&ExternalParts>, cookie: Option<HeaderValue>) -> Aftermath {
        self.set_cookie(cookie);
        let discarded = self.changes.take_attempted();
        self.changes.renews &= self.loaded.record().is_some();
        if let Some(parts) = parts {
            self.note_parts(parts);
        }
        Aftermath { discarded, ..Aftermath::default() }
    }

    /// Adopts parts that have been written. If the session ends by a change made since, they are kept only for a
    /// refused login.
    fn note_parts(&mut self, parts: &ExternalParts) {
        match (&mut self.before_takeover, self.changes.ends_session) {
            (Some(before), true) => before.note_saved(parts),
            (None, true) => {}
            (_, false) => self.draft.external_mut().note_saved(parts),
        }
    }

    /// Replaces the cookies of earlier commits.
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

    /// Forgets a pending update that is known to have failed.
    pub(crate) fn forget_pending_update(&mut self) {
        if let PendingWrite::Update(_) = self.pending {
            self.pending = PendingWrite::None;
        }
    }

    /// Notes a part loaded for a session, if the request still has that session.
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

    /// Notes that a login was refused: discards all changes.
    pub(crate) fn note_refused(&mut self) -> Aftermath {
        self.pending = PendingWrite::None;
        let discarded = self.discard();
        Aftermath { discarded, ..Aftermath::default() }
    }

    /// Adopts a record written as planned. It holds the changes made before the write began.
    pub(crate) fn note_written(&mut self, plan: Plan, loaded: Loaded, parts: Option<&ExternalParts>) -> Aftermath {
        let aftermath = match loaded.record() {
            Some(record) => self.note_write(plan, record, parts),
            None => Aftermath::default(),
        };
        self.loaded = loaded;
        aftermath
    }

    /// Does the work of [`note_written`](Self::note_written), except for setting `loaded`.
    #[inline]
    pub(crate) fn note_write(&mut self, plan: Plan, record: &Arc<Record>, parts: Option<&ExternalParts>) -> Aftermath {
        // A login or a reauthentication makes a new record or a new ID, never an update.
        let events = if plan == Plan::Update { Vec::new() } else { self.events_of(plan, record.handle) };
        let is_current = self.changes.attempted().is_some();
        let discarded = self.changes.take_attempted();
        self.pending = PendingWrite::None;
        match plan {
            Plan::Renew { .. } => {
                (self.changes.renews, self.changes.continues_login) = (false, false);
                self.has_ended_session |= self.draft.kept_handle().is_none();
            }
            Plan::Create | Plan::Replace => {
                // A later change may end the session again.
                self.changes.ends_session &= !is_current;
                self.has_ended_session |= plan == Plan::Replace;
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

    /// Notes that this request ended the loaded session. Later writes make a new session.
    pub(crate) fn note_ended(&mut self) -> Aftermath {
        let events = self.events_of_end();
        (self.pending, self.loaded) = (PendingWrite::None, Loaded::Nothing);
        self.changes.ends_session = false;
        self.has_ended_session = true;
        Aftermath { events, ..Aftermath::default() }
    }

    /// Notes that another request has ended or taken over the session. Returns whether changes are lost.
    pub(crate) fn note_lost(&mut self) -> (bool, Aftermath) {
        // A requested end of the session is not lost if the session has ended.
        let is_end_lost = self.changes.ends_session && self.loaded.may_go_on();
        let is_lost = is_end_lost || self.changes.renews || self.changes.list().iter().any(Change::is_of_session);
        let record = self.loaded.record().filter(|_| is_lost);
        let events = record.map(|record| SessionEvent::ChangesDiscarded { session: record.handle });
        let discarded = self.changes.discard();
        self.draft = Draft::with_external(self.external_without_session());
        (self.pending, self.loaded) = (PendingWrite::None, Loaded::Ended);
        // They would overwrite newer cookies.
        self.cookies.clear();
        (is_lost, Aftermath { events: events.into_iter().collect(), discarded })
    }

    /// Moves the times of the loaded record, last use and deadline, and keeps its version.
    pub(crate) fn note_touched(&mut self, times: (Timestamp, Timestamp)) {
        if let Some(record) = self.loaded.record_mut() {
            let record = Arc::make_mut(record);
            (record.last_seen_at, record.expires_at) = times;
        }
    }

    /// Returns the events of a write.
    fn events_of(&self, plan: Plan, session: Handle) -> Vec<SessionEvent> {
        let former = self.loaded.record().map(|record| record.handle);
        let mut events = Vec::new();
        match plan {
            Plan::Create => events.push(SessionEvent::Created { session }),
            Plan::Replace => {
                events = self.events_of_end();
                events.push(SessionEvent::Created { session });
            }
            // A change of principal makes a new session with a new handle.
            Plan::Renew { .. } if self.draft.kept_handle().is_none() => {
                events = self.events_of_end();
                events.push(SessionEvent::Created { session });
            }
            // State in the cookie gets a new handle in each login.
            Plan::Renew { .. } if former.is_some_and(|former| former != session) => {
                events.extend(former.map(|session| SessionEvent::Destroyed { session }));
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

    /// Returns the events of the loaded session's end.
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
