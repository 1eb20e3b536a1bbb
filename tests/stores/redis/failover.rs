//! Many concurrent clients while a master dies, and the invariants after a failover.
//!
//! Replication is asynchronous, so writes acknowledged just before the failure may be lost. Replicated writes and later
//! writes must not be lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::ConnectionLike;
use session_state::RedisStore;
use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store as _, StoreError, Values};
use tokio::task::JoinSet;

use tokio::time::Instant;

use super::{HOUR, MINUTE, PREFIX, beside, key, now, record};

/// Counting sessions, and the clients of each.
const COUNTERS: u64 = 32;
const CLIENTS: usize = 2;
/// Clients that repeatedly log out.
const LEAVING: usize = 16;
/// Longer than a failover takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Retries a call until it succeeds.
pub(super) async fn until_ok<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the replicas have all writes of their master.
pub(super) fn wait_for_replicas(master: &str, count: u32) {
    let mut connection = beside(master);
    // A write of this connection to a slot of the node.
    let write = |n: u32, connection: &mut redis::Connection| {
        redis::cmd("SET").arg(format!("{PREFIX}wait:{n}")).arg("").arg("EX").arg(60).exec(connection).is_ok()
    };
    assert!((0..1000).any(|n| write(n, &mut connection)));
    let reached: u32 = redis::cmd("WAIT").arg(count).arg(10_000).query(&mut connection).unwrap();
    assert!(reached >= count);
}

#[derive(Default)]
struct Counter {
    acknowledged: AtomicU64,
    /// Increments with an unknown outcome.
    unknown: AtomicU64,
    /// Increments acknowledged at the checkpoint.
    safe: AtomicU64,
}

/// A session that was renewed, so that it had two keys, and then ended.
struct Logout {
    old: u64,
    new: u64,
}

struct State<C> {
    store: RedisStore<C>,
    is_over: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Counter for versions and keys: each is unique.
    next: AtomicU64,
    counters: Vec<Counter>,
    logouts: Mutex<Vec<Logout>>,
    /// Logouts acknowledged at the checkpoint, and when all servers had recovered.
    safe: AtomicU64,
    healed: AtomicU64,
}

/// The running clients.
pub(super) struct Load<C> {
    state: Arc<State<C>>,
    clients: JoinSet<()>,
}

