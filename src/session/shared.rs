//! The session of one request, shared by its extractors and the middleware.

use std::any::TypeId;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode, Uri};
use tokio::sync::Mutex as AsyncMutex;

use super::Effects;
use super::part_use::PartsInUse;
use crate::cookie::Received;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::part::SessionPart;
use crate::record::changes::{Change, Discarded, Location, UpdateFn};
use crate::record::json_text::JsonText;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::record::{Record, id::SessionId};
use crate::state::{self, Config, Moment, PlacedPart, ServerErrorPolicy, SharedWork, Work};

/// How often a closure is run again because its value has changed within the same request.
pub(super) const MAX_RUNS: u32 = 100;

/// State shared by the extractors of a request and the middleware.
///
/// The lock is held briefly, never while waiting and never while code of the application runs or is dropped, so no
/// handler can deadlock.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Arc<Config>,
    received: Received,
    inner: Mutex<Inner>,
    /// Held during a commit, and while a part is loaded.
    turn: AsyncMutex<()>,
    /// Number of takeovers by another principal: values read before belong to the former one.
    takeovers: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// The request's work on its session. Boxed, since most requests have none.
    work: Option<Box<Work>>,
    /// Whether the session was loaded, and not only a part that needs none.
    is_loaded: bool,
    parts_in_use: PartsInUse,
    /// An error that occurred where none could be returned.
    pub(super) failure: Option<Error>,
    /// An error that a call has returned to the handler, whose response may be due to it.
    pub(super) returned: Option<Error>,
    /// The handler has used the session, whether or not it could be loaded.
    looked: bool,
    /// The handler panicked while it held the session: nothing is committed.
    pub(super) panicked: bool,
    pub(super) response_sent: bool,
    /// There will be no response. Changes that are not being saved now will be dropped.
    is_abandoned: bool,
    /// The error for a task whose changes were dropped with the request.
    dropped: Option<Error>,
}

impl SharedWork for Shared {
    fn with<T>(&self, step: impl FnOnce(&mut Work) -> T) -> T {
        step(self.lock().work.get_or_insert_default())
    }
}

