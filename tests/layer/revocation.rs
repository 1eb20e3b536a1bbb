//! State in cookies that can be ended before its time.
//!
//! Two layers with the same keys and one store stand for two nodes; each has a store that fails on demand before the one
//! they share, and a clock of its own unless they are told the same time.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    Clock as _, CookieState, ErrorKind, InStore, KeyRing, MemoryStore, Part, RevocationCause, Revocations, Session,
    SessionEvent, SessionLayer, SessionPart,
};

use crate::browser::{App, Browser, Visit};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the clocks of two nodes may differ by.
const SKEW: Duration = Duration::from_secs(60);

struct Node {
    app: App,
    faults: Faults,
}

impl Node {
    fn revocations(&self) -> Revocations {
        self.app.layer.revocations().unwrap()
    }

    fn with(mut self, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        self.app = self.app.with(set);
        self
    }
}

/// Nodes of one application, and the store they share.
fn nodes_with<const N: usize>(set: impl Fn(CookieState) -> CookieState) -> ([Node; N], MemoryStore) {
    let (keys, shared) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let node = |_| {
        let store = FaultyStore::new(shared.clone());
        let faults = store.faults();
        let state = set(CookieState::encrypted(keys.clone()).with_revocation(store));
        Node { app: App::new(SessionLayer::client(state)), faults }
    };
    (std::array::from_fn(node), shared)
}

fn nodes<const N: usize>() -> [Node; N] {
    nodes_with(|state| state).0
}

fn nodes_with_delay<const N: usize>(delay: Duration) -> [Node; N] {
    nodes_with(|state| state.with_revocation_delay(delay)).0
}

async fn log_in(app: &App, browser: &mut Browser) {
    log_in_as(app, browser, "alice").await;
}

async fn log_in_as(app: &App, browser: &mut Browser, principal: &'static str) {
    let visit = browser.visit(app, move |session| async move { session.login(principal) }).await;
    assert_eq!(visit.status, StatusCode::OK, "{:?}", visit.error);
}

async fn logged_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    log_in(app, &mut browser).await;
    browser
}

async fn log_out(app: &App, browser: &mut Browser) -> Visit<()> {
    browser.visit(app, |session| async move { session.logout() }).await
}

/// Returns who is logged in, and takes no cookie.
async fn principal(app: &App, browser: &Browser) -> Option<String> {
    browser.send(app, |session| async move { session.principal() }).await.value()
}

async fn is_live(app: &App, browser: &Browser) -> bool {
    browser.send(app, |session| async move { !session.is_new() }).await.value()
}

fn assert_is_503<T>(visit: &Visit<T>) {
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(visit.error.as_ref().unwrap().kind(), &ErrorKind::Unavailable);
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
}

