//! An update replaces a live record of the expected version as a whole, and has no effect otherwise.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Record, Store, Values, Version};

/// All fields are those of the new record, including the absent ones.
pub async fn an_update_replaces_the_whole_record(store: &Arc<impl Store>) {
    let now = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(now), now).await;
    let mut bare = Record { handle: record.handle, version: later(record.version, 1), ..plain_record(now) };
    bare.values = Values::default();
    let mut full = full_record(now.after(MINUTE));
    full.version = later(record.version, 2);
    for (expected, next) in [(record.version, bare), (later(record.version, 1), full)] {
        assert_eq!(ok(store.update(&key, expected, Arc::new(next.clone()), now).await), Outcome::Done);
        assert_live(&**store, &key, &next, now).await;
    }
}

/// The deadline is that of the new record, later or earlier.
pub async fn an_update_sets_the_new_deadline(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    for (version, deadline) in [(version(1), now.after(3 * LIFE)), (version(2), now.after(2 * LIFE))] {
        let next = Record { version: later(version, 1), expires_at: deadline, ..Record::clone(&record) };
        assert_eq!(ok(store.update(&key, version, Arc::new(next.clone()), now).await), Outcome::Done);
        assert_live(&**store, &key, &next, before(deadline, MILLISECOND)).await;
        assert_nothing(&**store, &key, deadline).await;
    }
}

/// An update that expects an earlier version than the present one is a conflict and changes nothing.
pub async fn an_update_that_expects_an_earlier_version_conflicts_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let current = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&current), now).await), Outcome::Done);
    let outcome = ok(store.update(&key, Version::FIRST, stored.next(3), now).await);
    assert_conflict(&outcome, &current);
    assert_live(&**store, &key, &current, now).await;
}

/// So is an update that expects a later version, for example from before a database was restored.
pub async fn an_update_that_expects_a_later_version_conflicts_and_changes_nothing(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    let next = Record { version: version(3), values: number(3), ..Record::clone(&record) };
    let outcome = ok(store.update(&key, version(2), Arc::new(next), now).await);
    assert_conflict(&outcome, &record);
    assert_live(&**store, &key, &record, now).await;
}

/// An update of a key without an entry creates none.
pub async fn an_update_never_creates(store: &Arc<impl Store>) {
    let (key, now) = (random_key(), now());
    for expected in [0, 1, 2].map(version) {
        let record = Record { version: later(expected, 1), ..plain_record(now) };
        assert_eq!(ok(store.update(&key, expected, Arc::new(record), now).await), Outcome::Gone);
        assert_nothing(&**store, &key, now).await;
    }
}

/// An update after a delete, by a slower request of the session, has no effect.
pub async fn an_update_after_a_delete_finds_the_session_gone(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    ok(store.delete(&key, None, now).await);
    assert_eq!(ok(store.update(&key, Version::FIRST, stored.next(2), now).await), Outcome::Gone);
    assert_nothing(&**store, &key, now).await;
}

/// An update does not revive an expired record, even before it is swept.
pub async fn an_update_of_an_expired_record_finds_it_gone(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    let later = record.expires_at;
    let next = Record { expires_at: later.after(LIFE), ..Record::clone(&next_version(&record, number(2))) };
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::new(next), later).await), Outcome::Gone);
    assert_nothing(&**store, &key, later).await;
}

/// An update in the last millisecond of a record succeeds.
pub async fn an_update_just_before_the_deadline_succeeds(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    let last_moment = before(record.expires_at, MILLISECOND);
    let next = Record { expires_at: last_moment.after(LIFE), ..Record::clone(&next_version(&record, number(2))) };
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::new(next.clone()), last_moment).await), Outcome::Done);
    assert_live(&**store, &key, &next, record.expires_at).await;
}

/// An update under the old ID of a renewed session changes nothing and returns the forward.
pub async fn an_update_of_a_retired_key_returns_the_forward_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let renewal = stored.renew(&**store).await;
    for expected in [1, 2].map(version) {
        let outcome = ok(store.update(&key, expected, stored.next(9), now).await);
        assert_outcome_is_retired(&outcome, &renewal.forward);
    }
    assert_retired(&**store, &key, &renewal.forward, now).await;
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}

/// Two sessions are independent, even if they differ only in key and handle.
pub async fn an_update_of_one_session_leaves_the_others(store: &Arc<impl Store>) {
    let now = now();
    let record = full_record(now);
    let one = store_record(&**store, Record { handle: plain_record(now).handle, ..record.clone() }, now).await;
    let other = store_record(&**store, record.clone(), now).await;
    assert_eq!(ok(store.update(&one.key, record.version, one.next(2), now).await), Outcome::Done);
    assert_live(&**store, &other.key, &record, now).await;
    ok(store.delete(&one.key, None, now).await);
    assert_live(&**store, &other.key, &record, now).await;
}
