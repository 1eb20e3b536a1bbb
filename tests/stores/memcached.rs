//! Sessions in memcached.

use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use session_state::Timestamp;
use session_state::store::{
    Entry, Forward, MemcachedStore, Outcome, Record, Store, StoreError, StoreErrorKind, StoreKey, Touch, Values,
    Version,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::engines::{MEMCACHED, find};
use crate::harness::process::{Ping, Place, Server, Spec};
use crate::harness::proxy::{Fault, Proxy};
use crate::records::{
    HOUR, assert_dropped_calls_do_not_answer, assert_no_revival, ended, key, live, next, now, number_in, record,
    renewal,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

mod conformance {
    conformance_on_server!(crate::harness::engines::MEMCACHED, super::open, without principals and sweep);
}

async fn open(address: &str) -> MemcachedStore {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("test-{}-{}:", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    MemcachedStore::connect(address).await.unwrap().with_key_prefix(&prefix).unwrap()
}

/// A server with options that differ from the harness.
fn server(options: &'static [&'static str]) -> Option<Server> {
    let program = find(&["memcached"]).ok().or_else(|| MEMCACHED.start().and(None))?;
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        command.args(["-l", "127.0.0.1", "-U", "0", "-p", &place.port.to_string()]).args(options);
        command
    };
    let ping = Ping { question: b"version\r\n", is_answer: |answer| answer.starts_with(b"VERSION ") };
    Some(Server::start(Spec { name: "memcached", prepare: None, run: Box::new(run), ping }))
}

fn url(server: &Server) -> String {
    MEMCACHED.url(server.address())
}

/// Sends a command and returns the first line of the reply.
async fn ask(address: &str, question: &str) -> String {
    let mut stream = BufReader::new(TcpStream::connect(address.strip_prefix("memcached://").unwrap()).await.unwrap());
    stream.write_all(question.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn calls_take_the_round_trips_that_the_guide_promises() {
    let Some(server) = MEMCACHED.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&MEMCACHED.url(proxy.address())).await;
    let mut before = proxy.round_trips();
    let mut took = || {
        let now = proxy.round_trips();
        now - std::mem::replace(&mut before, now)
    };
    assert!(store.create(&key(1), record(1), now()).await.unwrap());
    assert_eq!(took(), 1, "a create");
    let loaded = live(&store, &key(1)).await.unwrap();
    assert_eq!(took(), 1, "a load");
    assert_eq!(store.update(&key(1), Version::FIRST, next(&loaded, 2), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "an update of a loaded record");
    let updated = live(&store, &key(1)).await.unwrap();
    took();
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
    assert_eq!(took(), 1, "a touch of a loaded record");
    assert_eq!(
        store
            .touch(
                &key(1),
                Touch { expected: Version::from_u64(2), last_seen_at: now(), expires_at: now().after(3 * HOUR) },
                now()
            )
            .await
            .unwrap(),
        Outcome::Done
    );
    assert_eq!(took(), 2, "a touch of a record that has changed since");
    let loaded = live(&store, &key(1)).await.unwrap();
    took();
    assert_eq!(store.renew(renewal(key(1), key(2), &updated), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 2, "a renewal");
    drop(loaded);
    let renewed = live(&store, &key(2)).await.unwrap();
    took();
    assert_eq!(store.delete(&key(2), Some(ended()), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "a delete with a forward");
    drop(renewed);
    assert!(store.create(&key(3), record(3), now()).await.unwrap());
    let renewed = live(&store, &key(3)).await.unwrap();
    took();
    assert_eq!(store.delete(&key(3), None, now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "a delete");
    assert_eq!(store.delete(&key(3), Some(ended()), now()).await.unwrap(), Outcome::Gone);
    assert_eq!(took(), 1, "a delete of nothing");
    drop(renewed);
    assert_eq!(proxy.connections(), 1, "one call after the other needs one connection");
}

#[tokio::test]
async fn a_write_of_another_node_is_never_overwritten_from_a_cache() {
    let Some(address) = MEMCACHED.shared() else { return };
    let prefix = format!("nodes-{}:", std::process::id());
    let node = async || MemcachedStore::connect(&address).await.unwrap().with_key_prefix(&prefix).unwrap();
    let (here, there) = (node().await, node().await);
    here.create(&key(1), record(1), now()).await.unwrap();
    let known = live(&here, &key(1)).await.unwrap();
    let theirs = live(&there, &key(1)).await.unwrap();
    assert_eq!(there.update(&key(1), Version::FIRST, next(&theirs, 2), now()).await.unwrap(), Outcome::Done);
    let Outcome::Conflict(Some(current)) = here.update(&key(1), Version::FIRST, next(&known, 3), now()).await.unwrap()
    else {
        panic!("an update of another version is a conflict")
    };
    assert_eq!(number_in(&current), 2);
    assert_eq!(there.delete(&key(1), None, now()).await.unwrap(), Outcome::Done);
    assert_eq!(here.update(&key(1), Version::from_u64(2), next(&current, 4), now()).await.unwrap(), Outcome::Gone);
    assert_eq!(live(&there, &key(1)).await, None);
}

#[tokio::test]
async fn a_late_renewal_does_not_revive_a_session_that_ended_under_its_new_key() {
    let Some(address) = MEMCACHED.shared() else { return };
    let prefix = format!("late-{}:", std::process::id());
    let node = async || MemcachedStore::connect(&address).await.unwrap().with_key_prefix(&prefix).unwrap();
    let (here, there) = (node().await, node().await);
    here.create(&key(1), record(1), now()).await.unwrap();
    // It has checked the old key.
    let known = live(&here, &key(1)).await.unwrap();
    let renewal = renewal(key(1), key(2), &known);
    let left = ended();
    assert_eq!(there.renew(renewal.clone(), now()).await.unwrap(), Outcome::Done);
    assert_eq!(there.delete(&key(2), Some(left.clone()), now()).await.unwrap(), Outcome::Done);
    assert_eq!(here.renew(renewal.clone(), now()).await.unwrap(), Outcome::Retired(renewal.forward));
    assert_eq!(there.load(&key(2), now()).await.unwrap(), Some(Entry::Retired(left)));
}

#[tokio::test]
async fn a_session_that_expired_since_it_was_loaded_is_gone() {
    let Some(address) = MEMCACHED.shared() else { return };
    let store = open(&address).await;
    store.create(&key(1), record(1), now()).await.unwrap();
    let loaded = live(&store, &key(1)).await.unwrap();
    let later = loaded.expires_at;
    assert_eq!(store.update(&key(1), Version::FIRST, next(&loaded, 2), later).await.unwrap(), Outcome::Gone);
    let loaded = live(&store, &key(1)).await.unwrap();
    assert_eq!(store.renew(renewal(key(1), key(2), &loaded), later).await.unwrap(), Outcome::Gone);
    assert_eq!(live(&store, &key(2)).await, None);
    let loaded = live(&store, &key(1)).await.unwrap();
    assert_eq!(store.delete(&key(1), None, later).await.unwrap(), Outcome::Gone);
    drop(loaded);
}

#[tokio::test]
async fn evicted_sessions_are_gone_and_the_rest_is_unchanged() {
    const SESSIONS: u64 = 3_000;
    let Some(server) = server(&["-m", "2"]) else { return };
    let store = open(&url(&server)).await;
    let filler = vec![b'x'; 4_000];
    let mut first = None;
    for n in 0..SESSIONS {
        let mut record = Record::clone(&record(n));
        let number = n.to_string();
        record.values = Values::from_pairs([("n", number.as_bytes()), ("filler", &filler)]);
        let record = Arc::new(record);
        assert!(store.create(&key(n), Arc::clone(&record), now()).await.unwrap());
        first.get_or_insert(record);
    }
    let mut found = 0;
    for n in 0..SESSIONS {
        match store.load(&key(n), now()).await.unwrap() {
            None => {}
            Some(Entry::Live(record)) => {
                assert_eq!((number_in(&record), record.values.get("filler")), (n, Some(&filler[..])));
                found += 1;
            }
            Some(Entry::Retired(_)) => panic!("nothing was renewed"),
        }
    }
    assert!(found > 0 && found < SESSIONS, "the server kept {found} of {SESSIONS} sessions");
    let first = first.unwrap();
    assert_eq!(live(&store, &key(0)).await, None, "the oldest is evicted first");
    assert_eq!(store.update(&key(0), Version::FIRST, next(&first, 1), now()).await.unwrap(), Outcome::Gone);
    assert_eq!(
        store
            .touch(
                &key(0),
                Touch { expected: Version::FIRST, last_seen_at: now(), expires_at: now().after(HOUR) },
                now()
            )
            .await
            .unwrap(),
        Outcome::Gone
    );
    assert_eq!(store.renew(renewal(key(0), key(SESSIONS), &first), now()).await.unwrap(), Outcome::Gone);
    for n in [0, SESSIONS] {
        assert_eq!(store.load(&key(n), now()).await.unwrap(), None, "nothing but a create begins a session");
    }
}

#[tokio::test]
async fn a_server_without_eviction_reports_that_it_is_full_and_accepts_logouts() {
    // Forwards take as much memory as sessions.
    let Some(server) = server(&["-m", "2", "-M", "-n", "5000"]) else { return };
    let store = open(&url(&server)).await;
    let filler = vec![b'x'; 4_000];
    let mut refused = None;
    for n in 0..3_000 {
        let mut record = Record::clone(&record(n));
        record.values = Values::from_pairs([("filler", &filler[..])]);
        if let Err(error) = store.create(&key(n), Arc::new(record), now()).await {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused.as_ref().map(StoreError::kind), Some(StoreErrorKind::Full));
    assert!(live(&store, &key(0)).await.is_some(), "existing sessions stay");
    assert_eq!(store.delete(&key(0), Some(ended()), now()).await.unwrap(), Outcome::Done);
    assert_eq!(store.load(&key(0), now()).await.unwrap(), None, "there is no room for the forward");
    assert_eq!(store.delete(&key(1), None, now()).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn the_server_keeps_an_entry_until_it_expires() {
    let Some(address) = MEMCACHED.shared() else { return };
    let store = MemcachedStore::connect(&address).await.unwrap();
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap();
    let cases = [
        (1_u64, Duration::from_millis(1), Some(1..3)),
        (2, HOUR, Some(3_599..3_603)),
        (3, 30 * DAY - Duration::from_secs(1), Some(seconds(30 * DAY) - 2..seconds(30 * DAY) + 2)),
        // As a date, which a server under load compares with a clock that is a few seconds behind.
        (4, 31 * DAY, Some(seconds(31 * DAY) - 2..seconds(31 * DAY) + 9)),
        (5, 400 * DAY, Some(seconds(400 * DAY) - 2..seconds(400 * DAY) + 9)),
        (6, 30_000 * DAY, None),
    ];
    for (n, lifetime, expected) in cases {
        // The clock of the caller may show any time: only the remaining time matters.
        let now = Timestamp::from_millis(1_000_000);
        let mut record = Record::clone(&record(n));
        record.expires_at = now.after(lifetime);
        let key = key(0xabcd_0000 + n);
        let text = key_text(&key);
        let _ = ask(&address, &format!("md session:{text}\r\n")).await;
        let forward = Forward { expires_at: record.expires_at, ..ended() };
        assert!(store.create(&key, Arc::new(record), now).await.unwrap());
        assert_time_left(&address, &text, lifetime, expected.clone()).await;
        let mut longer = Record::clone(&self::record(n));
        longer.expires_at = now.after(2 * lifetime);
        assert_eq!(store.update(&key, Version::FIRST, Arc::new(longer), now).await.unwrap(), Outcome::Done);
        assert_eq!(store.delete(&key, Some(forward), now).await.unwrap(), Outcome::Done);
        assert_time_left(&address, &text, lifetime, expected).await;
    }
}

async fn assert_time_left(address: &str, key: &str, lifetime: Duration, expected: Option<Range<i64>>) {
    let left = ask(address, &format!("mg session:{key} t\r\n")).await;
    let left: i64 =
        left.trim_end().strip_prefix("HD t").unwrap_or_else(|| panic!("{lifetime:?}: {left}")).parse().unwrap();
    match expected {
        Some(range) => assert!(range.contains(&left), "{lifetime:?}: {left} seconds are left"),
        None => assert_eq!(left, -1, "{lifetime:?}"),
    }
}

/// Returns the key as base64url, independently of the crate.
fn key_text(key: &StoreKey) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = key.as_bytes().iter().map(|byte| format!("{byte:08b}")).collect();
    let sixes = bits.as_bytes().chunks(6).map(|six| format!("{:0<6}", std::str::from_utf8(six).unwrap()));
    sixes.map(|six| char::from(ALPHABET[usize::from_str_radix(&six, 2).unwrap()])).collect()
}

#[tokio::test]
async fn a_call_that_was_dropped_does_not_answer_the_next() {
    let Some(server) = MEMCACHED.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&MEMCACHED.url(proxy.address())).await.with_max_connections(1);
    assert_dropped_calls_do_not_answer(&store, &proxy).await;
    assert_eq!(proxy.connections(), 11, "one initially, and one after each dropped call");
}

#[tokio::test]
async fn connections_that_ended_are_replaced_at_the_next_call() {
    let Some(server) = MEMCACHED.start() else { return };
    let store = open(&url(&server)).await;
    let mut calls = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        calls.spawn(async move { store.create(&key(n), record(n), now()).await.unwrap() });
    }
    assert!(calls.join_all().await.into_iter().all(|created| created));
    server.restart();
    assert_eq!(store.load(&key(1), now()).await.unwrap(), None, "a restarted server has no data");
    assert!(store.create(&key(1), record(5), now()).await.unwrap());
    assert_eq!(live(&store, &key(1)).await.map(|record| number_in(&record)), Some(5));

    server.kill();
    let error = store.load(&key(1), now()).await.unwrap_err();
    assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "memcached"));
    server.restart();
    assert_eq!(store.load(&key(1), now()).await.unwrap(), None);
}

#[tokio::test]
async fn a_cut_or_reset_connection_is_an_error_and_never_an_answer() {
    let Some(server) = MEMCACHED.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&MEMCACHED.url(proxy.address())).await;
    store.create(&key(1), record(1), now()).await.unwrap();
    let whole = proxy.bytes().1;
    live(&store, &key(1)).await.unwrap();
    let reply = proxy.bytes().1 - whole;
    for kept in 0..reply {
        proxy.cut_reply(0, kept);
        let error = store.load(&key(1), now()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Failed, "cut after {kept} of {reply} bytes");
        proxy.heal();
        assert!(live(&store, &key(1)).await.is_some());
    }
    proxy.set(Fault::Reset);
    assert!(store.load(&key(1), now()).await.is_err());
    proxy.set(Fault::Refuse);
    assert!(store.load(&key(1), now()).await.is_err());
    proxy.heal();
}

#[tokio::test]
async fn a_call_with_a_lost_reply_can_be_retried() {
    let Some(server) = MEMCACHED.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&MEMCACHED.url(proxy.address())).await;
    let first = record(1);

    proxy.cut_reply(0, 0);
    assert!(store.create(&key(1), Arc::clone(&first), now()).await.is_err());
    assert!(!store.create(&key(1), Arc::clone(&first), now()).await.unwrap());

    proxy.cut_reply(1, 0);
    assert!(live(&store, &key(1)).await.is_some());
    let second = next(&first, 2);
    assert!(
        store
            .touch(
                &key(1),
                Touch { expected: Version::FIRST, last_seen_at: now(), expires_at: now().after(HOUR) },
                now()
            )
            .await
            .is_err()
            || proxy.has_cut()
    );
    proxy.heal();
    let loaded = live(&store, &key(1)).await.unwrap();
    proxy.cut_reply(0, 0);
    assert!(store.update(&key(1), Version::FIRST, Arc::clone(&second), now()).await.is_err());
    let again = store.update(&key(1), Version::FIRST, Arc::clone(&second), now()).await.unwrap();
    assert_eq!(again, Outcome::Conflict(Some(Arc::clone(&second))));
    drop(loaded);

    // The reply to the successor, and then the one to the forward.
    for (lost, n) in [(0, 10), (1, 20)] {
        store.create(&key(n), Arc::clone(&second), now()).await.unwrap();
        let loaded = live(&store, &key(n)).await.unwrap();
        let renewal = renewal(key(n), key(n + 1), &loaded);
        proxy.cut_reply(lost, 0);
        assert!(store.renew(renewal.clone(), now()).await.is_err());
        let again = store.renew(renewal.clone(), now()).await.unwrap();
        let expected = if lost == 0 { Outcome::Done } else { Outcome::Retired(renewal.forward.clone()) };
        assert_eq!(again, expected);
        assert_eq!(live(&store, &key(n + 1)).await, Some(Arc::clone(&renewal.record)));
        // The session ends under its new key, and a late retry does not revive it.
        assert_eq!(store.delete(&key(n + 1), None, now()).await.unwrap(), Outcome::Done);
        assert_eq!(store.renew(renewal.clone(), now()).await.unwrap(), Outcome::Retired(renewal.forward.clone()));
        assert_eq!(live(&store, &key(n + 1)).await, None);
    }

    store.create(&key(3), record(3), now()).await.unwrap();
    let loaded = live(&store, &key(3)).await.unwrap();
    proxy.cut_reply(0, 0);
    assert!(store.delete(&key(3), None, now()).await.is_err());
    assert_eq!(store.delete(&key(3), None, now()).await.unwrap(), Outcome::Gone);
    drop(loaded);

    store.create(&key(4), record(4), now()).await.unwrap();
    let loaded = live(&store, &key(4)).await.unwrap();
    let (left, later) = (ended(), ended());
    proxy.cut_reply(0, 0);
    assert!(store.delete(&key(4), Some(left.clone()), now()).await.is_err());
    assert_eq!(store.delete(&key(4), Some(later), now()).await.unwrap(), Outcome::Retired(left));
    drop(loaded);
}

#[tokio::test]
async fn an_oversized_record_is_rejected_and_the_stored_one_stays() {
    let Some(server) = server(&["-I", "1m"]) else { return };
    let store = open(&url(&server)).await;
    let with = |size: usize| {
        let large = vec![b'x'; size];
        let mut record = Record::clone(&record(1));
        record.values = Values::from_pairs([("n", b"1".as_slice()), ("large", &large)]);
        Arc::new(record)
    };
    store.create(&key(1), with(1_000), now()).await.unwrap();
    let loaded = live(&store, &key(1)).await.unwrap();
    let mut larger = Record::clone(&with(2_000_000));
    larger.version = Version::from_u64(2);
    let error = store.update(&key(1), Version::FIRST, Arc::new(larger), now()).await.unwrap_err();
    let StoreErrorKind::TooLarge { size, limit } = error.kind() else { panic!("{error:?}") };
    assert!(size > 2_000_000 && limit < 1 << 20, "{size} bytes, limit {limit}");
    assert_eq!(live(&store, &key(1)).await, Some(loaded));
    // A record of the largest accepted size is stored.
    let overhead = size - 2_000_000;
    assert!(store.create(&key(2), with(limit - overhead), now()).await.unwrap());
    assert!(store.create(&key(3), with(limit - overhead + 1), now()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_nodes_lose_no_increment_while_touches_go_on() {
    const NODES: u64 = 4;
    const TASKS: u64 = 8;
    const EACH: u64 = 25;
    let Some(server) = MEMCACHED.start() else { return };
    let nodes: Vec<_> = (0..NODES).map(|_| MemcachedStore::new(&url(&server)).unwrap()).collect();
    nodes[0].create(&key(1), record(0), now()).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..NODES * TASKS {
        let node = nodes[(n % NODES) as usize].clone();
        tasks.spawn(async move {
            for round in 0..EACH {
                let mut current = live(&node, &key(1)).await.unwrap();
                if n % 4 == 3 {
                    let at = now().after(Duration::from_millis(round));
                    node.touch(
                        &key(1),
                        Touch { expected: current.version, last_seen_at: at, expires_at: at.after(HOUR) },
                        now(),
                    )
                    .await
                    .unwrap();
                    continue;
                }
                while let Outcome::Conflict(newer) =
                    node.update(&key(1), current.version, next(&current, number_in(&current) + 1), now()).await.unwrap()
                {
                    current = newer.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    let last = live(&nodes[0], &key(1)).await.unwrap();
    let updates = NODES * TASKS * 3 / 4 * EACH;
    assert_eq!((number_in(&last), last.version.as_u64()), (updates, updates + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_of_many_nodes_do_not_revive_a_logged_out_session() {
    let Some(server) = MEMCACHED.start() else { return };
    let nodes: Vec<_> = (0..4).map(|_| MemcachedStore::new(&url(&server)).unwrap()).collect();
    assert_no_revival(&nodes, 200, 16).await;
}
