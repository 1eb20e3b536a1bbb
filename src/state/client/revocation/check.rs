//! Checks whether a session in a cookie has ended.

use super::super::super::loaded::Loaded;
use super::cutoff::Cutoff;
use super::list::{RevocationList, both, read_mark};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::lifetime::{Expiry, LONGEST_UNUSED};
use crate::record::{Record, StoreKey};
use crate::store::{Forward, StoreError};

impl RevocationList<'_> {
    /// Returns the loaded session, or what the request has loaded if the session has ended or a login has taken it
    /// along.
    pub(in crate::state::client) async fn check(self, mut loaded: Loaded) -> Result<Loaded, Error> {
        let Some(record) = loaded.record() else { return Ok(loaded) };
        let now = self.config.now();
        if now >= record.last_seen_at.after(LONGEST_UNUSED) {
            // No mark is older than this.
            self.config.tell(&SessionEvent::Expired { session: record.handle, expiry: Expiry::Idle });
            return Ok(Loaded::Nothing);
        }
        let Some(end) = self.end_of(record).await? else { return Ok(loaded) };
        self.config.tell(&SessionEvent::RetiredIdUsed);
        if now >= end.made_at.after(Forward::JUST_DIED) {
            return Ok(Loaded::Nothing);
        }
        if !end.by_login {
            return Ok(Loaded::Dead { successor: None, may_go_on: false });
        }
        loaded.note_taken_along();
        Ok(loaded)
    }

    /// Returns whether a session has ended.
    pub(in crate::state::client) async fn has_ended(self, session: &Record) -> Result<bool, StoreError> {
        Ok(self.end_of(session).await?.is_some())
    }

    /// Returns whether a login has taken an anonymous session along.
    pub(in crate::state::client) async fn is_taken_along(self, session: &Record) -> Result<bool, StoreError> {
        Ok(self.end_of(session).await?.is_some_and(|end| end.by_login))
    }

    /// Returns what has ended a session, the first if both marks have.
    async fn end_of(self, session: &Record) -> Result<Option<Cutoff>, StoreError> {
        let mark = self.recall(StoreKey::of_ended(session.handle), read_mark);
        let limits = match &session.principal {
            Some(principal) => both(mark, self.recall(StoreKey::of_not_before(principal), Cutoff::from_record)).await?,
            None => (mark.await?, None),
        };
        let ends = [limits.0, limits.1].into_iter().flatten().filter(|limit| limit.ends(session));
        Ok(ends.min_by_key(|limit| limit.made_at))
    }
}
