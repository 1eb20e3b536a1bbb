//! A renewal moves a live record of the expected version to its new key and leaves a forward under the old one.

use std::sync::Arc;

use super::support::*;
use crate::store::{Forward, Outcome, Record, Renewal, Store, Touch, Version};

/// The record is under the new key and the forward under the old one, both exactly as passed.
pub async fn a_renewal_moves_the_record_and_leaves_the_forward(store: &Arc<impl Store>) {
    let now = now();
    let stored = store_record(&**store, full_record(now), now).await;
    let renewal = stored.renew(&**store).await;
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
    assert_retired(&**store, &stored.key, &renewal.forward, now).await;
}

/// A forward without a successor differs from one whose sealed successor is all zeros.
pub async fn forwards_load_exactly_as_they_were(store: &Arc<impl Store>) {
    for successor in
        [None, Some([0; 32]), Some([0xff; 32]), Some(*b"'\"\\%_\0\0\r\n ABCabc\xc3\x28\xf0\x9f\x98\x80         \0")]
    {
        let stored = store_plain_record(&**store).await;
        let Stored { key, now, .. } = stored;
        let forward = Forward { successor, grace_until: now, expires_at: now.after(LIFE + MILLISECOND) };
        let renewal = Renewal { forward: forward.clone(), ..stored.renewal() };
        assert_eq!(ok(store.renew(renewal, now).await), Outcome::Done);
        assert_retired(&**store, &key, &forward, now).await;
        let outcome = ok(store.update(&key, Version::FIRST, stored.next(2), now).await);
        assert_outcome_is_retired(&outcome, &forward);
        assert_outcome_is_retired(&ok(store.delete(&key, None, now).await), &forward);
    }
}

/// A renewal that expects another version is a conflict and changes nothing.
pub async fn a_renewal_of_another_version_conflicts_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let current = stored.next(2);
    assert_eq!(ok(store.update(&key, Version::FIRST, Arc::clone(&current), now).await), Outcome::Done);
    for expected in [0, 1, 3].map(version) {
        let renewal = Renewal { expected, ..stored.renewal() };
        let outcome = ok(store.renew(renewal.clone(), now).await);
        assert_conflict(&outcome, &current);
        assert_live(&**store, &key, &current, now).await;
        assert_nothing(&**store, &renewal.new, now).await;
    }
}

/// A renewal of a key without an entry writes nothing under either key.
pub async fn a_renewal_never_begins_a_session(store: &Arc<impl Store>) {
    let now = now();
    let nowhere = Stored { key: random_key(), record: Arc::new(plain_record(now)), now };
    for expected in [0, 1].map(version) {
        assert_renewal_finds_nothing(store, Renewal { expected, ..nowhere.renewal() }, &nowhere).await;
    }
}

/// A renewal after a delete revives the session under neither key.
pub async fn a_renewal_after_a_delete_finds_the_session_gone(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    ok(store.delete(&stored.key, None, stored.now).await);
    assert_renewal_finds_nothing(store, stored.renewal(), &stored).await;
}

/// A renewal does not revive an expired record, even before it is swept.
pub async fn a_renewal_of_an_expired_record_finds_it_gone(store: &Arc<impl Store>) {
    let mut stored = store_plain_record(&**store).await;
    stored.now = stored.record.expires_at;
    let mut renewal = stored.renewal();
    renewal.record = Arc::new(Record { expires_at: stored.now.after(LIFE), ..Record::clone(&renewal.record) });
    assert_renewal_finds_nothing(store, renewal, &stored).await;
}

async fn assert_renewal_finds_nothing(store: &Arc<impl Store>, renewal: Renewal, stored: &Stored) {
    assert_eq!(ok(store.renew(renewal.clone(), stored.now).await), Outcome::Gone);
    assert_nothing(&**store, &stored.key, stored.now).await;
    assert_nothing(&**store, &renewal.new, stored.now).await;
}

/// A second renewal of the same key returns the forward of the first.
pub async fn a_renewal_of_a_retired_key_returns_the_forward_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let now = stored.now;
    let first = stored.renew(&**store).await;
    for expected in [1, 2].map(version) {
        let second = Renewal { expected, ..stored.renewal() };
        let outcome = ok(store.renew(second.clone(), now).await);
        assert_outcome_is_retired(&outcome, &first.forward);
        assert_nothing(&**store, &second.new, now).await;
    }
    assert_retired(&**store, &stored.key, &first.forward, now).await;
    assert_live(&**store, &first.new, &first.record, now).await;
}

