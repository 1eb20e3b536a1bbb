//! The helpers of the cases: times, keys, records, and assertions that report the differences.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::random;
use crate::store::{
    Entry, Forward, Generation, Handle, Outcome, Record, Renewal, Store, StoreError, StoreKey, Values, Version,
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// How long the entries of a case live, unless it says otherwise.
pub(super) const LIFE: Duration = Duration::from_secs(3 * 60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the real time, which must agree with the engine's own clock.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

pub(super) fn before(time: Timestamp, duration: Duration) -> Timestamp {
    Timestamp::from_millis(time.as_millis() - duration.as_millis() as u64)
}

pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    random::bytes().expect("random bytes")
}

/// Returns a key that no other case uses, so that cases can share a database.
pub(super) fn random_key() -> StoreKey {
    StoreKey::from_bytes(random_bytes())
}

/// Returns a minimal record: lives an hour, holds the number 1.
pub(super) fn plain_record(now: Timestamp) -> Record {
    let mut record = Record::new(Handle::from_bytes(random_bytes()), now, now.after(LIFE));
    record.values = number(1);
    record
}

/// Returns a record in which every field is set and no two times are the same.
pub(super) fn full_record(now: Timestamp) -> Record {
    let mut record = Record::new(Handle::from_bytes(random_bytes()), now, now.after(LIFE + 17 * MILLISECOND));
    record.renewed_at = now.after(MILLISECOND);
    record.last_seen_at = now.after(2 * MILLISECOND);
    record.idle_timeout = Some(30 * MINUTE + 123 * MILLISECOND);
    record.absolute_timeout = Some(400 * DAY + 7 * MILLISECOND);
    record.principal = Some("user:4711".into());
    record.authenticated_at = Some(now.after(3 * MILLISECOND));
    record.label = Some("Zoë's 📱, in\tthe kitchen".into());
    record.version = version((1 << 40) + 1);
    // More bits than a floating-point number holds.
    record.generation = Generation::from_u64(i64::MAX as u64 - 2);
    record.values = Values::from_pairs([
        ("n", b"1".as_slice()),
        ("@cart", br#"{"lines":[{"item":"a","count":2}]}"#),
        ("", b"null"),
        ("exact", b"1.50e+00"),
        ("escaped", br#""\u0000\ud83d\ude00\/'\\;--""#),
        ("spaced", b"[ 1,\r\n\t2 ]"),
    ]);
    record
}

pub(super) fn version(number: u64) -> Version {
    Version::from_u64(number)
}

/// Returns the version after this many writes.
pub(super) fn later(before: Version, writes: u64) -> Version {
    Version::from_u64(before.as_u64() + writes)
}

/// Returns values that hold a number.
pub(super) fn number(number: u64) -> Values {
    Values::from_pairs([("n", number.to_string().as_bytes())])
}

pub(super) fn number_in(record: &Record) -> u64 {
    let text = record.values.get("n").and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok()).expect("the record holds a number under `n`")
}

/// Returns the record that follows this one, with other values.
pub(super) fn next_version(record: &Record, values: Values) -> Arc<Record> {
    Arc::new(Record { version: later(record.version, 1), values, ..record.clone() })
}

/// A stored record, and the time it was stored.
pub(super) struct Stored {
    pub(super) key: StoreKey,
    pub(super) record: Arc<Record>,
    pub(super) now: Timestamp,
}

/// Stores a plain record under a new key.
pub(super) async fn store_plain_record(store: &impl Store) -> Stored {
    let now = now();
    store_record(store, plain_record(now), now).await
}

pub(super) async fn store_record(store: &impl Store, record: Record, now: Timestamp) -> Stored {
    let (key, record) = (random_key(), Arc::new(record));
    assert!(ok(store.create(&key, Arc::clone(&record), now).await), "create rejected a key that was never used");
    Stored { key, record, now }
}

impl Stored {
    /// Returns the version that follows the one in the store, with other values.
    pub(super) fn next(&self, n: u64) -> Arc<Record> {
        next_version(&self.record, number(n))
    }

    /// Returns a renewal to a new key, as at a login.
    pub(super) fn renewal(&self) -> Renewal {
        let generation = Generation::from_u64(self.record.generation.as_u64() ^ (1 << 32 | 1));
        let record = Record { renewed_at: self.now.after(MINUTE), generation, ..Record::clone(&self.next(2)) };
        Renewal {
            old: self.key,
            expected: self.record.version,
            new: random_key(),
            record: Arc::new(record),
            forward: forward(self.now),
        }
    }

    /// Renews the session, and returns the renewal.
    pub(super) async fn renew(&self, store: &impl Store) -> Renewal {
        let renewal = self.renewal();
        assert_eq!(ok(store.renew(renewal.clone(), self.now).await), Outcome::Done, "a renewal of a live record");
        renewal
    }
}

/// Returns a forward with a successor, kept for an hour.
pub(super) fn forward(now: Timestamp) -> Forward {
    let grace_until = now.after(MINUTE + 3 * MILLISECOND);
    Forward { successor: Some(random_bytes()), grace_until, expires_at: now.after(LIFE + 5 * MILLISECOND) }
}

/// Returns the forward of a session that has ended, kept for an hour.
pub(super) fn forward_of_ended(now: Timestamp) -> Forward {
    Forward { successor: None, ..forward(now) }
}

/// Returns the answer of a call that must not fail.
#[track_caller]
pub(super) fn ok<T>(answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        panic!("the call failed: {text}")
    })
}

