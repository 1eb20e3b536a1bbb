//! Concurrent requests on one session.

use std::sync::Arc;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreKey, Touch, Version};

/// Repetitions of a race: more would find more bugs, but stores across a network are slow.
const ROUNDS: usize = 20;

/// Number of concurrent requests.
const RACERS: u64 = 8;

/// Retries of a request after conflicts: far more than there can be conflicts.
pub(super) const MOST_TRIES: usize = 1_000;

/// Requests that add to a counter, and retry after conflicts, lose no increment.
pub async fn concurrent_increments_lose_nothing(store: &Arc<impl Store>) {
    const EACH: u64 = 20;
    let now = now();
    let stored = store_record(&**store, Record { values: number(0), ..plain_record(now) }, now).await;
    let tasks = (0..RACERS).map(|_| {
        let (store, key) = (Arc::clone(store), stored.key);
        async move {
            for _ in 0..EACH {
                increment(&*store, &key, now).await;
            }
        }
    });
    all_at_once(tasks).await;
    let last = live(&**store, &stored.key, now).await.expect("the record is there");
    assert_eq!(
        (number_in(&last), last.version),
        (RACERS * EACH, version(RACERS * EACH + 1)),
        "increments and versions"
    );
}

async fn increment(store: &impl Store, key: &StoreKey, now: Timestamp) {
    let mut known = None;
    for _ in 0..MOST_TRIES {
        let current = match known.take() {
            Some(record) => record,
            None => live(store, key, now).await.expect("the record is there"),
        };
        let next = next_version(&current, number(number_in(&current) + 1));
        match ok(store.update(key, current.version, next, now).await) {
            Outcome::Done => return,
            Outcome::Conflict(newer) => known = newer,
            other => panic!("expected an update or a conflict, got {other:?}"),
        }
    }
    panic!("an update conflicted {MOST_TRIES} times");
}

/// Exactly one of several updates of the same version succeeds, and its record stays.
pub async fn one_of_concurrent_updates_of_one_version_is_done(store: &Arc<impl Store>) {
    for _ in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let now = stored.now;
        let writes: Vec<_> = (0..RACERS).map(|n| stored.next(100 + n)).collect();
        let tasks = writes.iter().map(|record| {
            let (store, key, record) = (Arc::clone(store), stored.key, Arc::clone(record));
            async move { ok(store.update(&key, Version::FIRST, record, now).await) }
        });
        let outcomes = all_at_once(tasks).await;
        let winner = only_winner(&outcomes);
        for outcome in outcomes.iter().filter(|outcome| **outcome != Outcome::Done) {
            assert_conflict(outcome, &writes[winner]);
        }
        assert_live(&**store, &stored.key, &writes[winner], now).await;
    }
}

/// Exactly one of several creates under the same key succeeds, and its record stays.
pub async fn one_of_concurrent_creates_of_one_key_succeeds(store: &Arc<impl Store>) {
    for round in 0..ROUNDS {
        // Half of the rounds race for a key with an expired record.
        let (key, now) = if round % 2 == 0 {
            (random_key(), now())
        } else {
            let Stored { key, record, .. } = store_plain_record(&**store).await;
            (key, record.expires_at)
        };
        let records: Vec<_> = (0..RACERS).map(|_| Arc::new(plain_record(now))).collect();
        let tasks = records.iter().map(|record| {
            let (store, record) = (Arc::clone(store), Arc::clone(record));
            async move { ok(store.create(&key, record, now).await) }
        });
        let created = all_at_once(tasks).await;
        let winners: Vec<_> = (0..records.len()).filter(|n| created[*n]).collect();
        assert_eq!(winners.len(), 1, "one create succeeds");
        assert_live(&**store, &key, &records[winners[0]], now).await;
    }
}

/// Exactly one of several renewals of a session succeeds, and the others return its forward.
pub async fn one_of_concurrent_renewals_of_one_session_is_done(store: &Arc<impl Store>) {
    for _ in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let now = stored.now;
        let renewals: Vec<_> = (0..RACERS).map(|_| stored.renewal()).collect();
        let tasks = renewals.iter().map(|renewal| {
            let (store, renewal) = (Arc::clone(store), renewal.clone());
            async move { ok(store.renew(renewal, now).await) }
        });
        let outcomes = all_at_once(tasks).await;
        let winner = &renewals[only_winner(&outcomes)];
        for outcome in outcomes.iter().filter(|outcome| **outcome != Outcome::Done) {
            assert_outcome_is_retired(outcome, &winner.forward);
        }
        assert_retired(&**store, &stored.key, &winner.forward, now).await;
        for renewal in &renewals {
            if renewal.new == winner.new {
                assert_live(&**store, &renewal.new, &winner.record, now).await;
            } else {
                assert_nothing(&**store, &renewal.new, now).await;
            }
        }
    }
}

