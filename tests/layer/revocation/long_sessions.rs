//! Ended sessions stay ended for as long as a cookie could be kept alive.

use std::time::Duration;

use session_state::{CookieState, KeyRing, MemoryStore, Session, SessionLayer};

use super::support::{DAY, HOUR, SECOND, SKEW, is_live, log_in, log_out, logged_in, nodes, nodes_with};
use crate::browser::{App, Browser};

#[tokio::test]
async fn a_revocation_lasts_as_long_as_a_cookie_can_be_kept_alive() {
    let [node] = nodes();
    let node = node.with(|layer| layer.with_absolute_timeout(None).with_idle_timeout(None));
    let browser = logged_in(&node.app).await;
    node.revocations().revoke_all("alice").await.unwrap();
    for days in [1, 100, 298, 1, 1] {
        node.app.pass(days * DAY);
        assert!(!is_live(&node.app, &browser).await);
    }
}

#[tokio::test]
async fn a_session_unused_for_400_days_has_ended_despite_longer_timeouts() {
    let [node] = nodes();
    let node = node.with(|layer| layer.with_absolute_timeout(None).with_idle_timeout(1000 * DAY));
    let mut browser = logged_in(&node.app).await;
    node.app.pass(400 * DAY - SECOND);
    assert!(is_live(&node.app, &browser).await);
    node.app.pass(SECOND);
    let _ = node.app.events();
    assert!(!is_live(&node.app, &browser).await);
    assert_eq!(node.app.events(), ["Expired"]);
    browser.set(&node.app, "n", 1).await;
    assert!(is_live(&node.app, &browser).await);
}

#[tokio::test(start_paused = true)]
async fn marks_are_swept_once_every_copy_has_expired() {
    let ([node], store) = nodes_with::<1>(|state| state);
    let mut browser = logged_in(&node.app).await;
    log_out(&node.app, &mut browser).await;
    let sweep = || async {
        let sweeper = node.app.layer.sweeper(SECOND);
        let _ = tokio::time::timeout(3 * SECOND, sweeper).await;
        store.len()
    };
    // The longest lifetime of a new session, plus the clock skew.
    node.app.pass(12 * HOUR + SKEW - Duration::from_millis(1));
    assert_eq!(sweep().await, 1);
    node.app.pass(Duration::from_millis(1));
    assert_eq!(sweep().await, 0);
    node.revocations().revoke_all("alice").await.unwrap();
    node.app.pass(400 * DAY);
    assert_eq!(sweep().await, 1);
    node.app.pass(SKEW);
    assert_eq!(sweep().await, 0);
}

#[tokio::test]
async fn a_remembered_session_stays_ended_for_its_remembered_time() {
    for shortens in [false, true] {
        let [node] = nodes();
        let mut browser = Browser::default();
        browser
            .visit(&node.app, |session| async move {
                session.login("alice");
                session.set_idle_timeout(90 * DAY);
                session.set_absolute_timeout(90 * DAY);
            })
            .await;
        let thief = browser.clone();
        if shortens {
            browser.visit(&node.app, |session| async move { session.reset_timeouts() }).await;
            browser.set(&node.app, "n", 1).await;
        }
        log_out(&node.app, &mut browser).await;
        node.app.pass(90 * DAY - SECOND);
        assert!(!is_live(&node.app, &thief).await, "shortened: {shortens}");
    }
}

fn remember(session: &Session) {
    session.set_idle_timeout(90 * DAY);
    session.set_absolute_timeout(90 * DAY);
}

#[tokio::test]
async fn a_remembered_session_that_logged_in_again_stays_ended_for_its_remembered_time() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    browser.visit(&node.app, |session| async move { remember(&session) }).await;
    node.app.pass(80 * DAY);
    log_in(&node.app, &mut browser).await;
    let thief = browser.clone();
    browser.visit(&node.app, |session| async move { session.reset_timeouts() }).await;
    log_out(&node.app, &mut browser).await;
    for _ in 0..4 {
        assert!(!is_live(&node.app, &thief).await);
        node.app.pass(22 * DAY);
    }
}

#[tokio::test]
async fn a_session_that_was_remembered_before_revocation_was_turned_on_can_be_revoked() {
    let (keys, store) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let before = App::new(SessionLayer::client(CookieState::encrypted(keys.clone())));
    let after = App::new(SessionLayer::client(CookieState::encrypted(keys).with_revocation(store)));
    let mut browser = logged_in(&before).await;
    browser.visit(&before, |session| async move { remember(&session) }).await;
    let handle = browser.send(&after, |session| async move { session.handle().unwrap() }).await.value();
    after.layer.revocations().unwrap().revoke_session(handle).await.unwrap();
    after.pass(90 * DAY - SECOND);
    assert!(!is_live(&after, &browser).await);
}

#[tokio::test]
async fn a_remembered_stolen_cookie_is_rejected_for_its_remembered_time() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    let mut thief = browser.clone();
    thief.visit(&other.app, |session| async move { remember(&session) }).await;
    assert!(is_live(&one.app, &thief).await);
    // The copy that logs out has the shorter timeout.
    log_out(&one.app, &mut browser).await;
    one.app.pass(90 * DAY - SECOND);
    assert!(!is_live(&one.app, &thief).await);
}

#[tokio::test]
async fn a_session_lengthened_while_it_is_ended_stays_ended() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    let (app, mut late) = (one.app.clone(), browser.clone());
    let _ = other.app.events();
    let visit = browser
        .visit(&other.app, |session| async move {
            log_out(&app, &mut late).await;
            session.set_idle_timeout(90 * DAY);
            session.set_absolute_timeout(90 * DAY);
        })
        .await;
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
    assert_eq!(other.app.events(), ["ChangesDiscarded", "RequestFailed"]);
}
