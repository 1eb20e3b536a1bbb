//! A [`Store`] whose type the layer need not name.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{Entry, Outcome, Record, Renewal, Store, StoreError, StoreKey};
use crate::clock::Timestamp;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The same calls as [`Store`], with their futures boxed.
pub(crate) trait ErasedStore: fmt::Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>>;
    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool>;
    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome>;
    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Outcome>;
    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome>;
    fn delete<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Outcome>;
    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize>;
}

impl<S: Store> ErasedStore for S {
    fn name(&self) -> &'static str {
        Store::name(self)
    }

    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>> {
        Box::pin(Store::load(self, key, now))
    }

    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool> {
        Box::pin(Store::create(self, key, record, now))
    }

    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Box::pin(Store::update(self, key, expected, record, now))
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Box::pin(Store::touch(self, key, expected, last_seen_at, expires_at, now))
    }

    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome> {
        Box::pin(Store::renew(self, renewal, now))
    }

    fn delete<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Outcome> {
        Box::pin(Store::delete(self, key, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize> {
        Box::pin(Store::sweep(self, now, limit))
    }
}
