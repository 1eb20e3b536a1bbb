//! Limit on concurrent sessions per principal.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Policy for a login whose principal already has the maximum number of sessions; see
/// [`SessionLayer::with_max_sessions`](crate::SessionLayer::with_max_sessions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionLimitPolicy {
    /// Ends the oldest session.
    EvictOldest,
    /// Refuses the login with [`TooManySessions`](crate::ErrorKind::TooManySessions), and ends none.
    RefuseLogin,
}

/// Limit on concurrent sessions per principal.
#[derive(Clone, Debug)]
pub(crate) struct SessionLimit {
    pub(crate) max: usize,
    pub(crate) policy: SessionLimitPolicy,
    locks: Arc<LocalLocks>,
}

/// Serializes the logins of a principal within this process. Principals that share a lock wait for each other, seldom
/// and briefly.
struct LocalLocks([Arc<Mutex<()>>; 64]);

impl SessionLimit {
    pub(crate) fn new(max: usize, policy: SessionLimitPolicy) -> Self {
        Self { max, policy, locks: Arc::new(LocalLocks(std::array::from_fn(|_| Arc::default()))) }
    }

    /// Waits for the lock of a principal.
    pub(super) async fn lock(&self, principal: &str) -> OwnedMutexGuard<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(principal);
        let LocalLocks(locks) = &*self.locks;
        let place = usize::try_from(hash % locks.len() as u64).unwrap_or_default();
        Arc::clone(&locks[place]).lock_owned().await
    }
}

impl fmt::Debug for LocalLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalLocks({})", self.0.len())
    }
}
