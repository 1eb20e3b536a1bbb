//! The store of the marks cannot be reached, or its reply is lost.

use http::StatusCode;
use session_state::ErrorKind;
use session_state::test_kit::{Call, Fault};

use super::support::{assert_is_503, is_live, log_out, logged_in, nodes, principal};
use crate::browser::Browser;

#[tokio::test]
async fn an_unavailable_store_is_503_and_the_cookie_stays() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let before = browser.clone();
    // The retry succeeds.
    node.faults.next(1, Fault::Refuse);
    assert!(is_live(&node.app, &browser).await);
    node.faults.next(usize::MAX, Fault::Refuse);
    let visit = browser.visit(&node.app, |session| async move { session.principal() }).await;
    assert_is_503(&visit);
    assert_eq!(visit.headers["vary"], "Cookie");
    assert!(node.revocations().revoke_all("alice").await.is_err());
    let mut visitor = Browser::default();
    let visit = visitor.visit(&node.app, |session| async move { session.login("alice") }).await;
    assert_is_503(&visit);
    // A request without a session makes no store call.
    visitor.set(&node.app, "n", 1).await;
    node.faults.heal();
    assert_eq!(browser.jar, before.jar);
    assert!(is_live(&node.app, &browser).await);
    assert!(is_live(&node.app, &visitor).await);
}

#[tokio::test(start_paused = true)]
async fn a_logout_whose_mark_cannot_be_written_fails_and_changes_nothing() {
    for fault in [Fault::Refuse, Fault::Hang] {
        let [node] = nodes();
        let mut browser = logged_in(&node.app).await;
        let (before, _) = (browser.clone(), node.app.events());
        node.faults.next_of(Call::Create, 2, fault);
        let visit = log_out(&node.app, &mut browser).await;
        assert_is_503(&visit);
        assert_eq!(node.app.events(), ["RequestFailed"]);
        assert_eq!(browser.jar, before.jar);
        node.faults.heal();
        assert!(is_live(&node.app, &browser).await);
        log_out(&node.app, &mut browser).await;
        assert!(browser.jar.is_empty());
        assert!(!is_live(&node.app, &before).await);
    }
}

#[tokio::test]
async fn changes_whose_mark_could_not_be_written_can_be_saved_again() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let (thief, faults) = (browser.clone(), node.faults.clone());
    let visit = browser
        .visit(&node.app, move |session| async move {
            session.login("bob");
            session.insert("n", 7).unwrap();
            faults.next_of(Call::Create, 2, Fault::Refuse);
            assert!(session.save().await.is_err());
            session.save().await.unwrap();
        })
        .await;
    assert_eq!(visit.status, StatusCode::OK);
    assert_eq!(principal(&node.app, &browser).await.as_deref(), Some("bob"));
    assert_eq!(browser.get(&node.app, "n").await, Some(7));
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_mark_with_a_lost_reply_is_retried_transparently() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let thief = browser.clone();
    node.faults.next_of(Call::Create, 1, Fault::LoseReply);
    assert_eq!(log_out(&node.app, &mut browser).await.status, StatusCode::OK);
    assert!(browser.jar.is_empty());
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_not_before_with_a_lost_reply_is_retried_transparently() {
    let [node] = nodes();
    for call in [Call::Create, Call::Update] {
        let (mut own, other) = (logged_in(&node.app).await, logged_in(&node.app).await);
        node.faults.next_of(call, 1, Fault::LoseReply);
        let revocations = node.revocations();
        own.visit(&node.app, |session| async move { revocations.revoke_others(&session).await.unwrap() }).await;
        assert!(is_live(&node.app, &own).await, "{call:?}");
        assert!(!is_live(&node.app, &other).await, "{call:?}");
        let later = logged_in(&node.app).await;
        assert!(is_live(&node.app, &later).await, "{call:?}");
    }
}

#[tokio::test]
async fn oversized_state_fails_before_a_session_is_ended() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let visit = browser
        .visit(&node.app, |session| async move {
            session.login("bob");
            session.insert("k", "x".repeat(5000)).unwrap();
        })
        .await;
    assert!(matches!(visit.error.unwrap().kind(), ErrorKind::TooLarge { .. }));
    assert_eq!(principal(&node.app, &browser).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_logout_after_the_response_was_sent_comes_too_late() {
    let [node] = nodes();
    let browser = logged_in(&node.app).await;
    let session = browser.send(&node.app, |session| async move { session }).await.value();
    session.logout();
    assert_eq!(session.save().await.unwrap_err().kind(), &ErrorKind::TooLate);
    // `Revocations` is never too late.
    let session = browser.send(&node.app, |session| async move { session }).await.value();
    node.revocations().revoke_session(session.handle().unwrap()).await.unwrap();
    assert!(!is_live(&node.app, &browser).await);
}
