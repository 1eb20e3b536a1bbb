//! A Cluster of three masters with one replica each.

use std::sync::{Arc, OnceLock};
use std::task::Poll;

use session_state::RedisStore;
use session_state::store::{Entry, Forward, Outcome, Renewal, Store as _, Version};

use super::failover::{self, Load};
use super::servers::{Cluster, url};
use super::{HOUR, MINUTE, PREFIX, ask, beside, ended, key, keys, keys_without_ttl, now, prefix, record};

/// A Cluster that the tests of this process share.
pub(super) struct Shared;

impl Shared {
    pub(super) fn cluster(&self) -> Option<&'static Cluster> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        CLUSTER.get_or_init(Cluster::start).as_ref()
    }

    fn shared(&self) -> Option<String> {
        Some(self.cluster()?.urls().join(" "))
    }
}

conformance_on_server!(Shared, open, without sweep);

impl Shared {
    /// Returns the Cluster as a state of the probe.
    fn state(&self) -> Option<String> {
        let nodes: Vec<_> = self.cluster()?.urls().iter().map(|url| url.replace("redis://", "")).collect();
        Some(format!("redis-cluster://{}", nodes.join(",")))
    }
}

tests_of_adapter!([cookies] Shared.state());
tests_of_adapter!([devices] Shared.state());

async fn open(urls: &str) -> RedisStore {
    RedisStore::connect_cluster(urls.split(' ')).await.unwrap().with_key_prefix(prefix()).unwrap()
}

fn renewal(old: u64, expected: u64, new: u64, version: u64) -> Renewal {
    let forward =
        Forward { successor: Some([9; 32]), grace_until: now().after(MINUTE), expires_at: now().after(2 * HOUR) };
    Renewal {
        old: key(old),
        expected: Version::from_u64(expected),
        new: key(new),
        record: Arc::new(record(version, version)),
        forward,
    }
}

async fn version_at(store: &RedisStore, n: u64) -> Option<u64> {
    match store.load(&key(n), now()).await.unwrap() {
        Some(Entry::Live(record)) => Some(record.version.as_u64()),
        _ => None,
    }
}

#[tokio::test]
async fn keys_are_spread_over_all_nodes_and_each_has_a_time_to_live() {
    let Some(cluster) = Shared.cluster() else { return };
    let store = open(&cluster.urls().join(" ")).await;
    for n in 0..100 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        assert_eq!(store.renew(renewal(n, 1, n + 1000, 2), now()).await.unwrap(), Outcome::Done);
        if n % 2 == 0 {
            assert_eq!(store.delete(&key(n + 1000), None, now()).await.unwrap(), Outcome::Done);
        }
    }
    for master in cluster.masters() {
        let mut connection = beside(&url(master));
        assert!(keys(&mut connection, PREFIX).len() > 20);
        assert_eq!(keys_without_ttl(&mut connection, PREFIX), [""; 0]);
    }
}

#[tokio::test]
async fn a_repeated_renewal_revives_nothing() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    for n in 0..50 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        let renewal = renewal(n, 1, n + 1000, 2);
        assert_eq!(store.renew(renewal.clone(), now()).await.unwrap(), Outcome::Done);
        // Its successor is updated and deleted while the renewal arrives again and again.
        let again = {
            let (store, renewal) = (store.clone(), renewal.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let outcome = store.renew(renewal.clone(), now()).await.unwrap();
                    assert_eq!(outcome, Outcome::Retired(renewal.forward.clone()));
                }
            })
        };
        assert_eq!(
            store.update(&key(n + 1000), Version::from_u64(2), Arc::new(record(n, 3)), now()).await.unwrap(),
            Outcome::Done
        );
        assert_eq!(store.delete(&key(n + 1000), None, now()).await.unwrap(), Outcome::Done);
        while !again.is_finished() {
            assert_eq!(version_at(&store, n + 1000).await, None, "a deleted session was revived");
        }
        again.await.unwrap();
        assert_eq!(version_at(&store, n + 1000).await, None);
    }
}

#[tokio::test]
async fn a_delayed_renewal_revives_nothing_whose_forward_has_expired() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    for n in 0..20 {
        let (old, new) = (n, n + 1000);
        assert!(store.create(&key(old), Arc::new(record(n, 1)), now()).await.unwrap());
        let first = renewal(old, 1, new, 2);
        assert_eq!(store.renew(first.clone(), now()).await.unwrap(), Outcome::Done);
        let soon = now().after(std::time::Duration::from_millis(1));
        let outcome = if n % 2 == 0 {
            store.delete(&key(new), Some(Forward { expires_at: soon, ..ended() }), now()).await
        } else {
            let mut next = renewal(new, 2, n + 2000, 3);
            next.forward.expires_at = soon;
            store.renew(next, now()).await
        };
        assert_eq!(outcome.unwrap(), Outcome::Done);
        while store.load(&key(new), now()).await.unwrap().is_some() {}
        assert_eq!(store.renew(first.clone(), now()).await.unwrap(), Outcome::Retired(first.forward));
        assert_eq!(version_at(&store, new).await, None);
    }
}

