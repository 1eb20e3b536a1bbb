//! A user with sessions, for the cases about principals.

use std::sync::Arc;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{FindPrincipals, Forward, Handle, Record};

/// More sessions than any user of these cases has.
pub(super) const NO_LIMIT: usize = 10_000;

/// A user, in a store that finds principals.
pub(super) struct TestUser<'a, S> {
    store: &'a S,
    pub(super) principal: Arc<str>,
    pub(super) now: Timestamp,
    /// The forward that its revocations leave.
    pub(super) left: Forward,
}

impl<'a, S: FindPrincipals> TestUser<'a, S> {
    /// Returns a new user.
    pub(super) fn new(store: &'a Arc<S>) -> Self {
        Self::named(store, format!("user {}", random_handle()))
    }

    pub(super) fn named(store: &'a Arc<S>, principal: impl Into<Arc<str>>) -> Self {
        let now = now();
        Self { store: &**store, principal: principal.into(), now, left: forward_of_ended(now) }
    }

    /// Returns a record of the user in which every field is set.
    pub(super) fn record(&self) -> Record {
        Record { principal: Some(Arc::clone(&self.principal)), ..full_record(self.now) }
    }

    /// Creates a session of the user.
    pub(super) async fn begin_session(&self) -> Stored {
        store_record(self.store, self.record(), self.now).await
    }

    pub(super) async fn begin_sessions(&self, count: usize) -> Vec<Stored> {
        let mut stored = Vec::with_capacity(count);
        for _ in 0..count {
            stored.push(self.begin_session().await);
        }
        stored
    }

    pub(super) async fn list(&self, after: Option<&Handle>, limit: usize) -> Vec<Arc<Record>> {
        ok(self.store.list(&self.principal, after, limit, self.now).await)
    }

    /// Revokes sessions of the user, and returns the revoked handles in order.
    pub(super) async fn revoke(&self, sessions: &[Handle]) -> Vec<Handle> {
        let mut ended = ok(self.store.revoke(&self.principal, sessions, self.left.clone(), self.now).await);
        ended.sort();
        ended
    }

    /// Asserts that the user has exactly these sessions.
    pub(super) async fn assert_has<'r>(&self, expected: impl IntoIterator<Item = &'r Arc<Record>>) {
        self.assert_has_at(expected, self.now).await;
    }

    pub(super) async fn assert_has_at<'r>(&self, expected: impl IntoIterator<Item = &'r Arc<Record>>, now: Timestamp) {
        let mut expected: Vec<_> = expected.into_iter().map(Arc::clone).collect();
        expected.sort_by_key(|record| record.handle);
        let found = ok(self.store.list(&self.principal, None, NO_LIMIT, now).await);
        assert_listed(&found, &expected);
        assert_eq!(ok(self.store.count(&self.principal, now).await), expected.len(), "the count of their sessions");
    }
}

pub(super) fn random_handle() -> Handle {
    Handle::from_bytes(random_bytes())
}

/// Asserts that a list has these sessions in this order. It may omit their values.
#[track_caller]
pub(super) fn assert_listed(found: &[Arc<Record>], expected: &[Arc<Record>]) {
    assert_eq!(handles(found), handles(expected), "the sessions in the list");
    for (found, expected) in found.iter().zip(expected) {
        if found.values.is_empty() {
            assert_same(found, &Record { values: found.values.clone(), ..Record::clone(expected) });
        } else {
            assert_same(found, expected);
        }
    }
}

pub(super) fn handles(records: &[Arc<Record>]) -> Vec<Handle> {
    records.iter().map(|record| record.handle).collect()
}
