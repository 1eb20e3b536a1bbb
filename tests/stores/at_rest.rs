//! Encryption at rest, on real stores.

use std::time::{Duration, SystemTime};

use session_state::KeyRing;

use crate::adapters::Adapter;
use crate::browser::{App, Browser};

pub(crate) async fn values_encrypted_at_rest_survive_and_are_hidden_from_the_store(adapter: &Adapter) {
    let Some(url) = adapter.engine.shared() else { return };
    let keys = KeyRing::generate().unwrap();
    let sealed = App::new((adapter.open)(url.clone()).await.with_encryption_at_rest(keys).unwrap());
    let plain = App::new((adapter.open)(url).await);
    let mut browser = Browser::default();
    browser.set(&sealed, "n", 1).await;
    browser.set(&sealed, "n", 2).await;
    assert_eq!(browser.get(&sealed, "n").await, Some(2));
    browser.visit(&sealed, |session| async move { session.login("alice") }).await.value();
    assert_eq!(browser.get(&sealed, "n").await, Some(2));
    // Without the keys there is no session.
    let seen = browser.visit(&plain, |session| async move { (session.keys(), session.principal()) }).await.value();
    assert_eq!((seen, plain.events()), ((vec![], None), vec!["UndecodableRecord".to_owned()]));
    let (keys, until) = (KeyRing::generate().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000));
    let plain_too = (adapter.open)(adapter.engine.shared().unwrap()).await.with_encryption_at_rest(keys);
    let plain_too = App::new(plain_too.and_then(|layer| layer.with_plain_records_until(until)).unwrap());
    let mut browser = Browser::default();
    browser.set(&plain, "n", 3).await;
    assert_eq!(browser.get(&plain_too, "n").await, Some(3));
    assert_eq!(browser.get(&plain, "n").await, None, "it is encrypted since its first use");
    assert_eq!(browser.get(&plain_too, "n").await, Some(3));
}
