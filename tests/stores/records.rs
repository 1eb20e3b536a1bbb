//! Records, and cases that the stores without transactions share.

use std::sync::Arc;
use std::time::Duration;

use session_state::store::{Entry, Forward, Handle, Outcome, Record, Renewal, Store, StoreKey, Touch, Values, Version};
use session_state::{Clock as _, SystemClock, Timestamp};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::proxy::{Fault, Proxy};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns the real time.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Returns the key with this number.
pub(crate) fn key(n: u64) -> StoreKey {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    StoreKey::from_bytes(bytes)
}

/// Returns values that hold a number.
pub(crate) fn number(n: u64) -> Values {
    Values::from_pairs([("n", n.to_string().as_bytes())])
}

/// Returns the number in a record.
pub(crate) fn number_in(record: &Record) -> u64 {
    std::str::from_utf8(record.values.get("n").unwrap()).unwrap().parse().unwrap()
}

/// Returns a record that lives for an hour and holds a number.
pub(crate) fn record(n: u64) -> Arc<Record> {
    let mut record = Record::new(Handle::from_bytes([1; 16]), now(), now().after(HOUR));
    record.values = number(n);
    Arc::new(record)
}

/// Returns the next version of a record, with another number.
pub(crate) fn next(record: &Record, n: u64) -> Arc<Record> {
    let mut next = record.clone();
    (next.version, next.values) = (Version::from_u64(record.version.as_u64() + 1), number(n));
    Arc::new(next)
}

/// Returns a renewal of a record to a new key.
pub(crate) fn renewal(old: StoreKey, new: StoreKey, record: &Record) -> Renewal {
    let forward = Forward { successor: Some([7; 32]), grace_until: now().after(HOUR), expires_at: now().after(HOUR) };
    Renewal { old, expected: record.version, new, record: next(record, 99), forward }
}

/// Returns the forward of a session that has just ended.
pub(crate) fn ended() -> Forward {
    Forward { successor: None, grace_until: Timestamp::default(), expires_at: now().after(HOUR) }
}

/// Returns the live record under a key.
pub(crate) async fn live(store: &impl Store, key: &StoreKey) -> Option<Arc<Record>> {
    match store.load(key, now()).await.unwrap() {
        Some(Entry::Live(record)) => Some(record),
        _ => None,
    }
}

/// Asserts that calls dropped after they were sent and before their reply do not answer the next call. The store has
/// one connection, through the proxy.
pub(crate) async fn assert_dropped_calls_do_not_answer(store: &impl Store, proxy: &Proxy) {
    for n in 0..10 {
        store.create(&key(n), record(n), now()).await.unwrap();
    }
    for n in 0..9 {
        proxy.set(Fault::BlackHole);
        let dropped = async {
            match n % 3 {
                0 => drop(store.load(&key(n), now()).await),
                1 => drop(
                    store
                        .touch(
                            &key(n),
                            Touch { expected: Version::FIRST, last_seen_at: now(), expires_at: now().after(HOUR) },
                            now(),
                        )
                        .await,
                ),
                _ => drop(store.delete(&key(n), None, now()).await),
            }
        };
        assert!(timeout(Duration::from_millis(20), dropped).await.is_err());
        proxy.heal();
        for _ in 0..3 {
            assert_eq!(live(store, &key(9)).await.map(|record| number_in(&record)), Some(9));
        }
    }
}

/// Asserts that a session stays gone after a logout despite concurrent calls: of the `tasks` on the nodes, one deletes,
/// one renews, about half touch, and the others update.
pub(crate) async fn assert_no_revival<S: Store + Clone>(nodes: &[S], rounds: u64, tasks: usize) {
    for round in 0..rounds {
        let (old, new, left) = (key(2 * round), key(2 * round + 1), (round % 2 == 0).then(ended));
        nodes[0].create(&old, record(0), now()).await.unwrap();
        let mut running = JoinSet::new();
        for n in 0..tasks {
            let (node, left) = (nodes[n % nodes.len()].clone(), left.clone());
            running.spawn(async move {
                if n == 0 {
                    if let Outcome::Retired(_) = node.delete(&old, left.clone(), now()).await.unwrap() {
                        node.delete(&new, left, now()).await.unwrap();
                    }
                    return;
                }
                let Some(loaded) = live(&node, &old).await else { return };
                if n == 1 {
                    node.renew(renewal(old, new, &loaded), now()).await.unwrap();
                } else if n < tasks / 2 {
                    node.touch(
                        &old,
                        Touch { expected: loaded.version, last_seen_at: now(), expires_at: now().after(HOUR) },
                        now(),
                    )
                    .await
                    .unwrap();
                } else {
                    let outcome = node.update(&old, loaded.version, next(&loaded, 5), now()).await.unwrap();
                    if let (Outcome::Retired(_), Some(moved)) = (outcome, live(&node, &new).await) {
                        node.update(&new, moved.version, next(&moved, 6), now()).await.unwrap();
                    }
                }
            });
        }
        running.join_all().await;
        for key in [old, new] {
            assert_eq!(live(&nodes[0], &key).await, None, "round {round}");
        }
    }
}
