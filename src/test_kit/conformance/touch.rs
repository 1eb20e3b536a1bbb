//! A touch moves the times of a live record of the expected version, and does nothing else.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Record, Store, Version};

/// Both times move; the version, the values and all the rest stay.
pub async fn a_touch_moves_the_times_and_nothing_else(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let (seen, end) = (now.after(MINUTE + MILLISECOND), now.after(2 * HOUR + MILLISECOND));
    assert_eq!(ok(store.touch(&key, record.version, seen, end, now.after(MINUTE)).await), Outcome::Done);
    let touched = Record { last_seen_at: seen, expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, now).await;
}

/// The session is there until its new deadline, to the millisecond: the engine's own expiry has moved as well.
pub async fn a_touched_record_lives_until_its_new_deadline(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    let end = now.after(5 * HOUR);
    ok(store.touch(&key, Version::FIRST, now, end, now).await);
    let touched = Record { expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, record.expires_at).await;
    assert_live(&**store, &key, &touched, before(end, MILLISECOND)).await;
    assert_nothing(&**store, &key, end).await;
}

/// A slow request touches with an older time than one that overtook it.
pub async fn a_touch_never_moves_a_time_backwards(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let (seen, end) = (before(record.last_seen_at, MILLISECOND), before(record.expires_at, MINUTE));
    assert_eq!(ok(store.touch(&key, record.version, seen, end, now).await), Outcome::Done);
    assert_live(&**store, &key, &record, now).await;
}

/// One time may move while the other stays.
pub async fn a_touch_judges_each_time_by_itself(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let end = record.expires_at.after(MINUTE);
    ok(store.touch(&key, record.version, before(now, MINUTE), end, now).await);
    let mut touched = Record { expires_at: end, ..Record::clone(&record) };
    assert_live(&**store, &key, &touched, now).await;
    touched.last_seen_at = now.after(MINUTE);
    ok(store.touch(&key, record.version, touched.last_seen_at, before(end, HOUR), now).await);
    assert_live(&**store, &key, &touched, now).await;
}

/// When the version has moved on, its writer has set the deadline, and the touch is void: the session is live all the
/// same, and the outcome says so.
pub async fn a_touch_of_another_version_does_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let current = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&current), now).await), Outcome::Done);
    for expected in [0, 1, 3].map(version) {
        let outcome = ok(store.touch(&key, expected, now.after(MINUTE), now.after(5 * HOUR), now).await);
        assert_conflict(&outcome, &current);
        assert_live(&**store, &key, &current, now).await;
    }
}

/// A touch is no write: who loaded the record before it may still update it after.
pub async fn an_update_after_a_touch_expects_the_same_version(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    ok(store.touch(&key, Version::FIRST, now.after(MINUTE), now.after(2 * HOUR), now).await);
    let next = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&next), now).await), Outcome::Done);
    assert_live(&**store, &key, &next, now).await;
}

/// A touch of a key that holds nothing leaves it so.
pub async fn a_touch_never_creates(store: &Arc<impl Store>) {
    let (key, now) = (random_key(), now());
    for expected in [0, 1].map(version) {
        assert_eq!(ok(store.touch(&key, expected, now, now.after(HOUR), now).await), Outcome::Gone);
        assert_nothing(&**store, &key, now).await;
    }
    assert!(ok(store.create(&key, Arc::new(plain_record(now)), now).await), "the touch left something behind");
}

/// A touch brings nothing back that was deleted.
pub async fn a_touch_never_revives_a_deleted_record(store: &Arc<impl Store>) {
    let Stored { key, now, .. } = store_plain_record(&**store).await;
    ok(store.delete(&key, now).await);
    assert_eq!(ok(store.touch(&key, Version::FIRST, now.after(MINUTE), now.after(2 * HOUR), now).await), Outcome::Gone);
    assert_nothing(&**store, &key, now).await;
}

/// A touch brings nothing back that has expired, even if it was not swept yet.
pub async fn a_touch_never_revives_an_expired_record(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    let later = record.expires_at;
    assert_eq!(ok(store.touch(&key, Version::FIRST, later, later.after(HOUR), later).await), Outcome::Gone);
    assert_nothing(&**store, &key, later).await;
}

/// A forward has a deadline of its own, which no touch moves; nor does the successor's move by a touch of the old key.
pub async fn a_touch_of_a_retired_key_does_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let renewal = stored.renew(&**store).await;
    for expected in [1, 2].map(version) {
        let outcome = ok(store.touch(&key, expected, now.after(MINUTE), now.after(5 * HOUR), now).await);
        assert_outcome_is_retired(&outcome, &renewal.forward);
    }
    assert_retired(&**store, &key, &renewal.forward, now).await;
    assert_nothing(&**store, &key, renewal.forward.expires_at).await;
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}