/// Polls a call up to this many times. A time limit would depend on the machine.
pub(super) async fn drop_after<T>(chances: u64, call: impl Future<Output = T>) -> Option<T> {
    let (mut call, mut taken) = (std::pin::pin!(call), 0);
    std::future::poll_fn(|context| {
        taken += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if taken == chances => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_renewal_dropped_at_any_point_can_be_retried() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    let mut dropped = 0;
    for n in 0..200 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        let renewal = renewal(n, 1, n + 1000, 2);
        let first = drop_after(1 + n % 8, store.renew(renewal.clone(), now())).await;
        dropped += u32::from(first.is_none());
        // The session is always under at least one key.
        let (old, new) = (version_at(&store, n).await, version_at(&store, n + 1000).await);
        assert!(old.is_some() || new.is_some());
        let again = store.renew(renewal.clone(), now()).await.unwrap();
        assert!(again == Outcome::Done || again == Outcome::Retired(renewal.forward), "{again:?}");
        assert_eq!((version_at(&store, n).await, version_at(&store, n + 1000).await), (None, Some(2)));
    }
    assert!(dropped > 20, "only {dropped} were dropped");
}

#[tokio::test]
async fn leftovers_of_an_attempt_are_replaced_by_the_next() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    // Simulates a successor placed for a version that was then updated.
    assert!(store.create(&key(2), Arc::new(record(7, 7)), now()).await.unwrap());
    assert_eq!(store.renew(renewal(1, 1, 2, 5), now()).await.unwrap(), Outcome::Done);
    assert_eq!((version_at(&store, 1).await, version_at(&store, 2).await), (None, Some(5)));
    // Foreign entries stay.
    assert!(matches!(store.renew(renewal(1, 1, 2, 6), now()).await.unwrap(), Outcome::Retired(_)));
    assert_eq!(store.renew(renewal(3, 1, 2, 6), now()).await.unwrap(), Outcome::Gone);
    assert_eq!(version_at(&store, 2).await, Some(5));
}

#[tokio::test]
async fn a_failed_renewal_leaves_no_trace() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    for (old, expected) in [(1, 9), (3, 1)] {
        assert_ne!(store.renew(renewal(old, expected, 2, 5), now()).await.unwrap(), Outcome::Done);
        assert_eq!(version_at(&store, 2).await, None);
    }
    assert!(store.create(&key(2), Arc::new(record(1, 1)), now()).await.unwrap());
}

#[tokio::test]
async fn slots_that_move_and_nodes_that_forget_the_scripts_are_followed() {
    let Some(cluster) = Cluster::start() else { return };
    let store = open(&cluster.urls().join(" ")).await;
    for n in 0..60 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
    }
    for master in cluster.masters() {
        ask::<()>(&mut beside(&url(master)), "SCRIPT FLUSH");
    }
    // A replica takes over from a master.
    let is_replica = |node: &&crate::harness::process::Server| {
        !cluster.masters().iter().any(|master| master.address() == node.address())
    };
    let replica = cluster.nodes.iter().find(is_replica).unwrap();
    ask::<()>(&mut beside(&url(replica)), "CLUSTER FAILOVER");
    super::servers::wait_until("the failover", || !is_replica(&replica));
    for n in 0..60 {
        let update = async || store.update(&key(n), Version::FIRST, Arc::new(record(n, 2)), now()).await;
        let outcome = failover::until_ok(update).await;
        assert!(outcome == Outcome::Done || outcome == Outcome::Conflict(Some(Arc::new(record(n, 2)))), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_master_loses_at_most_the_last_moment() {
    let Some(cluster) = Cluster::start() else { return };
    let load = Load::begin(open(&cluster.urls().join(" ")).await).await;
    load.more(2_000).await;
    load.checkpoint();
    for master in cluster.masters() {
        failover::wait_for_replicas(&url(master), 1);
    }
    load.more(2_000).await;
    let victim = cluster.masters()[0];
    victim.kill();
    load.until_all_are_answered().await;
    load.more(2_000).await;
    victim.restart();
    cluster.wait_until_whole();
    load.healed();
    load.more(2_000).await;
    load.end("cluster").await;
    for master in cluster.masters() {
        assert_eq!(keys_without_ttl(&mut beside(&url(master)), PREFIX), [""; 0]);
    }
}
