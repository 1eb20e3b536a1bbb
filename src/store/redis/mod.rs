//! Sessions in Redis or Valkey.

mod connect;
mod connection;
mod entry;
mod index;
mod principals;
mod renew;
mod reply;
mod script;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Value};

use self::reply::{failed, unexpected};
use self::script::Script;
use super::{Entry, Handle, Outcome, Record, Renewal, Store, StoreError, StoreKey};
use crate::base64url;
use crate::clock::{Timestamp, whole_millis};
use crate::error::ConfigError;

pub use self::connection::RedisConnection;

const NAME: &str = "redis";

const DEFAULT_PREFIX: &str = "session:";
const LONGEST_PREFIX: usize = 64;

/// The longest that a key is kept without being written. The server refuses what is too long for it.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long the mark of a deleted successor is kept: longer than any command can be on its way.
const MARK_TTL: Duration = Duration::from_secs(5 * 60);

/// Keeps sessions in Redis 7 or later, or in Valkey: one server, a Cluster, or servers watched by Sentinels.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{RedisStore, SessionLayer};
///
/// let store = RedisStore::connect("redis://localhost:6379/0").await?;
/// let sessions = SessionLayer::server(store);
/// # let _: axum::Router = axum::Router::new().layer(sessions);
/// # Ok(())
/// # }
/// ```
///
/// Clones are cheap and share the connection. The store needs no sweeper: every key has a time to live.
///
/// # Your own connection
///
/// [`new`](Self::new) takes any asynchronous connection of the crate `redis` 1.x that can be cloned: a
/// [`RedisConnection`] of a client of yours, a `ClusterConnection`, a `ConnectionManager`, a `MultiplexedConnection`. TLS
/// (`rediss://`) is a feature of that crate, such as `tokio-rustls-comp`, which your own `Cargo.toml` turns on.
///
/// Reads must go to the masters. A replica may not have heard of a logout yet.
///
/// # What is kept
///
/// One string for each session, under the [prefix](Self::with_key_prefix) and the base64url of its
/// [`StoreKey`]. A load is a `GET`. Everything else is a short script, called by its hash, that judges and writes in one
/// step on one key. A renewal writes two keys in one step; in a Cluster, where they are on different nodes, it first
/// places the successor and then retires the old key, which takes two round trips, and one more at the first renewal of
/// the process, which finds out.
///
/// A session that was renewed in a Cluster and then ended leaves a mark of one byte for five minutes, so that no
/// renewal which was on its way for long can bring it back.
///
/// # Finding the sessions of a principal
///
/// For each principal that is logged in there is one more key, the prefix and `p:` and a hash of the principal: a sorted set
/// of handles and keys, about 160 bytes a session. It is gone with the last session, at the latest an hour after that has
/// expired; each login removes up to eight that have. The script that writes a session writes the set too. A touch and a
/// logout, which are not told whose the session is, take a second round trip where somebody is logged in.
///
/// In a Cluster, where the set is on another node, a session is in it before it is there and until it is gone: a `create`
/// takes two round trips then, a login two, a renewal three, an update one, a touch two or three, a logout two.
///
/// To list and to count reads the whole set and then each session, up to a hundred at a time. What was renewed meanwhile is
/// looked up again.
///
/// # Durability
///
/// As much as the server's. Redis replicates asynchronously: a failover can lose writes that were acknowledged shortly
/// before, and with them also a logout, a login or a renewal. The session is then as it was before: a whole record of
/// an earlier version. `min-replicas-to-write` bounds how long a master that was cut off goes on acknowledging. The store
/// does not use `WAIT`, which would not prevent it either.
///
/// Give the server memory enough, and the `maxmemory-policy` `noeviction`, with which a full server refuses new sessions
/// (503) while logouts still work. With a `volatile-*` or `allkeys-*` policy it evicts live sessions instead: their
/// visitors are logged out. Prefer `volatile-ttl` then, which takes those first that would end soonest.
///
/// A set that was evicted or lost in a failover hides its sessions from lists and from
/// [`revoke`](Store::revoke) until each is written or touched the next time. To be sure that all sessions of somebody have
/// ended takes `noeviction`, and replicas that keep up.
///
/// # Security
///
/// Keys are hashes of IDs, so who can read the server cannot take over a session, but reads its values. Let nobody else
/// on: use TLS, and an ACL user with `+get +getrange +zrange +evalsha +eval` and the commands that the scripts call beside
/// these (`+set +setrange +pexpire +del +zadd +zrem`) on the prefix.
///
/// The name of a principal is in no key. Whoever can guess it can tell from the keys whether it has sessions.
#[derive(Clone)]
pub struct RedisStore<C = RedisConnection> {
    connection: C,
    prefix: Cow<'static, str>,
    /// Whether the server has said that it cannot write two keys in one step.
    is_split: Arc<AtomicBool>,
}

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    /// Makes a store that uses a connection, which it clones for each call.
    ///
    /// The connection's own timeouts and retries are used as they are. A response timeout should be shorter than half of
    /// the layer's [store timeout](crate::SessionLayer::with_store_timeout), or there is no time to try a second time.
    /// A connection that does not reconnect by itself, such as a bare `MultiplexedConnection`, is dead for good once it
    /// breaks.
    pub fn new(connection: C) -> Self {
        Self { connection, prefix: Cow::Borrowed(DEFAULT_PREFIX), is_split: Arc::default() }
    }

    /// Replaces what stands before each key. Default: `session:`.
    ///
    /// Applications that share a server need a prefix each.
    ///
    /// # Errors
    ///
    /// Fails when the prefix is empty, longer than 64 bytes, or has a character that is not visible ASCII, or a brace:
    /// one in braces would put all sessions on one node of a Cluster.
    pub fn with_key_prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        let prefix = prefix.into();
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
            return Err(ConfigError::new(format!("the key prefix {prefix:?} must have 1 to {LONGEST_PREFIX} bytes")));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte)) {
            return Err(ConfigError::new(format!("the key prefix {prefix:?} must be of visible ASCII without braces")));
        }
        self.prefix = prefix;
        Ok(self)
    }

    fn key(&self, key: &StoreKey) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.prefix.len() + base64url::encoded_len(key.as_bytes().len()));
        text.extend_from_slice(self.prefix.as_bytes());
        base64url::encode_onto(&mut text, key.as_bytes());
        text
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let mut command = Cmd::with_capacity(2, key.len() + 32);
        let reply = command.arg("GET").arg(key).query_async(&mut self.connection.clone()).await;
        match reply.map_err(failed)? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => entry::read(&bytes).map_err(|source| StoreError::undecodable(NAME, source)),
            _ => Err(unexpected()),
        }
    }

    async fn run(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Value, RedisError> {
        script.run(&mut self.connection.clone(), keys, args).await
    }
}

