//! State of a request's session: its loaded base, its changes, and its pending write.

use std::sync::Arc;

use http::HeaderValue;

use super::loaded::{Binding, Loaded, StoredSession};
use super::{Config, State};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::changes::{Change, Changes, Discarded, Key, Location, UpdateFn};
use crate::record::draft::Draft;
use crate::record::external::{ExternalPart, ExternalParts, PartRef};
use crate::record::id::SessionId;
use crate::record::json_text::JsonText;
use crate::record::lifetime::{Age, Timeouts};
use crate::record::plan::{Plan, Situation, plan};
use crate::record::version::Stamp;
use crate::record::{Handle, Record};
use crate::store::Forward;

/// Owns the loaded base of a request and its changes. A draft always stays with the base it was computed from, and
/// nothing is taken out during a write.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) loaded: Loaded,
    pub(crate) changes: Changes,
    pub(crate) draft: Draft,
    pub(crate) pending: PendingWrite,
    /// A delete of the loaded session is unanswered.
    pub(crate) is_ending: bool,
    /// The request has peeked at the session, and not used it.
    pub(crate) is_peeked: bool,
    /// Handle of the session that the request makes. All attempts use the same.
    pub(super) new_handle: Option<Handle>,
    /// ID that the request makes. All attempts use the same, so that no orphan is left behind.
    pub(super) new_id: Option<Box<SessionId>>,
    /// Distinguishes this request's login from concurrent logins.
    pub(super) login_id: Option<u32>,
    /// The session that the request came with.
    pub(crate) origin: Option<Binding>,
    /// Number of cookies in which the client holds the state.
    pub(crate) chunks: usize,
    /// `Set-Cookie` values of the session.
    pub(crate) cookies: Vec<HeaderValue>,
    /// This request has ended the session that it came with.
    pub(crate) has_ended_session: bool,
    /// External parts from before a login of another principal, in case that login is refused.
    pub(super) before_takeover: Option<Box<ExternalParts>>,
}

/// The last write, while its outcome is unknown.
#[derive(Clone, Debug, Default)]
pub(crate) enum PendingWrite {
    #[default]
    None,
    /// An update of the loaded record.
    Update(PendingUpdate),
    /// A new record.
    New(Box<NewRecord>),
}

#[derive(Clone, Debug)]
pub(crate) struct PendingUpdate {
    pub(crate) record: Arc<Record>,
    pub(crate) parts: Option<Arc<ExternalParts>>,
}

#[derive(Clone, Debug)]
pub(crate) struct NewRecord {
    pub(crate) id: SessionId,
    pub(crate) record: Arc<Record>,
    pub(crate) plan: Plan,
    /// Forward that a renewal leaves under the old ID, as its last step.
    pub(crate) forward: Option<Forward>,
    pub(crate) parts: Option<Arc<ExternalParts>>,
}

/// Next step of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    CarryOut(Plan),
    /// Determine the outcome of a write.
    Resolve,
    /// Give up the session: another request has ended or taken it over.
    Lose,
    /// Continue from the session that another login of the same principal has left.
    ContinueLogin,
}

/// When a commit takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The request saves before its response.
    Save,
    /// The response is being sent.
    Response,
    /// The head of the response has been sent, so no cookie can be set.
    AfterResponse,
}

impl Moment {
    pub(crate) fn may_set_cookie(self) -> bool {
        self != Self::AfterResponse
    }
}

/// Work left for after the lock: events for the observers, and closures of the application to drop.
#[must_use = "release it where no lock is held"]
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(super) events: Vec<SessionEvent>,
    pub(super) discarded: Discarded,
}

impl Aftermath {
    #[inline]
    pub(crate) fn release(self, config: &Config) {
        let Self { events, discarded } = self;
        events.iter().for_each(|event| config.tell(event));
        drop(discarded);
    }
}

/// Access to the work of a request, shared by its handler and tasks.
pub(crate) trait SharedWork {
    /// Runs `step` on the work under a lock. It must neither block nor run or drop code of the application.
    fn with<T>(&self, step: impl FnOnce(&mut Work) -> T) -> T;
}

impl Work {
    #[inline]
    pub(crate) fn new(loaded: Loaded, chunks: usize, is_peeked: bool) -> Self {
        let base = loaded.record().cloned();
        // Names every field: building a default and moving out of it costs time in every request that uses its session.
        Self {
            origin: base.as_deref().map(Binding::of),
            draft: Draft::new(base),
            loaded,
            chunks,
            changes: Changes::default(),
            pending: PendingWrite::None,
            is_ending: false,
            is_peeked,
            new_handle: None,
            new_id: None,
            login_id: None,
            cookies: Vec::new(),
            has_ended_session: false,
            before_takeover: None,
        }
    }

    /// Adopts a session that was loaded after a part that needs none.
    pub(crate) fn load(&mut self, loaded: Loaded, chunks: usize, is_peeked: bool) {
        let base = loaded.record().cloned();
        self.origin = base.as_deref().map(Binding::of);
        self.draft.load(base);
        (self.loaded, self.chunks, self.is_peeked) = (loaded, chunks, is_peeked);
    }

