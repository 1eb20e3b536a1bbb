//! Renewals: in one step on one server, in two steps in a Cluster, where the keys are on different nodes.

use futures_util::future::join;
use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Value};

use super::args::{bytes, ttl};
use super::entry;
use super::owner::Owner;
use super::reply::{failed, reply, unexpected};
use super::script;
use super::store::RedisStore;
use crate::clock::Timestamp;
use crate::store::{Entry, Outcome, Renewal, StoreError};

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn renew_at(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        match self.renew_in_one_step(renewal, now).await? {
            Some(answer) => self.finish(reply(&answer)?, &renewal.old, now).await,
            None => self.renew_in_two_steps(renewal, now).await,
        }
    }

    async fn renew_in_one_step(&self, renewal: &Renewal, now: Timestamp) -> Result<Option<Value>, StoreError> {
        let Renewal { old, new, record, .. } = renewal;
        let (old, new, index) = (self.key(old), self.key(new), Owner::of(record).map(|owner| self.index_key(&owner)));
        let keys: Vec<&[u8]> = [&old, &new].into_iter().chain(&index).map(Vec::as_slice).collect();
        let [a, b, c, d] = &retirement(renewal, now);
        let args: [&[u8]; 6] = [a, b, c, d, &entry::live(record), &ttl(record.expires_at, now)];
        self.run_atomically(&script::RENEW, &keys, &args).await
    }

    /// Places the successor, and then retires the old key. A crash in between leaves a session whose ID no client
    /// knows; it is deleted together with the other one.
    async fn renew_in_two_steps(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let (indexed, placed) = join(self.index_add_successor(renewal, now), self.place(renewal, now)).await;
        indexed?;
        let is_ours = placed?;
        if is_ours.is_none()
            && let Some(outcome) = self.judge(renewal, now).await?
        {
            return Ok(outcome);
        }
        if is_ours.is_none() {
            // The old key has no forward yet, so the entry that blocks the new key is left from an attempt whose reply
            // was lost. No client knows its ID.
            self.overwrite(renewal, now).await.map_err(failed)?;
        }
        let (old, [a, b, c, d]) = (self.key(&renewal.old), &retirement(renewal, now));
        let answer = self.run(&script::RENEW, &[&old], &[a, b, c, d]).await.map_err(failed)?;
        let outcome = self.finish(reply(&answer)?, &renewal.old, now).await?;
        if outcome == Outcome::Done || is_ours == Some(false) {
            return Ok(outcome);
        }
        if matches!(&answer, Value::BulkString(bytes) if *bytes == entry::forward(&renewal.forward, &renewal.record)) {
            // The client library has retried the command by itself.
            return Ok(Outcome::Done);
        }
        self.undo_place(renewal, now).await;
        Ok(outcome)
    }

    async fn index_add_successor(&self, renewal: &Renewal, now: Timestamp) -> Result<(), StoreError> {
        match Owner::of(&renewal.record) {
            Some(owner) => self.index_add(&owner, &renewal.new, renewal.record.expires_at, now).await,
            None => Ok(()),
        }
    }

    /// Writes the successor under its key. Returns `Some(true)` if it was written, `Some(false)` if it is there from an
    /// attempt whose reply was lost, and `None` if the key has another entry or a tombstone.
    async fn place(&self, renewal: &Renewal, now: Timestamp) -> Result<Option<bool>, StoreError> {
        let record = &renewal.record;
        let args: [&[u8]; 3] = [&bytes(now), &entry::successor(record), &ttl(record.expires_at, now)];
        match self.run(&script::PLACE, &[&self.key(&renewal.new)], &args).await.map_err(failed)? {
            Value::Int(0) => Ok(None),
            Value::Int(1) => Ok(Some(true)),
            Value::Int(2) => Ok(Some(false)),
            _ => Err(unexpected()),
        }
    }

    /// Returns the outcome of a renewal that cannot take place.
    async fn judge(&self, renewal: &Renewal, now: Timestamp) -> Result<Option<Outcome>, StoreError> {
        let current = self.get(&self.key(&renewal.old)).await?.filter(|entry| !entry.is_expired(now));
        Ok(match current {
            Some(Entry::Live(record)) if record.version == renewal.expected => None,
            Some(Entry::Live(record)) => Some(Outcome::Conflict(Some(record))),
            Some(Entry::Retired(forward)) => Some(Outcome::Retired(forward)),
            None => Some(Outcome::Gone),
        })
    }

    async fn overwrite(&self, renewal: &Renewal, now: Timestamp) -> Result<(), RedisError> {
        let (key, record) = (self.key(&renewal.new), &renewal.record);
        let entry = entry::successor(record);
        let mut command = Cmd::with_capacity(5, key.len() + entry.len() + 128);
        command.arg("SET").arg(key).arg(entry).arg("PX").arg(ttl(record.expires_at, now));
        command.exec_async(&mut self.connection.clone()).await
    }

    /// Deletes a successor after a failed renewal. If that fails it expires, and no client knows its ID.
    async fn undo_place(&self, renewal: &Renewal, now: Timestamp) {
        let args: [&[u8]; 2] = [&bytes(now), &renewal.record.version.as_u64().to_be_bytes()];
        let taken = self.run(&script::UNDO_PLACE, &[&self.key(&renewal.new)], &args).await;
        if let (Ok(Value::Int(1)), Some(owner)) = (taken, Owner::of(&renewal.record)) {
            self.index_remove(&owner, &renewal.new, now).await;
        }
    }
}

/// Returns the script arguments that write the forward under the old key.
fn retirement(renewal: &Renewal, now: Timestamp) -> [Vec<u8>; 4] {
    let Renewal { expected, record, forward, .. } = renewal;
    [
        bytes(now).to_vec(),
        expected.as_u64().to_be_bytes().to_vec(),
        entry::forward(forward, record),
        ttl(forward.expires_at, now),
    ]
}