impl<C> Store for RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    const FINDS_PRINCIPALS: bool = true;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        Ok(self.get(&self.key(key)).await?.filter(|entry| !is_expired(entry, now)))
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.create_at(key, &record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.update_at(key, expected, &record, now).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.touch_at(key, expected, last_seen_at, expires_at, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.renew_at(&renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        self.delete_at(key, now).await
    }

    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.list_at(principal, after, limit, now).await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.count_at(principal, now).await
    }

    async fn revoke(&self, principal: &str, sessions: &[Handle], now: Timestamp) -> Result<Vec<Handle>, StoreError> {
        self.revoke_at(principal, sessions, now).await
    }
}

/// Shows neither the connection, which may have a password, nor a key.
impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Returns a time as the scripts compare it.
fn bytes(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

/// Returns the time to live of what expires then. The server's clock need not be ours; what it still has after that, or
/// not yet removed, is judged by the deadline in the entry.
fn ttl(expires_at: Timestamp, now: Timestamp) -> Vec<u8> {
    millis(expires_at.since(now).clamp(Duration::from_millis(1), LONGEST_TTL))
}

fn millis(duration: Duration) -> Vec<u8> {
    whole_millis(duration).to_string().into_bytes()
}

fn is_expired(entry: &Entry, now: Timestamp) -> bool {
    match entry {
        Entry::Live(record) => record.is_expired(now),
        Entry::Retired(forward) => now >= forward.expires_at,
    }
}
