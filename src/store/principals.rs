//! Stores that find sessions by their principal.

use std::fmt;
use std::sync::Arc;

use super::answer::Answer;
use super::entry::Forward;
use super::error::StoreError;
use crate::clock::Timestamp;
use crate::record::{Handle, Record};

/// A store that finds principals, as [`Store::principals`](super::Store::principals) returns it.
///
/// A store that wraps another one calls it here.
#[derive(Clone, Copy)]
pub struct PrincipalFinder<'s>(pub(super) &'s dyn ErasedPrincipals);

impl<'s> PrincipalFinder<'s> {
    /// See [`FindPrincipals::list`](super::FindPrincipals::list).
    ///
    /// # Errors
    ///
    /// As for [`Store`](super::Store#errors).
    pub async fn list(
        self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.0.list(principal, after, limit, now).get().await
    }

    /// See [`FindPrincipals::count`](super::FindPrincipals::count).
    ///
    /// # Errors
    ///
    /// As for [`Store`](super::Store#errors).
    pub async fn count(self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.0.count(principal, now).get().await
    }

    /// See [`FindPrincipals::revoke`](super::FindPrincipals::revoke).
    ///
    /// # Errors
    ///
    /// As for [`Store`](super::Store#errors).
    pub async fn revoke(
        self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        self.0.revoke(principal, sessions, forward, now).get().await
    }
}

impl fmt::Debug for PrincipalFinder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrincipalFinder").field(&self.0).finish()
    }
}

/// The calls of [`FindPrincipals`](super::FindPrincipals) with boxed futures.
pub(super) trait ErasedPrincipals: fmt::Debug + Send + Sync {
    fn list<'a>(
        &'a self,
        principal: &'a str,
        after: Option<&'a Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Record>>>;
    fn count<'a>(&'a self, principal: &'a str, now: Timestamp) -> Answer<'a, usize>;
    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        sessions: &'a [Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Answer<'a, Vec<Handle>>;
}
