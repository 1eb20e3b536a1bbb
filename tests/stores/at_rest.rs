//! Encryption at rest, on real stores.

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
    // Without the keys the store shows the principal of a session, but no values.
    let seen = browser.visit(&plain, |session| async move { (session.keys(), session.principal()) }).await.value();
    assert_eq!(seen, (vec!["sealed".to_owned()], Some("alice".into())));
}
