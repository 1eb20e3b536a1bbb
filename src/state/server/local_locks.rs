//! Locks shared by the requests of this process.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// A fixed set of locks, selected by a hash. Unrelated keys that share a lock wait for each other, seldom and briefly.
#[derive(Clone)]
pub(super) struct LocalLocks {
    locks: Arc<[Arc<Mutex<()>>; 64]>,
    /// Each guard and each waiter has a reference.
    users: Arc<()>,
}

/// Holds a lock.
#[derive(Debug)]
pub(super) struct LocalGuard {
    _guard: OwnedMutexGuard<()>,
    _user: Arc<()>,
}

impl LocalLocks {
    pub(super) fn new() -> Self {
        Self { locks: Arc::new(std::array::from_fn(|_| Arc::default())), users: Arc::default() }
    }

    /// Waits for the lock of a hash.
    pub(super) async fn lock(&self, hash: u64) -> LocalGuard {
        let _user = Arc::clone(&self.users);
        LocalGuard { _guard: Arc::clone(self.of(hash)).lock_owned().await, _user }
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
        &self.locks[usize::try_from(hash % self.locks.len() as u64).unwrap_or_default()]
    }
}

impl fmt::Debug for LocalLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalLocks({})", self.locks.len())
    }
}
