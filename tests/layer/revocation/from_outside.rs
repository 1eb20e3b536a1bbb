//! `Revocations`: ends sessions by their handle or their principal.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::EventLog;
use session_state::{
    Clock as _, CookieState, Handle, InStore, KeyRing, MemoryStore, Part, RevocationCause, Session, SessionEvent,
    SessionLayer, SessionPart,
};

use super::support::{HOUR, Node, SECOND, SKEW, is_live, log_in, log_in_as, log_out, logged_in, nodes, nodes_with};
use crate::browser::{App, Browser};

async fn handle(app: &App, browser: &Browser) -> Handle {
    browser.send(app, |session| async move { session.handle().unwrap() }).await.value()
}

#[tokio::test]
async fn a_session_is_revoked_by_its_handle_and_reported() {
    let ([one, other], _) = nodes_with::<2>(|state| state);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let one = one.with(|layer| {
        layer.add_observer(move |event: &SessionEvent| {
            if let SessionEvent::Revoked { session, cause } = event {
                noted.lock().unwrap().push((*session, *cause));
            }
        })
    });
    let (browser, bystander) = (logged_in(&one.app).await, logged_in(&one.app).await);
    let handle = handle(&one.app, &browser).await;
    one.revocations().revoke_session(handle).await.unwrap();
    one.app.layer.flush_observers().await;
    assert_eq!(*told.lock().unwrap(), [(handle, RevocationCause::Asked)]);
    for node in [&one, &other] {
        assert!(!is_live(&node.app, &browser).await);
        assert!(is_live(&node.app, &bystander).await);
    }
    one.revocations().revoke_session(handle).await.unwrap();
}

#[tokio::test]
async fn a_session_is_revoked_by_an_old_handle_after_any_number_of_logins() {
    let [node] = nodes();
    let events = EventLog::default();
    let node = node.with(|layer| layer.add_observer(events.clone()));
    let mut browser = logged_in(&node.app).await;
    let first = handle(&node.app, &browser).await;
    for _ in 0..50 {
        browser.visit(&node.app, |session| async move { session.mark_reauthenticated().unwrap() }).await.value();
    }
    let last = handle(&node.app, &browser).await;
    let _ = events.take(&node.app.layer).await;
    node.revocations().revoke_session(first).await.unwrap();
    let told = events.take(&node.app.layer).await;
    let is_last = |event: &SessionEvent| matches!(event, SessionEvent::Revoked { session, .. } if *session == last);
    assert!(told.len() == 1 && is_last(&told[0]), "{told:?}");
    assert!(!is_live(&node.app, &browser).await);
}

#[tokio::test]
async fn an_old_handle_ends_the_session_while_a_copy_of_its_cookie_could_be_valid() {
    for (seconds, is_ended) in [(12 * 3600, true), (12 * 3600 + 60, false)] {
        let [node] = nodes();
        let node = node.with(|layer| layer.with_idle_timeout(None));
        let mut browser = logged_in(&node.app).await;
        let first = handle(&node.app, &browser).await;
        log_in(&node.app, &mut browser).await;
        node.app.pass(HOUR);
        log_in(&node.app, &mut browser).await;
        let newest = handle(&node.app, &browser).await;
        node.app.pass(Duration::from_secs(seconds) - HOUR);
        node.revocations().revoke_session(first).await.unwrap();
        assert_eq!(!is_live(&node.app, &browser).await, is_ended, "after {seconds} s");
        node.revocations().revoke_session(newest).await.unwrap();
        assert!(!is_live(&node.app, &browser).await);
    }
}

