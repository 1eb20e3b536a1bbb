//! A store whose calls wait for the test to decide when they take effect and what they return.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch, Version};
use session_state::{MemoryStore, Timestamp};

use super::at_once;

/// A time before any expiry, at which the store returns all entries.
const LONG_AGO: Timestamp = Timestamp::from_millis(0);

/// The fate of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It takes effect and is answered.
    Answered,
    /// It has no effect and fails.
    Failed,
    /// It takes effect and fails.
    Lost,
    /// It takes effect, and the store's client retries it and returns the second answer.
    Repeated,
    /// It takes effect and never returns.
    Unheard,
    /// It fails, and takes effect later.
    Late,
}

type LateCall = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct GateState {
    begun: usize,
    is_write: bool,
    fate: Option<Fate>,
    late: Vec<LateCall>,
}

/// The gate that the calls of all stores of a run wait at.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Mutex<GateState>>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Lets one call continue.
    pub(super) fn open(&self, fate: Fate) {
        self.0.lock().unwrap().fate = Some(fate);
    }

    /// The number of calls that have begun to wait.
    pub(super) fn begun(&self) -> usize {
        self.0.lock().unwrap().begun
    }

    /// Whether the call that began last is a write.
    pub(super) fn is_write(&self) -> bool {
        self.0.lock().unwrap().is_write
    }

    pub(super) fn has_late_call(&self) -> bool {
        !self.0.lock().unwrap().late.is_empty()
    }

    /// Applies a call that reported a failure.
    pub(super) fn run_late_call(&self) {
        let late = self.0.lock().unwrap().late.remove(0);
        at_once(late);
    }

    /// The test polls by hand, so no waker is needed.
    async fn pass(&self, is_write: bool) -> Fate {
        {
            let mut state = self.0.lock().unwrap();
            (state.begun, state.is_write) = (state.begun + 1, is_write);
        }
        std::future::poll_fn(|_| match self.0.lock().unwrap().fate.take() {
            Some(fate) => Poll::Ready(fate),
            None => Poll::Pending,
        })
        .await
    }
}

/// A store behind a gate, which records its keys.
#[derive(Clone, Debug)]
pub(super) struct Stepped {
    store: MemoryStore,
    gate: Gate,
    keys: Arc<Mutex<BTreeSet<StoreKey>>>,
}

impl Stepped {
    pub(super) fn new(store: MemoryStore, gate: &Gate) -> Self {
        Self { store, gate: gate.clone(), keys: Arc::default() }
    }

    /// Returns all records of the store, expired or not.
    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        let live = |entry| if let Some(Entry::Live(record)) = entry { Some(record) } else { None };
        self.entries().into_iter().filter_map(|entry| live(Some(entry))).collect()
    }

    /// Returns all entries of the store.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let keys = self.keys.lock().unwrap();
        keys.iter().filter_map(|key| at_once(self.store.load(key, LONG_AGO)).unwrap()).collect()
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        at_once(self.store.sweep(now, usize::MAX)).unwrap();
    }

    async fn call<T: Send, F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        is_write: bool,
        key: StoreKey,
        call: impl Fn(MemoryStore) -> F + Send,
    ) -> Result<T, StoreError> {
        self.keys.lock().unwrap().insert(key);
        let failed = || StoreError::failed("stepped", "an injected fault");
        let call = || call(self.store.clone());
        match self.gate.pass(is_write).await {
            Fate::Answered => call().await,
            Fate::Repeated => {
                drop(call().await);
                call().await
            }
            Fate::Failed => Err(failed()),
            Fate::Lost => {
                drop(call().await);
                Err(failed())
            }
            Fate::Unheard => {
                drop(call().await);
                std::future::pending().await
            }
            Fate::Late => {
                let late = call();
                let late = Box::pin(async { drop(late.await) });
                self.gate.0.lock().unwrap().late.push(late);
                Err(failed())
            }
        }
    }
}

impl Store for Stepped {
    fn name(&self) -> &'static str {
        "stepped"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let key = *key;
        self.call(false, key, move |store| async move { store.load(&key, now).await }).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        unreachable!("the layer never puts {entry:?} under {key:?} if {expected:?} at {now:?}")
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let key = *key;
        let create = move |store: MemoryStore| {
            let record = Arc::clone(&record);
            async move { store.create(&key, record, now).await }
        };
        self.call(true, key, create).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let key = *key;
        let update = move |store: MemoryStore| {
            let record = Arc::clone(&record);
            async move { store.update(&key, expected, record, now).await }
        };
        self.call(true, key, update).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let key = *key;
        let touch = move |store: MemoryStore| async move { store.touch(&key, touch, now).await };
        self.call(true, key, touch).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let key = renewal.new;
        let renew = move |store: MemoryStore| {
            let renewal = renewal.clone();
            async move { store.renew(renewal, now).await }
        };
        self.call(true, key, renew).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let key = *key;
        self.call(true, key, move |store| {
            let forward = forward.clone();
            async move { store.delete(&key, forward, now).await }
        })
        .await
    }
}
