//! One server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_state::Timestamp;
use session_state::store::{Entry, FindPrincipals as _, Forward, Outcome, Record, Renewal, Store as _, Touch, Version};
use session_state::test_kit::conformance::{check, compare_with_model};

use super::{
    HOUR, MINUTE, PREFIX, ask, beside, ended, key, keys, keys_without_ttl, now, open, prefix, record, record_between,
};
use crate::harness::engines::REDIS;
use crate::harness::proxy::Proxy;

conformance_on_server!(REDIS, super::open, without sweep);

fn renewal(old: u64, expected: u64, new: u64, record: Record) -> Renewal {
    let forward =
        Forward { successor: Some([9; 32]), grace_until: now().after(MINUTE), expires_at: now().after(2 * HOUR) };
    Renewal { old: key(old), expected: Version::from_u64(expected), new: key(new), record: Arc::new(record), forward }
}

#[test]
fn many_random_calls_agree_with_a_plain_model_and_every_key_has_a_time_to_live() {
    let Some(url) = REDIS.shared() else { return };
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = std::thread::spawn({
        let (is_over, url) = (Arc::clone(&is_over), url.clone());
        move || {
            let mut connection = beside(&url);
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                seen = seen.max(keys(&mut connection, PREFIX).len());
                assert_eq!(keys_without_ttl(&mut connection, PREFIX), [""; 0]);
            }
            seen
        }
    });
    check(async { open(&url).await }, async |store| {
        for seed in 0..20 {
            compare_with_model(store, seed, 300).await;
        }
    });
    is_over.store(true, Ordering::Relaxed);
    assert!(watching.join().unwrap() > 0, "the watcher has seen nothing");
    assert_eq!(keys_without_ttl(&mut beside(&url), PREFIX), [""; 0]);
}

#[tokio::test]
async fn every_call_takes_one_round_trip() {
    let Some(server) = REDIS.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&REDIS.url(proxy.address())).await;
    let now = now();
    // The server learns the scripts.
    for n in 0..2 {
        let before = proxy.round_trips();
        let mut trips = Vec::new();
        let mut count = |done: bool| {
            assert!(done);
            trips.push(proxy.round_trips() - before - trips.iter().sum::<usize>());
        };
        let (old, new) = (10 + n, 20 + n);
        count(store.create(&key(old), Arc::new(record(1, 1)), now).await.unwrap());
        count(store.load(&key(old), now).await.unwrap().is_some());
        count(store.update(&key(old), Version::FIRST, Arc::new(record(2, 2)), now).await.unwrap() == Outcome::Done);
        count(matches!(
            store.update(&key(old), Version::FIRST, Arc::new(record(3, 3)), now).await.unwrap(),
            Outcome::Conflict(Some(_))
        ));
        count(
            store
                .touch(
                    &key(old),
                    Touch { expected: Version::from_u64(2), last_seen_at: now, expires_at: now.after(2 * HOUR) },
                    now,
                )
                .await
                .unwrap()
                == Outcome::Done,
        );
        count(store.renew(renewal(old, 2, new, record(3, 3)), now).await.unwrap() == Outcome::Done);
        count(store.delete(&key(new), Some(ended()), now).await.unwrap() == Outcome::Done);
        let learning = [2, 1, 2, 1, 2, 2, 2];
        assert_eq!(trips, if n == 0 { learning } else { [1; 7] });
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn the_time_to_live_is_what_is_left_until_the_deadline() {
    let Some(url) = REDIS.shared() else { return };
    let prefix = prefix();
    let store = open(&url).await.with_key_prefix(prefix.clone()).unwrap();
    let mut connection = beside(&url);
    let mut assert_ttl = |count: usize, expected: std::time::Duration| {
        let keys = keys(&mut connection, &prefix);
        assert_eq!(keys.len(), count);
        let longest = keys.iter().map(|key| ask::<u64>(&mut connection, &format!("PTTL {key}"))).max().unwrap();
        let expected = u64::try_from(expected.as_millis()).unwrap();
        assert!((expected - 60_000..=expected).contains(&longest), "{longest} instead of {expected}");
    };
    // Test clocks may differ: only the remaining time matters.
    let now = Timestamp::from_millis(1_000_000);
    let ends = |after| Arc::new(record_between(now, now.after(after)));
    assert!(store.create(&key(1), ends(HOUR), now).await.unwrap());
    assert_ttl(1, HOUR);
    store
        .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: now, expires_at: now.after(HOUR / 2) }, now)
        .await
        .unwrap();
    assert_ttl(1, HOUR);
    store
        .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: now, expires_at: now.after(2 * HOUR) }, now)
        .await
        .unwrap();
    assert_ttl(1, 2 * HOUR);
    // A clock that is ahead, or a late call.
    store
        .touch(
            &key(1),
            Touch { expected: Version::FIRST, last_seen_at: now, expires_at: now.after(2 * HOUR + MINUTE) },
            now.after(HOUR),
        )
        .await
        .unwrap();
    assert_ttl(1, 2 * HOUR);
    store.update(&key(1), Version::FIRST, ends(HOUR / 2), now).await.unwrap();
    assert_ttl(1, HOUR / 2);
    let mut renewal = renewal(1, 1, 2, Record::clone(&ends(3 * HOUR)));
    renewal.forward.expires_at = now.after(HOUR);
    assert_eq!(store.renew(renewal, now).await.unwrap(), Outcome::Done);
    assert_ttl(2, 3 * HOUR);
    let left = Forward { expires_at: now.after(2 * HOUR), ..ended() };
    store.delete(&key(2), Some(left), now).await.unwrap();
    assert_ttl(2, 2 * HOUR);
    assert!(store.create(&key(2), ends(3 * HOUR), now.after(2 * HOUR)).await.unwrap());
    store.delete(&key(2), None, now).await.unwrap();
    assert_ttl(1, HOUR);
    store.update(&key(1), Version::FIRST, ends(HOUR), now).await.unwrap();
    assert!(store.create(&key(3), ends(std::time::Duration::MAX), now).await.unwrap());
    assert_ttl(2, 100 * 365 * 24 * HOUR);
}

