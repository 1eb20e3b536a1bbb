//! One request's session: what was loaded, what was done with it, and what that comes to in the response.

mod parts;

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cookie::Received;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::Handle;
use crate::record::changes::{At, Change, UpdateFn};
use crate::record::draft::Draft;
use crate::record::values::JsonText;
use crate::state::{self, Committed, Config, Loaded, ServerErrorPolicy, Work};

use super::part_slot::{NO_HANDLE, PartSlot, StoredPart, removals_of_ended};

/// What the extractors of a request and the middleware around it share.
///
/// The lock is held for a few steps at a time, never while waiting and never while code of the application runs:
/// nothing that a handler does can deadlock.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Arc<Config>,
    received: Received,
    inner: Mutex<Inner>,
    /// Only one commit at a time.
    commits: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The session, once somebody has asked for it. Boxed, since most requests do without.
    work: Option<Box<Work>>,
    /// The cookies that the response is to carry.
    cookies: Vec<HeaderValue>,
    parts: Vec<PartSlot>,
    /// What went wrong where no error could be returned.
    failure: Option<Error>,
    /// Somebody has asked for the session, whether or not it could be loaded.
    looked: bool,
    /// The handler panicked while it held the session: nothing is committed.
    panicked: bool,
    /// The session that the request came with was ended, or is now that of another principal.
    ended: bool,
    response_sent: bool,
}

/// What the response is to say about the session.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) cookies: Vec<HeaderValue>,
    /// Whether the handler looked at the session, so that the response depends on the cookie.
    pub(crate) looked: bool,
}

