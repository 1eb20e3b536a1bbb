//! Login with an ID that another login of the same principal has just replaced: a second click, or the retry of a
//! client that never got the first response.
//!
//! The old ID is dead for every other purpose. This one is safe: the request has proved that it may log in as the
//! principal of the session that it continues.

use std::sync::Arc;

use super::super::config::ConflictPolicy;
use super::super::loaded::{Binding, ClientId, Loaded, StoredSession};
use super::super::replay::replay_onto;
use super::super::retry::MAX_ATTEMPTS;
use super::super::work::{SharedWork, Work};
use super::commit::{Commit, Progress};
use super::conflict::successor;
use super::records::Found;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::Record;
use crate::record::changes::Discarded;
use crate::record::id::{IdDomain, SessionId};
use crate::store::{Forward, StoreErrorKind};

impl<W: SharedWork> Commit<'_, W> {
    /// Continues from the session that another login of the same principal has left, `id` being the ID that it replaced
    /// or a later one. Without such a session the changes are lost.
    pub(super) async fn continue_login(&mut self, id: SessionId) -> Result<Progress, Error> {
        match self.find_logged_in(id).await? {
            Some(found) => self.continue_from(found).await,
            None => self.lose().await,
        }
    }

    /// Continues from the session that another login has left, if this one is of the same principal.
    async fn continue_from(&mut self, (id, record): (SessionId, Arc<Record>)) -> Result<Progress, Error> {
        let authenticated = |work: &mut Work| work.draft.principal().cloned().filter(|_| work.changes.authenticates());
        let principal = self.work.with(authenticated);
        if principal.is_none() || record.principal != principal {
            return self.lose().await;
        }
        let base = self.work.with(|work| work.loaded.record().cloned());
        if let Some(base) = &base {
            if self.records.config.conflict_policy == ConflictPolicy::Fail {
                return Err(Error::conflict());
            }
            self.records.config.tell(&SessionEvent::Conflict { session: base.handle });
        }
        let external = self.reload_parts(base.as_deref(), &record).await?;
        drop(self.work.with(|work| work.continue_login(&record)));
        replay_onto(self.work, Loaded::Stored(StoredSession::new(record, id, ClientId::Older)), external)?;
        Ok(Progress::Again)
    }

    /// Continues from the session whose login replaced the ID of this request, if it is of the same principal. If that
    /// session has ended, this login begins a new one.
    pub(super) async fn continue_replaced(&mut self) -> Result<Progress, Error> {
        let Some(successor) = self.work.with(|work| work.loaded.replaced_by().cloned()) else {
            return self.lose().await;
        };
        if let Some(found) = self.find_logged_in(successor).await? {
            return self.continue_from(found).await;
        }
        self.work.with(|work| work.loaded = Loaded::Dead { successor: None, may_go_on: false });
        Ok(Progress::Again)
    }

    async fn find_logged_in(&self, mut id: SessionId) -> Result<Option<(SessionId, Arc<Record>)>, Error> {
        let (records, config) = (self.records, self.records.config);
        for _ in 0..MAX_ATTEMPTS {
            let now = config.now();
            let opened = match records.load(&id, now).await {
                Ok(Some(Found::Live(record))) => records.open(&id, record).map(Some),
                Ok(Some(Found::Retired(forward))) => {
                    let next = successor(config.id_domain, &id, &forward)
                        .or_else(|| login_successor(config.id_domain, &id, &forward, now));
                    let Some(next) = next else { return Ok(None) };
                    id = next;
                    continue;
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            return match opened {
                Ok(record) => {
                    let live = record.filter(|record| config.timeouts.expiry(record, now).is_none());
                    Ok(live.map(|record| (id, record)))
                }
                Err(error) if error.kind() == StoreErrorKind::Undecodable => {
                    config.tell(&SessionEvent::UndecodableRecord);
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            };
        }
        Err(Error::conflict())
    }
}

impl Work {
    /// Prepares the changes for a session that another login of the principal has left. That session is not the one
    /// that an earlier logout of this request ended.
    fn continue_login(&mut self, session: &Record) -> Discarded {
        self.before_takeover = None;
        if self.loaded.replaced_by().is_some() {
            // The client may still have parts in cookies from before the login. After a second login their binding is
            // unknown.
            self.origin = Binding::before_first_login(session);
        }
        let kept = self.loaded.record().filter(|_| !self.changes.ends_session);
        let former = kept.and_then(|record| record.principal.clone());
        (self.changes.continues_login, self.changes.ends_session) = (true, false);
        self.changes.begin_at_takeover(former.as_ref())
    }
}

/// Returns the ID that replaced `id` in a login, while that is known.
pub(super) fn login_successor(
    domain: IdDomain,
    id: &SessionId,
    forward: &Forward,
    now: Timestamp,
) -> Option<SessionId> {
    let is_known = forward.died_at_once() && now < forward.expires_at;
    forward.successor.filter(|_| is_known).map(|sealed| id.open_successor(sealed, domain))
}
