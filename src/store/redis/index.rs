//! The index of a principal: a sorted set of the sessions that may be live.
//!
//! A member is a handle and the text of a key; its score is the deadline of the session in milliseconds. On one server
//! the scripts write a session and its member in one step. In a Cluster, where they are on different nodes, a member is
//! added before its session and removed after it. A touch does not know the principal and moves the score afterwards.
//! So the set contains every live session, a score is at most [`SLACK`](super::owner::SLACK) too early, and readers
//! check each session.

use std::sync::atomic;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use super::args::bytes;
use super::owner::{KEY, Member, Owner, member_bytes};
use super::reply::{failed, unexpected};
use super::script::{self, Script};
use super::store::RedisStore;
use crate::base64url;
use crate::clock::Timestamp;
use crate::store::{StoreError, StoreKey};

const CROSS_SLOT: ErrorKind = ErrorKind::Server(ServerErrorKind::CrossSlot);

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) fn index_key(&self, owner: &Owner) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.prefix.len() + 2 + KEY);
        text.extend_from_slice(self.prefix.as_bytes());
        text.extend_from_slice(b"p:");
        base64url::encode_onto(&mut text, owner.hash());
        text
    }

    /// Returns the key of the entry that a member names.
    pub(super) fn key_of(&self, member: &Member) -> Vec<u8> {
        [self.prefix.as_bytes(), &member.key()].concat()
    }

    /// Runs a script that writes a session and the index in one step. Returns `None` in a Cluster, where that is
    /// impossible.
    pub(super) async fn run_atomically(
        &self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<Option<Value>, StoreError> {
        if self.is_cluster() {
            return Ok(None);
        }
        match self.run(script, keys, args).await {
            Err(error) if error.kind() == CROSS_SLOT => {
                self.is_cluster.store(true, atomic::Ordering::Relaxed);
                Ok(None)
            }
            reply => reply.map(Some).map_err(failed),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster.load(atomic::Ordering::Relaxed)
    }

    /// Adds a session to the index of its principal, or increases its score.
    pub(super) async fn index_add(
        &self,
        owner: &Owner,
        key: &StoreKey,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let args: [&[u8]; 3] = [&bytes(now), &member_bytes(owner, key), &bytes(expires_at)];
        match self.run(&script::INDEX_ADD, &[&self.index_key(owner)], &args).await.map_err(failed)? {
            Value::Int(1) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Removes a session from the index of its principal. If that fails, readers find no session under the key.
    pub(super) async fn index_remove(&self, owner: &Owner, key: &StoreKey, now: Timestamp) {
        let _ = self.run_index_remove(owner, &[], &[&member_bytes(owner, key)], now).await;
    }

    /// Removes members from the index of a principal.
    pub(super) async fn index_remove_all(&self, owner: &Owner, members: &[Member], now: Timestamp) {
        /// More members than most calls have, and fewer than the arguments that a script can take.
        const MOST: usize = 1_000;
        for members in members.chunks(MOST) {
            let members: Vec<&[u8]> = members.iter().map(|member| member.as_bytes()).collect();
            let _ = self.run_index_remove(owner, &[], &members, now).await;
        }
    }

    /// Removes a session from the index of its principal, and returns the other members with its handle.
    pub(super) async fn index_remove_and_find_others(
        &self,
        owner: &Owner,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<Vec<Member>, StoreError> {
        let others = self.run_index_remove(owner, owner.handle(), &[&member_bytes(owner, key)], now).await?;
        let others: Vec<Vec<u8>> = redis::from_redis_value(others).map_err(|_| unexpected())?;
        others.iter().map(|bytes| Member::read(bytes, f64::INFINITY).ok_or_else(unexpected)).collect()
    }

    async fn run_index_remove(
        &self,
        owner: &Owner,
        handle: &[u8],
        members: &[&[u8]],
        now: Timestamp,
    ) -> Result<Value, StoreError> {
        let now = bytes(now);
        let args: Vec<&[u8]> = [&now, handle].into_iter().chain(members.iter().copied()).collect();
        self.run(&script::INDEX_REMOVE, &[&self.index_key(owner)], &args).await.map_err(failed)
    }

    /// Returns the members of an index whose sessions may be live.
    pub(super) async fn members(&self, owner: &Owner, now: Timestamp) -> Result<Vec<Member>, StoreError> {
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(self.index_key(owner)).arg(0).arg(-1).arg("WITHSCORES");
        let reply = command.query_async(&mut self.connection.clone()).await.map_err(failed)?;
        let scored: Vec<(Vec<u8>, f64)> = redis::from_redis_value(reply).map_err(|_| unexpected())?;
        let members = scored.iter().map(|(bytes, score)| Member::read(bytes, *score).ok_or_else(unexpected));
        members.filter(|member| !member.as_ref().is_ok_and(|member| member.is_over(now))).collect()
    }
}
