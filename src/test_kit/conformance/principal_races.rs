//! Lists and revocations of one principal's sessions during renewals, creates and deletes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::model::Random;
use super::races::{MOST_TRIES, come_late, ends_with_forward, live};
use super::support::*;
use super::test_user::*;
use crate::clock::Timestamp;
use crate::store::{FindPrincipals, Forward, Handle, Outcome, Record, Renewal, Store, StoreKey, Touch};

/// Repetitions of a race.
const ROUNDS: usize = 6;

/// Renewals of a session in a round.
const RENEWALS: usize = 40;

/// A list contains a session exactly once while it is renewed, updated or touched. A count includes it.
pub async fn a_list_never_misses_a_session_that_is_renewed(store: &Arc<impl FindPrincipals>) {
    for _ in 0..ROUNDS {
        let user = TestUser::new(store);
        let (renewed, updated) = (user.begin_session().await, user.begin_session().await);
        let mut expected = [renewed.record.handle, updated.record.handle, user.begin_session().await.record.handle];
        expected.sort();
        let (is_over, now) = (Arc::new(AtomicBool::new(false)), user.now);
        let keys = [renewed.key, updated.key];
        let tasks = (0..6).map(|role| {
            let (store, is_over, principal) = (Arc::clone(store), Arc::clone(&is_over), Arc::clone(&user.principal));
            async move {
                match role {
                    0 => {
                        let moved = renew_over_and_over(&*store, keys[0], RENEWALS, now).await;
                        is_over.store(true, Ordering::Release);
                        (moved.len() == RENEWALS).then_some(expected.to_vec())
                    }
                    1 => write_over_and_over(&*store, &keys[1], now).await.then_some(expected.to_vec()),
                    _ => {
                        let mut found = expected.to_vec();
                        while found == expected && !is_over.load(Ordering::Acquire) {
                            found = handles(&ok(store.list(&principal, None, NO_LIMIT, now).await));
                            if ok(store.count(&principal, now).await) != expected.len() {
                                return None;
                            }
                            tokio::task::yield_now().await;
                        }
                        Some(found)
                    }
                }
            }
        });
        for found in all_at_once(tasks).await {
            assert_eq!(found.as_deref(), Some(&expected[..]), "the listed sessions of three while one was renewed");
        }
    }
}

/// Renews a session repeatedly until it is gone. Returns the keys.
async fn renew_over_and_over(store: &impl Store, mut key: StoreKey, times: usize, now: Timestamp) -> Vec<StoreKey> {
    let mut keys = Vec::new();
    for _ in 0..MOST_TRIES {
        let Some(record) = live(store, &key, now).await else { break };
        let renewal = Stored { key, record, now }.renewal();
        match ok(store.renew(renewal.clone(), now).await) {
            Outcome::Done => {
                key = renewal.new;
                keys.push(key);
            }
            Outcome::Conflict(_) => {}
            Outcome::Retired(_) | Outcome::Gone => break,
        }
        if keys.len() == times {
            break;
        }
        tokio::task::yield_now().await;
    }
    keys
}

/// Updates and touches a session repeatedly. Returns whether it stayed live.
async fn write_over_and_over(store: &impl Store, key: &StoreKey, now: Timestamp) -> bool {
    for n in 0..RENEWALS as u64 {
        let Some(record) = live(store, key, now).await else { return false };
        let next = next_version(&record, number(n));
        if ok(store.update(key, record.version, Arc::clone(&next), now).await) != Outcome::Done {
            return false;
        }
        ok(store
            .touch(
                key,
                Touch { expected: next.version, last_seen_at: now.after(MINUTE), expires_at: now.after(2 * LIFE) },
                now,
            )
            .await);
        tokio::task::yield_now().await;
    }
    true
}

/// After a revocation concurrent with renewals and writes, the sessions are live under no key and in no list.
pub async fn nothing_is_live_after_a_revocation_during_renewals(store: &Arc<impl FindPrincipals>) {
    for round in 0..2 * ROUNDS {
        let user = TestUser::new(store);
        let stored = user.begin_sessions(3).await;
        let (now, asked) = (user.now, stored.iter().map(|stored| stored.record.handle).collect::<Vec<_>>());
        let first: Vec<_> = stored.iter().map(|stored| stored.key).collect();
        let tasks = (0..5).map(|role| {
            let (store, principal) = (Arc::clone(store), Arc::clone(&user.principal));
            let (asked, first) = (asked.clone(), first.clone());
            async move {
                let (mut ended, mut moved) = (Vec::new(), Vec::new());
                match role {
                    0 => {
                        come_late(5 * round).await;
                        ended = ok(store.revoke(&principal, &asked, forward(now), now).await);
                    }
                    1 => {
                        // It may fail.
                        write_over_and_over(&*store, &first[0], now).await;
                    }
                    n => moved = renew_over_and_over(&*store, first[n - 2], 10 * RENEWALS, now).await,
                }
                (ended, moved)
            }
        });
        let (ended, moved): (Vec<_>, Vec<_>) = all_at_once(tasks).await.into_iter().unzip();
        assert_eq!(ended[0].len(), 3, "the sessions that one revocation ended");
        for key in first.iter().chain(moved.iter().flatten()) {
            let left = live(&**store, key, now).await;
            assert!(left.is_none(), "a session is live after it was revoked: {left:?}");
        }
        user.assert_has([]).await;
    }
}

