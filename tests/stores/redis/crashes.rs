//! Crashes between the steps of a call in a Cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConnection};
use session_state::RedisStore;
use session_state::store::{Entry, FindPrincipals as _, Outcome, Store as _, StoreKey, Touch, Version};

use super::cluster::{Shared, drop_after};
use super::principals::{ALICE, SLACK, handle, handles, hers, renewal, sign_in_and_change};
use super::{HOUR, MINUTE, ended, key, now, prefix};

struct CrashScene {
    store: RedisStore,
    prefix: String,
    connection: ClusterConnection,
}

impl CrashScene {
    async fn begin() -> Option<Self> {
        let urls = Shared.cluster()?.urls();
        let prefix = prefix();
        let store = RedisStore::connect_cluster(&urls).await.unwrap().with_key_prefix(prefix.clone()).unwrap();
        let connection = ClusterClient::new(urls).unwrap().get_connection().unwrap();
        Some(Self { store, prefix, connection })
    }

    /// Returns the text of a key without a prefix.
    fn text(key: &StoreKey) -> String {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes())
    }

    fn index(&self) -> String {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(["session-state prn v1", ALICE].concat());
        format!("{}p:{}", self.prefix, Self::text(&StoreKey::from_bytes(hash.into())))
    }

    fn members(&mut self) -> Vec<Vec<u8>> {
        redis::cmd("ZRANGE").arg(self.index()).arg(0).arg(-1).query(&mut self.connection).unwrap()
    }

    fn enlist(&mut self, n: u64, at: u64) {
        let (index, member) = (self.index(), [handle(n).as_bytes(), Self::text(&key(at)).as_bytes()].concat());
        // Other tests check for keys without a time to live.
        let script = "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) return redis.call('EXPIRE', KEYS[1], 7200)";
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(1).arg(index).arg(now().after(HOUR).as_millis()).arg(member);
        eval.exec(&mut self.connection).unwrap();
    }

    fn remove(&mut self, at: u64) {
        let place = format!("{}{}", self.prefix, Self::text(&key(at)));
        redis::cmd("DEL").arg(place).exec(&mut self.connection).unwrap();
    }

    async fn create(&self, n: u64, at: u64) {
        assert!(self.store.create(&key(at), Arc::new(hers(n, 1)), now()).await.unwrap());
    }

    async fn is_live(&self, at: u64) -> bool {
        matches!(self.store.load(&key(at), now()).await.unwrap(), Some(Entry::Live(_)))
    }

    fn assert_ttl(&mut self, expected: Duration) {
        let ttl: u64 = redis::cmd("PTTL").arg(self.index()).query(&mut self.connection).unwrap();
        let expected = expected.as_millis() as u64;
        assert!((expected - 60_000..=expected).contains(&ttl), "{ttl} instead of {expected}");
    }
}

/// Added to the index, but not written.
#[tokio::test]
async fn a_login_is_listed_only_once_it_is_written() {
    let Some(mut it) = CrashScene::begin().await else { return };
    it.enlist(1, 1);
    assert_eq!(handles(&it.store).await, []);
    it.create(1, 1).await;
    assert_eq!(handles(&it.store).await, [handle(1)]);
}

/// Placed under another key, but the old one not retired.
#[tokio::test]
async fn an_unfinished_renewal_is_one_session_and_ends_with_it() {
    let Some(mut it) = CrashScene::begin().await else { return };
    for (old, left) in [(11, None), (21, Some(ended())), (31, Some(ended()))] {
        it.create(1, old).await;
        it.create(1, old + 1).await;
        assert_eq!(handles(&it.store).await, [handle(1)]);
        if old == 21 {
            assert_eq!(it.store.revoke(ALICE, &[handle(1)], left.clone().unwrap(), now()).await.unwrap(), [handle(1)]);
        } else {
            assert_eq!(it.store.delete(&key(old), left.clone(), now()).await.unwrap(), Outcome::Done);
        }
        assert_eq!(handles(&it.store).await, []);
        assert!(!it.is_live(old).await && !it.is_live(old + 1).await);
        assert_eq!(it.store.load(&key(old), now()).await.unwrap(), left.map(Entry::Retired));
        assert_eq!(it.members(), [b""; 0]);
    }
}