impl<C> Load<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    pub(super) async fn begin(store: RedisStore<C>) -> Self {
        let state = Arc::new(State {
            store,
            is_over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            next: AtomicU64::new(COUNTERS),
            counters: (0..COUNTERS).map(|_| Counter::default()).collect(),
            logouts: Mutex::default(),
            safe: AtomicU64::new(0),
            healed: AtomicU64::new(u64::MAX),
        });
        let mut clients = JoinSet::new();
        for counter in 0..COUNTERS {
            let first = Arc::new(state.record(counter, 0));
            assert!(state.store.create(&key(counter), first, now()).await.unwrap());
            for _ in 0..CLIENTS {
                clients.spawn(Arc::clone(&state).count(counter));
            }
        }
        for _ in 0..LEAVING {
            clients.spawn(Arc::clone(&state).come_and_go());
        }
        Self { state, clients }
    }

    /// Waits for this many more replies.
    pub(super) async fn more(&self, answers: u64) {
        let until = self.state.answered.load(Ordering::SeqCst) + answers;
        self.wait_until(|state| state.answered.load(Ordering::SeqCst) >= until).await;
    }

    /// Waits until each session has a reply.
    pub(super) async fn until_all_are_answered(&self) {
        let acknowledged = |state: &State<C>| -> Vec<u64> {
            state.counters.iter().map(|counter| counter.acknowledged.load(Ordering::SeqCst)).collect()
        };
        let before = acknowledged(&self.state);
        self.wait_until(|state| acknowledged(state).iter().zip(&before).all(|(now, before)| now > before)).await;
    }

    async fn wait_until(&self, is_so: impl Fn(&State<C>) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.state) {
            assert!(begun.elapsed() < PATIENCE, "the clients get no replies");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sets the checkpoint: earlier acknowledged writes are replicated before the failure.
    pub(super) fn checkpoint(&self) {
        for counter in &self.state.counters {
            counter.safe.store(counter.acknowledged.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        self.state.safe.store(self.state.logouts.lock().unwrap().len() as u64, Ordering::SeqCst);
    }

    /// Notes that all servers have recovered: later writes must not be lost.
    pub(super) fn healed(&self) {
        self.state.healed.store(self.state.logouts.lock().unwrap().len() as u64, Ordering::SeqCst);
    }

    /// Stops the clients, and checks the sessions.
    pub(super) async fn end(mut self, name: &str) {
        self.state.is_over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        let state = &self.state;
        let (mut acknowledged, mut lost) = (0, 0);
        for (id, counter) in (0..).zip(&state.counters) {
            let n = state.number(id, &state.load(id).await.expect("a session that was never ended is gone"));
            let [all, unknown, safe] =
                [&counter.acknowledged, &counter.unknown, &counter.safe].map(|count| count.load(Ordering::SeqCst));
            assert!(n >= safe, "of {safe} increments that were replicated {n} are left");
            assert!(n <= all + unknown, "of {all} increments, and {unknown} without an answer, there are {n}");
            acknowledged += all;
            lost += all.saturating_sub(n);
        }
        let logouts = std::mem::take(&mut *state.logouts.lock().unwrap());
        let (safe, healed) = (state.safe.load(Ordering::SeqCst), state.healed.load(Ordering::SeqCst));
        let (mut undone, mut old_again) = (0, 0);
        for (index, Logout { old, new }) in (0..).zip(&logouts) {
            let (old, new) = (state.load(*old).await, state.load(*new).await);
            undone += u32::from(new.is_some());
            old_again += u32::from(old.is_some());
            let may_be_lost = index >= safe && index < healed;
            assert!(may_be_lost || (old.is_none() && new.is_none()), "a session that ended long ago was revived");
        }
        assert!(safe > 0 && healed < logouts.len() as u64, "no logouts before, or after");
        println!(
            "{name}: {} calls failed; of {acknowledged} acknowledged increments at least {lost} were lost; of {} logouts \
             {undone} were undone, and {old_again} IDs that had been renewed were live again",
            state.failed.load(Ordering::SeqCst),
            logouts.len()
        );
    }
}

impl<C> State<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn is_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns a record that identifies its session, with a unique version.
    fn record(&self, id: u64, n: u64) -> Record {
        let mut record = record(n, self.next());
        let (n, id) = (n.to_string(), id.to_string());
        record.values = Values::from_pairs([("n", n.as_bytes()), ("id", id.as_bytes())]);
        record
    }

    /// Returns the number in a record, which must be complete and belong to that session.
    fn number(&self, id: u64, record: &Record) -> u64 {
        let value =
            |key: &str| -> u64 { std::str::from_utf8(record.values.get(key).unwrap()).unwrap().parse().unwrap() };
        assert_eq!(value("id"), id, "the record is of another session");
        value("n")
    }

    async fn load(&self, id: u64) -> Option<Arc<Record>> {
        match until_ok(async || self.store.load(&key(id), now()).await).await {
            Some(Entry::Live(record)) => Some(record),
            _ => None,
        }
    }

    /// Counts a reply, and waits briefly after a failure.
    async fn noted<T>(&self, answer: Result<T, StoreError>) -> Option<T> {
        if answer.is_err() {
            self.failed.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        answer.ok()
    }

    async fn count(self: Arc<Self>, id: u64) {
        let counter = &self.counters[usize::try_from(id).unwrap()];
        while self.is_on() {
            let Some(entry) = self.noted(self.store.load(&key(id), now()).await).await else { continue };
            let Some(Entry::Live(current)) = entry else { panic!("a session that was never ended is gone: {entry:?}") };
            let next = Arc::new(self.record(id, self.number(id, &current) + 1));
            counter.unknown.fetch_add(1, Ordering::SeqCst);
            let answer = self.store.update(&key(id), current.version, Arc::clone(&next), now()).await;
            let Some(outcome) = self.noted(answer).await else { continue };
            let is_done = match &outcome {
                Outcome::Done => true,
                // The Cluster client retries commands by itself.
                Outcome::Conflict(Some(found)) => found.version == next.version,
                _ => panic!("a session that was never ended is gone: {outcome:?}"),
            };
            counter.unknown.fetch_sub(1, Ordering::SeqCst);
            counter.acknowledged.fetch_add(u64::from(is_done), Ordering::SeqCst);
        }
    }

    async fn come_and_go(self: Arc<Self>) {
        while self.is_on() {
            let (old, new) = (self.next(), self.next());
            let first = Arc::new(self.record(old, 0));
            let expected = first.version;
            if self.noted(self.store.create(&key(old), first, now()).await).await != Some(true) {
                continue;
            }
            let grace_until = now().after(MINUTE);
            let forward = Forward { successor: Some([1; 32]), grace_until, expires_at: now().after(HOUR) };
            let record = Arc::new(self.record(new, 0));
            let renewal = Renewal { old: key(old), expected, new: key(new), record, forward };
            if self.noted(self.store.renew(renewal, now()).await).await != Some(Outcome::Done) {
                continue;
            }
            if self.noted(self.store.delete(&key(new), None, now()).await).await == Some(Outcome::Done) {
                self.logouts.lock().unwrap().push(Logout { old, new });
            }
        }
    }
}