impl Shared {
    pub(crate) fn new(config: Arc<Config>, headers: &HeaderMap, uri: &Uri) -> Self {
        let received = Received::new(headers, uri, config.cookie_writer.has_variants());
        let turn = AsyncMutex::const_new(());
        Self { config, received, inner: Mutex::default(), turn, takeovers: AtomicU32::new(0) }
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Loads the session, unless it is loaded already. With `is_peek` that does not use the session.
    ///
    /// Of two concurrent loads, the first to finish wins; they do not wait for each other.
    pub(crate) async fn load(&self, is_peek: bool) -> Result<(), Error> {
        if self.lock().has_load_result() {
            return self.lock().repeated_load(is_peek);
        }
        let loaded = state::load(&self.config, &self.received).await;
        let mut inner = self.lock();
        inner.looked = true;
        let (loaded, chunks) = loaded?;
        if inner.has_load_result() {
            return inner.repeated_load(is_peek);
        }
        inner.is_loaded = true;
        match &mut inner.work {
            Some(work) => work.load(loaded, chunks, is_peek),
            work => *work = Some(Box::new(Work::new(loaded, chunks, is_peek))),
        }
        Ok(())
    }

    /// Makes a change that runs no code of the application.
    pub(crate) fn change(&self, change: Change) {
        self.with(|work| {
            if work.change(change) {
                self.takeovers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Ends the loaded session. Later writes make a new one.
    pub(crate) fn end_session(&self) {
        let discarded = self.with(|work| {
            self.takeovers.fetch_add(1, Ordering::Relaxed);
            work.end_session()
        });
        drop(discarded);
    }

    /// Returns the number of takeovers in this request.
    pub(crate) fn takeovers(&self) -> u32 {
        self.takeovers.load(Ordering::Relaxed)
    }

    /// Changes a value, and keeps the change for a replay on a newer record.
    ///
    /// `compute` is code of the application, so it runs outside the lock, and again if the value has changed meanwhile.
    pub(crate) fn update<T>(
        &self,
        location: &Location,
        compute: impl Fn(&str, Option<&[u8]>) -> Result<(T, Arc<[u8]>), Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let mut compute = Some(compute);
        for _ in 0..MAX_RUNS {
            let Some(run) = &compute else { break };
            let before = self.with(|work| work.draft.text_at(location));
            let (value, json) = run(location.name(), before.as_ref().map(JsonText::as_bytes))?;
            if self.replace(location, before.as_ref(), None, json, &mut compute, into_replay)? {
                return Ok(value);
            }
        }
        Err(Error::conflict())
    }

    /// Sets a value whose text is still `before`, and returns whether it is. Only then `compute` is taken, and `kept`
    /// for replays: application code that stays with the caller is dropped outside the lock. With `takeovers`, also
    /// nothing is set if their number has changed.
    pub(crate) fn replace<C>(
        &self,
        location: &Location,
        before: Option<&JsonText>,
        takeovers: Option<u32>,
        json: Arc<[u8]>,
        compute: &mut Option<C>,
        kept: impl FnOnce(C) -> Arc<UpdateFn>,
    ) -> Result<bool, Error> {
        let limit = self.config.max_record_size;
        self.with(|work| {
            // They are counted under the lock.
            if takeovers.is_some_and(|takeovers| takeovers != self.takeovers()) {
                return Ok(false);
            }
            work.replace(location, before, json, limit, compute, kept)
        })
    }

    /// Marks a part as in use. Fails if it is in use already.
    pub(super) fn take_part<T: SessionPart>(&self) -> Result<(), Error> {
        let placed = self.config.part_named(T::NAME);
        self.lock().parts_in_use.take::<T>(placed)
    }

    pub(super) fn release_part(&self, name: &'static str) {
        self.lock().parts_in_use.release(name);
    }

    pub(crate) fn placed_part(&self, part: TypeId) -> Option<&PlacedPart> {
        self.config.placed_part(part)
    }

    /// Loads a placed part, unless it is loaded already.
    pub(crate) async fn load_part(&self, placed: &PlacedPart) -> Result<(), Error> {
        let Some(cookie) = placed.cookie() else {
            // Waits for a running commit, which holds the session's parts.
            let _turn = self.turn.lock().await;
            return state::load_part(&self.config, self, placed).await;
        };
        let (name, medium) = (placed.name, placed.medium());
        let (is_known, session) = self.with(|work| {
            let is_known = work.draft.external().is_some_and(|parts| parts.find(name).is_some());
            (is_known, work.kept_binding(&self.config))
        });
        if !is_known {
            let (value, received, event) = state::open_part(&self.config, &self.received, cookie, session);
            self.with(|work| work.draft.external_mut().receive(name, medium, value, received));
            event.iter().for_each(|event| self.config.tell(event));
        }
        Ok(())
    }

    /// Adopts the record written by a checkout that removed the rows of a part.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) async fn note_checkout(
        &self,
        part: &'static str,
        id: SessionId,
        record: Arc<Record>,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        state::note_checkout(self, part, id, record)
    }

    /// Commits the session at the end of the request, if that needs no waiting: the session was not used, or has no
    /// changes.
    #[inline]
    pub(crate) fn finish_at_once(self: &Arc<Self>) -> Option<Effects> {
        let mut inner = self.lock();
        if inner.panicked {
            drop(inner);
            return Some(self.drop_request(Some(Error::abandoned())));
        }
        if let Some(work) = &inner.work {
            // A running save will still add cookies. It holds a clone of the session.
            let is_saving = Arc::strong_count(self) > 1 && self.turn.try_lock().is_err();
            let is_settled = state::is_settled(&self.config, work) && !work.has_part_cookies(&self.config);
            if is_saving || !is_settled || inner.failure.is_some() {
                return None;
            }
        } else if inner.failure.is_some() {
            return None;
        }
        inner.response_sent = true;
        let cookies = state::take_cookies(&self.config, &self.received, &mut inner.work, None);
        let (looked, returned) = (inner.looked || inner.work.is_some(), inner.returned.take());
        Some(Effects { cookies, looked, error: None, returned })
    }

    /// Commits the session at the end of the request. Later saves find the response sent.
    pub(crate) async fn finish(self: &Arc<Self>, status: StatusCode) -> Effects {
        // With a single holder there is no save to wait for.
        let _turn = if Arc::strong_count(self) == 1 { None } else { Some(self.turn.lock().await) };
        match self.try_finish(status).await {
            Ok(effects) => effects,
            Err(error) => Effects { error: Some(error.clone()), ..self.drop_request(Some(error)) },
        }
    }

    async fn try_finish(&self, status: StatusCode) -> Result<Effects, Error> {
        if let Some(failure) = self.lock().failure.take() {
            return Err(failure);
        }
        if status.is_server_error() && self.config.server_error_policy == ServerErrorPolicy::Discard {
            drop(self.with(Work::discard_data));
        }
        state::commit(&self.config, self, Moment::Response).await?;
        self.effects_of_commit()
    }

    fn effects_of_commit(&self) -> Result<Effects, Error> {
        let mut inner = self.lock();
        let of_parts = match self.config.parts.is_empty() {
            true => None,
            false => Some(state::finish_parts(&self.config, &self.received, inner.work.as_deref())?),
        };
        inner.response_sent = true;
        let cookies = state::take_cookies(&self.config, &self.received, &mut inner.work, of_parts);
        Ok(Effects { cookies, looked: true, error: None, returned: inner.returned.take() })
    }

    /// Ends a request and drops its unsaved changes. Cookies of saved changes are still sent.
    fn drop_request(&self, reason: Option<Error>) -> Effects {
        let (effects, discarded, failure) = {
            let mut inner = self.lock();
            inner.response_sent = true;
            let looked = inner.looked || inner.work.is_some();
            let discarded = inner.discard(reason);
            let of_parts = state::finish_parts(&self.config, &self.received, inner.work.as_deref());
            let (of_parts, failure) =
                of_parts.map_or_else(|error| (Vec::new(), Some(error)), |cookies| (cookies, None));
            let cookies = state::take_cookies(&self.config, &self.received, &mut inner.work, Some(of_parts));
            let returned = inner.returned.take();
            (Effects { cookies, looked, error: None, returned }, discarded, failure)
        };
        drop((discarded, failure));
        effects
    }

    /// Ends a request whose response future was dropped. A running save of a task continues.
    pub(crate) fn abandon(&self) {
        let (discarded, returned) = {
            let mut inner = self.lock();
            if inner.response_sent {
                return;
            }
            inner.response_sent = true;
            let discarded = match self.turn.try_lock() {
                Ok(_) => inner.discard(Some(Error::abandoned())),
                Err(_) => {
                    inner.is_abandoned = true;
                    None
                }
            };
            (discarded, inner.returned.take())
        };
        drop(discarded);
        returned.iter().for_each(|error| self.tell_failed(error));
    }

    /// Commits the changes so far. After an error it can be called again.
    pub(crate) async fn save(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let moment = {
            let mut inner = self.lock();
            if let Some(error) = inner.dropped.take().or_else(|| inner.take_failure()) {
                return Err(error);
            }
            if inner.work.is_none() {
                return Ok(());
            }
            if inner.response_sent { Moment::AfterResponse } else { Moment::Save }
        };
        let saving = Saving(self);
        let saved = state::commit(&self.config, self, moment).await;
        let is_abandoned = self.discard_abandoned(None);
        drop(saving);
        match saved {
            // The cookies of this save can no longer be sent.
            Ok(()) if is_abandoned => Err(Error::abandoned()),
            saved => saved,
        }
    }

    /// Drops changes that an abandoned request's last save left unsaved. Returns whether there were any.
    fn discard_abandoned(&self, reason: Option<Error>) -> bool {
        let discarded = {
            let mut inner = self.lock();
            if mem::take(&mut inner.is_abandoned) { inner.discard(reason) } else { None }
        };
        discarded.is_some()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running save, which may be dropped at any time.
struct Saving<'s>(&'s Shared);

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        self.0.discard_abandoned(Some(Error::abandoned()));
    }
}

/// Turns the closure that computed a change into one that replays it.
fn into_replay<T>(
    compute: impl Fn(&str, Option<&[u8]>) -> Result<(T, Arc<[u8]>), Error> + Send + Sync + 'static,
) -> Arc<UpdateFn> {
    Arc::new(move |name, before| compute(name, before).map(|(_, json)| json))
}

impl Inner {
    /// Returns whether the session is loaded, or the request has failed.
    #[inline]
    fn has_load_result(&self) -> bool {
        self.is_loaded || self.failure.is_some()
    }

    /// Returns the result of a further load. A loaded session is used from now on unless the caller peeks.
    #[cold]
    fn repeated_load(&mut self, is_peek: bool) -> Result<(), Error> {
        match (&self.failure, &mut self.work) {
            (_, Some(work)) if self.is_loaded => work.is_peeked &= is_peek,
            (Some(failure), _) => return Err(failure.clone()),
            _ => {}
        }
        Ok(())
    }

    /// Takes the unsaved changes, which the caller must drop outside the lock. Later saves fail with `reason`.
    fn discard(&mut self, reason: Option<Error>) -> Option<(Discarded, Option<Error>)> {
        let work = self.work.as_mut()?;
        let former = if work.changes.is_empty() { reason } else { mem::replace(&mut self.dropped, reason) };
        Some((work.discard(), former))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_unsaved = inner.work.as_ref().is_some_and(|work| work.has_unsaved_changes());
        if inner.response_sent && !inner.panicked && is_unsaved {
            self.config.tell(&SessionEvent::ChangesUnsaved);
        }
    }
}
