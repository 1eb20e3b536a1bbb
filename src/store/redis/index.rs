//! The index of a principal: a sorted set of the sessions that may be live.
//!
//! A member is a handle and the text of a key; its score is when the session ends, in milliseconds. On one server the scripts
//! write a session and its member in one step. In a Cluster, where they are on different nodes, a member is there before its
//! session and goes after it. A touch, which does not know whose the session is, moves the score afterwards. So what is
//! live is always in the set, the score is at most [`SLACK`] behind, and readers look at each session themselves.

use std::cmp::Ordering;
use std::sync::atomic;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, ServerErrorKind, Value};
use sha2::{Digest as _, Sha256};

use super::super::{Handle, Record, StoreError, StoreKey};
use super::reply::{failed, unexpected};
use super::script::{self, Script};
use super::{RedisStore, bytes};
use crate::base64url;
use crate::clock::{Timestamp, whole_millis};

/// What goes before a principal when it is hashed.
const LABEL: &[u8; 20] = b"session-state prn v1";

/// How long a session may live on after its score, and how long a set is kept after its last score. The scripts know it too.
pub(super) const SLACK: Duration = Duration::from_secs(60 * 60);

/// The bytes of an [`Owner`].
pub(super) const OWNER: usize = HASH + HANDLE;

const HASH: usize = 32;
const HANDLE: usize = 16;
/// The text of a key without its prefix.
const KEY: usize = base64url::encoded_len(32);

const CROSS_SLOT: ErrorKind = ErrorKind::Server(ServerErrorKind::CrossSlot);

/// Whose a session is, and which of theirs: the hash of the principal, and the handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner([u8; OWNER]);

impl Owner {
    pub(super) fn of(record: &Record) -> Option<Self> {
        record.principal.as_deref().map(|principal| Self::new(principal, &record.handle))
    }

    pub(super) fn new(principal: &str, handle: &Handle) -> Self {
        let hash = Sha256::new().chain_update(LABEL).chain_update(principal).finalize();
        let mut bytes = [0; OWNER];
        bytes[..HASH].copy_from_slice(&hash);
        bytes[HASH..].copy_from_slice(handle.as_bytes());
        Self(bytes)
    }

    pub(super) fn from_bytes(bytes: [u8; OWNER]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; OWNER] {
        &self.0
    }

    /// Returns the same principal's session with that handle.
    pub(super) fn with_handle(mut self, handle: &Handle) -> Self {
        self.0[HASH..].copy_from_slice(handle.as_bytes());
        self
    }

    fn handle(&self) -> &[u8] {
        &self.0[HASH..]
    }
}

/// A session in an index.
#[derive(Clone)]
pub(super) struct Member {
    bytes: [u8; HANDLE + KEY],
    score: f64,
}

impl Member {
    pub(super) fn handle(&self) -> Handle {
        Handle::from_bytes(std::array::from_fn(|i| self.bytes[i]))
    }

    /// Compares the handles, and then the keys.
    pub(super) fn by_handle(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }

    /// Returns the text of its key, without the prefix.
    pub(super) fn key(&self) -> [u8; KEY] {
        std::array::from_fn(|i| self.bytes[HANDLE + i])
    }

    /// Whether the session should have ended by now.
    #[expect(clippy::cast_precision_loss, reason = "the server has doubles too")]
    pub(super) fn is_past(&self, now: Timestamp) -> bool {
        self.score <= now.as_millis() as f64
    }

