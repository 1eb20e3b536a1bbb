//! An update replaces a live record of the expected version as a whole, and does nothing to any other.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Record, Store, Values};

/// All fields are those of the new record, also where it has nothing and the old one had something.
pub async fn an_update_replaces_the_whole_record(store: &Arc<impl Store>) {
    let now = now();
    let Placed { key, record, .. } = place_record(&**store, full_record(now), now).await;
    let mut bare = Record { handle: record.handle, version: record.version + 1, ..plain_record(now) };
    bare.values = Values::default();
    let mut full = full_record(now.after(MINUTE));
    full.version = record.version + 2;
    for (expected, next) in [(record.version, bare), (record.version + 1, full)] {
        assert_eq!(ok(store.update(&key, expected, Arc::new(next.clone()), now).await), Outcome::Done);
        assert_live(&**store, &key, &next, now).await;
    }
}

/// The deadline is that of the new record, be it later or earlier.
pub async fn an_update_brings_its_own_deadline(store: &Arc<impl Store>) {
    let Placed { key, record, now } = place(&**store).await;
    for (version, deadline) in [(1, now.after(3 * HOUR)), (2, now.after(2 * HOUR))] {
        let next = Record { version: version + 1, expires_at: deadline, ..Record::clone(&record) };
        assert_eq!(ok(store.update(&key, version, Arc::new(next.clone()), now).await), Outcome::Done);
        assert_live(&**store, &key, &next, before(deadline, MILLISECOND)).await;
        assert_nothing(&**store, &key, deadline).await;
    }
}

/// Who expects an earlier version than the one that is there changes nothing, and learns of it.
pub async fn an_update_that_expects_an_earlier_version_conflicts_and_changes_nothing(store: &Arc<impl Store>) {
    let placed = place(&**store).await;
    let Placed { key, now, .. } = placed;
    let current = placed.next(2);
    assert_eq!(ok(store.update(&key, 1, Arc::clone(&current), now).await), Outcome::Done);
    let outcome = ok(store.update(&key, 1, placed.next(3), now).await);
    assert_conflict(&outcome, &current);
    assert_live(&**store, &key, &current, now).await;
}

/// Who expects a later version than the one that is there (it was written to another node, say, or before the database
/// was restored) changes nothing either.
pub async fn an_update_that_expects_a_later_version_conflicts_and_changes_nothing(store: &Arc<impl Store>) {
    let Placed { key, record, now } = place(&**store).await;
    let next = Record { version: 3, values: number(3), ..Record::clone(&record) };
    let outcome = ok(store.update(&key, 2, Arc::new(next), now).await);
    assert_conflict(&outcome, &record);
    assert_live(&**store, &key, &record, now).await;
}

/// An update of a key that holds nothing leaves it so.
pub async fn an_update_never_creates(store: &Arc<impl Store>) {
    let (key, now) = (random_key(), now());
    for expected in [0, 1, 2] {
        let record = Record { version: expected + 1, ..plain_record(now) };
        assert_eq!(ok(store.update(&key, expected, Arc::new(record), now).await), Outcome::Gone);
        assert_nothing(&**store, &key, now).await;
    }
}

/// Somebody logged out while a slower request of the same session was still at work: its update comes to nothing.
pub async fn an_update_after_a_delete_finds_the_session_gone(store: &Arc<impl Store>) {
    let placed = place(&**store).await;
    let Placed { key, now, .. } = placed;
    ok(store.delete(&key, now).await);
    assert_eq!(ok(store.update(&key, 1, placed.next(2), now).await), Outcome::Gone);
    assert_nothing(&**store, &key, now).await;
}

/// An update brings nothing back that has expired, even if it was not swept yet.
pub async fn an_update_of_an_expired_record_finds_it_gone(store: &Arc<impl Store>) {
    let Placed { key, record, .. } = place(&**store).await;
    let later = record.expires_at;
    let next = Record { expires_at: later.after(HOUR), ..Record::clone(&next_version(&record, number(2))) };
    assert_eq!(ok(store.update(&key, 1, Arc::new(next), later).await), Outcome::Gone);
    assert_nothing(&**store, &key, later).await;
}

/// An update in the last millisecond of a record takes place.
pub async fn an_update_just_before_the_deadline_takes_place(store: &Arc<impl Store>) {
    let Placed { key, record, .. } = place(&**store).await;
    let last_moment = before(record.expires_at, MILLISECOND);
    let next = Record { expires_at: last_moment.after(HOUR), ..Record::clone(&next_version(&record, number(2))) };
    assert_eq!(ok(store.update(&key, 1, Arc::new(next.clone()), last_moment).await), Outcome::Done);
    assert_live(&**store, &key, &next, record.expires_at).await;
}

/// The old ID of a renewed session cannot be written to; whoever tries is told where the session went.
pub async fn an_update_of_a_retired_key_returns_the_forward_and_changes_nothing(store: &Arc<impl Store>) {
    let placed = place(&**store).await;
    let Placed { key, now, .. } = placed;
    let renewal = placed.renew(&**store).await;
    for expected in [1, 2] {
        let outcome = ok(store.update(&key, expected, placed.next(9), now).await);
        assert_outcome_is_retired(&outcome, &renewal.forward);
    }
    assert_retired(&**store, &key, &renewal.forward, now).await;
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}

/// Two sessions have nothing to do with each other, even if they differ in nothing but key and handle.
pub async fn an_update_of_one_session_leaves_the_others(store: &Arc<impl Store>) {
    let now = now();
    let record = full_record(now);
    let one = place_record(&**store, Record { handle: plain_record(now).handle, ..record.clone() }, now).await;
    let other = place_record(&**store, record.clone(), now).await;
    assert_eq!(ok(store.update(&one.key, record.version, one.next(2), now).await), Outcome::Done);
    assert_live(&**store, &other.key, &record, now).await;
    ok(store.delete(&one.key, now).await);
    assert_live(&**store, &other.key, &record, now).await;
}
