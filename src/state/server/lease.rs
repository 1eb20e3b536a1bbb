//! Login lease: an exclusive right to log a principal in, held as a record in the store that only one node can create.
//!
//! A lease is timed without comparing clocks: its holder stops using it after a time on its own monotonic clock, and
//! another node takes over a lease that it has seen unchanged for as long on *its* clock. A commit that is dropped with
//! a lease releases it in a spawned task.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;

use tokio::time::{sleep, timeout};

use super::super::config::Config;
use super::super::retry::pause;
use super::local_locks::LocalGuard;
use super::records::Records;
use super::session_limit::SessionLimit;
use crate::clock::{Clock, MonotonicTime};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::{Record, StoreKey, Version};
use crate::store::{Entry, ErasedStore, Outcome, StoreError, StoreErrorKind};

/// Duration of a lease, in store timeouts: up to a minute. Its holder makes a few calls of the store.
const LEASE: u32 = 4;

/// Upper bound on the store timeout in these calculations.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// How long to wait for a lease, in store timeouts: longer than taking over the lease of a dead holder takes.
const LONGEST_WAIT: u32 = 6;

/// The first delays after which the release of a lease is repeated that an unanswered call may have taken.
const LATE_RELEASES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Lifetime of a lease's record, if no login of its principal takes it over. Smaller clock skews do no harm.
const LEASE_RECORD: Duration = Duration::from_secs(60 * 60);

/// An exclusive right to log a principal in.
pub(super) struct Lease {
    guard: LeaseGuard,
    principal: Box<str>,
    _lock: LocalGuard,
    /// End of its use, on this node's monotonic clock.
    until: MonotonicTime,
}

impl Lease {
    /// Waits until no other request holds the lease of the principal.
    pub(super) async fn take(records: Records<'_>, limit: &SessionLimit, principal: &str) -> Result<Self, Error> {
        let waiting = timeout(call_time(records.config) * LONGEST_WAIT, wait_for_lease(records, limit, principal));
        let name = records.server.store.name();
        waiting.await.unwrap_or_else(|_| Err(StoreError::timed_out(name).into()))
    }

    pub(super) fn principal(&self) -> &str {
        &self.principal
    }

    /// Returns `true` if there is time for one more call of the store.
    pub(super) fn is_good(&self) -> bool {
        MonotonicTime::now().after(self.guard.record.call_time) < self.until
    }

    /// Releases the lease. A lease that has run out may have been taken over, and is left alone.
    pub(super) async fn release(mut self, records: Records<'_>) {
        if !self.is_good() {
            self.guard.state = LeaseState::Free;
        }
        if let Err(error) = self.guard.release().await {
            records.config.tell(&SessionEvent::StoreFailed { error: error.into() });
        }
    }

    /// Leaves the lease to run out.
    pub(super) fn keep(mut self) {
        self.guard.state = LeaseState::Free;
    }
}

/// The lease as this node knows it. Dropping it releases it in a spawned task, so that other requests need not wait; if
/// that fails, it runs out.
struct LeaseGuard {
    record: LeaseRecord,
    state: LeaseState,
}

/// Stored form of a lease.
#[derive(Clone)]
struct LeaseRecord {
    store: Arc<dyn ErasedStore>,
    clock: Arc<dyn Clock>,
    key: StoreKey,
    version: Version,
    /// Time limit of a call of the store.
    call_time: Duration,
}

/// Whether there is a lease to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    Free,
    /// A call that may take it is unanswered.
    Unknown,
    Held,
}

impl LeaseGuard {
    /// Takes the lease if it is free, or takes it over from a `dead` holder.
    async fn reserve(&mut self, dead: Option<Version>) -> Result<Reserved, StoreError> {
        self.state = LeaseState::Unknown;
        let reserved = self.record.reserve(dead).await?;
        self.state = if let Reserved::Ours = reserved { LeaseState::Held } else { LeaseState::Free };
        Ok(reserved)
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        if self.state != LeaseState::Free {
            self.record.release(self.state).await?;
            self.state = LeaseState::Free;
        }
        Ok(())
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if self.state != LeaseState::Free
            && let Ok(runtime) = runtime::Handle::try_current()
        {
            let (record, state) = (self.record.clone(), self.state);
            runtime.spawn(async move { record.release_soon(state).await });
        }
    }
}