pub(super) async fn assert_live(store: &impl Store, key: &StoreKey, expected: &Record, now: Timestamp) {
    match ok(store.load(key, now).await) {
        Some(Entry::Live(found)) => assert_same(&found, expected),
        other => panic!("expected a live record, found {other:?}"),
    }
}

pub(super) async fn assert_retired(store: &impl Store, key: &StoreKey, expected: &Forward, now: Timestamp) {
    match ok(store.load(key, now).await) {
        Some(Entry::Retired(found)) => assert_same_forward(&found, expected),
        other => panic!("expected a forward, found {other:?}"),
    }
}

pub(super) async fn assert_nothing(store: &impl Store, key: &StoreKey, now: Timestamp) {
    let found = ok(store.load(key, now).await);
    assert!(found.is_none(), "expected nothing under the key, found {found:?}");
}

/// Asserts that a call conflicted, and that the returned record, if any, is the current one.
#[track_caller]
pub(super) fn assert_conflict(outcome: &Outcome, current: &Record) {
    match outcome {
        Outcome::Conflict(None) => {}
        Outcome::Conflict(Some(found)) => assert_same(found, current),
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[track_caller]
pub(super) fn assert_outcome_is_retired(outcome: &Outcome, forward: &Forward) {
    match outcome {
        Outcome::Retired(found) => assert_same_forward(found, forward),
        other => panic!("expected a retired key, got {other:?}"),
    }
}

#[track_caller]
pub(super) fn assert_same_forward(found: &Forward, expected: &Forward) {
    assert!(
        found == expected,
        "the forward differs: found {found:?} to {:?}, expected {expected:?} to {:?}",
        found.successor,
        expected.successor
    );
}

#[track_caller]
pub(super) fn assert_same(found: &Record, expected: &Record) {
    assert!(found == expected, "the record differs in: {}", differences(found, expected).join(", "));
}

fn differences(found: &Record, expected: &Record) -> Vec<String> {
    let mut differences = Vec::new();
    macro_rules! compare {
        ($($field:ident)*) => {$(
            if found.$field != expected.$field {
                differences.push(format!(
                    "{} ({:?} instead of {:?})", stringify!($field), found.$field, expected.$field
                ));
            }
        )*};
    }
    compare!(handle created_at renewed_at last_seen_at expires_at idle_timeout absolute_timeout);
    compare!(principal authenticated_at label version generation values);
    differences
}

/// Starts all tasks at the same moment, on several threads, and returns their results in the same order.
pub(super) async fn all_at_once<F>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let go = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let go = Arc::clone(&go);
            tokio::spawn(async move {
                while !go.load(Ordering::Acquire) {
                    tokio::task::yield_now().await;
                }
                task.await
            })
        })
        .collect();
    go.store(true, Ordering::Release);
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a call of the store panicked"));
    }
    results
}
