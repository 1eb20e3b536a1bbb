//! The index of a principal's sessions, on one server and on a Cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::Connection;
use redis::aio::ConnectionLike;
use session_state::store::{FindPrincipals, Forward, Handle, Outcome, Record, Renewal, Store as _, Touch, Version};
use session_state::{RedisStore, Timestamp};
use tokio::task::JoinSet;

use super::{HOUR, MINUTE, ask, beside, ended, key, keys, now, open, prefix, record};
use crate::harness::engines::REDIS;
use crate::harness::proxy::Proxy;

pub(super) const ALICE: &str = "alice";

/// The time by which a set outlives its last session.
pub(super) const SLACK: Duration = HOUR;

pub(super) fn handle(n: u64) -> Handle {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Handle::from_bytes(bytes)
}

/// Returns a record of Alice.
pub(super) fn hers(n: u64, version: u64) -> Record {
    let mut record = record(n, version);
    (record.handle, record.principal) = (handle(n), Some(ALICE.into()));
    record
}

pub(super) fn renewal(old: u64, expected: u64, new: u64, record: Record) -> Renewal {
    let forward =
        Forward { successor: Some([9; 32]), grace_until: now().after(MINUTE), expires_at: now().after(2 * HOUR) };
    Renewal { old: key(old), expected: Version::from_u64(expected), new: key(new), record: Arc::new(record), forward }
}

/// Logs Alice in under the key after `n`, and changes her session in every way.
pub(super) async fn sign_in_and_change<C>(store: &RedisStore<C>, n: u64) -> Vec<Handle>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    let (now, old, new) = (now(), key(n), n + 1);
    assert!(store.create(&old, Arc::new(record(n, 1)), now).await.unwrap());
    assert_eq!(store.renew(renewal(n, 1, new, hers(n, 2)), now).await.unwrap(), Outcome::Done);
    assert_eq!(store.update(&key(new), Version::from_u64(2), Arc::new(hers(n, 3)), now).await.unwrap(), Outcome::Done);
    assert_eq!(
        store
            .touch(
                &key(new),
                Touch { expected: Version::from_u64(3), last_seen_at: now, expires_at: now.after(2 * HOUR) },
                now
            )
            .await
            .unwrap(),
        Outcome::Done
    );
    vec![handle(n)]
}

pub(super) async fn handles<C>(store: &RedisStore<C>) -> Vec<Handle>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    let listed = store.list(ALICE, None, 1_000, now()).await.unwrap();
    assert_eq!(store.count(ALICE, now()).await.unwrap(), listed.len());
    listed.iter().map(|record| record.handle).collect()
}

/// A store on one server with a unique prefix, and a separate connection.
async fn begin() -> Option<(RedisStore, Connection, String)> {
    let (url, prefix) = (REDIS.shared()?, prefix());
    let store = open(&url).await.with_key_prefix(prefix.clone()).unwrap();
    Some((store, beside(&url), prefix))
}

fn indexes(connection: &mut Connection, prefix: &str) -> Vec<String> {
    keys(connection, &format!("{prefix}p:"))
}

#[tokio::test]
async fn a_thousand_logins_and_logouts_leave_no_trace_of_a_principal() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    for n in (0..2_000).step_by(2) {
        sign_in_and_change(&store, n).await;
        assert_eq!(indexes(&mut connection, &prefix).len(), 1);
        let last = n + 10_000;
        assert_eq!(store.renew(renewal(n + 1, 3, last, hers(n, 4)), now()).await.unwrap(), Outcome::Done);
        let left = (n % 4 == 0).then(ended);
        assert_eq!(store.delete(&key(last), left, now()).await.unwrap(), Outcome::Done);
        assert_eq!(indexes(&mut connection, &prefix), [""; 0]);
    }
}

#[tokio::test]
async fn the_name_of_a_principal_is_in_no_key_and_in_no_index() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    sign_in_and_change(&store, 1).await;
    let index = indexes(&mut connection, &prefix).remove(0);
    assert_eq!(index.len(), prefix.len() + 2 + 43);
    let members: Vec<Vec<u8>> = ask(&mut connection, &format!("ZRANGE {index} 0 -1"));
    let text = String::from_utf8_lossy(&members.concat()).into_owned() + &index;
    assert!(!text.contains(ALICE) && members.len() == 1);
}

