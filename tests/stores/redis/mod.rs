//! Redis and Valkey: one server, a Cluster, and servers watched by Sentinels.

mod faults;
mod principals;
mod rights;
mod single;

#[cfg(feature = "redis-cluster")]
mod cluster;
#[cfg(feature = "redis-cluster")]
mod crashes;
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
mod failover;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
mod servers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{Connection, FromRedisValue};
use session_state::store::{Forward, Handle, Record, StoreKey, Values, Version};
use session_state::{Clock as _, RedisStore, SystemClock, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The prefix of every key of these tests.
const PREFIX: &str = "session-state-test:";

/// Returns a unique prefix.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}:{}:", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Connects a store with a unique prefix.
async fn open(url: &str) -> RedisStore {
    RedisStore::connect(url).await.unwrap().with_key_prefix(prefix()).unwrap()
}

/// Returns a separate connection without the store's time limits.
fn beside(url: &str) -> Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// Sends a command, split at spaces.
fn ask<T: FromRedisValue>(connection: &mut Connection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut sent = redis::cmd(words.next().unwrap());
    sent.arg(words.collect::<Vec<_>>());
    sent.query(connection).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Returns all keys of these tests, or of one of them, on a server.
fn keys(connection: &mut Connection, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = 0;
    loop {
        let (next, found): (u64, Vec<String>) = ask(connection, &format!("SCAN {cursor} MATCH {prefix}* COUNT 1000"));
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            return keys;
        }
    }
}

/// Returns the keys without a time to live.
fn keys_without_ttl(connection: &mut Connection, prefix: &str) -> Vec<String> {
    let keys = keys(connection, prefix);
    keys.into_iter().filter(|key| ask::<i64>(connection, &format!("PTTL {key}")) == -1).collect()
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn key(n: u64) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    StoreKey::from_bytes(bytes)
}

/// Returns a record that lives for an hour and holds a number.
fn record(n: u64, version: u64) -> Record {
    let now = now();
    let mut record = Record::new(Handle::from_bytes([7; 16]), now, now.after(HOUR));
    record.version = Version::from_u64(version);
    record.values = Values::from_pairs([("n", n.to_string().as_bytes())]);
    record
}

/// Returns the forward of a session that has just ended.
fn ended() -> Forward {
    Forward { successor: None, grace_until: Timestamp::default(), expires_at: now().after(MINUTE) }
}

/// Returns a record with these last-seen time and deadline.
fn record_between(seen: Timestamp, end: Timestamp) -> Record {
    let mut record = record(1, 1);
    (record.last_seen_at, record.expires_at) = (seen, end);
    record
}