impl Shared {
    pub(crate) fn new(config: Arc<Config>, headers: &HeaderMap) -> Self {
        let received = Received::from_headers(headers);
        Self { config, received, inner: Mutex::default(), commits: tokio::sync::Mutex::const_new(()) }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Loads the session, unless that has been done.
    ///
    /// Should two do so at once, the first to finish counts; there is no waiting for each other.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        if self.lock().work.is_some() {
            return Ok(());
        }
        let loaded = state::load(&self.config, &self.received).await;
        let mut inner = self.lock();
        inner.looked = true;
        let loaded = loaded?;
        inner.work.get_or_insert_with(|| Box::new(Work::new(loaded)));
        Ok(())
    }

    /// Gives the session to `work`, which must not run code of the application.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Work) -> T) -> T {
        work(self.lock().work.get_or_insert_default())
    }

    /// Makes a change that runs no code of the application.
    pub(crate) fn change(&self, change: Change) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let work = inner.work.get_or_insert_default();
        let is_taken_over = work.draft.is_taken_over_by(&change);
        // Only an update can fail, and that goes another way.
        let _ = work.draft.apply(&change);
        work.changes.push(change);
        if is_taken_over {
            inner.forget_bound_parts();
        }
    }

    /// Ends the session that was loaded. What is written from now on makes another.
    pub(crate) fn end_session(&self) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let work = inner.work.get_or_insert_default();
        work.changes.end_session();
        work.draft = Draft::default();
        inner.forget_bound_parts();
    }

    /// Changes a value, and keeps the change so that it can be made again on a newer record.
    ///
    /// `compute` runs code of the application, so it runs outside the lock, and again should the value have changed.
    pub(crate) fn update<T>(
        &self,
        at: &At,
        compute: impl Fn(Option<&[u8]>) -> Result<(T, Arc<[u8]>), Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let mut compute = compute;
        loop {
            let before = self.with(|work| work.draft.text_at(at));
            let (value, json) = compute(before.as_ref().map(JsonText::as_bytes))?;
            let kept = self.with(|work| {
                if !work.draft.replace_at(at, before.as_ref(), json) {
                    return Err(compute);
                }
                let update: Arc<UpdateFn> = Arc::new(move |before| compute(before).map(|(_, json)| json));
                work.changes.push(at.clone().update(update));
                Ok(())
            });
            match kept {
                Ok(()) => return Ok(value),
                Err(again) => compute = again,
            }
        }
    }

    /// Keeps an error that nobody could be given: it becomes the response.
    pub(crate) fn note_failure(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.lock().failure.get_or_insert(error);
        }
    }

    /// Notes that the handler panics: nothing it did is committed.
    pub(crate) fn note_panic(&self) {
        if std::thread::panicking() {
            self.lock().panicked = true;
        }
    }

    /// Commits the session at the end of the request, if that takes no waiting: nobody asked for it, or there is nothing
    /// to do.
    pub(crate) fn finish_at_once(self: &Arc<Self>) -> Option<Effects> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if inner.work.is_none() && inner.parts.is_empty() {
            inner.response_sent = true;
            return Some(Effects { looked: inner.looked, ..Effects::default() });
        }
        if !inner.panicked {
            // A save that is under way has the work, and its cookies are still to come.
            let is_saving = Arc::strong_count(self) > 1 && self.commits.try_lock().is_err();
            let is_settled = inner.work.as_ref().is_none_or(|work| state::is_settled(&self.config, work));
            let has_parts = inner.ended || inner.parts.iter().any(PartSlot::is_to_be_sealed);
            if is_saving || !is_settled || has_parts || inner.failure.is_some() {
                return None;
            }
        }
        inner.response_sent = true;
        Some(Effects { cookies: mem::take(&mut inner.cookies), looked: true })
    }

    /// Commits the session at the end of the request. After an error the request is to be [given up](Self::give_up).
    pub(crate) async fn finish(self: &Arc<Self>, status: StatusCode) -> Result<Effects, Error> {
        if status.is_server_error() && self.config.server_error_policy == ServerErrorPolicy::Discard {
            self.discard_data();
        }
        let (before, part_cookies) = self.lock().seal_parts_first(&self.config)?;
        let is_last = Arc::strong_count(self) == 1;
        // Boxed where it is rare, so that the future stays small where it is not.
        let after = if is_last { self.commit_last().await? } else { Box::pin(self.commit()).await? };
        let mut inner = self.lock();
        let inner = &mut *inner;
        if !part_cookies.is_empty() {
            let is_same = after == Some(before);
            inner.cookies.extend(if is_same { part_cookies } else { inner.seal_parts(&self.config, after)? });
        }
        if inner.ended {
            inner.cookies.extend(removals_of_ended(&self.config, &self.received, &inner.parts));
        }
        inner.response_sent = true;
        Ok(Effects { cookies: mem::take(&mut inner.cookies), looked: true })
    }

    /// Ends a request whose last commit failed. What the handler has saved before holds, and its cookies are sent: the ID
    /// that the client has may be dead.
    pub(crate) fn give_up(&self) -> Effects {
        let mut inner = self.lock();
        inner.response_sent = true;
        Effects { cookies: mem::take(&mut inner.cookies), looked: true }
    }

    /// Commits what was done, for the last time: the handler has let go of the session, so nobody looks on and nobody
    /// else commits. Returns which session there is now.
    async fn commit_last(&self) -> Result<Option<Handle>, Error> {
        let Some(mut work) = self.lock().work.take() else { return Ok(None) };
        let ends_session = work.ends_session();
        let committed = state::commit(&self.config, &mut work, true).await?;
        let mut inner = self.lock();
        inner.ended |= ends_session;
        inner.take_cookies(committed.cookies, committed.is_lost);
        Ok(work.loaded.record.as_ref().map(|record| record.handle))
    }

    /// Commits what was done so far, and returns which session there is now. After an error it is as if this had not been
    /// called.
    pub(crate) async fn commit(&self) -> Result<Option<Handle>, Error> {
        let _turn = self.commits.lock().await;
        let Some(mut taken) = self.take_work() else { return Ok(None) };
        let committed = state::commit(&self.config, &mut taken.work, taken.may_set_cookie).await?;
        taken.is_committed = true;
        self.install(mem::take(&mut taken.work.loaded), committed);
        Ok(self.lock().session_handle())
    }

    /// Takes what is to be committed. The draft stays, so that meanwhile others see the session as it will be.
    fn take_work(&self) -> Option<TakenWork<'_>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let may_set_cookie = !inner.response_sent;
        let work = inner.work.as_mut()?;
        inner.ended |= work.ends_session();
        let work = work.take();
        Some(TakenWork { shared: self, work, may_set_cookie, is_committed: false })
    }

    /// Bases the session on what was committed. Changes that came in meanwhile are made on top of it, outside the lock:
    /// they may run code of the application.
    fn install(&self, loaded: Loaded, committed: Committed) {
        let mut later = Vec::new();
        loop {
            let draft = loaded.draft(false, &later).unwrap_or_else(|_| loaded.unchanged());
            let mut inner = self.lock();
            let inner = &mut *inner;
            let work = inner.work.get_or_insert_default();
            if work.changes.list().len() != later.len() {
                later = work.changes.list().to_vec();
                continue;
            }
            if !work.changes.ends_session {
                work.draft = draft;
            }
            work.loaded = loaded;
            inner.take_cookies(committed.cookies, committed.is_lost);
            return;
        }
    }

    /// Takes back what was not committed, and puts what came in meanwhile behind it.
    fn put_back(&self, mut taken: Work) {
        let mut inner = self.lock();
        let work = inner.work.get_or_insert_default();
        if !work.changes.is_empty() {
            taken.draft = mem::take(&mut work.draft);
        }
        taken.changes.append(mem::take(&mut work.changes));
        **work = taken;
    }

    fn discard_data(&self) {
        let mut inner = self.lock();
        inner.parts.iter_mut().filter_map(|slot| slot.stored.as_mut()).for_each(StoredPart::discard_change);
        let Some(work) = &mut inner.work else { return };
        work.changes.discard_data();
        // What is left are logins and timeouts, which cannot fail.
        let draft = work.loaded.draft(work.changes.ends_session, work.changes.list());
        work.draft = draft.unwrap_or_else(|_| work.loaded.unchanged());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a commit is working on. Should it fail or be dropped, the session has it again.
struct TakenWork<'s> {
    shared: &'s Shared,
    work: Work,
    may_set_cookie: bool,
    is_committed: bool,
}