#[tokio::test]
async fn revoke_all_ends_only_the_principals_sessions_and_spares_logins_in_the_same_millisecond() {
    let [one, other] = nodes();
    let (phone, laptop) = (logged_in(&one.app).await, logged_in(&other.app).await);
    let (mut bob, mut visitor) = (Browser::default(), Browser::default());
    log_in_as(&one.app, &mut bob, "bob").await;
    visitor.set(&one.app, "n", 1).await;
    for round in 0..3 {
        let earlier = logged_in(&other.app).await;
        assert!(is_live(&one.app, &earlier).await, "round {round}");
        one.revocations().revoke_all("alice").await.unwrap();
        // The clock has not moved.
        let later = logged_in(&other.app).await;
        for node in [&one, &other] {
            for dead in [&phone, &laptop, &earlier] {
                assert!(!is_live(&node.app, dead).await, "round {round}");
            }
            for live in [&later, &bob, &visitor] {
                assert!(is_live(&node.app, live).await, "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn revocations_with_clock_skew_end_earlier_logins_and_accept_later_ones() {
    for (ahead, behind) in [(SKEW, Duration::ZERO), (Duration::ZERO, SKEW)] {
        let [revoker, other] = nodes();
        revoker.app.pass(ahead);
        other.app.pass(behind);
        for _ in 0..3 {
            let early = logged_in(&other.app).await;
            revoker.revocations().revoke_all("alice").await.unwrap();
            let late = logged_in(&other.app).await;
            for node in [&revoker, &other] {
                assert!(!is_live(&node.app, &early).await);
                assert!(is_live(&node.app, &late).await);
            }
        }
    }
}

#[tokio::test]
async fn a_login_after_a_revocation_has_its_real_time() {
    let [node] = nodes();
    node.revocations().revoke_all("alice").await.unwrap();
    let browser = logged_in(&node.app).await;
    let login = node.app.clock.now();
    node.app.pass(5 * SECOND);
    let look = |session: Session| async move {
        let recent = [session.require_recent_login(5 * SECOND), session.require_recent_login(6 * SECOND)];
        (session.authenticated_at().unwrap(), recent.map(|result| result.is_ok()))
    };
    assert_eq!(browser.send(&node.app, look).await.value(), (login.into(), [false, true]));
}

#[tokio::test]
async fn a_reauthentication_does_not_save_a_session_from_its_revocation() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let revocations = node.revocations();
    browser
        .visit(&node.app, |session| async move {
            revocations.revoke_all("alice").await.unwrap();
            session.mark_reauthenticated().unwrap();
        })
        .await;
    assert!(!is_live(&node.app, &browser).await);
}

#[tokio::test]
async fn revoke_others_spares_the_current_session() {
    let [one, other] = nodes();
    let (mut own, phone) = (logged_in(&one.app).await, logged_in(&other.app).await);
    let revoke_others = |node: &Node| {
        let revocations = node.revocations();
        move |session: Session| async move { revocations.revoke_others(&session).await.unwrap() }
    };
    own.visit(&one.app, revoke_others(&one)).await;
    for node in [&one, &other] {
        assert!(is_live(&node.app, &own).await);
        assert!(!is_live(&node.app, &phone).await);
    }
    // A later session ends the spared one.
    let mut laptop = logged_in(&other.app).await;
    assert!(is_live(&one.app, &own).await);
    laptop.visit(&other.app, revoke_others(&other)).await;
    assert!(!is_live(&one.app, &own).await);
    assert!(is_live(&one.app, &laptop).await);
    laptop.visit(&other.app, revoke_others(&other)).await;
    assert!(is_live(&one.app, &laptop).await);
    // Without a login.
    one.faults.reset_calls();
    Browser::default().visit(&one.app, revoke_others(&one)).await;
    assert_eq!(one.faults.all_calls(), 0);
}

#[tokio::test]
async fn revoke_others_does_not_revive_a_revoked_session() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    let (copy, revocations) = (browser.clone(), one.revocations());
    browser
        .visit(&one.app, |session| async move {
            other.revocations().revoke_all("alice").await.unwrap();
            revocations.revoke_others(&session).await.unwrap();
        })
        .await;
    assert!(!is_live(&one.app, &copy).await);
    assert!(!is_live(&one.app, &browser).await);
}

#[tokio::test]
async fn revoke_others_after_a_login_ends_older_copies_of_its_own_session() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let (thief, revocations) = (browser.clone(), node.revocations());
    let confirm = |session: Session| async move {
        session.login("alice");
        revocations.revoke_others(&session).await.unwrap();
    };
    browser.visit(&node.app, confirm).await;
    assert!(is_live(&node.app, &browser).await);
    assert!(!is_live(&node.app, &thief).await);
    // A later exception for the same session does not revive them either.
    let revocations = node.revocations();
    browser.visit(&node.app, |session| async move { revocations.revoke_others(&session).await.unwrap() }).await;
    assert!(is_live(&node.app, &browser).await);
    assert!(!is_live(&node.app, &thief).await);
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    lines: Vec<u32>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

#[tokio::test]
async fn revoking_a_cookie_session_removes_its_parts_in_stores() {
    let ([node], marks) = nodes_with::<1>(|state| state);
    let carts = MemoryStore::new();
    let node = node.with(|layer| layer.with_part::<Cart>(InStore::new(carts.clone())).unwrap());
    let put = |browser: Browser, app: App| async move {
        let mut browser = browser;
        let visit = browser
            .send_raw(&app, |extensions| async move {
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                cart.lines.push(1);
                drop(cart);
                Ok((StatusCode::OK, Session::from_extensions(&extensions)?.load().await?.handle()))
            })
            .await;
        browser.receive(&visit);
        (browser, visit.value().unwrap())
    };
    let (mut first, _) = put(logged_in(&node.app).await, node.app.clone()).await;
    let (second, handle) = put(logged_in(&node.app).await, node.app.clone()).await;
    assert_eq!(carts.len(), 2);
    let thief = first.clone();
    log_out(&node.app, &mut first).await;
    assert_eq!(carts.len(), 1);
    node.revocations().revoke_session(handle).await.unwrap();
    assert_eq!((carts.len(), marks.len()), (0, 2));
    for dead in [&thief, &second] {
        let visit = dead
            .send_raw(&node.app, |extensions| async move {
                Ok((StatusCode::OK, Part::<Cart>::from_extensions(&extensions).await?.lines.len()))
            })
            .await;
        assert_eq!(visit.value(), 0);
    }
}

#[tokio::test]
async fn revocations_need_state_in_cookies_and_a_store() {
    for app in [App::memory(), App::encrypted()] {
        let error = app.layer.revocations().unwrap_err();
        assert!(error.to_string().contains("with_revocation"), "{error}");
    }
    let [node] = nodes();
    let shown = format!("{:?} {:?}", node.app.layer, node.revocations());
    assert!(shown.contains("Revocation"), "{shown}");
}

#[tokio::test]
async fn sessions_from_before_revocation_was_enabled_stay_valid_and_can_be_ended() {
    let (keys, store) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let before = App::new(SessionLayer::client(CookieState::encrypted(keys.clone())));
    let after = App::new(SessionLayer::client(CookieState::encrypted(keys).with_revocation(store)));
    let mut browser = logged_in(&before).await;
    let other = logged_in(&before).await;
    browser.set(&after, "n", 1).await;
    assert!(is_live(&after, &browser).await);
    assert!(is_live(&after, &other).await);
    after.layer.revocations().unwrap().revoke_all("alice").await.unwrap();
    assert!(!is_live(&after, &browser).await);
    assert!(!is_live(&after, &other).await);
}
