//! The sessions of a principal: listed, counted and revoked.

use std::collections::{BTreeMap, HashSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::stream::{self, StreamExt as _};
use redis::aio::ConnectionLike;
use redis::{Cmd, Value};

use super::super::{Entry, Handle, Outcome, Record, StoreError};
use super::entry::Beginning;
use super::index::{Member, Owner};
use super::reply::{Reply, failed, reply, unexpected};
use super::{MARK_TTL, NAME, RedisStore, bytes, entry, millis, script};
use crate::clock::Timestamp;

/// How many sessions are asked for at a time.
const AT_ONCE: usize = 100;

/// How often a session that moves all the time is looked for.
const ROUNDS: usize = 100;

/// What is under the key of a member.
enum Seen<T> {
    /// The session.
    Found(T),
    /// Nothing, and there will never be anything: the session moved on, or was ended just now.
    Over,
    /// Nothing. A renewal that is on its way may be about to bring it here.
    Absent,
}

/// What a search has come to.
struct Search<T> {
    found: BTreeMap<Handle, Vec<T>>,
    /// Members that lead nowhere for good.
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
        let whose = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let mut members = self.members(&whose, now).await?;
        members.retain(|member| after.is_none_or(|after| member.handle() > *after));
        members.sort_unstable_by(Member::by_handle);
        let (mut rest, mut page) = (members.as_slice(), Vec::new());
        while page.len() < limit && !rest.is_empty() {
            let handles: Vec<&[Member]> = rest.chunk_by(|a, b| a.handle() == b.handle()).collect();
            let taken = handles.iter().take(limit - page.len()).map(|members| members.len()).sum();
            let (next, later) = rest.split_at(taken);
            rest = later;
            let ask = |member| self.load_of(principal, member, now);
            let search = self.search(&whose, next.to_vec(), ask, now).await?;
            // While a renewal is on its way in a Cluster there may be two.
            let latest = |records: Vec<Arc<Record>>| {
                records.into_iter().max_by_key(|record| (record.last_seen_at, record.renewed_at))
            };
            page.extend(search.found.into_values().filter_map(latest));
            self.unlist_all(&whose, &search.stale, now).await;
        }
        Ok(page)
    }

    pub(super) async fn count_at(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let whose = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let members = self.members(&whose, now).await?;
        let ask = |member| self.is_live(&whose, member, now);
        let search = self.search(&whose, members, ask, now).await?;
        self.unlist_all(&whose, &search.stale, now).await;
        Ok(search.found.len())
    }

    pub(super) async fn revoke_at(
        &self,
        principal: &str,
        sessions: &[Handle],
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let whose = Owner::new(principal, &Handle::from_bytes([0; 16]));
        let sessions: HashSet<&Handle> = sessions.iter().collect();
        let mut members = self.members(&whose, now).await?;
        members.retain(|member| sessions.contains(&member.handle()));
        self.revoke_members(&whose, members, now).await
    }

    /// Ends the sessions of members, wherever they go meanwhile, and returns the handles of those that were live.
    pub(super) async fn revoke_members(
        &self,
        whose: &Owner,
        members: Vec<Member>,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let ended = Mutex::new(Vec::new());
        let search = self.search(whose, members, |member| self.end(whose, member, &ended, now), now).await;
        let mut gone = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut removed: Vec<Handle> = gone.iter().map(Member::handle).collect();
        gone.extend(search.as_ref().map_or(&[][..], |search| search.stale.as_slice()).iter().cloned());
        self.unlist_all(whose, &gone, now).await;
        search?;
        removed.sort_unstable();
        removed.dedup();
        Ok(removed)
    }

    /// Asks for each member, and follows those that move.
    ///
    /// The key that a session has is always in the index. So a handle is done with when it was found, when nothing of it
    /// is left in the index, or when in two rounds all was the same: had it moved between the reading of the index and the
    /// asking, it would have left a forward that was not there before.
    async fn search<T, F>(
        &self,
        whose: &Owner,
        mut members: Vec<Member>,
        ask: impl Fn(Member) -> F + Send,
        now: Timestamp,
    ) -> Result<Search<T>, StoreError>
    where
        T: Send,
        F: Future<Output = Result<(Member, Seen<T>), StoreError>> + Send,
    {
        let mut search = Search { found: BTreeMap::<Handle, Vec<T>>::new(), stale: Vec::new() };
        let (mut over, mut absent) = (HashSet::new(), HashSet::new());
        for _ in 0..ROUNDS {
            let asked: Vec<F> = members.into_iter().map(&ask).collect();
            let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
            let mut open = HashSet::new();
            while let Some((member, seen)) = asked.try_next().await? {
                let is_news = match seen {
                    Seen::Found(found) => {
                        search.found.entry(member.handle()).or_default().push(found);
                        continue;
                    }
                    Seen::Over => over.insert(member.key()),
                    Seen::Absent if member.is_past(now) => false,
                    Seen::Absent => absent.insert(member.key()),
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
            members = self.members(whose, now).await?;
            members.retain(|member| open.contains(&member.handle()) && !over.contains(&member.key()));
        }
        Err(StoreError::contended(NAME, AlwaysMoving))
    }

    async fn load_of(
        &self,
        principal: &str,
        member: Member,
        now: Timestamp,
    ) -> Result<(Member, Seen<Arc<Record>>), StoreError> {
        let is_theirs = |record: &Record| {
            record.handle == member.handle()
                && record.principal.as_deref() == Some(principal)
                && !record.is_expired(now)
        };
        let seen = match self.get(&self.key_of(&member)).await? {
            Some(Entry::Live(record)) if is_theirs(&record) => Seen::Found(record),
            Some(Entry::Retired(_)) => Seen::Over,
            _ => Seen::Absent,
        };
        Ok((member, seen))
    }

    async fn is_live(&self, whose: &Owner, member: Member, now: Timestamp) -> Result<(Member, Seen<()>), StoreError> {
        let mut command = Cmd::new();
        command.arg("GETRANGE").arg(self.key_of(&member)).arg(0).arg(Beginning::LEN - 1);
        let reply = command.query_async(&mut self.connection.clone()).await.map_err(failed)?;
        let Value::BulkString(bytes) = reply else { return Err(unexpected()) };
        let theirs = whose.with_handle(&member.handle());
        let seen = match Beginning::read(&bytes) {
            Beginning::Owned { owner, expires_at } if owner == theirs && now < expires_at => Seen::Found(()),
            Beginning::Forward => Seen::Over,
            _ => Seen::Absent,
        };
        Ok((member, seen))
    }

    /// Ends the session of a member if it is there, and then notes it.
    async fn end(
        &self,
        whose: &Owner,
        member: Member,
        ended: &Mutex<Vec<Member>>,
        now: Timestamp,
    ) -> Result<(Member, Seen<()>), StoreError> {
        let theirs = whose.with_handle(&member.handle());
        let args: [&[u8]; 4] = [&bytes(now), entry::MARK, &millis(MARK_TTL), theirs.as_bytes()];
        let answer = self.run(&script::DELETE, &[&self.key_of(&member)], &args).await.map_err(failed)?;
        let seen = match reply(&answer)? {
            Reply::Ended(Outcome::Done, _) => {
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(member.clone());
                // In a Cluster a renewal may have placed it a second time.
                if self.is_split() { Seen::Over } else { Seen::Found(()) }
            }
            Reply::Ended(Outcome::Retired(_), _) => Seen::Over,
            Reply::Ended(Outcome::Gone, _) => Seen::Absent,
            Reply::Ended(Outcome::Conflict(_), _) | Reply::IndexFirst(_) => return Err(unexpected()),
        };
        Ok((member, seen))
    }
}

#[derive(Debug)]
struct AlwaysMoving;

impl fmt::Display for AlwaysMoving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session was renewed each time that it was looked for")
    }
}

impl StdError for AlwaysMoving {}
