//! Tests of [`MemoryStore`] beyond the store contract.

use std::sync::Arc;
use std::time::Duration;

use session_state::store::{
    Entry, Forward, Handle, Outcome, Record, Renewal, Store, StoreErrorKind, StoreKey, Touch, Values, Version,
};
use session_state::{MemoryStore, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_735_689_600_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn key(n: u32) -> StoreKey {
    // The first and the last bytes differ, so that the keys are spread as hashes are.
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes[28..].copy_from_slice(&n.to_be_bytes());
    StoreKey::from_bytes(bytes)
}

fn record_until(end: Timestamp) -> Arc<Record> {
    Arc::new(Record::new(Handle::from_bytes([0; 16]), NOW, end))
}

fn record() -> Arc<Record> {
    record_until(NOW.after(HOUR))
}

fn renewal(old: u32, new: u32) -> Renewal {
    let forward = Forward { successor: None, grace_until: NOW, expires_at: NOW.after(HOUR) };
    Renewal { old: key(old), expected: Version::FIRST, new: key(new), record: record(), forward }
}

async fn holding(sessions: u32, max_sessions: usize) -> MemoryStore {
    let store = MemoryStore::new().with_max_sessions(max_sessions);
    for n in 0..sessions {
        assert!(store.create(&key(n), record(), NOW).await.expect("there is room"));
    }
    store
}

#[tokio::test]
async fn a_full_store_rejects_new_sessions_and_keeps_its_own() {
    let store = holding(3, 3).await;
    let error = store.create(&key(9), record(), NOW).await.expect_err("the store is full");
    assert_eq!((error.kind(), error.store()), (StoreErrorKind::Full, "memory"));
    assert_eq!(error.to_string(), "the memory store is full");
    assert_eq!(store.len(), 3);
    assert_eq!(store.load(&key(9), NOW).await.expect("an answer"), None);
    for n in 0..3 {
        assert!(store.load(&key(n), NOW).await.expect("an answer").is_some());
    }
}

#[tokio::test]
async fn a_full_store_makes_room_when_sessions_expire_or_end() {
    let store = holding(2, 3).await;
    assert!(store.create(&key(2), record_until(NOW.after(HOUR / 2)), NOW).await.expect("there is room"));
    assert!(store.create(&key(3), record(), NOW).await.is_err());
    assert!(store.create(&key(3), record(), NOW.after(HOUR / 2)).await.expect("one has expired"));
    assert_eq!(store.len(), 3);
    assert!(store.create(&key(4), record(), NOW).await.is_err());
    store.delete(&key(0), None, NOW).await.expect("an answer");
    assert!(store.create(&key(4), record(), NOW).await.expect("one was deleted"));
}

#[tokio::test]
async fn a_full_store_makes_room_after_the_clock_was_set_back() {
    let store = holding(3, 3).await;
    let late = NOW.after(HOUR / 4);
    assert!(store.create(&key(3), record(), late).await.is_err(), "none has expired");
    store.delete(&key(0), None, late).await.expect("an answer");
    assert!(store.create(&key(3), record_until(NOW.after(Duration::from_secs(1))), NOW).await.expect("room"));
    let expired = NOW.after(Duration::from_secs(2));
    assert!(store.create(&key(4), record(), expired).await.expect("one has expired"));
}

#[tokio::test]
async fn a_full_store_still_serves_its_sessions() {
    let store = holding(1, 1).await;
    store
        .touch(&key(0), Touch { expected: Version::FIRST, last_seen_at: NOW, expires_at: NOW.after(2 * HOUR) }, NOW)
        .await
        .expect("a touch needs no room");
    let outcome = store.update(&key(0), Version::FIRST, record(), NOW).await;
    assert_eq!(outcome.expect("an update needs no room"), Outcome::Done);
    let outcome = store.renew(renewal(0, 1), NOW).await;
    assert_eq!(outcome.expect("a login needs no room"), Outcome::Done);
    assert!(matches!(store.load(&key(1), NOW).await, Ok(Some(Entry::Live(_)))));
}

#[tokio::test]
async fn the_length_counts_each_session_once_and_no_forward() {
    let store = MemoryStore::new();
    assert!(store.is_empty());
    assert!(store.create(&key(0), record(), NOW).await.expect("an answer"));
    assert!(!store.create(&key(0), record(), NOW).await.expect("an answer"));
    assert_eq!(store.len(), 1, "after a rejected create");
    store.update(&key(0), Version::FIRST, record(), NOW).await.expect("an answer");
    store.update(&key(5), Version::FIRST, record(), NOW).await.expect("an answer");
    assert_eq!(store.len(), 1, "after updates");
    store.renew(renewal(0, 1), NOW).await.expect("an answer");
    store.renew(renewal(0, 2), NOW).await.expect("an answer");
    assert_eq!(store.len(), 1, "after renewals");
    store.delete(&key(0), None, NOW).await.expect("an answer");
    assert_eq!(store.len(), 1, "after the delete of a forward, which stays");
    store.delete(&key(1), None, NOW).await.expect("an answer");
    store.delete(&key(1), None, NOW).await.expect("an answer");
    assert_eq!(store.len(), 0, "after the delete of the session");
    assert!(store.create(&key(0), record_until(NOW.after(3 * HOUR)), NOW.after(HOUR)).await.expect("an answer"));
    assert_eq!(store.len(), 1, "after a create that replaces an expired forward");
    assert_eq!(store.sweep(NOW.after(3 * HOUR), 10).await.expect("an answer"), 1);
    assert!(store.is_empty());
}

/// Renews a session again and again, and returns the keys that it had.
async fn renewed(store: &MemoryStore, times: u32) -> std::ops::Range<u32> {
    for n in 0..times {
        assert_eq!(store.renew(renewal(1_000 + n, 1_001 + n), NOW).await.expect("an answer"), Outcome::Done);
    }
    1_000..1_000 + times
}

async fn forwards(store: &MemoryStore, keys: std::ops::Range<u32>) -> usize {
    let mut forwards = 0;
    for n in keys {
        forwards += usize::from(matches!(store.load(&key(n), NOW).await, Ok(Some(Entry::Retired(_)))));
    }
    forwards
}

#[tokio::test]
async fn forwards_take_no_room_of_sessions_and_have_a_bound_of_their_own() {
    let store = MemoryStore::new().with_max_sessions(1_000);
    assert!(store.create(&key(1_000), record(), NOW).await.expect("there is room"));
    let keys = renewed(&store, 5_000).await;
    let forwards = forwards(&store, keys).await;
    // A shard may have none to remove.
    assert!((900..1_500).contains(&forwards), "{forwards}");
    for n in 1..1_000 {
        assert!(store.create(&key(100_000 + n), record(), NOW).await.expect("there is room"));
    }
    assert!(store.create(&key(200_000), record(), NOW).await.is_err());
    assert_eq!(store.len(), 1_000);
}

#[tokio::test]
async fn forwards_that_have_expired_go_before_others() {
    let store = MemoryStore::new().with_max_sessions(100);
    assert!(store.create(&key(0), record_until(NOW.after(3 * HOUR)), NOW).await.expect("there is room"));
    let step = |n: u32, now: Timestamp| {
        let mut renewal = renewal(n, n + 1);
        renewal.record = record_until(NOW.after(3 * HOUR));
        renewal.forward.expires_at = now.after(HOUR);
        (renewal, now)
    };
    for n in 0..100 {
        let (renewal, now) = step(n, NOW);
        assert_eq!(store.renew(renewal, now).await.expect("an answer"), Outcome::Done);
    }
    for n in 100..200 {
        let (renewal, now) = step(n, NOW.after(HOUR));
        assert_eq!(store.renew(renewal, now).await.expect("an answer"), Outcome::Done);
    }
    assert_eq!(forwards(&store, 0..200).await, 100);
    assert_eq!(forwards(&store, 100..200).await, 100);
}

#[tokio::test]
async fn without_a_limit_every_forward_stays() {
    let store = MemoryStore::new();
    assert!(store.create(&key(1_000), record(), NOW).await.expect("there is room"));
    let keys = renewed(&store, 2_000).await;
    assert_eq!(forwards(&store, keys).await, 2_000);
}

#[tokio::test]
async fn repeated_sweeps_reach_every_entry() {
    let store = holding(5_000, usize::MAX).await;
    assert_eq!(store.sweep(NOW, usize::MAX).await.expect("an answer"), 0);
    let mut removed = 0;
    while let swept @ 1.. = store.sweep(NOW.after(HOUR), 100).await.expect("an answer") {
        assert!(swept < 200, "{swept} of about 100");
        removed += swept;
    }
    assert_eq!((removed, store.len()), (5_000, 0));
}

#[tokio::test]
async fn clones_share_their_sessions() {
    let store = holding(1, 2).await;
    let clone = store.clone();
    assert!(clone.create(&key(1), record(), NOW).await.expect("there is room"));
    assert!(store.load(&key(1), NOW).await.expect("an answer").is_some());
    assert!(store.create(&key(2), record(), NOW).await.is_err(), "the clone's session counts too");
    assert_eq!((store.len(), clone.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creates_on_several_threads_never_pass_the_limit() {
    let store = MemoryStore::new().with_max_sessions(100);
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut created = 0;
                for n in 0..100 {
                    created += usize::from(store.create(&key(task * 100 + n), record(), NOW).await.is_ok());
                }
                created
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.expect("the task ends");
    }
    assert_eq!((created, store.len()), (100, 100));
}

#[tokio::test]
async fn debug_output_shows_only_the_number_of_sessions() {
    let store = MemoryStore::new();
    let secret = Values::from_pairs([("secret", &b"1234"[..])]);
    let mut record = record();
    let fields = Arc::make_mut(&mut record);
    (fields.principal, fields.values) = (Some("alice".into()), secret);
    store.create(&key(0), record, NOW).await.expect("there is room");
    assert_eq!(format!("{store:?}"), "MemoryStore { len: 1, .. }");
}
