//! A touch moves the times of a live record of the expected version, and changes nothing else.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Record, Store, Touch, Version};

/// Both times move; the version, the values and all other fields stay.
pub async fn a_touch_moves_the_times_and_nothing_else(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let (seen, end) = (now.after(MINUTE + MILLISECOND), now.after(2 * LIFE + MILLISECOND));
    assert_eq!(
        ok(store
            .touch(&key, Touch { expected: record.version, last_seen_at: seen, expires_at: end }, now.after(MINUTE))
            .await),
        Outcome::Done
    );
    let touched = Record { last_seen_at: seen, expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, now).await;
}

/// The record is live until its new deadline, to the millisecond: the engine's own expiry has moved too.
pub async fn a_touched_record_lives_until_its_new_deadline(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    let end = now.after(5 * LIFE);
    ok(store.touch(&key, Touch { expected: Version::FIRST, last_seen_at: now, expires_at: end }, now).await);
    let touched = Record { expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, record.expires_at).await;
    assert_live(&**store, &key, &touched, before(end, MILLISECOND)).await;
    assert_nothing(&**store, &key, end).await;
}

/// A slow request may touch with an older time than a later request.
pub async fn a_touch_never_moves_a_time_backwards(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let (seen, end) = (before(record.last_seen_at, MILLISECOND), before(record.expires_at, MINUTE));
    assert_eq!(
        ok(store.touch(&key, Touch { expected: record.version, last_seen_at: seen, expires_at: end }, now).await),
        Outcome::Done
    );
    assert_live(&**store, &key, &record, now).await;
}

/// One time may move while the other stays.
pub async fn a_touch_moves_each_time_independently(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let end = record.expires_at.after(MINUTE);
    ok(store
        .touch(&key, Touch { expected: record.version, last_seen_at: before(now, MINUTE), expires_at: end }, now)
        .await);
    let mut touched = Record { expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, now).await;
    touched.last_seen_at = now.after(MINUTE);
    ok(store
        .touch(
            &key,
            Touch { expected: record.version, last_seen_at: touched.last_seen_at, expires_at: before(end, LIFE) },
            now,
        )
        .await);
    assert_live(&**store, &key, &touched, now).await;
}

/// A touch of an old version has no effect, since the newer write has set the deadline. The outcome still shows that
/// the session is live.
pub async fn a_touch_of_another_version_does_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let current = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&current), now).await), Outcome::Done);
    for expected in [0, 1, 3].map(version) {
        let outcome = ok(store
            .touch(&key, Touch { expected, last_seen_at: now.after(MINUTE), expires_at: now.after(5 * LIFE) }, now)
            .await);
        assert_conflict(&outcome, &current);
        assert_live(&**store, &key, &current, now).await;
    }
}

/// A touch keeps the version: a request that loaded the record before it can still update it.
pub async fn an_update_after_a_touch_expects_the_same_version(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    ok(store
        .touch(
            &key,
            Touch { expected: Version::FIRST, last_seen_at: now.after(MINUTE), expires_at: now.after(2 * LIFE) },
            now,
        )
        .await);
    let next = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&next), now).await), Outcome::Done);
    assert_live(&**store, &key, &next, now).await;
}

/// A touch of a key without an entry creates none.
pub async fn a_touch_never_creates(store: &Arc<impl Store>) {
    let (key, now) = (random_key(), now());
    for expected in [0, 1].map(version) {
        assert_eq!(
            ok(store.touch(&key, Touch { expected, last_seen_at: now, expires_at: now.after(LIFE) }, now).await),
            Outcome::Gone
        );
        assert_nothing(&**store, &key, now).await;
    }
    assert!(ok(store.create(&key, Arc::new(plain_record(now)), now).await), "the touch created an entry");
}

/// A touch does not revive a deleted record.
pub async fn a_touch_never_revives_a_deleted_record(store: &Arc<impl Store>) {
    let Stored { key, now, .. } = store_plain_record(&**store).await;
    ok(store.delete(&key, None, now).await);
    assert_eq!(
        ok(store
            .touch(
                &key,
                Touch { expected: Version::FIRST, last_seen_at: now.after(MINUTE), expires_at: now.after(2 * LIFE) },
                now
            )
            .await),
        Outcome::Gone
    );
    assert_nothing(&**store, &key, now).await;
}

/// A touch does not revive an expired record, even before it is swept.
pub async fn a_touch_never_revives_an_expired_record(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    let later = record.expires_at;
    assert_eq!(
        ok(store
            .touch(&key, Touch { expected: Version::FIRST, last_seen_at: later, expires_at: later.after(LIFE) }, later)
            .await),
        Outcome::Gone
    );
    assert_nothing(&**store, &key, later).await;
}

/// A touch of the old key moves neither the deadline of the forward nor that of the successor.
pub async fn a_touch_of_a_retired_key_does_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let renewal = stored.renew(&**store).await;
    for expected in [1, 2].map(version) {
        let outcome = ok(store
            .touch(&key, Touch { expected, last_seen_at: now.after(MINUTE), expires_at: now.after(5 * LIFE) }, now)
            .await);
        assert_outcome_is_retired(&outcome, &renewal.forward);
    }
    assert_retired(&**store, &key, &renewal.forward, now).await;
    assert_nothing(&**store, &key, renewal.forward.expires_at).await;
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}
