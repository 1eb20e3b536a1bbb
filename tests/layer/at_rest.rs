//! Encryption at rest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use session_state::store::{Entry, Record, Store, StoreKey, Version};
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{Clock as _, CookieState, InStore, Key, KeyRing, MemoryStore, SessionLayer};
use sha2::{Digest as _, Sha256};

use crate::browser::{App, Browser};
use crate::part_kit::{Having as _, Notes, login, read, write};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The default touch interval.
const TOUCH: Duration = Duration::from_secs(60);

fn app(store: &MemoryStore, keys: &KeyRing) -> App {
    App::new(SessionLayer::server(store.clone()).with_encryption_at_rest(keys.clone()).unwrap())
}

/// An application that also reads plain records for an hour.
fn turned_on(store: impl Store, keys: &KeyRing) -> App {
    let app = App::new(SessionLayer::server(store));
    let until = app.clock.now().after(HOUR).into();
    app.with(|layer| layer.with_encryption_at_rest(keys.clone()).unwrap().with_plain_records_until(until).unwrap())
}

fn turned_off(store: &MemoryStore, keys: &KeyRing) -> App {
    App::new(SessionLayer::server(store.clone()).with_decryption_at_rest(keys.clone()).unwrap())
}

fn plain(store: &MemoryStore) -> App {
    App::new(SessionLayer::server(store.clone()))
}

async fn is_sealed(store: &MemoryStore, app: &App, browser: &Browser) -> bool {
    record_of(store, app, browser).await.values.iter().map(|(key, _)| key).eq(["#sealed"])
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
    assert_eq!(record.values.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["#sealed"]);
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
async fn a_record_is_sealed_with_the_new_key_when_it_is_next_written_or_touched() {
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
    let mut writer = browser.clone();
    writer.set(&rotated, "n", 2).await;
    assert_eq!(writer.get(&after, "n").await, Some(2));

    let mut reader = Browser::default();
    reader.set(&before, "n", 3).await;
    rotated.pass(TOUCH);
    assert_eq!(reader.get(&rotated, "n").await, Some(3));
    assert_eq!(reader.get(&after, "n").await, Some(3), "the touch has written it");
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

#[test]
fn plain_records_are_an_exception_for_a_layer_or_part_that_encrypts() {
    let (keys, until) = (KeyRing::generate().unwrap(), SystemTime::UNIX_EPOCH);
    let layer = || SessionLayer::server(MemoryStore::new());
    let errors = [
        layer().with_plain_records_until(until).unwrap_err(),
        layer().with_decryption_at_rest(keys.clone()).unwrap().with_plain_records_until(until).unwrap_err(),
        InStore::new(MemoryStore::new()).with_plain_records_until(until).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.to_string().contains("call `with_encryption_at_rest` first")));
    assert!(layer().with_encryption_at_rest(keys).unwrap().with_plain_records_until(until).is_ok());
}

#[tokio::test]
async fn plain_records_are_read_until_a_time_and_encrypted_at_their_first_use() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (former, present) = (plain(&store), turned_on(store.clone(), &keys));
    let (mut active, mut idle, mut away) = (Browser::default(), Browser::default(), Browser::default());
    for browser in [&mut active, &mut idle, &mut away] {
        browser.set(&former, "n", 1).await;
        login(browser, &former, "alice").await;
        browser.visit(&former, |session| async move { session.set_idle_timeout(2 * HOUR) }).await.value();
    }
    let before = record_of(&store, &present, &active).await;
    present.pass(TOUCH / 2);
    assert_eq!(active.get(&present, "n").await, Some(1));
    assert!(is_sealed(&store, &present, &active).await, "at once");
    let record = record_of(&store, &present, &active).await;
    assert_ne!(record.version, before.version);
    assert_eq!((record.last_seen_at, record.expires_at), (before.last_seen_at, before.expires_at));
    assert_eq!(active.get(&present, "n").await, Some(1));
    assert_eq!(record_of(&store, &present, &active).await.version, record.version, "once");
    present.pass(HOUR - TOUCH / 2 - Duration::from_millis(1));
    assert_eq!(idle.get(&present, "n").await, Some(1));
    assert_eq!(present.events(), [] as [&str; 0]);

    present.pass(Duration::from_millis(1));
    for browser in [&mut active, &mut idle] {
        assert_eq!(browser.get(&present, "n").await, Some(1));
    }
    assert_eq!(away.get(&present, "n").await, None, "not used since the deploy");
    assert_eq!(present.events(), ["UndecodableRecord"]);
    login(&mut away, &present, "alice").await.value();
    away.set(&present, "n", 2).await.value();
    assert_eq!(away.get(&present, "n").await, Some(2), "the new login takes");
}

#[tokio::test]
async fn a_sealed_record_of_another_ring_or_row_is_not_read_as_a_plain_one() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (other, present) = (app(&store, &KeyRing::generate().unwrap()), turned_on(store.clone(), &keys));
    let (mut theirs, mut ours) = (Browser::default(), Browser::default());
    theirs.set(&other, "n", 1).await;
    ours.set(&present, "n", 1).await;
    let record = record_of(&store, &present, &ours).await;
    let version = record_of(&store, &present, &theirs).await.version;
    assert_eq!(theirs.get(&present, "n").await, None);
    plant(&store, &present, &theirs, &record, version).await;
    assert_eq!(theirs.get(&present, "n").await, None);
    assert_eq!(present.events(), ["Created", "UndecodableRecord", "UndecodableRecord"]);
}