/// Renewed, but the old key still in the index.
#[tokio::test]
async fn a_renewed_session_is_found_once_and_its_old_entry_removed() {
    let Some(mut it) = CrashScene::begin().await else { return };
    it.create(1, 1).await;
    assert_eq!(it.store.renew(renewal(1, 1, 2, hers(1, 2)), now()).await.unwrap(), Outcome::Done);
    let members = it.members();
    it.enlist(1, 1);
    assert_ne!(it.members(), members);
    assert_eq!(handles(&it.store).await, [handle(1)]);
    assert_eq!(it.members(), members);
}

/// Gone, but still in the index.
#[tokio::test]
async fn an_ended_session_is_not_found_despite_its_index_entry() {
    let Some(mut it) = CrashScene::begin().await else { return };
    it.create(1, 1).await;
    it.create(2, 2).await;
    it.remove(1);
    assert_eq!(handles(&it.store).await, [handle(2)]);
    let both = [handle(1), handle(2)];
    assert_eq!(it.store.revoke(ALICE, &both, ended(), now()).await.unwrap(), [handle(2)]);
    assert_eq!(handles(&it.store).await, []);
}

/// Replaced by a forward, or created late under a key with one, but in the index.
#[tokio::test]
async fn a_forward_in_the_index_is_not_found_and_its_entry_is_removed() {
    let Some(mut it) = CrashScene::begin().await else { return };
    for n in 0..4 {
        it.create(n, n).await;
        let (is_revoked, is_late) = (n % 2 == 0, n < 2);
        if is_revoked {
            assert_eq!(it.store.revoke(ALICE, &[handle(n)], ended(), now()).await.unwrap(), [handle(n)]);
        } else {
            assert_eq!(it.store.delete(&key(n), Some(ended()), now()).await.unwrap(), Outcome::Done);
        }
        assert_eq!(it.members(), [b""; 0]);
        if is_late {
            assert!(!it.store.create(&key(n), Arc::new(hers(n, 1)), now()).await.unwrap());
        } else {
            it.enlist(n, n);
        }
        assert_eq!(it.members().len(), 1);
        assert_eq!(it.store.count(ALICE, now()).await.unwrap(), 0);
        assert_eq!(it.members(), [b""; 0]);
        it.enlist(n, n);
        assert_eq!(it.store.revoke(ALICE, &[handle(n)], ended(), now()).await.unwrap(), []);
        assert_eq!(it.members(), [b""; 0]);
    }
}

/// Ended by another request just before.
#[tokio::test]
async fn a_late_write_leaves_nothing_in_the_index() {
    let Some(mut it) = CrashScene::begin().await else { return };
    it.create(1, 1).await;
    assert_eq!(it.store.renew(renewal(1, 1, 2, hers(1, 2)), now()).await.unwrap(), Outcome::Done);
    assert_eq!(it.store.delete(&key(2), None, now()).await.unwrap(), Outcome::Done);
    for (at, expected) in [(1, 1), (2, 2)] {
        let late = it.store.update(&key(at), Version::from_u64(expected), Arc::new(hers(1, 3)), now()).await.unwrap();
        assert!(matches!(late, Outcome::Gone | Outcome::Retired(_)));
        assert_eq!(it.members(), [b""; 0]);
    }
    it.create(3, 3).await;
    let members = it.members();
    let late = it.store.renew(renewal(3, 9, 4, hers(3, 10)), now()).await.unwrap();
    assert!(matches!(late, Outcome::Conflict(_)));
    assert_eq!(it.members(), members);
}

