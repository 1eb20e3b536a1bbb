//! Renewals: in one step where the server has both keys, in two where they are on different nodes of a Cluster.

use std::sync::atomic::Ordering;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::super::{Entry, Outcome, Renewal, StoreError};
use super::{RedisStore, bytes, entry, failed, is_expired, outcome, script, ttl, unexpected};
use crate::clock::Timestamp;

const CROSS_SLOT: ErrorKind = ErrorKind::Server(ServerErrorKind::CrossSlot);

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn renew_at(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        if !self.is_split.load(Ordering::Relaxed) {
            match self.retire(renewal, Some(entry::live(&renewal.record)), now).await {
                Err(error) if error.kind() == CROSS_SLOT => self.is_split.store(true, Ordering::Relaxed),
                reply => return outcome(&reply.map_err(failed)?),
            }
        }
        self.renew_in_two_steps(renewal, now).await
    }

    /// Places the successor, and then retires the old key. A process that dies in between leaves a session that nobody
    /// knows of.
    async fn renew_in_two_steps(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let is_ours = self.place(renewal, now).await?;
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
        let reply = self.retire(renewal, None, now).await.map_err(failed)?;
        let outcome = outcome(&reply)?;
        if outcome == Outcome::Done || is_ours == Some(false) {
            return Ok(outcome);
        }
        if matches!(&reply, Value::BulkString(bytes) if *bytes == entry::forward(&renewal.forward, &renewal.record)) {
            // The client has sent the command again by itself.
            return Ok(Outcome::Done);
        }
        self.take_back(renewal, now).await;
        Ok(outcome)
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

    /// Puts the forward under the old key, and in the same step the successor under the new one, if it is given.
    async fn retire(&self, renewal: &Renewal, successor: Option<Vec<u8>>, now: Timestamp) -> Result<Value, RedisError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        let (old, new) = (self.key(old), self.key(new));
        let (now_bytes, expected) = (bytes(now), expected.to_be_bytes());
        let (retired, retired_ttl) = (entry::forward(forward, record), ttl(forward.expires_at, now));
        let args: [&[u8]; 4] = [&now_bytes, &expected, &retired, &retired_ttl];
        let Some(successor) = successor else { return self.run(&script::RENEW, &[&old], &args).await };
        let [a, b, c, d] = args;
        self.run(&script::RENEW, &[&old, &new], &[a, b, c, d, &successor, &ttl(record.expires_at, now)]).await
    }

    /// Removes what was placed in vain. If that fails it expires in its time, and nobody knows of it.
    async fn take_back(&self, renewal: &Renewal, now: Timestamp) {
        let args: [&[u8]; 2] = [&bytes(now), &renewal.record.version.to_be_bytes()];
        let _ = self.run(&script::TAKE_BACK, &[&self.key(&renewal.new)], &args).await;
    }
}
