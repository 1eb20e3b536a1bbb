//! Servers that restart, reject calls, are full, or cannot be reached.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use session_state::RedisStore;
use session_state::store::{Entry, Outcome, Store as _, StoreError, StoreErrorKind, Touch, Values, Version};

use tokio::time::Instant;

use super::{ask, beside, ended, key, keys, now, open, record};
use crate::harness::engines::{REDIS, REDIS_PING, find};
use crate::harness::process::{Server, Spec};
use crate::harness::proxy::{Fault, Proxy};

/// Longer than any call may take without the layer's time limit.
const PATIENCE: Duration = Duration::from_secs(5);

fn text(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = StdError::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause} {cause:?}");
        source = cause.source();
    }
    text
}

#[track_caller]
fn assert_failed<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "redis"), "{}", text(&error));
    text(&error)
}

/// Retries a call until it succeeds, like requests do.
async fn until_ok<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < 6 * PATIENCE, "{}", text(&error)),
        }
    }
}

async fn begin() -> Option<(Server, RedisStore)> {
    let server = REDIS.start()?;
    let store = open(&REDIS.url(server.address())).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    Some((server, store))
}

#[tokio::test]
async fn scripts_are_sent_again_to_a_server_that_lost_them() {
    let Some((server, store)) = begin().await else { return };
    ask::<()>(&mut beside(&REDIS.url(server.address())), "SCRIPT FLUSH");
    assert_eq!(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await.unwrap(), Outcome::Done);
    assert_eq!(store.delete(&key(1), None, now()).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn sessions_and_the_store_survive_a_restart_of_the_server() {
    let Some((server, store)) = begin().await else { return };
    server.kill();
    let begun = Instant::now();
    assert_failed(store.load(&key(1), now()).await);
    assert_failed(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await);
    assert!(begun.elapsed() < PATIENCE, "calls wait for a server that is down");
    server.restart();
    let begun = Instant::now();
    let found = until_ok(async || store.load(&key(1), now()).await).await;
    assert!(begun.elapsed() < PATIENCE, "the store does not reconnect to the restarted server");
    assert!(matches!(found, Some(Entry::Live(found)) if found.version == Version::FIRST));
    assert_eq!(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_server_that_is_halted_delays_calls_and_loses_none() {
    let Some((server, store)) = begin().await else { return };
    server.stop();
    let begun = Instant::now();
    assert_failed(store.load(&key(1), now()).await);
    assert!(begun.elapsed() < PATIENCE);
    server.cont();
    assert!(until_ok(async || store.load(&key(1), now()).await).await.is_some());
}

#[tokio::test]
async fn a_black_hole_or_broken_network_fails_calls_soon_and_is_survived() {
    let Some(server) = REDIS.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&REDIS.url(proxy.address())).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    for fault in [Fault::BlackHole, Fault::Reset, Fault::Refuse, Fault::CutReplies(0), Fault::CutReplies(3)] {
        proxy.set(fault);
        for _ in 0..2 {
            let begun = Instant::now();
            assert_failed(store.load(&key(1), now()).await);
            assert_failed(store.delete(&key(2), None, now()).await);
            assert!(begun.elapsed() < 2 * PATIENCE, "{fault:?}");
        }
        proxy.heal();
        let begun = Instant::now();
        assert!(until_ok(async || store.load(&key(1), now()).await).await.is_some());
        assert!(begun.elapsed() < PATIENCE, "the store does not recover from {fault:?}");
    }
}

#[tokio::test]
async fn a_call_with_a_lost_reply_takes_effect_once_and_can_be_retried() {
    let Some(server) = REDIS.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&REDIS.url(proxy.address())).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    let next = Arc::new(record(2, 77));
    // The server knows the script from here on.
    assert_eq!(store.update(&key(1), Version::FIRST, Arc::new(record(1, 2)), now()).await.unwrap(), Outcome::Done);
    proxy.cut_reply(0, 0);
    assert_failed(store.update(&key(1), Version::from_u64(2), Arc::clone(&next), now()).await);
    assert!(proxy.has_cut());
    let again = until_ok(async || store.update(&key(1), Version::from_u64(2), Arc::clone(&next), now()).await).await;
    assert_eq!(again, Outcome::Conflict(Some(next)));
}

#[tokio::test]
async fn a_write_to_a_replica_is_an_error() {
    let Some((server, store)) = begin().await else { return };
    let mut connection = beside(&REDIS.url(server.address()));
    // A replica of a master that does not exist.
    ask::<()>(&mut connection, "REPLICAOF 127.0.0.1 1");
    for answer in [
        store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await,
        store
            .touch(
                &key(1),
                Touch { expected: Version::FIRST, last_seen_at: now(), expires_at: now().after(super::HOUR * 2) },
                now(),
            )
            .await,
        store.delete(&key(1), None, now()).await,
    ] {
        let text = assert_failed(answer);
        assert!(text.contains("ReadOnly"), "{text}");
    }
    assert_failed(store.create(&key(2), Arc::new(record(1, 1)), now()).await);
    ask::<()>(&mut connection, "REPLICAOF NO ONE");
    assert_eq!(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_full_server_rejects_new_sessions_and_accepts_logouts() {
    let Some((server, store)) = begin().await else { return };
    assert!(store.create(&key(3), Arc::new(record(1, 1)), now()).await.unwrap());
    let mut connection = beside(&REDIS.url(server.address()));
    ask::<()>(&mut connection, "CONFIG SET maxmemory-policy noeviction");
    ask::<()>(&mut connection, "CONFIG SET maxmemory 1");
    assert!(assert_failed(store.create(&key(2), Arc::new(record(1, 1)), now()).await).contains("OOM"));
    assert_failed(store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await);
    assert!(store.load(&key(1), now()).await.unwrap().is_some());
    assert_eq!(store.delete(&key(1), None, now()).await.unwrap(), Outcome::Done);
    assert_eq!(store.load(&key(1), now()).await.unwrap(), None);
    let left = ended();
    assert_eq!(store.delete(&key(3), Some(left.clone()), now()).await.unwrap(), Outcome::Done);
    assert_eq!(store.load(&key(3), now()).await.unwrap(), Some(Entry::Retired(left)));
    assert_eq!(keys(&mut connection, "").len(), 1);
}

#[tokio::test]
async fn errors_do_not_quote_commands() {
    let Ok(program) = find(&["redis-server", "valkey-server"]) else { return };
    let run = move |place: &crate::harness::process::Place| {
        let mut command = std::process::Command::new(&program);
        command.args(["--port", &place.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--rename-command", "EVALSHA", ""]).args(["--rename-command", "GET", ""]);
        command.arg("--dir").arg(&place.directory);
        command
    };
    let server = Server::start(Spec { name: "redis", prepare: None, run: Box::new(run), ping: REDIS_PING });
    let store = RedisStore::connect(REDIS.url(server.address())).await.unwrap();
    let mut secret = record(1, 1);
    secret.values = Values::from_pairs([("hidden", b"\"verysecret\"".as_slice())]);
    for text in [
        assert_failed(store.create(&key(1), Arc::new(secret), now()).await),
        assert_failed(store.load(&key(1), now()).await),
    ] {
        assert!(!text.contains("verysecret") && !text.contains("AAAA"), "{text}");
        assert!(text.contains("does not know a command"), "{text}");
    }
    let error = RedisStore::connect("redis://:hunter2@127.0.0.1:1/").await.unwrap_err();
    assert!(!text(&error).contains("hunter2"), "{}", text(&error));
    let error = RedisStore::connect("hunter2@127.0.0.1").await.unwrap_err();
    assert!(!text(&error).contains("hunter2"), "{}", text(&error));
    assert!(!format!("{store:?}").contains("127.0.0.1"));
}

#[tokio::test]
async fn a_malformed_entry_is_undecodable_for_every_call() {
    let Some(url) = REDIS.shared() else { return };
    let prefix = super::prefix();
    let store = open(&url).await.with_key_prefix(prefix.clone()).unwrap();
    let mut connection = beside(&url);
    for garbage in
        ["x", "L", "LLLLLLLLLLLLLLLLLLLLLLLLLLLL", "Fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "Zxxxxxxxxxxxxxxxxxxxxxxxx"]
    {
        assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
        let name = keys(&mut connection, &prefix).remove(0);
        ask::<()>(&mut connection, &format!("SET {name} {garbage} EX 60"));
        let kinds = [
            store.load(&key(1), now()).await.map(drop),
            store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await.map(drop),
            store
                .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: now(), expires_at: now() }, now())
                .await
                .map(drop),
        ];
        for answer in kinds {
            assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Undecodable, "{garbage}");
        }
        assert!(!store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap(), "{garbage} is overwritten");
        ask::<()>(&mut connection, &format!("DEL {name}"));
    }
}

#[tokio::test]
async fn a_rejected_handshake_is_retried() {
    let Some(server) = REDIS.start() else { return };
    let mut connection = beside(&REDIS.url(server.address()));
    let mut require = |password: &str| {
        ask::<()>(&mut connection, &format!("CONFIG SET requirepass {password}"));
        ask::<i64>(&mut connection, "CLIENT KILL TYPE normal SKIPME yes");
    };
    require("one");
    let store = open(&format!("redis://:one@{}/", server.address())).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    require("two");
    for _ in 0..3 {
        let text = assert_failed(store.load(&key(1), now()).await);
        assert!(!text.contains("one"), "{text}");
    }
    require("one");
    assert!(until_ok(async || store.load(&key(1), now()).await).await.is_some());
}

#[tokio::test]
async fn a_connection_is_discarded_after_calls_dropped_without_a_reply() {
    let Some(server) = REDIS.start() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&REDIS.url(proxy.address())).await;
    assert_eq!(store.load(&key(1), now()).await.unwrap(), None);
    let dropped = async |count: usize| {
        for _ in 0..count {
            let key = key(1);
            let loading = store.load(&key, now());
            assert!(tokio::time::timeout(Duration::from_millis(20), loading).await.is_err());
        }
    };
    for _ in 0..3 {
        proxy.set(Fault::BlackHole);
        dropped(4).await;
        proxy.heal();
        assert_eq!(store.load(&key(1), now()).await.unwrap(), None);
    }
    assert_eq!(proxy.connections(), 1);
    proxy.set(Fault::BlackHole);
    dropped(6).await;
    assert_eq!(proxy.connections(), 2);
    proxy.heal();
    assert_eq!(until_ok(async || store.load(&key(1), now()).await).await, None);
}