#[tokio::test]
async fn a_record_that_cannot_be_written_encrypted_stays_in_use() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let faulty = FaultyStore::new(store.clone());
    let faults = faulty.faults();
    let (former, present) = (plain(&store), turned_on(faulty, &keys));
    let mut browser = Browser::default();
    browser.set(&former, "n", 1).await;
    for _ in 0..3 {
        present.pass(TOUCH);
        faults.next_of(Call::Update, 1, Fault::Refuse);
        assert_eq!(browser.get(&present, "n").await, Some(1));
        assert_eq!(present.events(), ["StoreFailed"]);
        let record = record_of(&store, &present, &browser).await;
        assert_eq!(record.last_seen_at, present.clock.now(), "it is touched as it is");
    }
    // The write takes place, and its reply is lost.
    present.pass(TOUCH);
    faults.next_of(Call::Update, 1, Fault::LoseReply);
    assert_eq!(browser.get(&present, "n").await, Some(1));
    assert!(is_sealed(&store, &present, &browser).await);
    browser.set(&present, "m", 2).await.value();
    assert_eq!((browser.get(&present, "n").await, browser.get(&present, "m").await), (Some(1), Some(2)));
}

/// A layer without encryption once showed a sealed record as a session with one value of the name `sealed`.
#[tokio::test]
async fn without_keys_a_sealed_record_is_no_session() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (former, present) = (app(&store, &keys), plain(&store));
    let mut browser = Browser::default();
    browser.set(&former, "n", 1).await;
    login(&mut browser, &former, "alice").await;
    let mut copy = browser.clone();
    let seen = |session: session_state::Session| async move { (session.keys(), session.principal()) };
    assert_eq!(browser.visit(&present, seen).await.value(), (vec![], None));
    assert_eq!(present.events(), ["UndecodableRecord"]);
    browser.set(&present, "n", 2).await.value();
    assert_eq!(browser.get(&present, "n").await, Some(2));
    assert_eq!(copy.get(&former, "n").await, Some(1), "the record is still there");
    // A value of this name is not mistaken for it.
    browser.visit(&present, |session| async move { session.insert("#sealed", "x").unwrap() }).await.value();
    assert_eq!(browser.get(&present, "n").await, Some(2));
}

#[tokio::test]
async fn encryption_is_turned_off_without_a_logout() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let (former, between, present) = (app(&store, &keys), turned_off(&store, &keys), plain(&store));
    let mut browser = Browser::default();
    browser.set(&former, "n", 1).await;
    assert_eq!(browser.get(&between, "n").await, Some(1));
    between.pass(TOUCH);
    assert_eq!(browser.get(&between, "n").await, Some(1));
    assert_eq!(browser.get(&present, "n").await, Some(1));
    let mut writer = Browser::default();
    writer.set(&former, "n", 1).await;
    writer.set(&between, "n", 2).await;
    assert_eq!(writer.get(&present, "n").await, Some(2));
}

/// In each step nodes of two releases run side by side.
#[tokio::test]
async fn in_the_documented_order_no_node_meets_a_record_that_it_cannot_read() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let steps = || [plain(&store), turned_off(&store, &keys), turned_on(store.clone(), &keys), app(&store, &keys)];
    let off = || [app(&store, &keys), turned_on(store.clone(), &keys), turned_off(&store, &keys), plain(&store)];
    for steps in [steps(), off()] {
        let mut browser = Browser::default();
        browser.set(&steps[0], "n", 0).await;
        for (step, nodes) in steps.windows(2).enumerate() {
            for round in 0..4 {
                let node = &nodes[round % 2];
                steps.iter().for_each(|node| node.pass(2 * TOUCH));
                assert!(browser.get(node, "n").await.is_some(), "step {step}, round {round}");
                browser.set(node, "n", 1).await;
            }
            // A step ends once all nodes run it, and each session was used.
            steps.iter().for_each(|node| node.pass(2 * TOUCH));
            assert!(browser.get(&nodes[1], "n").await.is_some(), "step {step}");
        }
        assert!(steps.iter().all(|node| !node.events().contains(&"UndecodableRecord".to_owned())));
    }
}

#[tokio::test]
async fn a_part_in_a_store_is_read_plain_until_the_time_and_encrypted_when_it_is_extended() {
    let (keys, own) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
    for has_own_keys in [false, true] {
        let (store, parts) = (MemoryStore::new(), MemoryStore::new());
        let former = plain(&store).with(|layer| layer.having::<Notes>(InStore::new(parts.clone())));
        let present = turned_on(store.clone(), &keys);
        let until = present.clock.now().after(HOUR).into();
        let place = InStore::new(parts.clone());
        let place = match has_own_keys {
            true => place.with_encryption_at_rest(own.clone()).with_plain_records_until(until).unwrap(),
            false => place,
        };
        let present = present.with(|layer| layer.having::<Notes>(place));
        let (mut reader, mut writer) = (Browser::default(), Browser::default());
        for browser in [&mut reader, &mut writer] {
            write::<Notes>(browser, &former, "kept").await.value();
        }
        write::<Notes>(&mut writer, &present, "new").await.value();
        // A session in use extends its part before the hour is over.
        for _ in 0..6 {
            present.pass(HOUR / 6);
            assert_eq!(reader.get(&present, "n").await, None);
            assert_eq!(writer.get(&present, "n").await, None);
        }
        assert_eq!(read::<Notes>(&reader, &present).await.unwrap(), "kept");
        assert_eq!(read::<Notes>(&writer, &present).await.unwrap(), "new");
        let copy = reader.clone();
        write::<Notes>(&mut reader, &present, "newer").await.value();
        assert_eq!(read::<Notes>(&copy, &present).await.unwrap(), "newer");
        assert_eq!(present.events(), [] as [&str; 0]);
    }
}
