//! Logins under a limit of sessions per principal.
//!
//! Counting and writing must be one step, or two concurrent logins would both find room. So the logins of a principal
//! are serialized: by a lock within a process, and by a [lease](Lease) between processes.

use super::super::loaded::Loaded;
use super::super::work::{SharedWork, Work};
use super::commit::Commit;
use super::conflict::Ending;
use super::lease::Lease;
use super::principals::Principals;
use super::session_limit::SessionLimitPolicy;
use crate::error::Error;
use crate::event::{RevocationCause, SessionEvent};

impl<W: SharedWork> Commit<'_, W> {
    /// Makes room for the session about to be written, or refuses the login. Holds the lease until the commit ends.
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
        // The request's own session does not count, whether it stays or ends.
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
            // This login adds no session, even if a lowered limit is already exceeded.
            SessionLimitPolicy::RefuseLogin if is_theirs => Ok(()),
            SessionLimitPolicy::RefuseLogin => {
                config.tell(&SessionEvent::LoginRefused);
                self.refuse_login().await?;
                Err(Error::too_many_sessions(limit.max))
            }
        }
    }

    /// Returns `true` unless the work holds a login that was not admitted.
    pub(super) fn is_admitted(&self, work: &Work) -> bool {
        if self.records.config.session_limit.is_none() || !work.changes.logs_in() {
            return true;
        }
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| Some(lease.principal()) == work.draft.principal().map(|principal| &**principal))
    }

    /// Discards all changes: the values written may depend on the refused login. A requested end of the old session
    /// still takes effect.
    async fn refuse_login(&self) -> Result<(), Error> {
        let config = self.records.config;
        let ends_session = self.work.with(|work| work.changes.ends_session && work.loaded.record().is_some());
        if ends_session && self.delete_latest(None).await? == Ending::ByThis {
            self.work.with(|work| work.note_ended()).release(config);
        } else if ends_session {
            self.work.with(|work| work.loaded = Loaded::Ended);
        }
        self.work.with(|work| work.note_refused()).release(config);
        Ok(())
    }
}
