//! Limit on concurrent sessions per principal.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::local_locks::{LocalGuard, LocalLocks};

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
    /// Serializes the logins of a principal within this process.
    locks: LocalLocks,
}

impl SessionLimit {
    pub(crate) fn new(max: usize, policy: SessionLimitPolicy) -> Self {
        Self { max, policy, locks: LocalLocks::new() }
    }

    /// Waits for the lock of a principal.
    pub(super) async fn lock(&self, principal: &str) -> LocalGuard {
        self.locks.lock(BuildHasherDefault::<DefaultHasher>::default().hash_one(principal)).await
    }
}
