//! Logins where a principal may have so many sessions and no more.
//!
//! To count and to write must be one step, or two logins at once would each find room for one. So the logins of a
//! principal are made one after the other: within a process they wait for a lock, and between processes for a
//! [lease](Lease).

use super::super::loaded::Loaded;
use super::super::work::{SharedWork, Work};
use super::commit::Commit;
use super::lease::Lease;
use super::principals::Principals;
use super::session_limit::SessionLimitPolicy;
use crate::error::Error;
use crate::event::{RevocationCause, SessionEvent};

impl<W: SharedWork> Commit<'_, W> {
    /// Makes room for the session that is about to be written, or refuses the login. Until the lease is given back no
    /// other request logs the principal in.
    pub(super) async fn admit_login(&mut self) -> Result<(), Error> {
        let config = self.records.config;
        let Some(limit) = &config.session_limit else { return Ok(()) };
        let login = self.work.with(|work| {
            let principal = work.draft.principal().filter(|_| work.changes.logs_in()).cloned();
            principal.map(|principal| (principal, work.loaded.record().cloned()))
        });
        let Some((principal, own)) = login else { return Ok(()) };
        if self.lease.as_ref().is_none_or(|lease| !lease.is_good() || lease.principal() != &*principal) {
            self.lease = None;
            self.lease = Some(Box::new(Lease::take(self.records, limit, &principal).await?));
        }
        let principals = Principals::new(config, self.records.server);
        let mut others = principals.list(&principal).await?;
        // The session that the request came with is none of the others, whether it goes on or ends.
        let is_theirs = own.as_ref().is_some_and(|own| own.principal.as_ref() == Some(&principal));
        others.retain(|record| own.as_ref().is_none_or(|own| own.handle != record.handle));
        let too_many = (others.len() + 1).saturating_sub(limit.max);
        if too_many == 0 {
            return Ok(());
        }
        match limit.policy {
            SessionLimitPolicy::EvictOldest => {
                others.sort_by_key(|record| (record.created_at, record.handle));
                let oldest: Vec<_> = others.iter().take(too_many).map(|record| record.handle).collect();
                principals.end(&principal, &oldest, RevocationCause::Evicted).await?;
                Ok(())
            }
            // It makes no more than there are, which may be too many since the limit was lowered.
            SessionLimitPolicy::RefuseLogin if is_theirs => Ok(()),
            SessionLimitPolicy::RefuseLogin => {
                config.tell(&SessionEvent::LoginRefused);
                self.refuse_login().await?;
                Err(Error::too_many_sessions(limit.max))
            }
        }
    }

    /// Whether no login is about to be written but one that was admitted.
    pub(super) fn is_admitted(&self, work: &Work) -> bool {
        if self.records.config.session_limit.is_none() || !work.changes.logs_in() {
            return true;
        }
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| Some(lease.principal()) == work.draft.principal().map(|principal| &**principal))
    }

    /// Forgets all that the request has asked for: what it has written into the session may say who is logged in. That
    /// it has ended the session it came with stays true.
    async fn refuse_login(&self) -> Result<(), Error> {
        let config = self.records.config;
        let ends_session = self.work.with(|work| work.changes.ends_session && work.loaded.record().is_some());
        if ends_session && self.delete_latest().await? {
            self.work.with(|work| work.note_ended()).release(config);
        } else if ends_session {
            self.work.with(|work| work.loaded = Loaded::Ended);
        }
        self.work.with(|work| work.note_refused()).release(config);
        Ok(())
    }
}
