//! Locks shared by the requests of this process.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// A fixed set of locks, selected by a hash. Unrelated keys that share a lock wait for each other, seldom and briefly.
#[derive(Clone)]
pub(super) struct LocalLocks(Arc<[Arc<Mutex<()>>; 64]>);

impl LocalLocks {
    pub(super) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Arc::default())))
    }

    /// Waits for the lock of a hash.
    pub(super) async fn lock(&self, hash: u64) -> OwnedMutexGuard<()> {
        Arc::clone(self.of(hash)).lock_owned().await
    }

    /// Whether the lock of a hash is held or waited for.
    pub(super) fn is_taken(&self, hash: u64) -> bool {
        // Each guard and each waiter has a reference.
        Arc::strong_count(self.of(hash)) > 1
    }

    fn of(&self, hash: u64) -> &Arc<Mutex<()>> {
        &self.0[usize::try_from(hash % self.0.len() as u64).unwrap_or_default()]
    }
}

impl fmt::Debug for LocalLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalLocks({})", self.0.len())
    }
}
