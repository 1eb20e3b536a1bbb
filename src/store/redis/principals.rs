//! The sessions of a principal: listed, counted and revoked.

use std::collections::{BTreeMap, HashSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::stream::{self, StreamExt as _};
use redis::aio::ConnectionLike;
use redis::{Cmd, Value};

use super::args::deletion;
use super::entry::EntryHead;
use super::owner::{Member, Owner};
use super::reply::{NAME, Reply, failed, reply, unexpected};
use super::script;
use super::store::RedisStore;
use crate::clock::Timestamp;
use crate::store::{Entry, Forward, Handle, Outcome, Record, StoreError};

/// How many sessions are requested concurrently.
const CONCURRENCY: usize = 100;

/// How often sessions that keep moving are looked up again.
const MAX_ROUNDS: usize = 100;

/// The entry under the key of a member.
enum Lookup<T> {
    /// The session.
    Found(T),
    /// No session, and there will never be one: it was renewed, or has just been deleted.
    Over,
    /// No session yet. A renewal in flight may place it here.
    Absent,
}

/// The result of a search.
struct Search<T> {
    found: BTreeMap<Handle, Vec<T>>,
    /// Members without a session for good.
    stale: Vec<Member>,
}

impl<C> RedisStore<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn list_at(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let owner = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let mut members = self.members(&owner, now).await?;
        members.retain(|member| after.is_none_or(|after| member.handle() > *after));
        members.sort_unstable_by(Member::by_handle);
        let (mut rest, mut page) = (members.as_slice(), Vec::new());
        while page.len() < limit && !rest.is_empty() {
            let handles: Vec<&[Member]> = rest.chunk_by(|a, b| a.handle() == b.handle()).collect();
            let taken = handles.iter().take(limit - page.len()).map(|members| members.len()).sum();
            let (next, later) = rest.split_at(taken);
            rest = later;
            let ask = |member| self.load_of(principal, member, now);
            let search = self.search(&owner, next.to_vec(), ask, now).await?;
            // During a renewal in a Cluster there may be two.
            let latest = |records: Vec<Arc<Record>>| {
                records.into_iter().max_by_key(|record| (record.last_seen_at, record.renewed_at))
            };
            page.extend(search.found.into_values().filter_map(latest));
            self.index_remove_all(&owner, &search.stale, now).await;
        }
        Ok(page)
    }

    pub(super) async fn count_at(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let owner = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let members = self.members(&owner, now).await?;
        let ask = |member| self.is_live(&owner, member, now);
        let search = self.search(&owner, members, ask, now).await?;
        self.index_remove_all(&owner, &search.stale, now).await;
        Ok(search.found.len())
    }

    pub(super) async fn revoke_at(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let owner = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let sessions: HashSet<&Handle> = sessions.iter().collect();
        let mut members = self.members(&owner, now).await?;
        members.retain(|member| sessions.contains(&member.handle()));
        self.revoke_members(&owner, members, forward, now).await
    }

    /// Deletes the sessions of members, even if they are renewed meanwhile, and leaves a forward under the key of each,
    /// if there is one. Returns the handles of those that were live.
    pub(super) async fn revoke_members(
        &self,
        owner: &Owner,
        members: Vec<Member>,
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let ended = Mutex::new(Vec::new());
        let search = self.search(owner, members, |member| self.end(owner, member, forward, &ended, now), now).await;
        let mut gone = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut removed: Vec<Handle> = gone.iter().map(Member::handle).collect();
        gone.extend(search.as_ref().map_or(&[][..], |search| search.stale.as_slice()).iter().cloned());
        self.index_remove_all(owner, &gone, now).await;
        search?;
        removed.sort_unstable();
        removed.dedup();
        Ok(removed)
    }

    /// Looks up each member, and follows sessions that are renewed meanwhile.
    ///
    /// The present key of a session is always in the index. So the search for a handle ends when the session is found,
    /// when the index has no member with the handle, or when two rounds see the same: a renewal between reading the
    /// index and the look-up would have left a new forward.
    async fn search<T, F>(
        &self,
        owner: &Owner,
        mut members: Vec<Member>,
        ask: impl Fn(Member) -> F + Send,
        now: Timestamp,
    ) -> Result<Search<T>, StoreError>
    where
        T: Send,
        F: Future<Output = Result<(Member, Lookup<T>), StoreError>> + Send,
    {
        let mut search = Search { found: BTreeMap::<Handle, Vec<T>>::new(), stale: Vec::new() };
        let (mut over, mut absent) = (HashSet::new(), HashSet::new());
        for _ in 0..MAX_ROUNDS {
            let asked: Vec<F> = members.into_iter().map(&ask).collect();
            let mut asked = stream::iter(asked).buffer_unordered(CONCURRENCY);
            let mut open = HashSet::new();
            while let Some((member, seen)) = asked.try_next().await? {
                let is_news = match seen {
                    Lookup::Found(found) => {
                        search.found.entry(member.handle()).or_default().push(found);
                        continue;
                    }
                    Lookup::Over => over.insert(member.key()),
                    Lookup::Absent if member.is_past(now) => false,
                    Lookup::Absent => absent.insert(member.key()),
                };
                if is_news {
                    open.insert(member.handle());
                }
                if over.contains(&member.key()) {
                    search.stale.push(member);
                }
            }
            drop(asked);
            open.retain(|handle| !search.found.contains_key(handle));
            if open.is_empty() {
                return Ok(search);
            }
            members = self.members(owner, now).await?;
            members.retain(|member| open.contains(&member.handle()) && !over.contains(&member.key()));
        }
        Err(StoreError::contended(NAME, AlwaysMoving))
    }

    async fn load_of(
        &self,
        principal: &str,
        member: Member,
        now: Timestamp,
    ) -> Result<(Member, Lookup<Arc<Record>>), StoreError> {
        let is_theirs = |record: &Record| {
            record.handle == member.handle()
                && record.principal.as_deref() == Some(principal)
                && !record.is_expired(now)
        };
        let seen = match self.get(&self.key_of(&member)).await? {
            Some(Entry::Live(record)) if is_theirs(&record) => Lookup::Found(record),
            Some(Entry::Retired(_)) => Lookup::Over,
            _ => Lookup::Absent,
        };
        Ok((member, seen))
    }

    async fn is_live(&self, owner: &Owner, member: Member, now: Timestamp) -> Result<(Member, Lookup<()>), StoreError> {
        let mut command = Cmd::new();
        command.arg("GETRANGE").arg(self.key_of(&member)).arg(0).arg(EntryHead::LEN - 1);
        let reply = command.query_async(&mut self.connection.clone()).await.map_err(failed)?;
        let Value::BulkString(bytes) = reply else { return Err(unexpected()) };
        let theirs = owner.with_handle(&member.handle());
        let seen = match EntryHead::read(&bytes) {
            EntryHead::Owned { owner, expires_at } if owner == theirs && now < expires_at => Lookup::Found(()),
            EntryHead::Forward => Lookup::Over,
            _ => Lookup::Absent,
        };
        Ok((member, seen))
    }

    /// Deletes the session of a member if it exists, leaves a forward, if there is one, and records the member.
    async fn end(
        &self,
        owner: &Owner,
        member: Member,
        forward: Option<&Forward>,
        ended: &Mutex<Vec<Member>>,
        now: Timestamp,
    ) -> Result<(Member, Lookup<()>), StoreError> {
        let theirs = owner.with_handle(&member.handle());
        let [a, b, c] = &deletion(forward, now);
        let args: [&[u8]; 4] = [a, b, c, theirs.as_bytes()];
        let answer = self.run(&script::DELETE, &[&self.key_of(&member)], &args).await.map_err(failed)?;
        let seen = match reply(&answer)? {
            Reply::Ended(Outcome::Done, _) => {
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(member.clone());
                // In a Cluster a renewal may have placed the session a second time.
                if self.is_cluster() { Lookup::Over } else { Lookup::Found(()) }
            }
            Reply::Ended(Outcome::Retired(_), _) => Lookup::Over,
            Reply::Ended(Outcome::Gone, _) => Lookup::Absent,
            Reply::Ended(Outcome::Conflict(_), _) | Reply::NotIndexed(_) => return Err(unexpected()),
        };
        Ok((member, seen))
    }
}

#[derive(Debug)]
struct AlwaysMoving;

impl fmt::Display for AlwaysMoving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session was renewed during each look-up")
    }
}

impl StdError for AlwaysMoving {}
