//! Timeouts, limits and policies.

use std::time::Duration;

use http::StatusCode;
use session_state::{ConflictPolicy, CookieState, ErrorKind, KeyRing, MemoryStore, SessionLayer, SessionLimitPolicy};

use super::{Deploy, HOUR, MINUTE, assert_logged_in, log_in, seen};
use crate::browser::Browser;

fn same(layer: SessionLayer) -> SessionLayer {
    layer
}

#[tokio::test]
async fn a_shorter_idle_timeout_ends_sessions_that_were_idle_for_longer() {
    for deploy in Deploy::of(same, |layer| layer.with_idle_timeout(5 * MINUTE)) {
        let (mut active, mut idle) = (deploy.visitor().await, deploy.visitor().await);
        deploy.pass(4 * MINUTE);
        deploy.assert_keeps(&mut active).await;
        deploy.pass(MINUTE);
        deploy.assert_keeps(&mut active).await;
        deploy.assert_begins_anew(&mut idle).await;
    }
}

#[tokio::test]
async fn a_longer_idle_timeout_applies_from_the_next_use() {
    for idle in [Some(2 * HOUR), None] {
        for deploy in Deploy::of(same, |layer| layer.with_idle_timeout(idle)) {
            let (mut active, mut away) = (deploy.visitor().await, deploy.visitor().await);
            deploy.pass(20 * MINUTE);
            deploy.assert_keeps(&mut active).await;
            deploy.pass(100 * MINUTE);
            deploy.assert_keeps(&mut active).await;
            deploy.assert_begins_anew(&mut away).await;
        }
    }
}

#[tokio::test]
async fn a_shorter_absolute_timeout_ends_older_sessions() {
    let absolute =
        |hours: u32| move |layer: SessionLayer| layer.with_idle_timeout(HOUR).with_absolute_timeout(hours * HOUR);
    for deploy in Deploy::of(absolute(12), absolute(1)) {
        let mut old = deploy.visitor().await;
        deploy.pass(30 * MINUTE);
        assert_logged_in(&mut old, &deploy.former).await;
        let mut young = deploy.visitor().await;
        deploy.pass(30 * MINUTE);
        deploy.assert_begins_anew(&mut old).await;
        deploy.assert_keeps(&mut young).await;
    }
}

#[tokio::test]
async fn a_longer_absolute_timeout_applies_from_the_next_use() {
    let absolute =
        |hours: u32| move |layer: SessionLayer| layer.with_idle_timeout(HOUR).with_absolute_timeout(hours * HOUR);
    for deploy in Deploy::of(absolute(1), absolute(3)) {
        let (mut active, mut away) = (deploy.visitor().await, deploy.visitor().await);
        deploy.pass(50 * MINUTE);
        deploy.assert_keeps(&mut active).await;
        deploy.pass(50 * MINUTE);
        deploy.assert_keeps(&mut active).await;
        deploy.assert_begins_anew(&mut away).await;
    }
}

#[tokio::test]
async fn the_timeouts_of_a_session_stay_its_own() {
    for deploy in Deploy::of(same, |layer| layer.with_idle_timeout(MINUTE).with_absolute_timeout(HOUR)) {
        let mut browser = deploy.visitor().await;
        let remember = |session: session_state::Session| async move {
            session.set_idle_timeout(20 * HOUR);
            session.set_absolute_timeout(40 * HOUR);
        };
        browser.visit(&deploy.former, remember).await.value();
        deploy.pass(19 * HOUR);
        deploy.assert_keeps(&mut browser).await;
        deploy.pass(19 * HOUR);
        deploy.assert_keeps(&mut browser).await;
        deploy.pass(2 * HOUR);
        deploy.assert_begins_anew(&mut browser).await;
    }
}

#[tokio::test]
async fn renewal_and_grace_and_the_touch_interval_end_no_session() {
    type Set = fn(SessionLayer) -> SessionLayer;
    let sets: [Set; 4] = [
        |layer| layer.with_renewal(10 * MINUTE),
        |layer| layer.with_renewal(10 * MINUTE).with_grace(Duration::ZERO),
        |layer| layer.with_touch_interval(15 * MINUTE),
        |layer| layer.with_touch_interval(Duration::ZERO),
    ];
    for (former, present) in sets.into_iter().flat_map(|set| [(same as Set, set), (set, same as Set)]) {
        for deploy in Deploy::of(former, present) {
            let mut browser = deploy.visitor().await;
            for _ in 0..4 {
                deploy.pass(20 * MINUTE);
                assert_logged_in(&mut browser, &deploy.former).await;
                deploy.assert_keeps(&mut browser).await;
            }
        }
    }
}