#[tokio::test]
async fn without_revocation_a_stolen_cookie_is_good_after_the_logout_until_its_idle_timeout() {
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
async fn without_revocation_a_stolen_cookie_that_is_used_is_good_until_its_absolute_timeout() {
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
async fn a_stolen_cookie_is_refused_on_every_node_after_the_logout() {
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
async fn an_older_copy_is_refused_with_the_session_and_so_is_that_of_the_visitor_before_the_login() {
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
    assert!(!is_live(&node.app, &visitor).await);
    assert!(!is_live(&node.app, &early).await);
}

#[tokio::test]
async fn an_anonymous_session_is_ended_by_destroy_and_asks_for_one_mark() {
    let [node] = nodes();
    let mut browser = Browser::default();
    browser.set(&node.app, "n", 1).await;
    let thief = browser.clone();
    node.faults.reset_calls();
    browser.visit(&node.app, |session| async move { session.destroy() }).await;
    // Is it ended? Then the mark, and whether it has to stay for longer.
    assert_eq!((node.faults.calls(Call::Load), node.faults.calls(Call::Create), node.faults.all_calls()), (2, 1, 3));
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_login_as_somebody_else_and_a_replaced_session_end_the_one_before() {
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
async fn a_slow_request_that_ends_after_the_logout_brings_nothing_back() {
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
        assert_eq!(visit.status, StatusCode::OK, "{:?}", visit.error);
        for node in [&one, &other] {
            assert!(!is_live(&node.app, &slow).await);
        }
        browser = logged_in(&one.app).await;
    }
}

#[tokio::test]
async fn a_login_in_a_session_that_another_request_has_ended_is_lost_with_it() {
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
    assert_eq!(other.app.events(), ["ChangesDiscarded"]);
    assert!(!is_live(&one.app, &browser).await);
    // The next request is a new visitor's.
    log_in(&other.app, &mut browser).await;
    assert!(is_live(&one.app, &browser).await);
}

#[tokio::test]
async fn a_dead_cookie_in_pieces_is_cleared_when_a_new_session_begins() {
    let ([node], _) = nodes_with::<1>(|state| state.with_chunks(3));
    let mut browser = Browser::default();
    browser.visit(&node.app, |session| async move { session.insert("k", "x".repeat(5000)).unwrap() }).await;
    assert_eq!(browser.jar.len(), 2);
    let mut thief = browser.clone();
    log_out(&node.app, &mut browser).await;
    assert!(browser.jar.is_empty());
    thief.set(&node.app, "n", 1).await;
    assert_eq!(thief.jar.len(), 1);
    assert!(is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_session_is_revoked_by_its_handle_and_the_observers_are_told() {
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
    let (mut browser, bystander) = (logged_in(&one.app).await, logged_in(&one.app).await);
    let handle = browser.visit(&one.app, |session| async move { session.handle().unwrap() }).await.value();
    one.revocations().revoke(handle).await.unwrap();
    one.app.layer.flush_observers().await;
    assert_eq!(*told.lock().unwrap(), [(handle, RevocationCause::Asked)]);
    for node in [&one, &other] {
        assert!(!is_live(&node.app, &browser).await);
        assert!(is_live(&node.app, &bystander).await);
    }
    one.revocations().revoke(handle).await.unwrap();
}

#[tokio::test]
async fn revoke_all_ends_what_a_principal_has_and_no_one_elses_and_later_logins_live_in_the_same_millisecond_too() {
    let [one, other] = nodes();
    let (phone, laptop) = (logged_in(&one.app).await, logged_in(&other.app).await);
    let (mut bob, mut visitor) = (Browser::default(), Browser::default());
    log_in_as(&one.app, &mut bob, "bob").await;
    visitor.set(&one.app, "n", 1).await;
    for round in 0..3 {
        let earlier = logged_in(&other.app).await;
        assert!(is_live(&one.app, &earlier).await, "round {round}");
        one.revocations().revoke_all("alice").await.unwrap();
        // No clock has moved.
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
async fn what_was_revoked_stays_so_for_as_long_as_a_cookie_can_be_kept_alive() {
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
async fn a_session_that_was_not_used_for_400_days_has_ended_whatever_its_timeouts_say() {
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

#[tokio::test]
async fn nodes_whose_clocks_differ_end_what_was_logged_in_and_let_in_what_is_logged_in_afterwards() {
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
async fn a_login_after_a_revocation_shows_the_time_it_was() {
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
async fn a_proof_that_is_asked_for_again_saves_no_session_from_its_revocation() {
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
async fn revoke_others_spares_the_session_it_is_asked_with() {
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
    // Nobody is logged in.
    one.faults.reset_calls();
    Browser::default().visit(&one.app, revoke_others(&one)).await;
    assert_eq!(one.faults.all_calls(), 0);
}

#[tokio::test]
async fn revoke_others_brings_nothing_back_that_was_revoked_before() {
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
async fn a_login_that_revokes_the_others_ends_the_older_copies_of_its_own_session_too() {
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
    // Nor does a later exception, for the same session, bring them back.
    let revocations = node.revocations();
    browser.visit(&node.app, |session| async move { revocations.revoke_others(&session).await.unwrap() }).await;
    assert!(is_live(&node.app, &browser).await);
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_load_takes_one_round_trip_and_a_visitor_without_a_session_none() {
    let [node] = nodes();
    let (browser, mut anonymous) = (logged_in(&node.app).await, Browser::default());
    anonymous.set(&node.app, "n", 1).await;
    for (visitor, calls) in [(&browser, 2), (&anonymous, 1), (&Browser::default(), 0)] {
        node.faults.reset_calls();
        is_live(&node.app, visitor).await;
        assert_eq!((node.faults.calls(Call::Load), node.faults.all_calls()), (calls, calls));
    }
    let mut forger = Browser::default();
    forger.jar.insert("__Host-Http-id".into(), "A".repeat(200));
    node.faults.reset_calls();
    is_live(&node.app, &forger).await;
    browser.send_raw(&node.app, |_| async { Ok((StatusCode::OK, ())) }).await;
    assert_eq!(node.faults.all_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn both_questions_of_a_load_are_asked_at_once() {
    let [node] = nodes();
    let node = node.with(|layer| layer.with_store_timeout(5 * SECOND));
    let browser = logged_in(&node.app).await;
    // Neither is answered, and both are given up at the same time.
    node.faults.next_of(Call::Load, 2, Fault::Hang);
    node.faults.reset_calls();
    let begin = tokio::time::Instant::now();
    let asking = browser.send(&node.app, |session| async move { session.principal() });
    assert_is_503(&asking.await);
    assert_eq!((node.faults.calls(Call::Load), begin.elapsed().as_secs()), (2, 5));
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_503_and_the_cookie_stays() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let before = browser.clone();
    // Asked once more, it answers.
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
    // Who has no session needs no store.
    visitor.set(&node.app, "n", 1).await;
    node.faults.heal();
    assert_eq!(browser.jar, before.jar);
    assert!(is_live(&node.app, &browser).await);
    assert!(is_live(&node.app, &visitor).await);
}

#[tokio::test(start_paused = true)]
async fn a_logout_whose_mark_cannot_be_made_fails_and_changes_nothing() {
    for fault in [Fault::Refuse, Fault::Hang] {
        let [node] = nodes();
        let mut browser = logged_in(&node.app).await;
        let (before, _) = (browser.clone(), node.app.events());
        node.faults.next_of(Call::Create, 2, fault);
        let visit = log_out(&node.app, &mut browser).await;
        assert_is_503(&visit);
        assert!(node.app.events().is_empty());
        assert_eq!(browser.jar, before.jar);
        node.faults.heal();
        assert!(is_live(&node.app, &browser).await);
        log_out(&node.app, &mut browser).await;
        assert!(browser.jar.is_empty());
        assert!(!is_live(&node.app, &before).await);
    }
}

#[tokio::test]
async fn work_whose_mark_could_not_be_made_can_be_saved_again() {
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
async fn a_mark_whose_reply_is_lost_was_made_and_nobody_notices() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let thief = browser.clone();
    node.faults.next_of(Call::Create, 1, Fault::LoseReply);
    assert_eq!(log_out(&node.app, &mut browser).await.status, StatusCode::OK);
    assert!(browser.jar.is_empty());
    assert!(!is_live(&node.app, &thief).await);
}

#[tokio::test]
async fn a_not_before_whose_reply_is_lost_was_moved_and_nobody_notices() {
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
async fn state_that_does_not_fit_fails_before_a_session_is_ended() {
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
    // From outside it is never too late.
    let session = browser.send(&node.app, |session| async move { session }).await.value();
    node.revocations().revoke(session.handle().unwrap()).await.unwrap();
    assert!(!is_live(&node.app, &browser).await);
}

#[tokio::test]
async fn another_node_notices_within_the_delay_and_this_one_at_once() {
    let [one, other] = nodes_with_delay(10 * SECOND);
    type End = fn(&Node, Browser) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    let ends: [End; 2] = [
        |node, mut browser| Box::pin(async move { drop(log_out(&node.app, &mut browser).await) }),
        |node, _| Box::pin(async move { node.revocations().revoke_all("alice").await.unwrap() }),
    ];
    for end in ends {
        let browser = logged_in(&one.app).await;
        for node in [&one, &other] {
            assert!(is_live(&node.app, &browser).await);
        }
        other.app.pass(SECOND);
        end(&one, browser.clone()).await;
        assert!(!is_live(&one.app, &browser).await);
        assert!(is_live(&other.app, &browser).await, "it has asked a second ago");
        other.app.pass(9 * SECOND - Duration::from_millis(1));
        assert!(is_live(&other.app, &browser).await);
        other.app.pass(Duration::from_millis(1));
        assert!(!is_live(&other.app, &browser).await, "the delay is over");
        one.app.pass(10 * SECOND);
        assert!(!is_live(&one.app, &browser).await);
    }
}

#[tokio::test]
async fn with_a_delay_a_session_asks_once_within_it_however_often_it_comes() {
    let [_, node] = nodes_with_delay(10 * SECOND);
    let browser = logged_in(&node.app).await;
    node.app.pass(10 * SECOND);
    node.faults.reset_calls();
    for _ in 0..10 {
        assert!(is_live(&node.app, &browser).await);
        node.app.pass(SECOND - Duration::from_millis(1));
    }
    assert_eq!(node.faults.all_calls(), 2);
    // A store that fails is not noticed before.
    node.faults.next(usize::MAX, Fault::Refuse);
    assert!(is_live(&node.app, &browser).await);
    node.app.pass(SECOND);
    assert_is_503(&browser.send(&node.app, |session| async move { session.principal() }).await);
}

#[tokio::test]
async fn with_a_delay_a_login_lives_on_a_node_that_has_not_heard_of_the_revocation() {
    let [one, other] = nodes_with_delay(10 * SECOND);
    let mut browser = logged_in(&other.app).await;
    assert!(is_live(&other.app, &browser).await);
    one.revocations().revoke_all("alice").await.unwrap();
    // What the other node knows is old, but a login asks.
    log_in(&other.app, &mut browser).await;
    for node in [&one, &other] {
        assert!(is_live(&node.app, &browser).await);
        node.app.pass(11 * SECOND);
        assert!(is_live(&node.app, &browser).await);
    }
}

#[tokio::test(start_paused = true)]
async fn marks_are_swept_when_no_copy_can_be_good_any_more() {
    let ([node], store) = nodes_with::<1>(|state| state);
    let mut browser = logged_in(&node.app).await;
    log_out(&node.app, &mut browser).await;
    let sweep = || async {
        let sweeper = node.app.layer.sweeper(SECOND);
        let _ = tokio::time::timeout(3 * SECOND, sweeper).await;
        store.len()
    };
    // As long as a session that begins now may live, and the difference of two clocks.
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
async fn a_session_that_was_to_be_remembered_stays_ended_for_as_long_as_it_would_have_been() {
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
async fn a_session_that_was_to_be_remembered_and_logs_in_again_stays_ended_for_as_long_as_that_would_have_been() {
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
    after.layer.revocations().unwrap().revoke(handle).await.unwrap();
    after.pass(90 * DAY - SECOND);
    assert!(!is_live(&after, &browser).await);
}

#[tokio::test]
async fn a_thief_who_is_remembered_is_refused_for_as_long_as_that_would_have_been() {
    let [one, other] = nodes();
    let mut browser = logged_in(&one.app).await;
    let mut thief = browser.clone();
    thief.visit(&other.app, |session| async move { remember(&session) }).await;
    assert!(is_live(&one.app, &thief).await);
    // The copy that is logged out with knows nothing of it.
    log_out(&one.app, &mut browser).await;
    one.app.pass(90 * DAY - SECOND);
    assert!(!is_live(&one.app, &thief).await);
}

#[tokio::test]
async fn a_session_that_is_lengthened_while_it_is_ended_is_not_heard_of_again() {
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
    assert_eq!(other.app.events(), ["ChangesDiscarded"]);
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    lines: Vec<u32>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

#[tokio::test]
async fn the_parts_of_a_session_in_a_store_go_with_it() {
    let ([node], marks) = nodes_with::<1>(|state| state);
    let carts = MemoryStore::new();
    let node = node.with(|layer| layer.with_part::<Cart>(InStore::new(carts.clone())));
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
    node.revocations().revoke(handle).await.unwrap();
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
async fn revocations_take_state_in_cookies_and_a_store_for_the_marks() {
    for app in [App::memory(), App::encrypted()] {
        let error = app.layer.revocations().unwrap_err();
        assert!(error.to_string().contains("with_revocation"), "{error}");
    }
    let [node] = nodes();
    let shown = format!("{:?} {:?}", node.app.layer, node.revocations());
    assert!(shown.contains("Revocation"), "{shown}");
}

#[tokio::test]
async fn sessions_from_before_revocation_was_turned_on_live_on_and_can_be_ended() {
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
