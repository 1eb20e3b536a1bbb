//! Logouts, logins and `destroy()`: a browser ends its own session.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::Call;
use session_state::{ErrorKind, Session};

use super::support::{HOUR, SECOND, is_live, log_in, log_out, logged_in, nodes, nodes_with, principal};
use crate::browser::{App, Browser};

#[tokio::test]
async fn without_revocation_a_stolen_cookie_outlives_the_logout_until_its_idle_timeout() {
    for app in [App::encrypted(), App::signed()] {
        let mut browser = logged_in(&app).await;
        let thief = browser.clone();
        log_out(&app, &mut browser).await;
        app.pass(30 * 60 * SECOND - Duration::from_millis(1));
        assert_eq!(principal(&app, &thief).await.as_deref(), Some("alice"));
        app.pass(Duration::from_millis(1));
        assert_eq!(principal(&app, &thief).await, None);
    }
}

#[tokio::test]
async fn without_revocation_a_used_stolen_cookie_is_valid_until_its_absolute_timeout() {
    let app = App::encrypted();
    let mut browser = logged_in(&app).await;
    let mut thief = browser.clone();
    log_out(&app, &mut browser).await;
    for _ in 0..35 {
        app.pass(20 * 60 * SECOND);
        let visit = thief.visit(&app, |session| async move { session.principal() }).await;
        assert_eq!(visit.value().as_deref(), Some("alice"));
    }
    app.pass(20 * 60 * SECOND);
    assert_eq!(principal(&app, &thief).await, None);
}

#[tokio::test]
async fn a_stolen_cookie_is_rejected_on_every_node_after_the_logout() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    let mut thief = browser.clone();
    assert_eq!(principal(&other.app, &thief).await.as_deref(), Some("alice"));
    let _ = (one.app.events(), other.app.events());
    let visit = log_out(&one.app, &mut browser).await;
    assert!(visit.set_cookies()[0].contains("Max-Age=0"));
    assert!(browser.jar.is_empty());
    assert_eq!(one.app.events(), ["LoggedOut", "Destroyed"]);
    for node in [&one, &other] {
        let visit = thief.visit(&node.app, |session| async move { (session.is_new(), session.principal()) }).await;
        assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
        assert_eq!(visit.value(), (true, None));
        assert_eq!(node.app.events(), ["RetiredIdUsed"]);
    }
}

#[tokio::test]
async fn older_copies_of_an_ended_session_are_rejected_and_those_from_before_its_login_stay_anonymous() {
    let [node] = nodes();
    let mut browser = Browser::default();
    browser.set(&node.app, "n", 1).await;
    let visitor = browser.clone();
    log_in(&node.app, &mut browser).await;
    let early = browser.clone();
    browser.set(&node.app, "n", 2).await;
    assert!(is_live(&node.app, &visitor).await);
    assert!(is_live(&node.app, &early).await);
    log_out(&node.app, &mut browser).await;
    assert!(!is_live(&node.app, &early).await);
    // A copy from before the login is the anonymous session that it was.
    assert!(is_live(&node.app, &visitor).await);
    assert_eq!(principal(&node.app, &visitor).await, None);
}

#[tokio::test]
async fn destroy_ends_an_anonymous_session_with_one_mark() {
    let [node] = nodes();
    let mut browser = Browser::default();
    browser.set(&node.app, "n", 1).await;
    let thief = browser.clone();
    node.faults.reset_calls();
    browser.visit(&node.app, |session| async move { session.destroy() }).await;
    // Two checks of the session, then the mark, then the note of a longer lifetime.
    assert_eq!((node.faults.calls(Call::Load), node.faults.calls(Call::Create), node.faults.all_calls()), (3, 1, 4));
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_takeover_or_a_replacement_ends_the_previous_session() {
    type Change = fn(&Session);
    let changes: [Change; 3] = [
        |session| session.login("bob"),
        |session| session.login_fresh("alice"),
        |session| {
            session.logout();
            session.insert("bye", 1).unwrap();
        },
    ];
    for change in changes {
        let [one, other] = nodes();
        let mut browser = logged_in(&one.app).await;
        let thief = browser.clone();
        browser.visit(&one.app, move |session| async move { change(&session) }).await;
        assert!(is_live(&other.app, &browser).await);
        assert!(!is_live(&other.app, &thief).await);
    }
}

#[tokio::test]
async fn a_slow_request_that_ends_after_the_logout_revives_nothing() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    type Change = fn(&Session);
    let changes: [Change; 4] = [
        |session| session.insert("n", 1).unwrap(),
        |session| session.renew(),
        |session| session.set_absolute_timeout(1000 * HOUR),
        |session| session.mark_reauthenticated().unwrap(),
    ];
    for change in changes {
        let mut slow = browser.clone();
        let (app, mut late) = (one.app.clone(), browser.clone());
        let visit = slow
            .visit(&other.app, move |session| async move {
                log_out(&app, &mut late).await;
                change(&session);
            })
            .await;
        // A change that needs the revocation list detects that the session has ended.
        let has_lost = visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended);
        assert_eq!(visit.status, if has_lost { StatusCode::CONFLICT } else { StatusCode::OK }, "{:?}", visit.error);
        for node in [&one, &other] {
            assert!(!is_live(&node.app, &slow).await);
        }
        browser = logged_in(&one.app).await;
    }
}

#[tokio::test]
async fn a_login_in_a_session_ended_by_another_request_is_lost() {
    let [one, other] = nodes();
    let mut browser = Browser::default();
    browser.set(&one.app, "n", 1).await;
    let _ = other.app.events();
    let (app, mut late) = (one.app.clone(), browser.clone());
    let visit = browser
        .visit(&other.app, move |session| async move {
            log_out(&app, &mut late).await;
            session.login("alice");
        })
        .await;
    assert!(visit.set_cookies().is_empty());
    assert_eq!(other.app.events(), ["ChangesDiscarded", "RequestFailed"]);
    assert!(!is_live(&one.app, &browser).await);
    // The next request has no session.
    log_in(&other.app, &mut browser).await;
    assert!(is_live(&one.app, &browser).await);
}

#[tokio::test]
async fn dead_chunks_are_cleared_when_a_new_session_begins() {
    let ([node], _) = nodes_with::<1>(|state| state.with_chunks(3));
    let mut browser = Browser::default();
    browser.visit(&node.app, |session| async move { session.insert("k", "x".repeat(5000)).unwrap() }).await;
    assert_eq!(browser.jar.len(), 2);
    let mut thief = browser.clone();
    log_out(&node.app, &mut browser).await;
    assert!(browser.jar.is_empty());
    node.app.pass(60 * SECOND);
    thief.set(&node.app, "n", 1).await;
    assert_eq!(thief.jar.len(), 1);
    assert!(is_live(&node.app, &thief).await);
}