#[tokio::test]
async fn removed_and_overdue_entries_are_both_gone() {
    let Some(url) = REDIS.shared() else { return };
    let prefix = prefix();
    let store = open(&url).await.with_key_prefix(prefix.clone()).unwrap();
    let now = now();
    for n in 0..2 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now).await.unwrap());
    }
    let mut connection = beside(&url);
    let removed = keys(&mut connection, &prefix).remove(0);
    ask::<()>(&mut connection, &format!("PEXPIRE {removed} 1"));
    while ask::<i64>(&mut connection, &format!("EXISTS {removed}")) == 1 {}
    let mut left = 0;
    for n in 0..2 {
        left += usize::from(store.load(&key(n), now).await.unwrap().is_some());
        assert_eq!(store.load(&key(n), now.after(2 * HOUR)).await.unwrap(), None);
    }
    assert_eq!(left, 1);
}

#[tokio::test]
async fn versions_and_times_beyond_double_precision_are_distinguished() {
    let Some(url) = REDIS.shared() else { return };
    let store = open(&url).await;
    for version in [1 << 53, (1 << 62) + 1, (1 << 63) - 1, u64::MAX] {
        let now = now();
        assert!(store.create(&key(version), Arc::new(record(1, version)), now).await.unwrap());
        for expected in [version ^ 1, version ^ 0x100, version ^ (1 << 32), version ^ (1 << 63)] {
            let outcome =
                store.update(&key(version), Version::from_u64(expected), Arc::new(record(2, 1)), now).await.unwrap();
            assert!(
                matches!(outcome, Outcome::Conflict(Some(found)) if found.version.as_u64() == version),
                "{expected}"
            );
        }
        assert_eq!(
            store.update(&key(version), Version::from_u64(version), Arc::new(record(2, 1)), now).await.unwrap(),
            Outcome::Done
        );
    }
    let store = open(&url).await;
    for deadline in [1 << 53, (1 << 62) + 1, 0x7fff_ffff_ffff_ff00, 0x8000_0000_0000_0000, u64::MAX] {
        let at = Timestamp::from_millis;
        let key = key(deadline);
        let entry = record_between(at(deadline - 3), at(deadline));
        assert!(store.create(&key, Arc::new(entry.clone()), now()).await.unwrap());
        // A touch with times one millisecond earlier moves neither.
        let touching = store.touch(
            &key,
            Touch { expected: Version::FIRST, last_seen_at: at(deadline - 4), expires_at: at(deadline - 1) },
            at(deadline - 1),
        );
        assert_eq!(touching.await.unwrap(), Outcome::Done);
        assert_eq!(store.load(&key, at(deadline - 1)).await.unwrap(), Some(Entry::Live(entry.into())));
        let touching = store.touch(
            &key,
            Touch { expected: Version::FIRST, last_seen_at: at(deadline - 2), expires_at: at(deadline) },
            at(deadline - 1),
        );
        assert_eq!(touching.await.unwrap(), Outcome::Done);
        let Some(Entry::Live(touched)) = store.load(&key, at(deadline - 1)).await.unwrap() else { panic!() };
        assert_eq!(touched.last_seen_at, at(deadline - 2));
        assert_eq!(store.delete(&key, None, at(deadline)).await.unwrap(), Outcome::Gone);
    }
}

