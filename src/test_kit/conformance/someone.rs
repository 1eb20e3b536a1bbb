//! Somebody with sessions, for the cases about principals.

use std::sync::Arc;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Handle, Record, Store};

/// More than any principal of these cases has.
pub(super) const NO_LIMIT: usize = 10_000;

/// A principal, in a store that finds principals.
pub(super) struct Someone<'a, S> {
    store: &'a S,
    pub(super) principal: Arc<str>,
    pub(super) now: Timestamp,
}

impl<'a, S: Store> Someone<'a, S> {
    /// Returns somebody whom no other case knows. In a store that finds nobody there is nothing to try.
    pub(super) fn new(store: &'a Arc<S>) -> Option<Self> {
        Self::named(store, format!("user {}", random_handle()))
    }

    pub(super) fn named(store: &'a Arc<S>, principal: impl Into<Arc<str>>) -> Option<Self> {
        S::FINDS_PRINCIPALS.then(|| Self { store: &**store, principal: principal.into(), now: now() })
    }

    /// Returns a record of theirs, in which every field is set.
    pub(super) fn record(&self) -> Record {
        Record { principal: Some(Arc::clone(&self.principal)), ..full_record(self.now) }
    }

    /// Begins a session of theirs.
    pub(super) async fn place(&self) -> Placed {
        place_record(self.store, self.record(), self.now).await
    }

    pub(super) async fn place_many(&self, count: usize) -> Vec<Placed> {
        let mut placed = Vec::with_capacity(count);
        for _ in 0..count {
            placed.push(self.place().await);
        }
        placed
    }

    pub(super) async fn list(&self, after: Option<&Handle>, limit: usize) -> Vec<Arc<Record>> {
        ok(self.store.list(&self.principal, after, limit, self.now).await)
    }

    /// Ends sessions of theirs, and returns which were ended, in order.
    pub(super) async fn revoke(&self, sessions: &[Handle]) -> Vec<Handle> {
        let mut ended = ok(self.store.revoke(&self.principal, sessions, self.now).await);
        ended.sort();
        ended
    }

    /// Asserts that these are their sessions, as they are written here, and no others.
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

/// Asserts that a list is this one, in this order. Values may have been left out.
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
