//! Writes under one key, and the updates of the index that they require.

use futures_util::future::join;
use redis::Value;
use redis::aio::ConnectionLike;

use super::args::{bytes, deletion, ttl};
use super::entry;
use super::owner::Owner;
use super::reply::{Reply, failed, reply, unexpected};
use super::script::{self, Script};
use super::store::RedisStore;
use crate::clock::Timestamp;
use crate::store::{Forward, Outcome, Record, StoreError, StoreKey, Version};

/// The last argument of the scripts: whether the index has the deadline.
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
            Some(owner) => self.run_atomically(&script::CREATE, &[&place, &self.index_key(owner)], &args).await?,
            None => None,
        };
        let answer = match (whole, &owner) {
            (Some(answer), _) => answer,
            (None, owner) => {
                if let Some(owner) = owner {
                    self.index_add(owner, key, record.expires_at, now).await?;
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
        expected: Version,
        record: &Record,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let place = self.key(key);
        let args: [&[u8]; 4] =
            [&bytes(now), &expected.as_u64().to_be_bytes(), &entry::live(record), &ttl(record.expires_at, now)];
        let update = async |known| {
            let [a, b, c, d] = args;
            self.change(&script::UPDATE, &place, &[a, b, c, d, known]).await
        };
        let Some(owner) = Owner::of(record) else {
            return self.finish(update(UNKNOWN).await?, key, now).await;
        };
        if let Some(answer) = self.run_atomically(&script::UPDATE, &[&place, &self.index_key(&owner)], &args).await? {
            return self.finish(reply(&answer)?, key, now).await;
        }
        let (indexed, mut replied) = join(self.index_add(&owner, key, record.expires_at, now), update(UNKNOWN)).await;
        indexed?;
        if let Ok(Reply::NotIndexed(_)) = replied {
            replied = update(KNOWN).await;
        }
        let outcome = self.finish(replied?, key, now).await?;
        if matches!(outcome, Outcome::Gone | Outcome::Retired(_)) {
            self.index_remove(&owner, key, now).await;
        }
        Ok(outcome)
    }

    pub(super) async fn touch_at(
        &self,
        key: &StoreKey,
        expected: Version,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let place = self.key(key);
        let (now_bytes, expected, seen, deadline) =
            (bytes(now), expected.as_u64().to_be_bytes(), bytes(last_seen_at), bytes(expires_at));
        let ttl = ttl(expires_at, now);
        let touch = async |known| {
            let args: [&[u8]; 6] = [&now_bytes, &expected, &seen, &deadline, &ttl, known];
            self.change(&script::TOUCH, &place, &args).await
        };
        let (mut replied, mut indexed) = (touch(UNKNOWN).await?, None);
        if let Reply::NotIndexed(owner) = replied {
            self.index_add(&owner, key, expires_at, now).await?;
            (replied, indexed) = (touch(KNOWN).await?, Some(owner));
        }
        let Reply::Ended(outcome, owner) = replied else { return Err(unexpected()) };
        if let Some(owner) = owner.filter(|owner| indexed != Some(*owner)) {
            self.index_add(&owner, key, expires_at, now).await?;
        }
        Ok(outcome)
    }

    /// Inserts a forward under a free key.
    pub(super) async fn create_forward(
        &self,
        key: &StoreKey,
        forward: &Forward,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args: [&[u8]; 3] = [&bytes(now), &entry::forward_of_ended(forward), &ttl(forward.expires_at, now)];
        match self.run(&script::CREATE, &[&self.key(key)], &args).await.map_err(failed)? {
            Value::Int(created @ 0..=1) => Ok(created == 1),
            _ => Err(unexpected()),
        }
    }

    /// Deletes the session of the expected version, or of any version.
    pub(super) async fn delete_at(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let ([a, b, c], version) = (&deletion(forward, now), expected.map(|version| version.as_u64().to_be_bytes()));
        let args: [&[u8]; 5] = [a, b, c, b"", version.as_ref().map_or(&[], <[u8; 8]>::as_slice)];
        let args = if version.is_some() { &args[..] } else { &args[..3] };
        let Reply::Ended(outcome, owner) = self.change(&script::DELETE, &self.key(key), args).await? else {
            return Err(unexpected());
        };
        match owner {
            // Boxed, so that the future of every call does not include a rare one.
            Some(owner) if self.is_cluster() => Box::pin(self.end_others(&owner, key, now)).await,
            Some(owner) => self.index_remove(&owner, key, now).await,
            None => {}
        }
        Ok(outcome)
    }

    /// Deletes the successors that a renewal may have placed for a deleted session. If that fails, no client knows
    /// their IDs.
    async fn end_others(&self, owner: &Owner, key: &StoreKey, now: Timestamp) {
        if let Ok(others) = self.index_remove_and_find_others(owner, key, now).await
            && !others.is_empty()
        {
            let _ = self.revoke_members(owner, others, None, now).await;
        }
    }

    /// Returns the outcome of a write, and removes the session from the index of its former principal.
    pub(super) async fn finish(&self, replied: Reply, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let Reply::Ended(outcome, former) = replied else { return Err(unexpected()) };
        if let Some(former) = former {
            self.index_remove(&former, key, now).await;
        }
        Ok(outcome)
    }

    async fn change(&self, script: &Script, place: &[u8], args: &[&[u8]]) -> Result<Reply, StoreError> {
        reply(&self.run(script, &[place], args).await.map_err(failed)?)
    }
}