/// A retry after a lost reply finds its own forward, and does not change the record under the new key, which may have
/// been updated since.
pub async fn a_repeated_renewal_finds_its_own_forward_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let now = stored.now;
    let renewal = stored.renew(&**store).await;
    let next = next_version(&renewal.record, number(9));
    assert_eq!(ok(store.update(&renewal.new, renewal.record.version, Arc::clone(&next), now).await), Outcome::Done);
    let outcome = ok(store.renew(renewal.clone(), now).await);
    assert_outcome_is_retired(&outcome, &renewal.forward);
    assert_live(&**store, &renewal.new, &next, now).await;

    ok(store.delete(&renewal.new, None, now).await);
    let outcome = ok(store.renew(renewal.clone(), now).await);
    assert_outcome_is_retired(&outcome, &renewal.forward);
    assert_nothing(&**store, &renewal.new, now).await;
}

/// A renewed session is renewed again, and each old key keeps its own forward.
pub async fn each_renewal_of_a_session_leaves_a_separate_forward(store: &Arc<impl Store>) {
    let mut stored = store_plain_record(&**store).await;
    let now = stored.now;
    let mut made = Vec::new();
    for _ in 0..3 {
        let renewal = stored.renew(&**store).await;
        stored = Stored { key: renewal.new, record: Arc::clone(&renewal.record), now };
        made.push(renewal);
    }
    assert_live(&**store, &stored.key, &stored.record, now).await;
    for renewal in made {
        assert_retired(&**store, &renewal.old, &renewal.forward, now).await;
    }
}

/// A renewed session can be updated and touched under its new key like any other.
pub async fn a_renewed_record_is_written_under_its_new_key(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let now = stored.now;
    let Renewal { new, record, .. } = stored.renew(&**store).await;
    let next = next_version(&record, number(9));
    assert_eq!(ok(store.update(&new, record.version, Arc::clone(&next), now).await), Outcome::Done);
    let (seen, end) = (now.after(MINUTE), now.after(2 * LIFE));
    ok(store.touch(&new, Touch { expected: next.version, last_seen_at: seen, expires_at: end }, now).await);
    let touched = Record { last_seen_at: seen, expires_at: end, ..Record::clone(&next) };
    assert_live(&**store, &new, &touched, now).await;
    assert_nothing(&**store, &new, end).await;
}

/// The layer checks the grace period: the store keeps the forward until it expires, to the millisecond.
pub async fn a_forward_is_kept_until_the_millisecond_it_expires(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Renewal { forward, .. } = stored.renew(&**store).await;
    assert_retired(&**store, &stored.key, &forward, forward.grace_until.after(MINUTE)).await;
    assert_retired(&**store, &stored.key, &forward, before(forward.expires_at, MILLISECOND)).await;
    assert_nothing(&**store, &stored.key, forward.expires_at).await;
    let mut late = stored.renewal();
    late.record = Arc::new(Record { expires_at: forward.expires_at.after(LIFE), ..Record::clone(&late.record) });
    assert_eq!(ok(store.update(&stored.key, Version::FIRST, stored.next(2), forward.expires_at).await), Outcome::Gone);
    assert_eq!(ok(store.renew(late, forward.expires_at).await), Outcome::Gone);
}

/// The deadlines of record and forward are independent of each other and of the old record's.
pub async fn the_forward_and_the_record_have_separate_deadlines(store: &Arc<impl Store>) {
    for (record_end, forward_end) in [(2 * LIFE, 3 * LIFE), (3 * LIFE, 2 * LIFE)] {
        let stored = store_plain_record(&**store).await;
        let now = stored.now;
        let (record_end, forward_end) = (now.after(record_end), now.after(forward_end));
        let mut renewal = stored.renewal();
        renewal.record = Arc::new(Record { expires_at: record_end, ..Record::clone(&renewal.record) });
        renewal.forward.expires_at = forward_end;
        assert_eq!(ok(store.renew(renewal.clone(), now).await), Outcome::Done);
        assert_live(&**store, &renewal.new, &renewal.record, before(record_end, MILLISECOND)).await;
        assert_nothing(&**store, &renewal.new, record_end).await;
        assert_retired(&**store, &stored.key, &renewal.forward, before(forward_end, MILLISECOND)).await;
        assert_nothing(&**store, &stored.key, forward_end).await;
    }
}
