//! A Cluster of three masters with a replica each.

use std::sync::{Arc, OnceLock};
use std::task::Poll;

use session_state::RedisStore;
use session_state::store::{Entry, Forward, Outcome, Renewal, Store as _, Version};

use super::failover::{self, Load};
use super::servers::{Cluster, url};
use super::{HOUR, MINUTE, PREFIX, ask, beside, key, keys, keys_without_ttl, now, prefix, record};

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

conformance_on_server!(Shared, open);

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
            assert_eq!(store.delete(&key(n + 1000), now()).await.unwrap(), Outcome::Done);
        }
    }
    for master in cluster.masters() {
        let mut connection = beside(&url(master));
        assert!(keys(&mut connection, PREFIX).len() > 20);
        assert_eq!(keys_without_ttl(&mut connection, PREFIX), [""; 0]);
    }
}

#[tokio::test]
async fn a_renewal_that_arrives_again_brings_nothing_back() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    for n in 0..50 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        let renewal = renewal(n, 1, n + 1000, 2);
        assert_eq!(store.renew(renewal.clone(), now()).await.unwrap(), Outcome::Done);
        // Its successor goes on, is deleted, and meanwhile the renewal arrives again and again.
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
        assert_eq!(store.delete(&key(n + 1000), now()).await.unwrap(), Outcome::Done);
        while !again.is_finished() {
            assert_eq!(version_at(&store, n + 1000).await, None, "a deleted session was live for a moment");
        }
        again.await.unwrap();
        assert_eq!(version_at(&store, n + 1000).await, None);
    }
}

/// Waits for a call until it has had this many chances to go on. A limit of time would fall where the machine lets it.
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
async fn a_renewal_that_was_dropped_anywhere_can_be_made_again() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    let mut dropped = 0;
    for n in 0..200 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        let renewal = renewal(n, 1, n + 1000, 2);
        let first = drop_after(1 + n % 8, store.renew(renewal.clone(), now())).await;
        dropped += u32::from(first.is_none());
        // No moment without the session under either key.
        let (old, new) = (version_at(&store, n).await, version_at(&store, n + 1000).await);
        assert!(old.is_some() || new.is_some());
        let again = store.renew(renewal.clone(), now()).await.unwrap();
        assert!(again == Outcome::Done || again == Outcome::Retired(renewal.forward), "{again:?}");
        assert_eq!((version_at(&store, n).await, version_at(&store, n + 1000).await), (None, Some(2)));
    }
    assert!(dropped > 20, "only {dropped} were dropped");
}

#[tokio::test]
async fn what_an_attempt_has_left_is_replaced_by_the_next() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    // As if it had been placed for a version that was overtaken then.
    assert!(store.create(&key(2), Arc::new(record(7, 7)), now()).await.unwrap());
    assert_eq!(store.renew(renewal(1, 1, 2, 5), now()).await.unwrap(), Outcome::Done);
    assert_eq!((version_at(&store, 1).await, version_at(&store, 2).await), (None, Some(5)));
    // And what is not ours to replace stays.
    assert!(matches!(store.renew(renewal(1, 1, 2, 6), now()).await.unwrap(), Outcome::Retired(_)));
    assert_eq!(store.renew(renewal(3, 1, 2, 6), now()).await.unwrap(), Outcome::Gone);
    assert_eq!(version_at(&store, 2).await, Some(5));
}

#[tokio::test]
async fn a_renewal_in_vain_leaves_nothing() {
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
    // A replica takes over from a master that steps back.
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
async fn of_a_master_that_is_killed_only_the_last_moment_can_be_lost() {
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
