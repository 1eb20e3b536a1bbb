//! The right to log a principal in, before any other request does: a record in the store that only one node can create.
//!
//! A lease is measured without comparing clocks: its holder stops using it after a while by its own monotonic clock,
//! and another node takes over a lease that it has watched unchanged for as long by *its* clock. A commit that is
//! dropped with a lease gives it back in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::super::config::Config;
use super::super::retry::pause;
use super::records::Records;
use super::session_limit::SessionLimit;
use crate::clock::{Clock, MonotonicTime};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::{Handle, Record, StoreKey, Version};
use crate::store::{Entry, ErasedStore, Outcome, StoreError, StoreErrorKind};

/// A lease lasts for so many of the layer's store timeouts, up to a minute. Its holder makes a few calls of the store.
const LEASE: u32 = 4;

/// What counts as the store timeout of a layer that has a longer one.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// For so many store timeouts a lease is waited for: longer than one whose holder died is watched.
const LONGEST_WAIT: u32 = 6;

/// When the record of a lease is gone at the latest, if no login of its principal takes it over. Clocks that differ by
/// less do no harm.
const LEASE_RECORD: Duration = Duration::from_secs(60 * 60);

/// The right to log a principal in, before any other request does.
pub(super) struct Lease {
    guard: LeaseGuard,
    principal: Box<str>,
    _lock: OwnedMutexGuard<()>,
    /// Until when it may be used, by this node's monotonic clock.
    until: MonotonicTime,
}

impl Lease {
    /// Waits until no other request logs the principal in.
    pub(super) async fn take(records: Records<'_>, limit: &SessionLimit, principal: &str) -> Result<Self, Error> {
        let waiting = timeout(call_time(records.config) * LONGEST_WAIT, wait_for_lease(records, limit, principal));
        let name = records.server.store.name();
        waiting.await.unwrap_or_else(|_| Err(StoreError::timed_out(name).into()))
    }

    pub(super) fn principal(&self) -> &str {
        &self.principal
    }

    /// Whether there is time for one more call of the store.
    pub(super) fn is_good(&self) -> bool {
        MonotonicTime::now().after(self.guard.record.call_time) < self.until
    }

    /// Lets the next one log in. A lease that has been held for long may have been taken over, and is left alone.
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

/// The lease as this node knows it. One that is dropped is given back in a task of its own, so that no other request
/// waits for it; if that fails, it runs out.
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
    /// How long a call of the store may take.
    call_time: Duration,
}

/// Whether there is anything to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    Free,
    /// A call that may take it has not been answered.
    Unknown,
    Held,
}

impl LeaseGuard {
    /// Takes the lease if no one has it, or takes it over from a holder that has not been heard of for long enough.
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
            let record = self.record.clone();
            // It may have been half given back already.
            runtime.spawn(async move { record.release(LeaseState::Unknown).await.is_ok() });
        }
    }
}

impl LeaseRecord {
    async fn reserve(&self, dead: Option<Version>) -> Result<Reserved, StoreError> {
        let (now, limit, name) = (self.clock.now(), self.call_time, self.store.name());
        let mut record = Record::new(holder(&self.key), now, now.after(LEASE_RECORD));
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
        // It may be ours from a call whose reply was lost.
        Ok(match self.store.load(&self.key, now).within(limit, name).await? {
            Some(Entry::Live(found)) if found.version == self.version => Reserved::Ours,
            Some(Entry::Live(found)) => Reserved::Theirs(found.version),
            Some(Entry::Retired(_)) | None => Reserved::Free,
        })
    }

    /// Ends the lease, if it is ours.
    async fn release(&self, state: LeaseState) -> Result<(), StoreError> {
        let (now, limit, name) = (self.clock.now(), self.call_time, self.store.name());
        if state == LeaseState::Unknown {
            let found = self.store.load(&self.key, now).within(limit, name).await?;
            if !matches!(found, Some(Entry::Live(found)) if found.version == self.version) {
                return Ok(());
            }
        }
        self.store.delete(&self.key, now).within(limit, name).await.map(drop)
    }
}

/// Whose a lease is.
enum Reserved {
    Ours,
    Theirs(Version),
    Free,
}

/// Returns how long a call of the store may take for the holder of a lease.
fn call_time(config: &Config) -> Duration {
    config.store_timeout.min(LONGEST_CALL)
}

async fn wait_for_lease(records: Records<'_>, limit: &SessionLimit, principal: &str) -> Result<Lease, Error> {
    let (config, call_time) = (records.config, call_time(records.config));
    let mut watched: Option<(Version, MonotonicTime)> = None;
    for attempt in 0.. {
        // Given up between two attempts: what waits for it here is not to wait for another node, which may have died.
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

/// The handle of the record of a lease. Whose it is shows in its version.
fn holder(key: &StoreKey) -> Handle {
    let mut handle = [0; 16];
    handle.copy_from_slice(&key.as_bytes()[..16]);
    Handle::from_bytes(handle)
}
