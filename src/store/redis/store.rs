//! The store: its connection and the prefix of its keys.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Value};

use super::connection::RedisConnection;
use super::entry;
use super::reply::{NAME, failed, unexpected};
use super::script::Script;
use crate::base64url;
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};

const DEFAULT_PREFIX: &str = "session:";
const MAX_PREFIX: usize = 64;

/// Store in Redis 7 or later, or in Valkey: one server, a Cluster, or servers with Sentinels.
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
/// [`new`](Self::new) takes any asynchronous, clonable connection of the crate `redis` 1.x: a [`RedisConnection`], a
/// `ClusterConnection`, a `ConnectionManager`, a `MultiplexedConnection`. TLS (`rediss://`) is a feature of that crate,
/// such as `tokio-rustls-comp`; enable it in your own `Cargo.toml`.
///
/// Reads must go to the masters: a replica may not have received a logout yet.
///
/// # Layout
///
/// One string for each session, under the [prefix](Self::with_key_prefix) and the base64url of its [`StoreKey`]. A load
/// is a `GET`. Every other call is a short script, called by its hash, that checks and writes one key in one step. A
/// renewal writes two keys in one step. In a Cluster, where they are on different nodes, it first places the successor
/// and then retires the old key, which takes two round trips; the first renewal of a process takes one more to detect
/// the Cluster.
///
/// In a Cluster the key of a renewed session keeps its next forward for at least five minutes, or a tombstone of one
/// byte after a delete without a forward, so that a delayed renewal cannot revive the session.
///
/// # Finding the sessions of a principal
///
/// Each principal with sessions has one more key, the prefix, `p:` and a hash of the principal: a sorted set of handles
/// and keys, about 160 bytes a session. It disappears with the last session, at the latest an hour after that has
/// expired; each login removes up to eight expired members. The script that writes a session also writes the set. A
/// touch and a logout do not know the principal, and take a second round trip for a session that has one.
///
/// In a Cluster the set is on another node. There a session is added to the set before it is written, and removed after
/// it is deleted, so a `create` and a login take two round trips, a renewal three, an update one, a touch two or three,
/// a logout two.
///
/// A list and a count read the whole set and then each session, up to a hundred at a time, and look up again those that
/// were renewed meanwhile.
///
/// # Durability
///
/// The same as the server's. Redis replicates asynchronously: a failover can lose the last acknowledged writes,
/// including a logout, a login or a renewal. The session is then in an earlier state, as a whole.
/// `min-replicas-to-write` limits how long an isolated master acknowledges writes. The store does not use `WAIT`, which
/// would not prevent this either.
///
/// Give the server enough memory and the `maxmemory-policy` `noeviction`: a full server then rejects new sessions (503)
/// while logouts still work. A `volatile-*` or `allkeys-*` policy evicts live sessions instead, whose users are logged
/// out. If you must evict, use `volatile-ttl`, which takes the sessions that expire soonest.
///
/// A set that was evicted, or lost in a failover, hides its sessions from lists and from
/// [`revoke`](crate::store::FindPrincipals::revoke) until each is written or touched again. Reliable revocation needs
/// `noeviction` and replicas that keep up.
///
/// # Security
///
/// Keys are hashes of IDs, so read access to the server reveals the values of sessions but does not allow to take them
/// over. Restrict access: use TLS, and an ACL user with the commands of the store and its scripts on the
/// [prefix](Self::with_key_prefix):
///
/// ```text
/// ACL SETUSER sessions on >secret ~session:* -@all +get +getrange +zrange +evalsha +eval
/// ACL SETUSER sessions +set +setrange +pexpire +del +zadd +zrem
/// ```
///
/// A database other than 0 also needs `+select`, a Cluster `+cluster|slots`, and a master named by Sentinels `+role`.
///
/// No key contains the name of a principal, but the keys reveal whether a guessed principal has sessions.
#[derive(Clone)]
pub struct RedisStore<C = RedisConnection> {
    pub(super) connection: C,
    pub(super) prefix: Cow<'static, str>,
    /// Whether the server has rejected a script with two keys, as a Cluster does.
    pub(super) is_cluster: Arc<AtomicBool>,
}

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    /// Creates a store over a connection, which it clones for each call.
    ///
    /// The timeouts and retries of the connection stay in effect. Its response timeout should be less than half of the
    /// layer's [store timeout](crate::SessionLayer::with_store_timeout), to leave time for a retry. A connection that
    /// does not reconnect, such as a bare `MultiplexedConnection`, makes every call fail once it breaks.
    pub fn new(connection: C) -> Self {
        Self { connection, prefix: Cow::Borrowed(DEFAULT_PREFIX), is_cluster: Arc::default() }
    }

    /// Sets the prefix of all keys. The default is `session:`.
    ///
    /// Applications that share a server need different prefixes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the prefix is empty, longer than 64 bytes, or contains a brace or a character other than
    /// visible ASCII. A prefix in braces would put all sessions on one node of a Cluster.
    pub fn with_key_prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        let prefix = prefix.into();
        if prefix.is_empty() || prefix.len() > MAX_PREFIX {
            return Err(ConfigError::new(format!("the key prefix {prefix:?} must have 1 to {MAX_PREFIX} bytes")));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte)) {
            return Err(ConfigError::new(format!(
                "the key prefix {prefix:?} must consist of visible ASCII characters except braces"
            )));
        }
        self.prefix = prefix;
        Ok(self)
    }

    pub(super) fn key(&self, key: &StoreKey) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.prefix.len() + base64url::encoded_len(key.as_bytes().len()));
        text.extend_from_slice(self.prefix.as_bytes());
        base64url::encode_onto(&mut text, key.as_bytes());
        text
    }

    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let mut command = Cmd::with_capacity(2, key.len() + 32);
        let reply = command.arg("GET").arg(key).query_async(&mut self.connection.clone()).await;
        match reply.map_err(failed)? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => entry::read(&bytes).map_err(|source| StoreError::undecodable(NAME, source)),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn run(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Value, RedisError> {
        script.run(&mut self.connection.clone(), keys, args).await
    }
}

impl<C> Store for RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        Ok(self.get(&self.key(key)).await?.filter(|entry| !entry.is_expired(now)))
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match (expected, entry) {
            (None, Entry::Live(record)) => self.create_at(key, &record, now).await,
            (None, Entry::Retired(forward)) => self.create_forward(key, &forward, now).await,
            (Some(expected), Entry::Live(record)) => {
                Ok(self.update_at(key, expected, &record, now).await? == Outcome::Done)
            }
            (expected, Entry::Retired(forward)) => {
                Ok(self.delete_at(key, expected, Some(&forward), now).await? == Outcome::Done)
            }
        }
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.create_at(key, &record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.update_at(key, expected, &record, now).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let Touch { expected, last_seen_at, expires_at } = touch;
        self.touch_at(key, expected, last_seen_at, expires_at, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.renew_at(&renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.delete_at(key, None, forward.as_ref(), now).await
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Some(PrincipalFinder::of(self))
    }
}

impl<C> FindPrincipals for RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
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

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        self.revoke_at(principal, sessions, Some(&forward), now).await
    }
}

/// Omits the connection, which may have a password.
impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
