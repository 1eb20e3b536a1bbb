//! A delete removes the record, whatever its version, leaves the forward that it is given, and keeps one that is there.

use std::sync::Arc;

use super::support::*;
use crate::store::{Forward, Outcome, Store, Touch};

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
    ok(store
        .touch(
            &stored.key,
            Touch { expected: later(stored.record.version, 1), last_seen_at: now, expires_at: now.after(2 * LIFE) },
            now,
        )
        .await);
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

/// The forward is there as after a renewal: no call creates or changes anything under the key, and another delete
/// neither replaces the forward nor reports a success.
pub async fn a_delete_leaves_the_forward_that_it_is_given(store: &Arc<impl Store>) {
    for successor in [None, Some(random_bytes())] {
        let now = now();
        let stored = store_record(&**store, full_record(now), now).await;
        let (key, expected) = (stored.key, stored.record.version);
        let left = Forward { successor, ..forward(now) };
        assert_eq!(ok(store.delete(&key, Some(left.clone()), now).await), Outcome::Done);
        assert_retired(&**store, &key, &left, now).await;

        let renewal = stored.renewal();
        let seen = now.after(MINUTE);
        assert!(!ok(store.create(&key, Arc::new(plain_record(now)), now).await), "a create revived an ended session");
        assert_outcome_is_retired(&ok(store.update(&key, expected, stored.next(2), now).await), &left);
        assert_outcome_is_retired(
            &ok(store.touch(&key, Touch { expected, last_seen_at: seen, expires_at: now.after(2 * LIFE) }, now).await),
            &left,
        );
        assert_outcome_is_retired(&ok(store.renew(renewal.clone(), now).await), &left);
        assert_outcome_is_retired(&ok(store.delete(&key, None, now).await), &left);
        assert_outcome_is_retired(&ok(store.delete(&key, Some(forward(now)), now).await), &left);
        assert_retired(&**store, &key, &left, now).await;
        assert_nothing(&**store, &renewal.new, now).await;
    }
}

/// An unknown key, one whose record has expired and one whose forward has expired stay free.
pub async fn a_delete_that_ends_nothing_leaves_no_forward(store: &Arc<impl Store>) {
    let expired = store_plain_record(&**store).await;
    let retired = store_plain_record(&**store).await;
    let over = retired.renew(&**store).await.forward.expires_at;
    let left = Forward { expires_at: over.after(DAY), ..forward(over) };
    for (key, now) in [(random_key(), now()), (expired.key, expired.record.expires_at), (retired.key, over)] {
        assert_eq!(ok(store.delete(&key, Some(left.clone()), now).await), Outcome::Gone);
        assert_nothing(&**store, &key, now).await;
        assert!(ok(store.create(&key, Arc::new(plain_record(now)), now).await), "the key is not free");
    }
}

/// From then on the key is free.
pub async fn the_forward_of_a_delete_is_kept_until_the_millisecond_it_expires(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let left = Forward { successor: None, ..forward(stored.now) };
    let (last, over) = (before(left.expires_at, MILLISECOND), left.expires_at);
    assert_eq!(ok(store.delete(&stored.key, Some(left.clone()), stored.now).await), Outcome::Done);
    assert_retired(&**store, &stored.key, &left, last).await;
    assert_nothing(&**store, &stored.key, over).await;
    assert_eq!(ok(store.delete(&stored.key, None, over).await), Outcome::Gone);
    assert!(ok(store.create(&stored.key, Arc::new(plain_record(over)), over).await), "the key is not free");
}
