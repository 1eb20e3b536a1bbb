//! Locks shared by the requests of this process.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// A fixed set of locks, selected by a hash. Unrelated keys that share a lock wait for each other, seldom and briefly.
#[derive(Clone)]
pub(super) struct LocalLocks {
    locks: Arc<[Arc<Mutex<()>>; LOCKS]>,
    /// How often each was taken.
    taken: Arc<[AtomicU32; LOCKS]>,
    /// Each guard and each waiter has a reference.
    users: Arc<()>,
}

const LOCKS: usize = 64;

/// Holds a lock.
#[derive(Debug)]
pub(super) struct LocalGuard {
    _guard: OwnedMutexGuard<()>,
    _user: Arc<()>,
}

impl LocalLocks {
    pub(super) fn new() -> Self {
        let locks = Arc::new(std::array::from_fn(|_| Arc::default()));
        Self { locks, taken: Arc::new([const { AtomicU32::new(0) }; LOCKS]), users: Arc::default() }
    }

    /// Waits for the lock of a hash.
    pub(super) async fn lock(&self, hash: u64) -> LocalGuard {
        let _user = Arc::clone(&self.users);
        let _guard = Arc::clone(self.of(hash)).lock_owned().await;
        self.taken[index(hash)].fetch_add(1, Ordering::Relaxed);
        LocalGuard { _guard, _user }
    }

    /// Waits for the lock of a hash, but for no holder longer than `limit`.
    pub(super) async fn lock_within(&self, limit: Duration, hash: u64) -> Option<LocalGuard> {
        let mut waiting = pin!(self.lock(hash));
        let taken = || self.taken[index(hash)].load(Ordering::Relaxed);
        loop {
            let before = taken();
            match timeout(limit, &mut waiting).await {
                Ok(guard) => return Some(guard),
                Err(_) if taken() != before => {}
                Err(_) => return None,
            }
        }
    }

    /// Returns whether any lock is held or waited for: one read, for every commit.
    #[inline]
    pub(super) fn are_used(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }

    /// Returns whether the lock of a hash is held or waited for.
    pub(super) fn is_taken(&self, hash: u64) -> bool {
        // Each guard and each waiter has a reference.
        Arc::strong_count(self.of(hash)) > 1
    }

    fn of(&self, hash: u64) -> &Arc<Mutex<()>> {
        &self.locks[index(hash)]
    }
}

fn index(hash: u64) -> usize {
    usize::try_from(hash % LOCKS as u64).unwrap_or_default()
}

impl fmt::Debug for LocalLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalLocks({})", self.locks.len())
    }
}