    /// Whether it cannot be live any more.
    #[expect(clippy::cast_precision_loss, reason = "the server has doubles too")]
    fn is_over(&self, now: Timestamp) -> bool {
        self.score + whole_millis(SLACK) as f64 <= now.as_millis() as f64
    }
}

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) fn index_key(&self, owner: &Owner) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.prefix.len() + 2 + KEY);
        text.extend_from_slice(self.prefix.as_bytes());
        text.extend_from_slice(b"p:");
        base64url::encode_onto(&mut text, &owner.0[..HASH]);
        text
    }

    /// Returns the key of the entry that a member names.
    pub(super) fn key_of(&self, member: &Member) -> Vec<u8> {
        [self.prefix.as_bytes(), &member.key()].concat()
    }

    /// Runs a script that writes a session and the index in one step. `None`: the server does not have both.
    pub(super) async fn run_whole(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<Option<Value>, StoreError> {
        if self.is_split() {
            return Ok(None);
        }
        match self.run(script, keys, args).await {
            Err(error) if error.kind() == CROSS_SLOT => {
                self.is_split.store(true, atomic::Ordering::Relaxed);
                Ok(None)
            }
            reply => reply.map(Some).map_err(failed),
        }
    }

    pub(super) fn is_split(&self) -> bool {
        self.is_split.load(atomic::Ordering::Relaxed)
    }

    /// Puts a session into the index of its principal, or moves its score forward.
    pub(super) async fn enlist(
        &self,
        owner: &Owner,
        key: &StoreKey,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let args: [&[u8]; 3] = [&bytes(now), &member(owner, key), &bytes(expires_at)];
        match self.run(&script::ENLIST, &[&self.index_key(owner)], &args).await.map_err(failed)? {
            Value::Int(1) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Removes from the index of its principal what is not under that key any more. Should that fail, readers see that
    /// there is nothing.
    pub(super) async fn unlist(&self, owner: &Owner, key: &StoreKey, now: Timestamp) {
        let _ = self.run_unlist(owner, &[], &[&member(owner, key)], now).await;
    }

    /// Removes members from the index of a principal.
    pub(super) async fn unlist_all(&self, owner: &Owner, members: &[Member], now: Timestamp) {
        /// More than one call has in most cases, and fewer than a script can take.
        const MOST: usize = 1_000;
        for members in members.chunks(MOST) {
            let members: Vec<&[u8]> = members.iter().map(|member| member.bytes.as_slice()).collect();
            let _ = self.run_unlist(owner, &[], &members, now).await;
        }
    }

    /// Removes a session from the index of its principal, and returns what else is there with its handle.
    pub(super) async fn unlist_and_find_others(
        &self,
        owner: &Owner,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<Vec<Member>, StoreError> {
        let others = self.run_unlist(owner, owner.handle(), &[&member(owner, key)], now).await?;
        let others: Vec<Vec<u8>> = redis::from_redis_value(others).map_err(|_| unexpected())?;
        others.into_iter().map(|bytes| read(&bytes, f64::INFINITY)).collect()
    }

    async fn run_unlist(
        &self,
        owner: &Owner,
        handle: &[u8],
        members: &[&[u8]],
        now: Timestamp,
    ) -> Result<Value, StoreError> {
        let now = bytes(now);
        let args: Vec<&[u8]> = [&now, handle].into_iter().chain(members.iter().copied()).collect();
        self.run(&script::UNLIST, &[&self.index_key(owner)], &args).await.map_err(failed)
    }

    /// Returns all that may be live in an index.
    pub(super) async fn members(&self, owner: &Owner, now: Timestamp) -> Result<Vec<Member>, StoreError> {
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(self.index_key(owner)).arg(0).arg(-1).arg("WITHSCORES");
        let reply = command.query_async(&mut self.connection.clone()).await.map_err(failed)?;
        let scored: Vec<(Vec<u8>, f64)> = redis::from_redis_value(reply).map_err(|_| unexpected())?;
        let members = scored.into_iter().map(|(bytes, score)| read(&bytes, score));
        members.filter(|member| !member.as_ref().is_ok_and(|member| member.is_over(now))).collect()
    }
}

fn member(owner: &Owner, key: &StoreKey) -> Vec<u8> {
    let mut bytes = owner.handle().to_vec();
    base64url::encode_onto(&mut bytes, key.as_bytes());
    bytes
}

fn read(bytes: &[u8], score: f64) -> Result<Member, StoreError> {
    Ok(Member { bytes: bytes.try_into().map_err(|_| unexpected())?, score })
}