    /// Returns the binding of the parts that the request came with, if it keeps its session.
    pub(crate) fn kept_binding(&self, config: &Config) -> Option<Binding> {
        self.draft.kept_handle().and(self.received_binding(config))
    }

    /// Returns the binding of the parts that the request came with, if they belong to the present session.
    pub(crate) fn received_binding(&self, config: &Config) -> Option<Binding> {
        let session = self.loaded.record()?.handle;
        // A login gives state in the cookie another handle.
        let may_differ = matches!(config.state, State::Client(_)) && !self.has_ended_session;
        self.origin.filter(|origin| may_differ || origin.session == session)
    }

    /// Returns `true` if the response must carry cookies of parts.
    pub(crate) fn has_part_cookies(&self, config: &Config) -> bool {
        if config.parts.is_empty() {
            return false;
        }
        let is_to_send = |part: &ExternalPart| part.is_unsent || part.cookie.needs_seal;
        let external = self.draft.external();
        let has_cookie = external.is_some_and(|parts| parts.change_cookie() || parts.iter().any(is_to_send));
        self.has_ended_session || self.has_moved() || has_cookie
    }

    /// Returns whether the session is another one than the request came with, or has been logged in to.
    fn has_moved(&self) -> bool {
        self.origin != self.loaded.record().map(|record| Binding::of(record))
    }

    /// Returns whether the request has begun or ended a session or a login.
    pub(super) fn has_begun_or_ended(&self) -> bool {
        self.has_ended_session || self.has_moved()
    }

    #[inline]
    pub(crate) fn plan(&self, config: &Config, may_set_cookie: bool, now: Timestamp) -> Plan {
        let (loaded, needs_seal) = (self.loaded.record().map(Arc::as_ref), self.loaded.needs_seal());
        let (changes, draft, is_renewed) = (&self.changes, &self.draft, self.loaded.tells_id());
        let is_peeked = self.is_peeked;
        let situation = Situation { loaded, changes, draft, is_renewed, needs_seal, may_set_cookie, is_peeked };
        plan(situation, &config.timeouts, now)
    }

    /// Returns the times of the session when the request ends `now`.
    pub(crate) fn age(&self, timeouts: &Timeouts, now: Timestamp) -> Age {
        let peeked = self.draft.base().filter(|_| self.is_peeked && !self.draft.is_changed());
        let age = self.draft.age(timeouts, now);
        Age { last_seen_at: peeked.map_or(age.last_seen_at, |record| record.last_seen_at), ..age }
    }

    /// Returns the next step of a commit.
    #[inline]
    pub(crate) fn next(&self, config: &Config, may_set_cookie: bool, now: Timestamp) -> Next {
        if self.loaded.record().is_none()
            && let Some(next) = self.next_without_session()
        {
            return next;
        }
        match &self.pending {
            // The outcome of an update is irrelevant to a session that ends.
            PendingWrite::Update(_) if !self.changes.ends_session => Next::Resolve,
            PendingWrite::New(_) => Next::Resolve,
            _ => Next::CarryOut(self.plan(config, may_set_cookie, now)),
        }
    }

    /// Returns the next step of a request that has no session because another one has ended or replaced it. `None` for
    /// a login that needs no former session.
    #[inline(never)]
    fn next_without_session(&self) -> Option<Next> {
        match &self.loaded {
            Loaded::Dead { successor, .. } if self.changes.logs_in() => successor.as_ref().map(|_| Next::ContinueLogin),
            Loaded::Ended | Loaded::Dead { .. } => Some(Next::Lose),
            Loaded::Nothing | Loaded::Stored(_) | Loaded::Sealed(_) => None,
        }
    }

    /// Makes a change that runs no code of the application. Returns whether it changes the session's principal.
    pub(crate) fn change(&mut self, change: Change) -> bool {
        let is_taken_over = self.draft.is_taken_over_by(&change);
        if is_taken_over && self.before_takeover.is_none() {
            self.before_takeover = self.external();
        }
        // Only an update can fail, and updates go through `replace`.
        drop(self.draft.apply(&change));
        self.changes.push(change);
        is_taken_over
    }

    /// Sets the result that was computed from `before`, if that is still the current text, and returns whether it is.
    /// Only then `compute` is taken, and `kept` for replays.
    pub(crate) fn replace<C>(
        &mut self,
        location: &Location,
        before: Option<&JsonText>,
        json: Arc<[u8]>,
        limit: usize,
        compute: &mut Option<C>,
        kept: impl FnOnce(C) -> Arc<UpdateFn>,
    ) -> Result<bool, Error> {
        let is_current = self.draft.replace_at(location, before, json, limit)?;
        if is_current && let Some(compute) = compute.take() {
            self.changes.push(location.clone().update(kept(compute)));
        }
        Ok(is_current)
    }

    /// Notes the removal of a value by a request whose ID has just died. The session that goes on may have the value.
    pub(crate) fn remove_without_session(&mut self, key: Key) {
        if let Loaded::Dead { .. } = self.loaded {
            self.changes.push(Change::Remove { key });
        }
    }

