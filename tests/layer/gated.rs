//! A store whose calls take place in the order that a test decides.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch, Version};
use session_state::{MemoryStore, Timestamp};

/// A store whose calls wait for their turn, and which records its keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gated {
    pub(crate) store: MemoryStore,
    pub(crate) begun: Arc<AtomicUsize>,
    /// One call may proceed.
    may_pass: Arc<AtomicBool>,
    keys: Arc<Mutex<BTreeSet<StoreKey>>>,
}

impl Gated {
    /// Waits until the test lets one call pass. The test polls by hand, so no waker is needed.
    async fn turn(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let pass = |_: &mut Context<'_>| match self.may_pass.swap(false, Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        std::future::poll_fn(pass).await;
    }

    pub(crate) fn let_pass(&self) {
        self.may_pass.store(true, Ordering::Relaxed);
    }

    fn remember(&self, key: StoreKey) {
        self.keys.lock().unwrap().insert(key);
    }

    /// Returns the number of live records of each session, by its handle.
    pub(crate) fn live(&self, now: Timestamp) -> BTreeMap<String, usize> {
        let mut live = BTreeMap::new();
        for key in &*self.keys.lock().unwrap() {
            if let Some(Entry::Live(record)) = at_once(self.store.load(key, now)).unwrap() {
                *live.entry(format!("{:?}", record.handle)).or_default() += 1;
            }
        }
        live
    }
}

impl Store for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.turn().await;
        self.store.load(key, now).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.turn().await;
        self.store.put(key, expected, entry, now).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.remember(*key);
        self.turn().await;
        self.store.create(key, record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.turn().await;
        self.store.update(key, expected, record, now).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.turn().await;
        self.store.touch(key, touch, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.remember(renewal.new);
        self.turn().await;
        self.store.renew(renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.turn().await;
        self.store.delete(key, forward, now).await
    }
}

/// Returns the output of a future that never waits.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the future waits"),
    }
}