/// Exactly one of an update and a renewal of the same version succeeds, and no update is lost.
pub async fn one_of_a_concurrent_update_and_renewal_is_done(store: &Arc<impl Store>) {
    for _ in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let now = stored.now;
        let (renewal, updated) = (stored.renewal(), stored.next(9));
        let tasks = [false, true].map(|renews| {
            let (store, key, renewal, updated) = (Arc::clone(store), stored.key, renewal.clone(), Arc::clone(&updated));
            async move {
                if renews {
                    ok(store.renew(renewal, now).await)
                } else {
                    ok(store.update(&key, Version::FIRST, updated, now).await)
                }
            }
        });
        let outcomes = all_at_once(tasks).await;
        if only_winner(&outcomes) == 0 {
            assert_conflict(&outcomes[1], &updated);
            assert_live(&**store, &stored.key, &updated, now).await;
            assert_nothing(&**store, &renewal.new, now).await;
        } else {
            assert_outcome_is_retired(&outcomes[0], &renewal.forward);
            assert_live(&**store, &renewal.new, &renewal.record, now).await;
        }
    }
}

/// Exactly one of several deletes of a session reports success: only that request removes the cookie.
pub async fn one_of_concurrent_deletes_of_one_session_is_done(store: &Arc<impl Store>) {
    for round in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let left = ends_with_forward(round).then(|| forward(stored.now));
        let tasks = (0..RACERS).map(|_| {
            let (store, key, left, now) = (Arc::clone(store), stored.key, left.clone(), stored.now);
            async move { ok(store.delete(&key, left, now).await) }
        });
        let mut outcomes = all_at_once(tasks).await;
        outcomes.swap_remove(only_winner(&outcomes));
        let found = left.map_or(Outcome::Gone, Outcome::Retired);
        assert!(outcomes.iter().all(|outcome| *outcome == found), "the others find {found:?}: {outcomes:?}");
        assert!(live(&**store, &stored.key, stored.now).await.is_none());
    }
}

fn only_winner(outcomes: &[Outcome]) -> usize {
    let winners: Vec<_> = (0..outcomes.len()).filter(|n| outcomes[*n] == Outcome::Done).collect();
    assert_eq!(winners.len(), 1, "one call is done, of {outcomes:?}");
    winners[0]
}

/// Following a forward finds the record: a session is always live under at least one key during its renewal.
pub async fn a_session_is_found_throughout_its_renewal(store: &Arc<impl Store>) {
    for _ in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let (now, renewal) = (stored.now, stored.renewal());
        let tasks = (0..RACERS).map(|n| {
            let (store, renewal) = (Arc::clone(store), renewal.clone());
            async move {
                if n == 0 {
                    return ok(store.renew(renewal, now).await) == Outcome::Done;
                }
                for _ in 0..10 {
                    let found = match ok(store.load(&renewal.old, now).await) {
                        Some(Entry::Live(_)) => true,
                        Some(Entry::Retired(_)) => live(&*store, &renewal.new, now).await.is_some(),
                        None => false,
                    };
                    if !found {
                        return false;
                    }
                }
                true
            }
        });
        let found = all_at_once(tasks).await;
        assert!(found.iter().all(|found| *found), "a session was not found during its renewal");
    }
}

/// A delete that follows the forward ends the session for good, despite a concurrent renewal, updates that also follow
/// the forward, and touches.
pub async fn nothing_is_live_after_a_delete_that_followed_the_forward(store: &Arc<impl Store>) {
    for round in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let (now, renewal) = (stored.now, stored.renewal());
        let tasks = (0..5).map(|role| {
            let (store, renewal) = (Arc::clone(store), renewal.clone());
            async move {
                match role {
                    0 => {
                        come_late(round).await;
                        destroy(&*store, &renewal, ends_with_forward(round), now).await
                    }
                    1 => renew_until_settled(&*store, renewal, now).await,
                    2 => touch_both(&*store, &renewal, now).await,
                    _ => update_until_gone(&*store, &renewal, now).await,
                }
            }
        });
        all_at_once(tasks).await;
        for key in [&renewal.old, &renewal.new] {
            let left = live(&**store, key, now).await;
            assert!(left.is_none(), "a session is live after it was destroyed: {left:?}");
        }
    }
}