#[tokio::test]
async fn prefixes_separate_applications_and_invalid_ones_are_rejected() {
    let Some(url) = REDIS.shared() else { return };
    let (one, other) = (open(&url).await, open(&url).await);
    assert!(one.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    assert_eq!(other.load(&key(1), now()).await.unwrap(), None);
    for bad in ["", "a b", "{sessions}:", "}", "é:", "a\n", "a\0", &"a".repeat(65)] {
        assert!(one.clone().with_key_prefix(bad.to_owned()).is_err(), "{bad:?}");
    }
    for good in ["a", "shop/session:", &"a".repeat(64)] {
        assert!(one.clone().with_key_prefix(good.to_owned()).is_ok(), "{good:?}");
    }
}

#[tokio::test]
async fn keys_are_the_prefix_and_the_base64url_of_the_hash() {
    let Some(url) = REDIS.shared() else { return };
    let prefix = prefix();
    let store = open(&url).await.with_key_prefix(prefix.clone()).unwrap();
    assert!(store.create(&key(0xfb_ff_bf), Arc::new(record(1, 1)), now()).await.unwrap());
    let expected = format!("{prefix}{}D7_78", "A".repeat(38));
    assert_eq!(keys(&mut beside(&url), &prefix), [expected]);
}

#[tokio::test]
async fn any_asynchronous_connection_will_do() {
    let Some(url) = REDIS.shared() else { return };
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let store = session_state::RedisStore::new(connection).with_key_prefix(prefix()).unwrap();
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    assert!(store.clone().load(&key(1), now()).await.unwrap().is_some());
}

#[tokio::test]
async fn the_documented_permissions_are_sufficient() {
    let Some(server) = REDIS.start() else { return };
    let mut connection = beside(&REDIS.url(server.address()));
    let commands = "+get +getrange +zrange +evalsha +eval +set +setrange +pexpire +del +zadd +zrem";
    ask::<()>(&mut connection, &format!("ACL SETUSER sessions on >secret ~session:* {commands}"));
    let url = format!("redis://sessions:secret@{}/", server.address());
    let store = session_state::RedisStore::connect(&url).await.unwrap();
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    assert_eq!(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await.unwrap(), Outcome::Done);
    assert_eq!(
        store
            .touch(
                &key(1),
                Touch { expected: Version::from_u64(2), last_seen_at: now(), expires_at: now().after(2 * HOUR) },
                now()
            )
            .await
            .unwrap(),
        Outcome::Done
    );
    assert_eq!(store.renew(renewal(1, 2, 2, record(3, 3)), now()).await.unwrap(), Outcome::Done);
    assert!(store.load(&key(2), now()).await.unwrap().is_some());
    assert_eq!(store.delete(&key(2), None, now()).await.unwrap(), Outcome::Done);
    let handle = super::principals::sign_in_and_change(&store, 11).await;
    assert_eq!((store.list("alice", None, 9, now()).await.unwrap().len(), handle.len()), (1, 1));
    assert_eq!(store.count("alice", now()).await.unwrap(), 1);
    assert_eq!(store.revoke("alice", &handle, ended(), now()).await.unwrap(), handle);
    assert_eq!(keys(&mut connection, "session:p:"), [""; 0]);
    assert!(store.with_key_prefix("other:").unwrap().load(&key(1), now()).await.is_err());
}