/// Of two revocations and a delete of the same sessions, exactly one call ends each session.
pub async fn one_of_concurrent_revocations_of_one_session_ends_it(store: &Arc<impl FindPrincipals>) {
    for round in 0..ROUNDS {
        let user = TestUser::new(store);
        let stored = user.begin_sessions(4).await;
        let (now, logged_out) = (user.now, stored[0].key);
        let mut all: Vec<_> = stored.iter().map(|stored| stored.record.handle).collect();
        let (first, asked) = (all[0], all.clone());
        let tasks = (0..5).map(|role| {
            let (store, principal) = (Arc::clone(store), Arc::clone(&user.principal));
            let mut asked = asked.clone();
            let left = ends_with_forward(round).then(|| forward(now));
            async move {
                if role == 0 {
                    let is_done = ok(store.delete(&logged_out, left, now).await) == Outcome::Done;
                    return if is_done { vec![first] } else { Vec::new() };
                }
                // In different orders.
                asked.rotate_left(role);
                ok(store.revoke(&principal, &asked, forward(now), now).await)
            }
        });
        let mut ended: Vec<Handle> = all_at_once(tasks).await.concat();
        ended.sort();
        all.sort();
        assert_eq!(ended, all, "the sessions that were ended by any call");
        user.assert_has([]).await;
    }
}

/// After concurrent creates, updates, renewals, deletes, revocations and sweeps, the lists contain exactly the sessions
/// that can be loaded.
pub async fn lists_match_the_live_sessions_after_concurrent_calls(store: &Arc<impl FindPrincipals>) {
    let (first, second) = (TestUser::new(store), TestUser::new(store));
    let principals = [Arc::clone(&first.principal), Arc::clone(&second.principal)];
    let (start, later) = (first.now, first.now.after(20 * MINUTE));
    let shared: [StoreKey; 6] = std::array::from_fn(|_| random_key());
    let tasks = (0..8_u64).map(|_| {
        let (store, principals) = (Arc::clone(store), principals.clone());
        async move {
            let mut random = Random::from_seed(u64::from_le_bytes(random_bytes()));
            let mut keys = shared.to_vec();
            for _ in 0..30 {
                let key = random.one_of(&keys);
                if let Some(new) = call_at_random(&*store, &mut random, &principals, key, start, later).await {
                    keys.push(new);
                }
            }
            keys
        }
    });
    let mut keys = all_at_once(tasks).await.concat();
    keys.sort();
    keys.dedup();
    let mut there = Vec::new();
    for key in keys {
        there.extend(live(&**store, &key, later).await);
    }
    for user in [first, second] {
        let theirs = there.iter().filter(|record| record.principal.as_ref() == Some(&user.principal));
        user.assert_has_at(theirs, later).await;
    }
}

/// Makes a random call on a session. Returns the new key if it was renewed.
async fn call_at_random(
    store: &impl FindPrincipals,
    random: &mut Random,
    principals: &[Arc<str>; 2],
    key: StoreKey,
    start: Timestamp,
    later: Timestamp,
) -> Option<StoreKey> {
    // Some expire before `later`.
    let (now, end) =
        random.one_of(&[(start, start.after(10 * MINUTE)), (start, later.after(LIFE)), (later, later.after(LIFE))]);
    let owner = [Some(&principals[0]), Some(&principals[1]), None][random.below(3) as usize].cloned();
    let Some(record) = live(store, &key, now).await else {
        let record = Record { principal: owner, expires_at: end, ..plain_record(now) };
        ok(store.create(&key, Arc::new(record), now).await);
        return None;
    };
    let next = Record { expires_at: end, ..Record::clone(&next_version(&record, number(1))) };
    let left = (random.below(2) == 0).then(|| Forward { expires_at: now.after(MINUTE), ..forward(now) });
    match random.below(6) {
        0 => {
            ok(store.update(&key, record.version, Arc::new(Record { principal: owner, ..next }), now).await);
        }
        1 => {
            ok(store.delete(&key, left, now).await);
        }
        2 => {
            let principal = owner.unwrap_or_else(|| Arc::clone(&principals[0]));
            ok(store.revoke(&principal, &[record.handle], forward(now), now).await);
        }
        3 => {
            ok(store.sweep(later, NO_LIMIT).await);
        }
        takes_over => {
            let next =
                if takes_over == 4 { Record { principal: owner, handle: random_handle(), ..next } } else { next };
            let renewal = Renewal { record: Arc::new(next), ..Stored { key, record, now }.renewal() };
            let new = renewal.new;
            ok(store.renew(renewal, now).await);
            return Some(new);
        }
    }
    None
}