#[tokio::test]
async fn a_smaller_record_size_keeps_larger_sessions_which_may_shrink() {
    for deploy in Deploy::of(same, |layer| layer.with_max_record_size(100)) {
        let mut browser = deploy.visitor().await;
        let fill = |session: session_state::Session| async move { session.insert("text", "x".repeat(200)).unwrap() };
        browser.visit(&deploy.former, fill).await.value();
        deploy.pass(2 * MINUTE);
        assert_logged_in(&mut browser, &deploy.present).await;
        let grow = |session: session_state::Session| async move { session.insert("more", 1).unwrap_err() };
        let error = browser.visit(&deploy.present, grow).await.value();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }));
        browser.visit(&deploy.present, |session| async move { session.renew() }).await.value();
        browser.visit(&deploy.present, |session| async move { session.remove("text") }).await.value();
        deploy.assert_keeps(&mut browser).await;
    }
}

#[tokio::test]
async fn a_lower_limit_of_sessions_ends_none_until_the_next_login() {
    for (policy, status, left) in [
        (SessionLimitPolicy::EvictOldest, StatusCode::OK, 2),
        (SessionLimitPolicy::RefuseLogin, StatusCode::FORBIDDEN, 4),
    ] {
        let store = MemoryStore::new();
        let present = SessionLayer::server(store.clone()).with_max_sessions(2, policy).unwrap();
        let deploy = Deploy::new(SessionLayer::server(store), present);
        let sessions = deploy.present.layer.sessions().unwrap();
        let mut browsers = Vec::new();
        for _ in 0..4 {
            deploy.pass(MINUTE);
            browsers.push(deploy.visitor().await);
        }
        for browser in &mut browsers {
            deploy.assert_keeps(browser).await;
        }
        let login = |session: session_state::Session| async move { session.login("alice") };
        let visit = Browser::default().visit(&deploy.present, login).await;
        assert_eq!(visit.status, status);
        assert_eq!(sessions.count("alice").await.unwrap(), left);
        // Every session can be used on, and log in again.
        let last = browsers.last_mut().unwrap();
        log_in(last, &deploy.present).await;
        assert_logged_in(last, &deploy.present).await;
    }
}

#[tokio::test]
async fn another_conflict_policy_keeps_sessions() {
    for deploy in Deploy::of(same, |layer| layer.with_conflict_policy(ConflictPolicy::Fail)) {
        deploy.assert_keeps(&mut deploy.visitor().await).await;
    }
}

#[tokio::test]
async fn revocation_turned_on_keeps_sessions_and_can_end_them() {
    let (keys, marks) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let state = || CookieState::encrypted(keys.clone());
    let present = SessionLayer::client(state().with_revocation(marks));
    let deploy = Deploy::new(SessionLayer::client(state()), present);
    let mut browser = deploy.visitor().await;
    deploy.assert_keeps(&mut browser).await;
    let mut copy = browser.clone();
    browser.visit(&deploy.present, |session| async move { session.logout() }).await.value();
    assert_eq!(seen(&mut copy, &deploy.present).await, (None, None));
    log_in(&mut copy, &deploy.present).await;
    assert_logged_in(&mut copy, &deploy.present).await;
}

#[tokio::test]
async fn revocation_turned_off_keeps_sessions_and_lets_ended_ones_be_replayed() {
    let (keys, marks) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let state = || CookieState::encrypted(keys.clone());
    let former = SessionLayer::client(state().with_revocation(marks));
    let deploy = Deploy::new(former, SessionLayer::client(state()));
    let (mut browser, mut ended) = (deploy.visitor().await, deploy.visitor().await);
    let mut copy = ended.clone();
    ended.visit(&deploy.former, |session| async move { session.logout() }).await.value();
    deploy.assert_keeps(&mut browser).await;
    assert_eq!(seen(&mut copy, &deploy.former).await, (None, None));
    assert_logged_in(&mut copy, &deploy.present).await;
}