#[tokio::test]
async fn an_index_stays_small_where_sessions_expire_and_their_principal_comes_again_and_again() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    let mut now = now();
    for n in 0..1_000 {
        now = now.after(20 * MINUTE);
        let mut record = hers(n, 1);
        record.expires_at = now.after(10 * MINUTE);
        assert!(store.create(&key(n), Arc::new(record), now).await.unwrap());
        let index = indexes(&mut connection, &prefix).remove(0);
        let size: u64 = ask(&mut connection, &format!("ZCARD {index}"));
        assert!(size <= 5, "{size} for one live session");
        assert_eq!(store.count(ALICE, now).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_index_is_kept_as_long_as_its_last_session_and_an_hour() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    let mut assert_ttl = |expected: Duration| {
        let index = indexes(&mut connection, &prefix).remove(0);
        let (ttl, expected) = (ask::<u64>(&mut connection, &format!("PTTL {index}")), expected.as_millis() as u64);
        assert!((expected - 60_000..=expected).contains(&ttl), "{ttl} instead of {expected}");
    };
    // Test clocks may differ: only the remaining time matters.
    let now = Timestamp::from_millis(1_000_000);
    let ends = |n, after| {
        let mut record = hers(n, 1);
        (record.last_seen_at, record.expires_at) = (now, now.after(after));
        Arc::new(record)
    };
    assert!(store.create(&key(1), ends(1, HOUR), now).await.unwrap());
    assert_ttl(HOUR + SLACK);
    assert!(store.create(&key(2), ends(2, HOUR / 2), now).await.unwrap());
    assert_ttl(HOUR + SLACK);
    store
        .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: now, expires_at: now.after(5 * HOUR) }, now)
        .await
        .unwrap();
    assert_ttl(5 * HOUR + SLACK);
    store.update(&key(1), Version::FIRST, ends(1, 3 * HOUR), now).await.unwrap();
    assert_ttl(3 * HOUR + SLACK);
    assert!(store.create(&key(3), ends(3, Duration::MAX), now).await.unwrap());
    assert_ttl(100 * 365 * 24 * HOUR);
    store.delete(&key(3), None, now).await.unwrap();
    assert_ttl(3 * HOUR + SLACK);
    assert_eq!(store.revoke(ALICE, &[handle(1)], ended(), now).await.unwrap(), [handle(1)]);
    assert_ttl(HOUR / 2 + SLACK);
}

#[tokio::test]
async fn a_session_that_never_ends_is_found_and_ended() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    for deadline in [1 << 53, (1 << 53) + 1, (1 << 62) + 1, u64::MAX] {
        let mut record = hers(deadline, 1);
        record.expires_at = Timestamp::from_millis(deadline);
        assert!(store.create(&key(deadline), Arc::new(record), now()).await.unwrap());
        let last = Timestamp::from_millis(deadline - 1);
        assert_eq!(store.list(ALICE, None, 9, last).await.unwrap().len(), 1);
        assert_eq!(store.count(ALICE, Timestamp::from_millis(deadline)).await.unwrap(), 0);
        assert_eq!(store.revoke(ALICE, &[handle(deadline)], ended(), last).await.unwrap(), [handle(deadline)]);
        assert_eq!(indexes(&mut connection, &prefix), [""; 0]);
    }
}

#[tokio::test]
async fn a_session_lost_from_an_index_returns_with_its_next_write() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    sign_in_and_change(&store, 1).await;
    let mut lose = || {
        let index = indexes(&mut connection, &prefix).remove(0);
        ask::<()>(&mut connection, &format!("DEL {index}"));
    };
    lose();
    assert_eq!(handles(&store).await, []);
    assert_eq!(
        store
            .touch(
                &key(2),
                Touch { expected: Version::from_u64(3), last_seen_at: now(), expires_at: now().after(HOUR) },
                now()
            )
            .await
            .unwrap(),
        Outcome::Done
    );
    assert_eq!(handles(&store).await, [handle(1)]);
    lose();
    assert_eq!(store.update(&key(2), Version::from_u64(3), Arc::new(hers(1, 4)), now()).await.unwrap(), Outcome::Done);
    assert_eq!(handles(&store).await, [handle(1)]);
    lose();
    assert_eq!(store.renew(renewal(2, 4, 3, hers(1, 5)), now()).await.unwrap(), Outcome::Done);
    assert_eq!(handles(&store).await, [handle(1)]);
}

