//! A sweep removes expired entries and nothing else.
//!
//! The entries here expire after ten minutes and are swept as if eighty had passed, since a store may leave an entry
//! for an hour. The entries of all other cases live for about three hours, so that cases can share a database.

use std::sync::Arc;
use std::time::Duration;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Outcome, Record, Store, StoreKey, Touch, Version};

/// More than any sweep of these cases finds, less than would overflow the number of any engine.
const NO_LIMIT: usize = 100_000;

/// When the entries here are swept.
const SWEPT: Duration = Duration::from_secs(80 * 60);

/// After sweeping to the end, expired entries are gone and live ones stay.
pub async fn sweeps_remove_expired_entries_and_nothing_else(store: &Arc<impl Store>) {
    let live = store_plain_record(&**store).await;
    let renewal = store_plain_record(&**store).await.renew(&**store).await;
    let (start, expired) = place_expiring(store, 20).await;
    let expired_forward = place_expiring_forward(store, start).await;

    sweep_to_the_end(store, start.after(SWEPT), NO_LIMIT).await;
    for key in expired.iter().chain([&expired_forward]) {
        assert_is_swept(store, key, start).await;
    }
    assert_live(&**store, &live.key, &live.record, start).await;
    assert_live(&**store, &renewal.new, &renewal.record, start).await;
    assert_retired(&**store, &renewal.old, &renewal.forward, start).await;
}

/// Places expired entries and sweeps them, which must remove nothing.
pub(super) async fn removes_nothing(store: &Arc<impl Store>) {
    let (start, _) = place_expiring(store, 20).await;
    let removed = ok(store.sweep(start.after(SWEPT), NO_LIMIT).await);
    assert_eq!(removed, 0, "the store is swept: test it without `without sweep`");
}

/// An entry that expires one millisecond after the sweep's time is not swept.
pub async fn a_sweep_uses_the_time_it_is_given(store: &Arc<impl Store>) {
    let now = now();
    // Later than the other sweeps, which would remove it.
    let record = Record { expires_at: now.after(SWEPT + 20 * MINUTE), ..plain_record(now) };
    let stored = store_record(&**store, record, now).await;
    ok(store.sweep(before(stored.record.expires_at, MILLISECOND), NO_LIMIT).await);
    assert_live(&**store, &stored.key, &stored.record, now).await;
}

/// A sweep removes about as many entries as its limit, and repeated sweeps come to an end.
pub async fn a_sweep_stops_at_about_its_limit(store: &Arc<impl Store>) {
    let (start, _) = place_expiring(store, 60).await;
    let removed = ok(store.sweep(start.after(SWEPT), 10).await);
    assert!(removed <= 30, "a sweep with a limit of 10 removed {removed}");
    assert_eq!(ok(store.sweep(start.after(SWEPT), 0).await), 0, "a sweep with a limit of 0");
    sweep_to_the_end(store, start.after(SWEPT), 1_000).await;
}

/// Concurrent sweeps and writes do not fail, and no live record is lost.
pub async fn concurrent_sweeps_are_safe(store: &Arc<impl Store>) {
    let live = store_plain_record(&**store).await;
    let (start, _) = place_expiring(store, 40).await;
    let sweeps = (0..4).map(|_| {
        let (store, key, record) = (Arc::clone(store), live.key, Arc::clone(&live.record));
        async move {
            for _ in 0..10 {
                ok(store.sweep(start.after(SWEPT), 10).await);
                ok(store
                    .touch(
                        &key,
                        Touch {
                            expected: Version::FIRST,
                            last_seen_at: record.last_seen_at,
                            expires_at: record.expires_at,
                        },
                        start,
                    )
                    .await);
            }
        }
    });
    all_at_once(sweeps).await;
    assert_live(&**store, &live.key, &live.record, start).await;
}

/// Stores records that expire in ten minutes. Returns the time and their keys.
async fn place_expiring(store: &Arc<impl Store>, count: usize) -> (Timestamp, Vec<StoreKey>) {
    let now = now();
    let mut keys = Vec::new();
    for _ in 0..count {
        let record = Record { expires_at: now.after(10 * MINUTE), ..plain_record(now) };
        keys.push(store_record(&**store, record, now).await.key);
    }
    (now, keys)
}

/// Renews a record, so that a forward expires in ten minutes. Returns its key.
async fn place_expiring_forward(store: &Arc<impl Store>, now: Timestamp) -> StoreKey {
    let stored = store_record(&**store, plain_record(now), now).await;
    let mut renewal = stored.renewal();
    renewal.forward.expires_at = now.after(10 * MINUTE);
    assert_eq!(ok(store.renew(renewal, now).await), Outcome::Done);
    stored.key
}

/// Asserts that an entry is gone at a time before it expired: it is really deleted, not only hidden. A concurrent sweep
/// of another case may be deleting it.
async fn assert_is_swept(store: &Arc<impl Store>, key: &StoreKey, start: Timestamp) {
    for _ in 0..100 {
        if ok(store.load(key, start).await).is_none() {
            return;
        }
        ok(store.sweep(start.after(SWEPT), NO_LIMIT).await);
        tokio::task::yield_now().await;
    }
    panic!("an expired entry is still there: implement `sweep`, or test the store `without sweep`");
}

/// Sweeps until nothing is removed any more.
async fn sweep_to_the_end(store: &Arc<impl Store>, now: Timestamp, limit: usize) {
    let mut all = 0;
    for _ in 0..1_000 {
        match ok(store.sweep(now, limit).await) {
            0 => return,
            removed => all += removed,
        }
    }
    panic!("sweeping does not come to an end: {all} entries so far");
}
