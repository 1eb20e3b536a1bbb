//! Sessions of a principal: lists, counts and ends them from outside their requests.

use std::sync::Arc;

use super::super::config::{Config, State};
use super::super::part::PartRecord;
use super::super::retry::Calls;
use super::server_state::ServerState;
use crate::error::{ConfigError, Error};
use crate::event::{RevocationCause, SessionEvent};
use crate::record::{Handle, Record};
use crate::store::Forward;

/// How many sessions one call of the store lists or ends: few enough to keep calls short.
const BATCH: usize = 100;

/// Sessions of principals, for a layer whose store finds them by principal. Failed calls are retried once.
#[derive(Clone, Copy)]
pub(crate) struct Principals<'c> {
    config: &'c Config,
    server: &'c ServerState,
}

impl<'c> Principals<'c> {
    /// Returns the state of a layer whose store finds sessions by their principal.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for state in cookies, and for a store that does not find sessions by principal.
    pub(crate) fn server_of(config: &'c Config) -> Result<&'c ServerState, ConfigError> {
        let State::Server(server) = &config.state else {
            return Err(ConfigError::new(
                "sessions in cookies cannot be listed: keep the state in a store, or use `revocations`",
            ));
        };
        if server.store.principals().is_none() {
            let store = server.store.name();
            return Err(ConfigError::new(format!("the {store} store does not find sessions by their principal")));
        }
        Ok(server)
    }

    /// Returns the sessions in a store that [finds them by their principal](Self::server_of).
    pub(crate) fn new(config: &'c Config, server: &'c ServerState) -> Self {
        Self { config, server }
    }

    /// Returns the live sessions of a principal, in no order.
    pub(crate) async fn list(self, principal: &str) -> Result<Vec<Arc<Record>>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(principal, after.as_ref(), BATCH).await?;
            after = page.last().map(|record| record.handle);
            let is_last = page.len() < BATCH;
            let now = self.config.now();
            all.extend(page.into_iter().filter(|record| self.config.timeouts.expiry(record, now).is_none()));
            if is_last {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn count(self, principal: &str) -> Result<usize, Error> {
        Ok(self.calls().ask(|store| store.count(principal, self.config.now())).await?)
    }

    /// Ends one session, if it is one of this principal.
    pub(crate) async fn revoke(self, principal: &str, session: Handle) -> Result<bool, Error> {
        let before = u128::from_be_bytes(*session.as_bytes()).checked_sub(1);
        let before = before.map(|before| Handle::from_bytes(before.to_be_bytes()));
        let found = self.page(principal, before.as_ref(), 1).await?;
        if found.first().is_none_or(|record| record.handle != session) {
            return Ok(false);
        }
        Ok(self.end(principal, &[session], RevocationCause::Asked).await? == 1)
    }

    /// Ends all sessions of a principal except `except`, in batches. Returns how many it ended.
    pub(crate) async fn revoke_all(
        self,
        principal: &str,
        except: Option<Handle>,
        cause: RevocationCause,
    ) -> Result<usize, Error> {
        let (mut ended, mut after) = (0, None);
        loop {
            let page = self.page(principal, after.as_ref(), BATCH).await?;
            after = page.last().map(|record| record.handle);
            let sessions: Vec<_> = page.iter().map(|record| record.handle).filter(|it| Some(*it) != except).collect();
            ended += self.end(principal, &sessions, cause).await?;
            if page.len() < BATCH {
                return Ok(ended);
            }
        }
    }

    /// Ends sessions that were just found, and removes their parts. Returns how many this call ended.
    pub(super) async fn end(
        self,
        principal: &str,
        sessions: &[Handle],
        cause: RevocationCause,
    ) -> Result<usize, Error> {
        let mut all_ended = 0;
        for batch in sessions.chunks(BATCH) {
            let now = self.config.now();
            let revoked =
                self.calls().ask_noting_repeat(|store| store.revoke(principal, batch, Forward::ended(now), now));
            let (mut ended, was_repeated) = revoked.await?;
            if was_repeated {
                // All of them existed before and none is left: the call whose reply was lost has ended the others.
                ended = batch.to_vec();
            }
            for session in &ended {
                self.config.tell(&SessionEvent::Revoked { session: *session, cause });
                self.delete_parts(*session).await;
            }
            all_ended += ended.len();
        }
        Ok(all_ended)
    }

    async fn page(self, principal: &str, after: Option<&Handle>, limit: usize) -> Result<Vec<Arc<Record>>, Error> {
        Ok(self.calls().ask(|store| store.list(principal, after, limit, self.config.now())).await?)
    }

    /// Removes the parts of a revoked session. If this fails, a part is unreachable and expires.
    async fn delete_parts(self, session: Handle) {
        for placed in &self.config.parts {
            if let Some(in_store) = placed.in_store() {
                PartRecord::new(self.config, in_store, placed.name, session).delete().await;
            }
        }
    }

    fn calls(self) -> Calls<'c> {
        Calls::new(self.config, &*self.server.store)
    }
}