impl Drop for TakenWork<'_> {
    fn drop(&mut self) {
        if !self.is_committed {
            self.shared.put_back(mem::take(&mut self.work));
        }
    }
}

impl Inner {
    /// Returns the session that a bound part belongs to: after a commit also that which the request has made.
    fn session_handle(&self) -> Option<Handle> {
        Some(self.work.as_ref()?.loaded.record.as_ref()?.handle)
    }

    /// Seals the parts before anything is stored, so that one that does not fit its cookie is found out in time. Returns
    /// for which session that was.
    fn seal_parts_first(&mut self, config: &Config) -> Result<(Handle, Vec<HeaderValue>), Error> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let session = self.session_handle().unwrap_or(NO_HANDLE);
        Ok((session, self.seal_parts(config, Some(session))?))
    }

    fn seal_parts(&self, config: &Config, session: Option<Handle>) -> Result<Vec<HeaderValue>, Error> {
        let mut cookies = Vec::new();
        for stored in self.parts.iter().filter_map(|slot| slot.stored.as_ref()) {
            cookies.extend(stored.seal(config, session)?);
        }
        Ok(cookies)
    }

    /// Takes over the cookies of a commit in the place of those of an earlier one. When the session was lost, so are
    /// they: sent now, they would take the place of newer ones.
    fn take_cookies(&mut self, cookies: Vec<HeaderValue>, is_lost: bool) {
        if is_lost || !cookies.is_empty() {
            self.cookies = cookies;
        }
    }

    /// Empties the parts that are bound to a session which is no longer the request's.
    fn forget_bound_parts(&mut self) {
        self.parts.iter_mut().filter_map(|slot| slot.stored.as_mut()).for_each(StoredPart::forget_if_bound);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_unsaved = inner.work.as_ref().is_some_and(|work| !work.changes.is_empty() && work.draft.is_changed());
        if inner.response_sent && !inner.panicked && is_unsaved {
            self.config.tell(&SessionEvent::ChangesUnsaved);
        }
    }
}
