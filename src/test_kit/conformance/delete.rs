//! A delete removes the record, whatever its version, and keeps a forward.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Store};

/// A deleted record is gone, and a second delete finds nothing.
pub async fn a_deleted_record_is_gone(store: &Arc<impl Store>) {
    let Stored { key, now, .. } = store_plain_record(&**store).await;
    for outcome in [Outcome::Done, Outcome::Gone] {
        assert_eq!(ok(store.delete(&key, None, now).await), outcome);
        assert_nothing(&**store, &key, now).await;
    }
}

/// A delete has no expected version.
pub async fn a_record_of_any_version_is_deleted(store: &Arc<impl Store>) {
    let now = now();
    let stored = store_record(&**store, full_record(now), now).await;
    let next = stored.next(2);
    assert_eq!(ok(store.update(&stored.key, stored.record.version, next, now).await), Outcome::Done);
    ok(store.touch(&stored.key, later(stored.record.version, 1), now, now.after(2 * HOUR), now).await);
    assert_eq!(ok(store.delete(&stored.key, None, now).await), Outcome::Done);
    assert_nothing(&**store, &stored.key, now).await;
}

/// A delete under the old key returns the forward, so that the layer can end the session under its new key. The forward
/// stays, so that the next delete returns it too.
pub async fn a_delete_of_a_retired_key_returns_the_forward_and_keeps_it(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let now = stored.now;
    let renewal = stored.renew(&**store).await;
    for _ in 0..2 {
        assert_outcome_is_retired(&ok(store.delete(&stored.key, None, now).await), &renewal.forward);
        assert_retired(&**store, &stored.key, &renewal.forward, now).await;
    }
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}

/// A delete under the new key leaves the forward under the old one.
pub async fn a_delete_of_the_new_key_leaves_the_forward(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let now = stored.now;
    let renewal = stored.renew(&**store).await;
    assert_eq!(ok(store.delete(&renewal.new, None, now).await), Outcome::Done);
    assert_nothing(&**store, &renewal.new, now).await;
    assert_retired(&**store, &stored.key, &renewal.forward, now).await;
}

/// An expired forward counts as gone.
pub async fn a_delete_of_an_expired_forward_finds_it_gone(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let later = stored.renew(&**store).await.forward.expires_at;
    assert_eq!(ok(store.delete(&stored.key, None, later).await), Outcome::Gone);
    assert_nothing(&**store, &stored.key, later).await;
}

/// The record had expired already, so this call did not end it.
pub async fn a_delete_of_an_expired_record_finds_it_gone(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    assert_eq!(ok(store.delete(&key, None, record.expires_at).await), Outcome::Gone);
    assert_nothing(&**store, &key, record.expires_at).await;
}
