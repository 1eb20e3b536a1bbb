//! A store that says that it never waits is always ready.

use std::sync::Arc;

use super::support::*;
use crate::store::{Entry, ErasedStore, Store, Touch};

/// The layer takes each answer at the first poll if the store says that it never waits.
pub async fn a_store_that_never_waits_is_always_ready<S: Store>(store: &Arc<S>) {
    let (store, now) = (&**store, now());
    let (key, record) = (random_key(), Arc::new(plain_record(now)));
    let stored = Stored { key, record: Arc::clone(&record), now };
    let (next, renewal) = (stored.next(2), stored.renewal());
    let touch = Touch { expected: record.version, last_seen_at: now, expires_at: record.expires_at };
    ok(ErasedStore::create(store, &key, record, now).get().await);
    ok(ErasedStore::load(store, &key, now).get().await);
    ok(ErasedStore::touch(store, &key, touch, now).get().await);
    ok(ErasedStore::renew(store, renewal.clone(), now).get().await);
    ok(ErasedStore::update(store, &renewal.new, renewal.record.version, next, now).get().await);
    ok(ErasedStore::delete(store, &renewal.new, None, now).get().await);
    ok(ErasedStore::put(store, &random_key(), None, Entry::Retired(forward(now)), now).get().await);
    ok(ErasedStore::sweep(store, now, 1).get().await);
}
