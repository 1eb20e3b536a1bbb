//! Renewals: in one step where the server has both keys, in two where they are on different nodes of a Cluster.

use futures_util::future::join;
use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Value};

use super::super::{Entry, Outcome, Renewal, StoreError};
use super::index::Owner;
use super::reply::{failed, reply, unexpected};
use super::{RedisStore, bytes, entry, is_expired, script, ttl};
use crate::clock::Timestamp;

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn renew_at(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        match self.renew_in_one_step(renewal, now).await? {
            Some(answer) => self.end_of(reply(&answer)?, &renewal.old, now).await,
            None => self.renew_in_two_steps(renewal, now).await,
        }
    }

    async fn renew_in_one_step(&self, renewal: &Renewal, now: Timestamp) -> Result<Option<Value>, StoreError> {
        let Renewal { old, new, record, .. } = renewal;
        let (old, new, index) = (self.key(old), self.key(new), Owner::of(record).map(|owner| self.index_key(&owner)));
        let keys: Vec<&[u8]> = [&old, &new].into_iter().chain(&index).map(Vec::as_slice).collect();
        let [a, b, c, d] = &retirement(renewal, now);
        let args: [&[u8]; 6] = [a, b, c, d, &entry::live(record), &ttl(record.expires_at, now)];
        self.run_whole(&script::RENEW, &keys, &args).await
    }

    /// Places the successor, and then retires the old key. A process that dies in between leaves a session that nobody
    /// knows of; it goes with the other one.
    async fn renew_in_two_steps(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let (listed, placed) = join(self.enlist_successor(renewal, now), self.place(renewal, now)).await;
        listed?;
        let is_ours = placed?;
        if is_ours.is_none()
            && let Some(outcome) = self.judge(renewal, now).await?
        {
            return Ok(outcome);
        }
        if is_ours.is_none() {
            // The old key leads nowhere yet, so what is in the way is left from an attempt that was not told of its end.
            // Nobody knows of it.
            self.overwrite(renewal, now).await.map_err(failed)?;
        }
        let (old, [a, b, c, d]) = (self.key(&renewal.old), &retirement(renewal, now));
        let answer = self.run(&script::RENEW, &[&old], &[a, b, c, d]).await.map_err(failed)?;
        let outcome = self.end_of(reply(&answer)?, &renewal.old, now).await?;
        if outcome == Outcome::Done || is_ours == Some(false) {
            return Ok(outcome);
        }
        if matches!(&answer, Value::BulkString(bytes) if *bytes == entry::forward(&renewal.forward, &renewal.record)) {
            // The client has sent the command again by itself.
            return Ok(Outcome::Done);
        }
        self.take_back(renewal, now).await;
        Ok(outcome)
    }

    async fn enlist_successor(&self, renewal: &Renewal, now: Timestamp) -> Result<(), StoreError> {
        match Owner::of(&renewal.record) {
            Some(owner) => self.enlist(&owner, &renewal.new, renewal.record.expires_at, now).await,
            None => Ok(()),
        }
    }

    /// Puts the successor under its key: `Some(true)`. Or it is there from an earlier attempt whose reply was lost:
    /// `Some(false)`. Or something else is there, or was deleted there: `None`.
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

    /// Says how the renewal ends already, if it cannot take place.
    async fn judge(&self, renewal: &Renewal, now: Timestamp) -> Result<Option<Outcome>, StoreError> {
        let current = self.get(&self.key(&renewal.old)).await?.filter(|entry| !is_expired(entry, now));
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

    /// Removes what was placed in vain. If that fails it expires in its time, and nobody knows of it.
    async fn take_back(&self, renewal: &Renewal, now: Timestamp) {
        let args: [&[u8]; 2] = [&bytes(now), &renewal.record.version.to_be_bytes()];
        let taken = self.run(&script::TAKE_BACK, &[&self.key(&renewal.new)], &args).await;
        if let (Ok(Value::Int(1)), Some(owner)) = (taken, Owner::of(&renewal.record)) {
            self.unlist(&owner, &renewal.new, now).await;
        }
    }
}

/// Returns what the script needs to put the forward under the old key.
fn retirement(renewal: &Renewal, now: Timestamp) -> [Vec<u8>; 4] {
    let Renewal { expected, record, forward, .. } = renewal;
    [
        bytes(now).to_vec(),
        expected.to_be_bytes().to_vec(),
        entry::forward(forward, record),
        ttl(forward.expires_at, now),
    ]
}