impl LeaseRecord {
    async fn reserve(&self, dead: Option<Version>) -> Result<Reserved, StoreError> {
        let (now, limit, name) = (self.clock.now(), self.call_time, self.store.name());
        // Its version identifies the holder.
        let mut record = Record::new(self.key.lease_handle(), now, now.after(LEASE_RECORD));
        record.version = self.version;
        let record = Arc::new(record);
        let is_ours = match dead {
            Some(version) => {
                let taken_over = self.store.update(&self.key, version, record, now).within(limit, name).await?;
                taken_over == Outcome::Done
            }
            None => match self.store.create(&self.key, Arc::clone(&record), now).within(limit, name).await {
                Err(error) if error.kind() == StoreErrorKind::Failed => {
                    self.store.create(&self.key, record, now).within(limit, name).await?
                }
                created => created?,
            },
        };
        if is_ours {
            return Ok(Reserved::Ours);
        }
        // A call whose reply was lost may have taken it.
        Ok(match self.store.load(&self.key, now).within(limit, name).await? {
            Some(Entry::Live(found)) if found.version == self.version => Reserved::Ours,
            Some(Entry::Live(found)) => Reserved::Theirs(found.version),
            Some(Entry::Retired(_)) | None => Reserved::Free,
        })
    }

    /// Ends the lease after its request was dropped, which may be done already. An unanswered call may take the lease
    /// late, so the release is repeated.
    async fn release_soon(&self, state: LeaseState) {
        let is_over = async || matches!(self.release(LeaseState::Unknown).await, Ok(true));
        if is_over().await || state == LeaseState::Held {
            return;
        }
        for delay in LATE_RELEASES.into_iter().chain([self.call_time]) {
            sleep(delay).await;
            if is_over().await {
                return;
            }
        }
    }

    /// Ends the lease, if it is ours. Returns whether it was.
    async fn release(&self, state: LeaseState) -> Result<bool, StoreError> {
        let (now, limit, name) = (self.clock.now(), self.call_time, self.store.name());
        if state == LeaseState::Unknown {
            let found = self.store.load(&self.key, now).within(limit, name).await?;
            if !matches!(found, Some(Entry::Live(found)) if found.version == self.version) {
                return Ok(false);
            }
        }
        self.store.delete(&self.key, None, now).within(limit, name).await.map(|_| true)
    }
}

/// Holder of a lease.
enum Reserved {
    Ours,
    Theirs(Version),
    Free,
}

/// Returns the time limit of a lease holder's store calls.
fn call_time(config: &Config) -> Duration {
    config.store_timeout.min(LONGEST_CALL)
}

async fn wait_for_lease(records: Records<'_>, limit: &SessionLimit, principal: &str) -> Result<Lease, Error> {
    let (config, call_time) = (records.config, call_time(records.config));
    let mut watched: Option<(Version, MonotonicTime)> = None;
    for attempt in 0.. {
        // Released between attempts: local waiters must not wait for another node, which may have died.
        let lock = limit.lock(principal).await;
        let until = MonotonicTime::now().after(call_time * LEASE);
        let record = LeaseRecord {
            store: Arc::clone(&records.server.store),
            clock: Arc::clone(&config.clock),
            key: StoreKey::of_login_lock(principal),
            version: Version::NONE.next(u32::from_ne_bytes(random::bytes()?)),
            call_time,
        };
        let mut guard = LeaseGuard { record, state: LeaseState::Free };
        let dead = watched.filter(|(_, since)| since.elapsed() >= call_time * LEASE);
        match guard.reserve(dead.map(|(version, _)| version)).await? {
            Reserved::Ours => return Ok(Lease { guard, principal: principal.into(), _lock: lock, until }),
            Reserved::Theirs(version) if watched.is_none_or(|(watched, _)| watched != version) => {
                watched = Some((version, MonotonicTime::now()));
            }
            Reserved::Theirs(_) => {}
            Reserved::Free => watched = None,
        }
        drop(lock);
        pause(attempt + 1).await?;
    }
    Err(Error::conflict())
}