/// A delete without a forward ends the session for good, despite concurrent updates and touches.
pub async fn nothing_is_live_after_a_delete_during_updates_and_touches(store: &Arc<impl Store>) {
    for round in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let (now, renewal) = (stored.now, stored.renewal());
        let tasks = (0..5).map(|role| {
            let (store, renewal) = (Arc::clone(store), renewal.clone());
            async move {
                match role {
                    0 => {
                        come_late(round).await;
                        destroy(&*store, &renewal, ends_with_forward(round), now).await
                    }
                    1 => touch_both(&*store, &renewal, now).await,
                    _ => update_until_gone(&*store, &renewal, now).await,
                }
            }
        });
        all_at_once(tasks).await;
        assert!(live(&**store, &stored.key, now).await.is_none(), "a session is live after it was destroyed");
    }
}

/// Concurrent touches neither undo an update nor make one fail.
pub async fn concurrent_touches_lose_no_update(store: &Arc<impl Store>) {
    for round in 0..ROUNDS {
        let stored = store_plain_record(&**store).await;
        let now = stored.now;
        let updated = stored.next(9);
        let tasks = (0..RACERS).map(|n| {
            let (store, key, updated) = (Arc::clone(store), stored.key, Arc::clone(&updated));
            async move {
                if n == 0 {
                    come_late(round).await;
                    return ok(store.update(&key, Version::FIRST, updated, now).await) == Outcome::Done;
                }
                ok(store
                    .touch(
                        &key,
                        Touch {
                            expected: Version::FIRST,
                            last_seen_at: now.after(MINUTE),
                            expires_at: now.after(2 * LIFE),
                        },
                        now,
                    )
                    .await);
                true
            }
        });
        assert!(all_at_once(tasks).await[0], "an update failed because of a touch");
        assert_live(&**store, &stored.key, &updated, now).await;
    }
}

/// Yields to the other tasks, longer in each round, to vary the interleaving.
pub(super) async fn come_late(round: usize) {
    for _ in 0..round {
        tokio::task::yield_now().await;
    }
}

/// Whether the session of a round is ended with a forward.
pub(super) fn ends_with_forward(round: usize) -> bool {
    !round.is_multiple_of(2)
}

/// Ends a session as the layer does.
async fn destroy(store: &impl Store, renewal: &Renewal, with_forward: bool, now: Timestamp) {
    let left = with_forward.then(|| Forward { successor: None, ..forward(now) });
    if let Outcome::Retired(_) = ok(store.delete(&renewal.old, left.clone(), now).await) {
        ok(store.delete(&renewal.new, left, now).await);
    }
}

async fn renew_until_settled(store: &impl Store, mut renewal: Renewal, now: Timestamp) {
    for _ in 0..MOST_TRIES {
        let Outcome::Conflict(_) = ok(store.renew(renewal.clone(), now).await) else { return };
        let Some(current) = live(store, &renewal.old, now).await else { return };
        renewal.expected = current.version;
        renewal.record = next_version(&current, number(3));
    }
    panic!("a renewal conflicted {MOST_TRIES} times");
}

async fn touch_both(store: &impl Store, renewal: &Renewal, now: Timestamp) {
    for expected in (1..6).map(version) {
        for key in [&renewal.old, &renewal.new] {
            ok(store
                .touch(key, Touch { expected, last_seen_at: now.after(MINUTE), expires_at: now.after(2 * LIFE) }, now)
                .await);
        }
    }
}

/// Updates like a request that began before the session ended: the old key and, once it is retired, the new one.
async fn update_until_gone(store: &impl Store, renewal: &Renewal, now: Timestamp) {
    let mut key = renewal.old;
    for _ in 0..10 {
        let Some(current) = live(store, &key, now).await else { return };
        let next = next_version(&current, number(7));
        match ok(store.update(&key, current.version, next, now).await) {
            Outcome::Done | Outcome::Conflict(_) => {}
            Outcome::Retired(forward) if forward.successor.is_some() => key = renewal.new,
            Outcome::Retired(_) | Outcome::Gone => return,
        }
    }
}

pub(super) async fn live(store: &impl Store, key: &StoreKey, now: Timestamp) -> Option<Arc<Record>> {
    match ok(store.load(key, now).await) {
        Some(Entry::Live(record)) => Some(record),
        Some(Entry::Retired(_)) | None => None,
    }
}
