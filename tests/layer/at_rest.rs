//! Encryption at rest.

use std::sync::Arc;

use session_state::store::{Entry, Record, Store as _, StoreKey, Version};
use session_state::{Clock as _, CookieState, Key, KeyRing, MemoryStore, SessionLayer};
use sha2::{Digest as _, Sha256};

use crate::browser::{App, Browser};

fn app(store: &MemoryStore, keys: &KeyRing) -> App {
    App::new(SessionLayer::server(store.clone()).with_encryption_at_rest(keys.clone()).unwrap())
}

/// The key of a browser's session, as the documentation of the ID describes it.
fn store_key(browser: &Browser) -> StoreKey {
    let text = browser.id().unwrap();
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = 0_u32;
    let (mut held, mut id) = (0, Vec::new());
    for character in text.bytes() {
        bits = bits << 6 | digits.iter().position(|digit| *digit == character).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            id.push((bits >> held) as u8);
        }
    }
    let label = Sha256::new().chain_update("session-state key v1").chain_update("__Host-Http-id").finalize();
    StoreKey::from_bytes(Sha256::new().chain_update(&label[..20]).chain_update(id).finalize().into())
}

async fn record_of(store: &MemoryStore, app: &App, browser: &Browser) -> Arc<Record> {
    match store.load(&store_key(browser), app.clock.now()).await.unwrap() {
        Some(Entry::Live(record)) => record,
        entry => panic!("no live record: {entry:?}"),
    }
}

/// Replaces a record by another, like an attacker with write access to the database.
async fn plant(store: &MemoryStore, app: &App, browser: &Browser, record: &Record, version: Version) {
    let key = store_key(browser);
    let expected = record_of(store, app, browser).await.version;
    let mut planted = record.clone();
    planted.version = version;
    store.update(&key, expected, Arc::new(planted), app.clock.now()).await.unwrap();
}

#[tokio::test]
async fn only_the_client_sees_keys_and_values_and_not_the_store() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (app, mut browser) = (app(&store, &keys), Browser::default());
    let fill = |session: session_state::Session| async move {
        session.insert("card-number", "4111 1111").unwrap();
        session.login("alice");
    };
    browser.visit(&app, fill).await.value();
    let record = record_of(&store, &app, &browser).await;
    let bytes = String::from_utf8_lossy(record.values.as_frames()).into_owned();
    assert!(!bytes.contains("card") && !bytes.contains("4111"), "{bytes}");
    assert_eq!(record.values.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["sealed"]);
    assert_eq!(record.principal.as_deref(), Some("alice"), "the principal stays readable for the index");
    let seen =
        browser.visit(&app, |session| async move { session.get::<String>("card-number").unwrap() }).await.value();
    assert_eq!(seen.as_deref(), Some("4111 1111"));
}

#[tokio::test]
async fn a_row_cannot_replace_another_row_or_its_newer_version() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let app = app(&store, &keys);
    let (mut rich, mut poor) = (Browser::default(), Browser::default());
    rich.set(&app, "n", 1_000_000).await;
    poor.set(&app, "n", 1).await;
    let rich_record = record_of(&store, &app, &rich).await;
    plant(&store, &app, &poor, &rich_record, rich_record.version).await;
    let _ = app.events();
    assert_eq!(poor.get(&app, "n").await, None);
    assert_eq!(app.events(), ["UndecodableRecord"]);

    rich.set(&app, "n", 5).await;
    let now = record_of(&store, &app, &rich).await.version;
    plant(&store, &app, &rich, &rich_record, now).await;
    let _ = app.events();
    assert_eq!(rich.get(&app, "n").await, None, "an older state under the newer version");
    assert_eq!(app.events(), ["UndecodableRecord"]);
}

#[tokio::test]
async fn a_record_is_sealed_with_the_new_key_when_it_is_next_written() {
    let store = MemoryStore::new();
    let text = Key::generate().unwrap().to_base64();
    let new = || Key::from_base64(&text).unwrap();
    let old_ring = KeyRing::generate().unwrap();
    let rotated = app(&store, &old_ring.clone().rotate(new()).unwrap());
    let (before, after) = (app(&store, &old_ring), app(&store, &KeyRing::new(new())));

    let mut browser = Browser::default();
    browser.set(&before, "n", 1).await;
    assert_eq!(browser.get(&rotated, "n").await, Some(1));
    assert_eq!(browser.clone().get(&after, "n").await, None, "reading does not write");
    assert_eq!(after.events(), ["UndecodableRecord"]);
    browser.set(&rotated, "n", 2).await;
    assert_eq!(browser.get(&after, "n").await, Some(2));
}

#[tokio::test]
async fn a_record_that_is_not_sealed_is_not_read() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (plain, sealed) = (App::new(SessionLayer::server(store.clone())), app(&store, &keys));
    let mut browser = Browser::default();
    browser.set(&plain, "n", 1).await;
    assert_eq!(browser.clone().get(&sealed, "n").await, None);
    assert_eq!(sealed.events(), ["UndecodableRecord"]);
    assert_eq!(browser.get(&plain, "n").await, Some(1), "the record is still there");
}

#[test]
fn encryption_at_rest_needs_state_in_a_store() {
    let keys = KeyRing::generate().unwrap();
    let layer = SessionLayer::client(CookieState::signed(keys.clone())).with_encryption_at_rest(keys);
    assert!(layer.unwrap_err().to_string().contains("is for state in a store"));
}