    /// Ends the loaded session. Later writes make a new session.
    pub(crate) fn end_session(&mut self) -> Discarded {
        let discarded = self.changes.end_session();
        self.draft = Draft::with_external(self.external_without_session());
        discarded
    }

    /// Drops the changes of values, and keeps logins, timeouts and the like.
    pub(crate) fn discard_data(&mut self) -> Discarded {
        let discarded = self.changes.discard_data();
        let base = self.loaded.record().cloned().filter(|_| !self.changes.ends_session);
        let mut draft = Draft::of(base, self.external_of_loaded());
        // The changes left run no code of the application and cannot fail.
        drop(draft.apply_all(self.changes.list()));
        self.draft = draft;
        discarded
    }

    /// Drops everything that has not been saved.
    pub(crate) fn discard(&mut self) -> Discarded {
        let discarded = self.changes.discard();
        self.draft = Draft::of(self.loaded.record().cloned(), self.external_of_loaded());
        discarded
    }

    /// Returns `true` if the request neither changes the session's record nor asks for a renewal.
    pub(crate) fn only_reads(&self) -> bool {
        !self.draft.is_changed() && !self.changes.renews
    }

    /// Returns `true` if dropping the work would lose changes.
    pub(crate) fn has_unsaved_changes(&self) -> bool {
        let changes_cookie = self.draft.external().is_some_and(ExternalParts::change_cookie);
        changes_cookie || (!self.changes.is_empty() && self.draft.has_changes())
    }

    /// Returns `true` if the loaded session ends, or passes to another principal.
    pub(crate) fn ends_session(&self) -> bool {
        self.loaded.record().is_some() && (self.changes.ends_session || self.draft.kept_handle().is_none())
    }

    /// Returns the loaded session in a store, if the request keeps it.
    pub(crate) fn kept_session(&self) -> Option<StoredSession> {
        self.draft.kept_handle().and(self.loaded.stored()).cloned()
    }

    /// Returns the handle of the current session, or of the session about to be made.
    pub(crate) fn current_handle(&self) -> Option<Handle> {
        self.draft.kept_handle().or(self.new_handle)
    }

    /// Makes the record to store.
    pub(crate) fn make_record(&mut self, config: &Config, write_id: u32, now: Timestamp) -> Result<Arc<Record>, Error> {
        let new_handle = match self.draft.kept_handle() {
            Some(handle) => handle,
            None => self.new_handle()?,
        };
        let stamp = Stamp { new_handle, write_id, login_id: self.login_id()? };
        // Fails only for records that have grown: a record stored under a larger limit must stay touchable and
        // renewable.
        self.draft.check_size(config.max_record_size)?;
        let mut record = Arc::new(self.draft.to_record(stamp, &config.timeouts, now));
        if self.draft.external().is_some() {
            self.refer_to_parts(Arc::make_mut(&mut record));
        }
        Ok(record)
    }

    /// Sets the record's references to the parts prepared in stores.
    fn refer_to_parts(&self, record: &mut Record) {
        let Some(external) = self.draft.external() else { return };
        for part in external.iter() {
            let reference = match &part.prepared {
                Some(prepared) if part.is_prepared() => Some(prepared.reference),
                _ if part.is_changed() && part.is_stored() && part.value.is_none() => None,
                _ => continue,
            };
            record.values = record.values.with(&PartRef::key(part.name), reference.map(PartRef::to_text).as_deref());
        }
    }

    /// Returns the handle of the session that the request makes.
    pub(crate) fn new_handle(&mut self) -> Result<Handle, Error> {
        match self.new_handle {
            Some(handle) => Ok(handle),
            None => Ok(*self.new_handle.insert(Handle::from_bytes(random::bytes()?))),
        }
    }

    /// Returns whether the record gets another generation. A login that continues the session of another one keeps that
    /// login's: what the client got from it stays valid.
    #[inline]
    pub(super) fn begins_generation(&self) -> bool {
        self.draft.authenticates() && !self.changes.continues_login
    }

    /// Returns the random number that distinguishes this request's login from concurrent ones.
    #[inline]
    fn login_id(&mut self) -> Result<Option<u32>, Error> {
        if self.begins_generation() && self.login_id.is_none() {
            self.login_id = Some(u32::from_ne_bytes(random::bytes()?));
        }
        Ok(self.login_id.filter(|_| self.begins_generation()))
    }

    /// Returns the binding of the session that the request makes.
    pub(crate) fn new_binding(&mut self) -> Result<Binding, Error> {
        let (session, login_id) = (self.new_handle()?, self.login_id()?);
        Ok(Binding { session, generation: self.draft.generation(login_id) })
    }

    /// Returns the ID that the request makes.
    pub(crate) fn new_id(&mut self, config: &Config) -> Result<SessionId, Error> {
        match &self.new_id {
            Some(id) => Ok(SessionId::clone(id)),
            None => Ok(SessionId::clone(self.new_id.insert(Box::new(config.id_domain.id(random::bytes()?))))),
        }
    }
}
