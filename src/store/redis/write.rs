//! Writes under one key, and what they mean for the index of a principal.

use futures_util::future::join;
use redis::Value;
use redis::aio::ConnectionLike;

use super::super::{Outcome, Record, StoreError, StoreKey};
use super::index::Owner;
use super::reply::{Reply, failed, reply, unexpected};
use super::script::Script;
use super::{MARK_TTL, RedisStore, bytes, entry, millis, script, ttl};
use crate::clock::Timestamp;

/// What the scripts take as the last argument: whether the index knows of the deadline.
const UNKNOWN: &[u8] = b"";
const KNOWN: &[u8] = b"1";

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn create_at(&self, key: &StoreKey, record: &Record, now: Timestamp) -> Result<bool, StoreError> {
        let (place, owner) = (self.key(key), Owner::of(record));
        let args: [&[u8]; 3] = [&bytes(now), &entry::live(record), &ttl(record.expires_at, now)];
        let whole = match &owner {
            Some(owner) => self.run_whole(&script::CREATE, &[&place, &self.index_key(owner)], &args).await?,
            None => None,
        };
        let answer = match (whole, &owner) {
            (Some(answer), _) => answer,
            (None, owner) => {
                if let Some(owner) = owner {
                    self.enlist(owner, key, record.expires_at, now).await?;
                }
                self.run(&script::CREATE, &[&place], &args).await.map_err(failed)?
            }
        };
        match answer {
            Value::Int(created @ 0..=1) => Ok(created == 1),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn update_at(
        &self,
        key: &StoreKey,
        expected: u64,
        record: &Record,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let place = self.key(key);
        let args: [&[u8]; 4] =
            [&bytes(now), &expected.to_be_bytes(), &entry::live(record), &ttl(record.expires_at, now)];
        let update = async |known| {
            let [a, b, c, d] = args;
            self.change(&script::UPDATE, &place, &[a, b, c, d, known]).await
        };
        let Some(owner) = Owner::of(record) else {
            return self.end_of(update(UNKNOWN).await?, key, now).await;
        };
        if let Some(answer) = self.run_whole(&script::UPDATE, &[&place, &self.index_key(&owner)], &args).await? {
            return self.end_of(reply(&answer)?, key, now).await;
        }
        let (listed, mut replied) = join(self.enlist(&owner, key, record.expires_at, now), update(UNKNOWN)).await;
        listed?;
        if let Ok(Reply::IndexFirst(_)) = replied {
            replied = update(KNOWN).await;
        }
        let outcome = self.end_of(replied?, key, now).await?;
        if matches!(outcome, Outcome::Gone | Outcome::Retired(_)) {
            self.unlist(&owner, key, now).await;
        }
        Ok(outcome)
    }

    pub(super) async fn touch_at(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let place = self.key(key);
        let (now_bytes, expected, seen, deadline) =
            (bytes(now), expected.to_be_bytes(), bytes(last_seen_at), bytes(expires_at));
        let ttl = ttl(expires_at, now);
        let touch = async |known| {
            let args: [&[u8]; 6] = [&now_bytes, &expected, &seen, &deadline, &ttl, known];
            self.change(&script::TOUCH, &place, &args).await
        };
        let (mut replied, mut listed) = (touch(UNKNOWN).await?, None);
        if let Reply::IndexFirst(owner) = replied {
            self.enlist(&owner, key, expires_at, now).await?;
            (replied, listed) = (touch(KNOWN).await?, Some(owner));
        }
        let Reply::Ended(outcome, owner) = replied else { return Err(unexpected()) };
        if let Some(owner) = owner.filter(|owner| listed != Some(*owner)) {
            self.enlist(&owner, key, expires_at, now).await?;
        }
        Ok(outcome)
    }

    pub(super) async fn delete_at(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let args: [&[u8]; 3] = [&bytes(now), entry::MARK, &millis(MARK_TTL)];
        let Reply::Ended(outcome, owner) = self.change(&script::DELETE, &self.key(key), &args).await? else {
            return Err(unexpected());
        };
        match owner {
            // Boxed, or every call would have room for what happens once in a while.
            Some(owner) if self.is_split() => Box::pin(self.end_others(&owner, key, now)).await,
            Some(owner) => self.unlist(&owner, key, now).await,
            None => {}
        }
        Ok(outcome)
    }

    /// Ends what a renewal may have placed for a session that has ended now. Should that fail, nobody knows its ID.
    async fn end_others(&self, owner: &Owner, key: &StoreKey, now: Timestamp) {
        if let Ok(others) = self.unlist_and_find_others(owner, key, now).await
            && !others.is_empty()
        {
            let _ = self.revoke_members(owner, others, now).await;
        }
    }

    /// Returns how a write ended. Whose the session was before is told the index.
    pub(super) async fn end_of(&self, replied: Reply, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let Reply::Ended(outcome, former) = replied else { return Err(unexpected()) };
        if let Some(former) = former {
            self.unlist(&former, key, now).await;
        }
        Ok(outcome)
    }

    async fn change(&self, script: &Script, place: &[u8], args: &[&[u8]]) -> Result<Reply, StoreError> {
        reply(&self.run(script, &[place], args).await.map_err(failed)?)
    }
}