/// With deadlines moved by more than the slack of the index, and by less.
#[tokio::test]
async fn the_index_gets_later_deadlines() {
    let Some(mut it) = CrashScene::begin().await else { return };
    it.create(1, 1).await;
    for (version, after) in [(1, HOUR + MINUTE), (2, 30 * HOUR), (3, 30 * HOUR + MINUTE)] {
        let mut longer = hers(1, version + 1);
        longer.expires_at = now().after(after);
        assert_eq!(
            it.store.update(&key(1), Version::from_u64(version), Arc::new(longer), now()).await.unwrap(),
            Outcome::Done
        );
        it.assert_ttl(after + SLACK);
    }
    for after in [31 * HOUR, 99 * HOUR] {
        let outcome = it
            .store
            .touch(
                &key(1),
                Touch { expected: Version::from_u64(4), last_seen_at: now(), expires_at: now().after(after) },
                now(),
            )
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Done);
        it.assert_ttl(after + SLACK);
    }
    assert_eq!(handles(&it.store).await, [handle(1)]);
}

#[tokio::test]
async fn logins_and_logouts_leave_no_trace() {
    let Some(mut it) = CrashScene::begin().await else { return };
    for n in (0..200).step_by(2) {
        sign_in_and_change(&it.store, n).await;
        assert_eq!(it.members().len(), 1);
        let last = n + 10_000;
        assert_eq!(it.store.renew(renewal(n + 1, 3, last, hers(n, 4)), now()).await.unwrap(), Outcome::Done);
        assert_eq!(it.members().len(), 1);
        let left = (n % 4 == 0).then(ended);
        assert_eq!(it.store.delete(&key(last), left, now()).await.unwrap(), Outcome::Done);
        assert_eq!(it.members(), [b""; 0]);
    }
}

/// At any step of their writes.
#[tokio::test]
async fn calls_dropped_at_any_point_hide_no_session() {
    let Some(it) = CrashScene::begin().await else { return };
    let (store, mut dropped) = (&it.store, 0);
    let mut note = |is_dropped| dropped += u32::from(is_dropped);
    for n in 0..150 {
        let (old, new, chances) = (key(n), key(n + 1_000), 1 + n % 10);
        let first = Arc::new(hers(n, 1));
        note(drop_after(chances, store.create(&old, Arc::clone(&first), now())).await.is_none());
        assert!(!it.is_live(n).await || handles(store).await == [handle(n)]);
        let _ = store.create(&old, first, now()).await.unwrap();
        assert_eq!(handles(store).await, [handle(n)]);
        let renewal = renewal(n, 1, n + 1_000, hers(n, 2));
        note(drop_after(chances, store.renew(renewal.clone(), now())).await.is_none());
        assert_eq!(handles(store).await, [handle(n)]);
        let again = store.renew(renewal, now()).await.unwrap();
        assert!(matches!(again, Outcome::Done | Outcome::Retired(_)), "{again:?}");
        assert_eq!(handles(store).await, [handle(n)]);
        let mut next = hers(n, 3);
        next.expires_at = now().after(if n % 2 == 0 { HOUR } else { 30 * HOUR });
        note(drop_after(chances, store.update(&new, Version::from_u64(2), Arc::new(next), now())).await.is_none());
        note(
            drop_after(
                chances,
                store.touch(
                    &new,
                    Touch { expected: Version::from_u64(3), last_seen_at: now(), expires_at: now().after(60 * HOUR) },
                    now(),
                ),
            )
            .await
            .is_none(),
        );
        assert_eq!(handles(store).await, [handle(n)]);
        let left = (n % 6 != 3).then(ended);
        if n % 3 == 0 {
            note(drop_after(chances, store.delete(&new, left.clone(), now())).await.is_none());
            store.delete(&new, left.clone(), now()).await.unwrap();
        } else {
            note(drop_after(chances, store.revoke(ALICE, &[handle(n)], left.clone().unwrap(), now())).await.is_none());
            store.revoke(ALICE, &[handle(n)], left.clone().unwrap(), now()).await.unwrap();
        }
        assert_eq!(store.load(&new, now()).await.unwrap(), left.map(Entry::Retired));
        assert_eq!(handles(store).await, []);
    }
    assert!(dropped > 100, "only {dropped} were dropped");
}
