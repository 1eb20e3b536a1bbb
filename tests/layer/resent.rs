//! A store client that retries a write by itself, and returns the second reply.

use std::sync::Arc;

use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch, Version};
use session_state::{MemoryStore, SessionLayer, Timestamp};

use crate::browser::{App, Browser};

#[derive(Debug)]
struct Resending(MemoryStore);

impl Store for Resending {
    fn name(&self) -> &'static str {
        "resending"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.0.load(key, now).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.put(key, expected, entry.clone(), now).await?;
        self.0.put(key, expected, entry, now).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.0.create(key, Arc::clone(&record), now).await?;
        self.0.create(key, record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.0.update(key, expected, Arc::clone(&record), now).await?;
        self.0.update(key, expected, record, now).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.0.touch(key, touch, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.0.renew(renewal.clone(), now).await?;
        self.0.renew(renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.0.delete(key, forward, now).await
    }
}

#[tokio::test]
async fn a_write_sent_twice_takes_effect_once() {
    let memory = MemoryStore::new();
    let app = App::new(SessionLayer::server(Resending(memory.clone())));
    let mut browser = Browser::default();
    let add = |session: session_state::Session| async move { session.update("n", |n: &mut u32| *n += 1).unwrap() };
    assert_eq!(browser.visit(&app, add).await.value(), 1);
    browser.visit(&app, add).await.value();
    browser.visit(&app, add).await.value();
    assert_eq!((browser.get(&app, "n").await, memory.len()), (Some(3), 1));
    let before = browser.clone();
    browser.visit(&app, |session| async move { session.renew() }).await.value();
    assert_ne!(browser.id(), before.id());
    assert_eq!((browser.get(&app, "n").await, memory.len()), (Some(3), 1));
}
