//! Logins where a principal may have so many sessions and no more.
//!
//! To count and to write must be one step, or two logins at once would each find room for one. So the logins of a principal
//! are made one after the other: within a process they wait for each other's turn, and between processes for a lease, which
//! is a record in the store that only one of them can create. A process that dies with a lease leaves one that expires.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::super::principals::Principals;
use super::super::{Config, Loaded, Work};
use super::follow::delete_following;
use super::pause;
use super::records::Records;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::{RevocationCause, SessionEvent};
use crate::random;
use crate::record::changes::Changes;
use crate::record::{Handle, Record, StoreKey};
use crate::store::StoreError;

/// What happens to the login of a principal who has as many sessions as the layer allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evict {
    /// The session that began first is ended.
    Oldest,
    /// None is ended, and the login is refused with [`TooManySessions`](crate::ErrorKind::TooManySessions).
    Refuse,
}

/// How many sessions a principal may have.
#[derive(Clone, Debug)]
pub(crate) struct SessionLimit {
    pub(crate) most: usize,
    pub(crate) when_full: Evict,
    turns: Arc<Turns>,
}

/// Whose turn it is in this process: principals that share one wait for each other, seldom and briefly.
struct Turns([Mutex<()>; 64]);

impl SessionLimit {
    pub(crate) fn new(most: usize, when_full: Evict) -> Self {
        Self { most, when_full, turns: Arc::new(Turns([const { Mutex::const_new(()) }; 64])) }
    }

    fn turn(&self, principal: &str) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(principal);
        let turns = &self.turns.0;
        &turns[usize::try_from(hash % turns.len() as u64).unwrap_or_default()]
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turns({})", self.0.len())
    }
}

/// A lease lasts for so many of the layer's store timeouts, up to a minute. Whoever has it makes a few calls of the store.
const LEASE: u32 = 4;

/// What counts as the store timeout of a layer that has a longer one.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// For so many of them a lease is waited for: longer than one that somebody died with lasts.
const LONGEST_WAIT: u32 = 6;

/// The right to log a principal in, before anybody else does.
pub(super) struct Lease<'c> {
    _turn: MutexGuard<'c, ()>,
    key: StoreKey,
    until: Timestamp,
}

impl Lease<'_> {
    /// Whether there is time for one more call of the store.
    fn is_good(&self, config: &Config, now: Timestamp) -> bool {
        now.after(call_time(config)) < self.until
    }

    /// Lets the next one log in. A lease that may have ended by now could be another's, and is left alone.
    pub(super) async fn give_back(self, records: Records<'_>) {
        let now = records.config.now();
        if self.is_good(records.config, now)
            && let Err(error) = records.release(&self.key, now).await
        {
            records.config.tell(&SessionEvent::StoreFailed { error: error.into() });
        }
    }
}

/// Makes room for the session that is about to be written, or refuses the login. Until the lease is given back nobody else
/// logs the principal in.
pub(super) async fn admit<'c>(
    records: Records<'c>,
    limit: &'c SessionLimit,
    work: &mut Work,
    lease: &mut Option<Box<Lease<'c>>>,
) -> Result<(), Error> {
    let config = records.config;
    let Some(principal) = work.draft.principal().cloned() else { return Ok(()) };
    if lease.as_ref().is_none_or(|lease| !lease.is_good(config, config.now())) {
        *lease = None;
        *lease = Some(Box::new(take_lease(records, limit, &principal).await?));
    }
    let principals = Principals::new(config, records.server);
    let mut others = principals.list(&principal).await?;
    // The session that the request came with is none of the others, whether it goes on or ends.
    let own = work.loaded.record.as_deref();
    let is_theirs = own.is_some_and(|record| record.principal.as_ref() == Some(&principal));
    others.retain(|record| own.is_none_or(|own| own.handle != record.handle));
    let too_many = (others.len() + 1).saturating_sub(limit.most);
    if too_many == 0 {
        return Ok(());
    }
    match limit.when_full {
        Evict::Oldest => {
            others.sort_by_key(|record| (record.created_at, record.handle));
            let oldest: Vec<_> = others.iter().take(too_many).map(|record| record.handle).collect();
            principals.end(&principal, &oldest, RevocationCause::Evicted).await?;
            Ok(())
        }
        // It makes no more than there are, which may be too many since the limit was lowered.
        Evict::Refuse if is_theirs => Ok(()),
        Evict::Refuse => {
            config.tell(&SessionEvent::LoginRefused);
            refuse(records, work).await?;
            Err(Error::too_many_sessions(limit.most))
        }
    }
}

/// Forgets all that the request has asked for: what it has written into the session may say who is logged in. That it has
/// ended the session it came with stays true.
async fn refuse(records: Records<'_>, work: &mut Work) -> Result<(), Error> {
    if work.changes.ends_session {
        delete_following(records, work).await?;
        work.loaded = Loaded::default();
    }
    work.changes = Changes::default();
    work.draft = work.loaded.unchanged();
    work.note_answer();
    Ok(())
}

/// Returns how long a call of the store may take for those who have a lease.
fn call_time(config: &Config) -> Duration {
    config.store_timeout.min(LONGEST_CALL)
}

async fn take_lease<'c>(records: Records<'c>, limit: &'c SessionLimit, principal: &str) -> Result<Lease<'c>, Error> {
    let config = records.config;
    let name = records.server.store.name();
    let taking = async {
        let key = StoreKey::of_login_lock(principal);
        let holder = Handle::from_bytes(random::bytes()?);
        for attempt in 0.. {
            // Given up between two attempts: those who share it are not to wait for another node, which may have died.
            let turn = limit.turn(principal).lock().await;
            let now = config.now();
            let until = now.after(call_time(config) * LEASE);
            if records.reserve(&key, Arc::new(Record::new(holder, now, until)), now).await? {
                return Ok(Lease { _turn: turn, key, until });
            }
            drop(turn);
            pause(attempt + 1).await?;
        }
        Err(Error::conflict())
    };
    timeout(call_time(config) * LONGEST_WAIT, taking).await.unwrap_or_else(|_| Err(StoreError::timed_out(name).into()))
}
