//! A put writes an entry under a free key, or over the record of a version, and has no effect otherwise.

use std::sync::Arc;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Entry, Forward, Record, Store, StoreKey, Version};

/// Without a version it writes records and forwards under keys that have no entry, or an expired one.
pub async fn a_put_takes_a_free_key(store: &Arc<impl Store>) {
    let (expired, retired) = (store_plain_record(&**store).await, store_plain_record(&**store).await);
    let over = retired.renew(&**store).await.forward.expires_at;
    for (key, now) in [(random_key(), now()), (expired.key, expired.record.expires_at), (retired.key, over)] {
        let record = Arc::new(full_record(now));
        assert!(put(store, &key, None, Entry::Live(Arc::clone(&record)), now).await);
        assert_live(&**store, &key, &record, now).await;
    }
    let (key, now) = (random_key(), now());
    let left = forward(now);
    assert!(put(store, &key, None, Entry::Retired(left.clone()), now).await);
    assert_retired(&**store, &key, &left, now).await;
}

/// Without a version it changes neither a record nor a forward.
pub async fn a_put_without_a_version_never_replaces(store: &Arc<impl Store>) {
    let (live, retired) = (store_plain_record(&**store).await, store_plain_record(&**store).await);
    let (now, renewal) = (live.now, retired.renew(&**store).await);
    for entry in [Entry::Live(live.next(2)), Entry::Retired(forward(now))] {
        for key in [live.key, retired.key] {
            assert!(!put(store, &key, None, entry.clone(), now).await, "a taken key");
        }
        assert_live(&**store, &live.key, &live.record, now).await;
        assert_retired(&**store, &retired.key, &renewal.forward, now).await;
    }
}

/// With a version it replaces the record of that version by another record, and then by a forward.
pub async fn a_put_replaces_the_record_of_its_version(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let Stored { key, now, .. } = stored;
    let next = Arc::new(Record { version: later(Version::FIRST, 1), ..full_record(now) });
    assert!(put(store, &key, Some(Version::FIRST), Entry::Live(Arc::clone(&next)), now).await);
    assert_live(&**store, &key, &next, now).await;
    let left = forward(now);
    assert!(put(store, &key, Some(next.version), Entry::Retired(left.clone()), now).await);
    assert_retired(&**store, &key, &left, now).await;
    assert_outcome_is_retired(&ok(store.delete(&key, None, now).await), &left);
    assert_nothing(&**store, &key, left.expires_at).await;
}

/// An entry that has already expired leaves the key free, over a record as under a key without an entry.
pub async fn a_put_of_an_expired_entry_frees_the_key(store: &Arc<impl Store>) {
    let now = now();
    let over = Forward { expires_at: now, ..forward(now) };
    let expired = Record { version: later(Version::FIRST, 1), expires_at: now, ..full_record(now) };
    for entry in [Entry::Retired(over), Entry::Live(Arc::new(expired))] {
        let stored = store_plain_record(&**store).await;
        for (key, expected) in [(stored.key, Some(stored.record.version)), (random_key(), None)] {
            assert!(put(store, &key, expected, entry.clone(), now).await);
            assert_nothing(&**store, &key, now).await;
            let next = Arc::new(full_record(now));
            assert!(put(store, &key, None, Entry::Live(Arc::clone(&next)), now).await, "a free key");
            assert_live(&**store, &key, &next, now).await;
        }
    }
}

/// With another version, and under a key that is free or has a forward, it changes nothing.
pub async fn a_put_with_a_version_never_creates_or_replaces_another(store: &Arc<impl Store>) {
    let (live, retired) = (store_plain_record(&**store).await, store_plain_record(&**store).await);
    let (expired, now) = (store_plain_record(&**store).await, live.now);
    let (renewal, free) = (retired.renew(&**store).await, random_key());
    for entry in [Entry::Live(live.next(2)), Entry::Retired(forward(now))] {
        for other in [0, 2].map(version) {
            assert!(!put(store, &live.key, Some(other), entry.clone(), now).await, "another version");
        }
        assert_live(&**store, &live.key, &live.record, now).await;
        for expected in [0, 1, 2].map(version) {
            assert!(!put(store, &free, Some(expected), entry.clone(), now).await, "no entry");
            assert!(!put(store, &retired.key, Some(expected), entry.clone(), now).await, "a forward");
            let over = expired.record.expires_at;
            assert!(!put(store, &expired.key, Some(expected), entry.clone(), over).await, "an expired record");
        }
        assert_nothing(&**store, &free, now).await;
        assert_retired(&**store, &retired.key, &renewal.forward, now).await;
        assert_live(&**store, &expired.key, &expired.record, now).await;
    }
}

/// Exactly one of several puts that expect the same version, or a free key, succeeds, and its entry stays.
pub async fn one_of_concurrent_puts_succeeds(store: &Arc<impl Store>) {
    for round in 0..40 {
        let stored = store_plain_record(&**store).await;
        let (key, expected) =
            if round % 2 == 0 { (stored.key, Some(stored.record.version)) } else { (random_key(), None) };
        let entries: Vec<_> = (0..8).map(|n| entry(&stored, n)).collect();
        let tasks = entries.iter().map(|entry| {
            let (store, entry, now) = (Arc::clone(store), entry.clone(), stored.now);
            async move { put(&store, &key, expected, entry, now).await }
        });
        let done = all_at_once(tasks).await;
        let winners: Vec<_> = (0..entries.len()).filter(|n| done[*n]).collect();
        assert_eq!(winners.len(), 1, "one put succeeds");
        assert_eq!(ok(store.load(&key, stored.now).await).as_ref(), Some(&entries[winners[0]]));
    }
}

/// Returns a record or a forward.
fn entry(stored: &Stored, n: u64) -> Entry {
    if n.is_multiple_of(2) { Entry::Live(stored.next(100 + n)) } else { Entry::Retired(forward(stored.now)) }
}

async fn put(store: &Arc<impl Store>, key: &StoreKey, expected: Option<Version>, entry: Entry, now: Timestamp) -> bool {
    ok(store.put(key, expected, entry, now).await)
}
