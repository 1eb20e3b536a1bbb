//! Keys, encryption at rest, and where the state lives.

use session_state::{CookieConfig, CookieState, Key, KeyRing, MemoryStore, SessionLayer};

use super::{Deploy, HOUR};

fn key() -> Key {
    Key::generate().unwrap()
}

fn again(key: &Key) -> Key {
    Key::from_base64(&key.to_base64()).unwrap()
}

#[tokio::test]
async fn a_rotated_key_keeps_sessions() {
    let (old, new) = (key(), key());
    let former = || KeyRing::new(again(&old));
    let rotated = || former().rotate(again(&new)).unwrap();
    let at_rest =
        |store: &MemoryStore, keys| SessionLayer::server(store.clone()).with_encryption_at_rest(keys).unwrap();
    let store = MemoryStore::new();
    for deploy in [
        Deploy::new(
            SessionLayer::client(CookieState::encrypted(former())),
            SessionLayer::client(CookieState::encrypted(rotated())),
        ),
        Deploy::new(
            SessionLayer::client(CookieState::signed(former())),
            SessionLayer::client(CookieState::signed(rotated())),
        ),
        Deploy::new(at_rest(&store, former()), at_rest(&store, rotated())),
    ] {
        deploy.assert_keeps(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn a_dropped_key_begins_anew() {
    let (old, new) = (KeyRing::new(key()), KeyRing::new(key()));
    let store = MemoryStore::new();
    let at_rest = |keys: &KeyRing| SessionLayer::server(store.clone()).with_encryption_at_rest(keys.clone()).unwrap();
    let client = |keys: &KeyRing| SessionLayer::client(CookieState::encrypted(keys.clone()));
    for deploy in [Deploy::new(client(&old), client(&new)), Deploy::new(at_rest(&old), at_rest(&new))] {
        deploy.assert_begins_anew(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn encryption_at_rest_in_one_step_begins_anew_and_in_steps_keeps_sessions() {
    let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let plain = || SessionLayer::server(store.clone());
    let sealed = || plain().with_encryption_at_rest(keys.clone()).unwrap();
    for deploy in [Deploy::new(plain(), sealed()), Deploy::new(sealed(), plain())] {
        deploy.assert_begins_anew(&mut deploy.visitor().await).await;
    }
    let opening = || plain().with_decryption_at_rest(keys.clone()).unwrap();
    let both = || sealed().with_plain_records_until(std::time::UNIX_EPOCH + 1_000_000 * HOUR).unwrap();
    for (former, present) in [
        (plain(), opening()),
        (opening(), both()),
        (both(), sealed()),
        (sealed(), both()),
        (both(), opening()),
        (opening(), plain()),
    ] {
        let deploy = Deploy::new(former, present);
        deploy.assert_keeps(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn encrypted_state_turned_into_signed_state_begins_anew() {
    let keys = KeyRing::new(key());
    let encrypted = || SessionLayer::client(CookieState::encrypted(keys.clone()));
    let signed = || SessionLayer::client(CookieState::signed(keys.clone()));
    let named = || SessionLayer::client(CookieState::encrypted(keys.clone()).with_application("shop"));
    for deploy in [
        Deploy::new(encrypted(), signed()),
        Deploy::new(signed(), encrypted()),
        Deploy::new(encrypted(), named()),
        Deploy::new(named(), encrypted()),
    ] {
        deploy.assert_begins_anew(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn more_cookies_for_the_state_keep_sessions_and_fewer_only_those_that_fit() {
    let keys = KeyRing::new(key());
    let layer = |chunks| SessionLayer::client(CookieState::encrypted(keys.clone()).with_chunks(chunks));
    let fill = |session: session_state::Session| async move { session.insert("text", "x".repeat(5_000)).unwrap() };
    for (former, present, is_large, is_kept) in
        [(1, 3, false, true), (3, 1, false, true), (3, 2, true, true), (2, 1, true, false), (3, 1, true, false)]
    {
        let deploy = Deploy::new(layer(former), layer(present));
        let mut browser = deploy.visitor().await;
        if is_large {
            browser.visit(&deploy.former, fill).await.value();
            assert_eq!(browser.jar.len(), 2);
        }
        match is_kept {
            true => deploy.assert_keeps(&mut browser).await,
            false => deploy.assert_begins_anew(&mut browser).await,
        }
    }
}

#[tokio::test]
async fn another_store_begins_anew() {
    let layer = || SessionLayer::server(MemoryStore::new());
    let deploy = Deploy::new(layer(), layer());
    deploy.assert_begins_anew(&mut deploy.visitor().await).await;
}

#[tokio::test]
async fn state_that_moves_from_a_cookie_to_a_store_or_back_begins_anew() {
    let (store, keys) = (MemoryStore::new(), KeyRing::new(key()));
    let server = || SessionLayer::server(store.clone());
    let client = || SessionLayer::client(CookieState::encrypted(keys.clone()));
    for deploy in [Deploy::new(server(), client()), Deploy::new(client(), server())] {
        deploy.assert_begins_anew(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn another_cookie_name_begins_anew() {
    let (store, keys) = (MemoryStore::new(), KeyRing::new(key()));
    let server = || SessionLayer::server(store.clone());
    let client = || SessionLayer::client(CookieState::encrypted(keys.clone()));
    for (former, present) in [(server(), server()), (client(), client())] {
        let cookie = CookieConfig::new().with_name("__Host-Http-sid").unwrap();
        let deploy = Deploy::new(former, present.with_cookie(cookie).unwrap());
        let mut browser = deploy.visitor().await;
        let former = browser.jar.clone();
        assert_eq!(super::seen(&mut browser, &deploy.present).await, (None, None));
        super::log_in(&mut browser, &deploy.present).await;
        super::assert_logged_in(&mut browser, &deploy.present).await;
        assert!(former.iter().all(|(name, value)| browser.jar.get(name) == Some(value)), "a rollback finds it");
    }
}
