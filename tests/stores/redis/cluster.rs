//! A Cluster of three masters with a replica each.

use std::sync::{Arc, OnceLock};

use session_state::RedisStore;
use session_state::store::{Entry, Forward, Outcome, Renewal, Store as _};

use super::failover::{self, Load};
use super::servers::{Cluster, url};
use super::{HOUR, MINUTE, PREFIX, ask, beside, key, keys, keys_without_ttl, now, prefix, record};

/// A Cluster that the tests of this process share.
struct Shared;

impl Shared {
    fn cluster(&self) -> Option<&'static Cluster> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        CLUSTER.get_or_init(Cluster::start).as_ref()
    }

    fn shared(&self) -> Option<String> {
        Some(self.cluster()?.urls().join(" "))
    }
}

conformance_on_server!(Shared, open);

async fn open(urls: &str) -> RedisStore {
    RedisStore::connect_cluster(urls.split(' ')).await.unwrap().with_key_prefix(prefix()).unwrap()
}

fn renewal(old: u64, expected: u64, new: u64, version: u64) -> Renewal {
    let forward =
        Forward { successor: Some([9; 32]), grace_until: now().after(MINUTE), expires_at: now().after(2 * HOUR) };
    Renewal { old: key(old), expected, new: key(new), record: Arc::new(record(version, version)), forward }
}

async fn version_at(store: &RedisStore, n: u64) -> Option<u64> {
    match store.load(&key(n), now()).await.unwrap() {
        Some(Entry::Live(record)) => Some(record.version),
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
        assert_eq!(store.update(&key(n + 1000), 2, Arc::new(record(n, 3)), now()).await.unwrap(), Outcome::Done);
        assert_eq!(store.delete(&key(n + 1000), now()).await.unwrap(), Outcome::Done);
        while !again.is_finished() {
            assert_eq!(version_at(&store, n + 1000).await, None, "a deleted session was live for a moment");
        }
        again.await.unwrap();
        assert_eq!(version_at(&store, n + 1000).await, None);
    }
}

#[tokio::test]
async fn a_renewal_that_was_dropped_anywhere_can_be_made_again() {
    let Some(urls) = Shared.shared() else { return };
    let store = open(&urls).await;
    let mut dropped = 0;
    for n in 0..200 {
        assert!(store.create(&key(n), Arc::new(record(n, 1)), now()).await.unwrap());
        let renewal = renewal(n, 1, n + 1000, 2);
        // It waits for the network, and so is still busy after a few turns of the others.
        let turns = async {
            for _ in 0..3 * n {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = store.renew(renewal.clone(), now()) => assert_eq!(outcome.unwrap(), Outcome::Done),
            () = turns => dropped += 1,
        }
        // No moment without the session under either key.
        let (old, new) = (version_at(&store, n).await, version_at(&store, n + 1000).await);
        assert!(old.is_some() || new.is_some());
        let again = store.renew(renewal.clone(), now()).await.unwrap();
        assert!(again == Outcome::Done || again == Outcome::Retired(renewal.forward), "{again:?}");
        assert_eq!((version_at(&store, n).await, version_at(&store, n + 1000).await), (None, Some(2)));
    }
    assert!(dropped > 0);
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
async fn a_renewal_takes_two_round_trips_and_every_other_call_one() {
    let Some(cluster) = Cluster::start() else { return };
    let store = open(&cluster.urls().join(" ")).await;
    let commands = || -> u64 {
        let calls = |line: &str| line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap();
        let is_ours =
            |line: &&str| ["evalsha", "eval", "get"].iter().any(|name| line.starts_with(&format!("cmdstat_{name}:")));
        let commands = cluster.nodes.iter().map(|node| ask::<String>(&mut beside(&url(node)), "INFO commandstats"));
        // What a script calls is counted as well, but no script gets anything here.
        commands.map(|commands| commands.lines().filter(is_ours).map(calls).sum::<u64>()).sum()
    };
    for round in 0..2 {
        for (call, most) in [("create", 1), ("update", 1), ("touch", 1), ("load", 1), ("renew", 2), ("delete", 1)] {
            let before = commands();
            for n in (0..50).map(|n| 10_000 * round + n) {
                let (old, new) = (key(n), key(n + 1000));
                match call {
                    "create" => assert!(store.create(&old, Arc::new(record(n, 1)), now()).await.unwrap()),
                    "update" => drop(store.update(&old, 1, Arc::new(record(n, 2)), now()).await.unwrap()),
                    "touch" => drop(store.touch(&old, 2, now(), now().after(2 * HOUR), now()).await.unwrap()),
                    "load" => assert!(store.load(&old, now()).await.unwrap().is_some()),
                    "renew" => assert_eq!(store.renew(renewal(n, 2, n + 1000, 3), now()).await.unwrap(), Outcome::Done),
                    _ => assert_eq!(store.delete(&new, now()).await.unwrap(), Outcome::Done),
                }
            }
            // In the first round the nodes learn the scripts, and the store that there are several.
            assert!(round == 0 || commands() - before == 50 * most, "{call}: {}", commands() - before);
        }
    }
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
        let update = async || store.update(&key(n), 1, Arc::new(record(n, 2)), now()).await;
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