#[tokio::test]
async fn a_malformed_index_is_an_error_and_not_empty() {
    let Some((store, mut connection, prefix)) = begin().await else { return };
    sign_in_and_change(&store, 1).await;
    let index = indexes(&mut connection, &prefix).remove(0);
    for broken in [format!("ZADD {index} 99999999999999 garbage"), format!("SET {index} garbage EX 60")] {
        ask::<()>(&mut connection, &broken);
        assert!(store.list(ALICE, None, 9, now()).await.is_err());
        assert!(store.count(ALICE, now()).await.is_err());
        assert!(store.revoke(ALICE, &[handle(1)], ended(), now()).await.is_err());
    }
}

#[tokio::test]
async fn an_index_takes_no_further_round_trip_but_for_touches_and_logouts() {
    let Some(server) = REDIS.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&REDIS.url(proxy.address())).await;
    let now = now();
    // The server learns the scripts.
    for n in [10, 20] {
        let before = proxy.round_trips();
        let mut trips = Vec::new();
        let mut count = |done: bool| {
            assert!(done);
            trips.push(proxy.round_trips() - before - trips.iter().sum::<usize>());
        };
        count(store.create(&key(n), Arc::new(record(n, 1)), now).await.unwrap());
        count(store.renew(renewal(n, 1, n + 1, hers(n, 2)), now).await.unwrap() == Outcome::Done);
        count(store.load(&key(n + 1), now).await.unwrap().is_some());
        count(
            store.update(&key(n + 1), Version::from_u64(2), Arc::new(hers(n, 3)), now).await.unwrap() == Outcome::Done,
        );
        count(
            store
                .touch(
                    &key(n + 1),
                    Touch { expected: Version::from_u64(3), last_seen_at: now, expires_at: now.after(HOUR + MINUTE) },
                    now,
                )
                .await
                .unwrap()
                == Outcome::Done,
        );
        count(store.renew(renewal(n + 1, 3, n + 2, hers(n, 4)), now).await.unwrap() == Outcome::Done);
        count(store.list(ALICE, None, 9, now).await.unwrap().len() == 1);
        count(store.count(ALICE, now).await.unwrap() == 1);
        count(store.delete(&key(n + 2), Some(ended()), now).await.unwrap() == Outcome::Done);
        count(store.create(&key(n + 3), Arc::new(hers(n, 1)), now).await.unwrap());
        count(store.revoke(ALICE, &[handle(n)], ended(), now).await.unwrap() == [handle(n)]);
        if n == 20 {
            assert_eq!(trips, [1, 1, 1, 1, 2, 1, 2, 2, 2, 1, 3]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_of_one_principal_are_listed_and_ended_in_pages() {
    const COUNT: u64 = 2_000;
    let Some((store, mut connection, prefix)) = begin().await else { return };
    let mut clients = JoinSet::new();
    for client in 0..50 {
        let store = store.clone();
        clients.spawn(async move {
            for n in (client..COUNT).step_by(50) {
                assert!(store.create(&key(n), Arc::new(hers(n, 1)), now()).await.unwrap());
            }
        });
    }
    clients.join_all().await;
    let index = indexes(&mut connection, &prefix).remove(0);
    let bytes: u64 = ask(&mut connection, &format!("MEMORY USAGE {index} SAMPLES 0"));
    let begun = tokio::time::Instant::now();
    assert_eq!(store.count(ALICE, now()).await.unwrap() as u64, COUNT);
    let counted = begun.elapsed();
    let (mut after, mut listed, mut pages) = (None, 0, 0);
    loop {
        let page = store.list(ALICE, after.as_ref(), 100, now()).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.iter().zip(listed..).all(|(record, n)| record.handle == handle(n)));
        after = Some(last.handle);
        listed += page.len() as u64;
        pages += 1;
    }
    assert_eq!(listed, COUNT);
    let paged = begun.elapsed() - counted;
    for first in (0..COUNT).step_by(100) {
        let page: Vec<Handle> = (first..first + 100).map(handle).collect();
        assert_eq!(store.revoke(ALICE, &page, ended(), now()).await.unwrap(), page);
    }
    let revoked = begun.elapsed() - counted - paged;
    println!(
        "{COUNT} sessions: {bytes} bytes of index; counted in {counted:?}, listed in {paged:?} on {pages} pages, revoked in \
         {revoked:?}"
    );
    assert_eq!(keys(&mut connection, &prefix).len() as u64, COUNT, "a forward for each");
    assert_eq!(indexes(&mut connection, &prefix), [""; 0]);
}
