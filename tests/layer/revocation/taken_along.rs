//! Requests with the cookie of an anonymous session that a login has taken along: for a minute they write nothing, so
//! that one that was under way cannot put its cookie in place of the login's.

use std::time::Duration;

use http::StatusCode;
use session_state::{
    CookieState, ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Session, SessionLayer, SessionPart,
};

use super::support::{log_in, log_in_as, log_out, principal};
use crate::browser::{App, Browser, Visit};
use crate::part_kit::{Having, Notes, Prefs, Second, read, write};

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// Two nodes of an application.
fn nodes(delay: Duration) -> [App; 2] {
    let (keys, parts, marks) = (KeyRing::generate().unwrap(), MemoryStore::new(), MemoryStore::new());
    let layer = || {
        let state = CookieState::encrypted(keys.clone()).with_revocation(marks.clone()).with_revocation_delay(delay);
        SessionLayer::client(state)
            .with_touch_interval(MINUTE / 2)
            .having::<Notes>(InStore::new(parts.clone()))
            .having::<Second>(InCookie::encrypted(keys.clone()))
            .having::<Prefs>(InCookie::encrypted(keys.clone()).with_default_retention())
    };
    let one = App::new(layer());
    let clock = one.clock.clone();
    let other = one.clone().with(|_| layer().with_clock(clock));
    [one, other]
}

/// Returns a visitor before and after a login.
async fn taken_along(app: &App) -> (Browser, Browser) {
    let mut browser = Browser::default();
    browser.set(app, "n", 1).await.value();
    write::<Notes>(&mut browser, app, "early").await.value();
    let former = browser.clone();
    log_in(app, &mut browser).await;
    (former, browser)
}

fn assert_is_rejected<T>(visit: &Visit<T>, case: &str) {
    assert_eq!(visit.error.as_ref().map(|error| error.kind()), Some(&ErrorKind::Ended), "{case}");
    assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::CONFLICT, 0), "{case}");
}

async fn change(browser: &Browser, app: &App, change: fn(&Session)) -> Visit<()> {
    browser.send(app, move |session| async move { change(&session) }).await
}

async fn write_part<T: SessionPart + AsMut<String>>(browser: &Browser, app: &App) -> Visit<()> {
    write::<T>(&mut browser.clone(), app, "late").await
}

const CHANGES: [fn(&Session); 6] = [
    |session| session.insert("n", 2).unwrap(),
    |session| {
        session.remove("n");
    },
    |session| session.set_idle_timeout(MINUTE),
    |session| session.renew(),
    |session| session.destroy(),
    |session| {
        session.destroy();
        session.insert("n", 2).unwrap();
    },
];

#[tokio::test]
async fn for_a_minute_a_write_with_the_cookie_from_before_a_login_is_rejected() {
    let [one, other] = nodes(Duration::ZERO);
    let (former, browser) = taken_along(&one).await;
    for passed in [Duration::ZERO, MINUTE - MOMENT] {
        one.pass(passed);
        for app in [&one, &other] {
            for (index, &changes) in CHANGES.iter().enumerate() {
                assert_is_rejected(&change(&former, app, changes).await, &format!("change {index}"));
            }
            assert_is_rejected(&write_part::<Second>(&former, app).await, "a part in a cookie");
            assert_eq!(write_part::<Notes>(&former, app).await.status, StatusCode::CONFLICT);
            // This part needs no session.
            assert_eq!(write_part::<Prefs>(&former, app).await.status, StatusCode::OK);
        }
    }
    assert_eq!(principal(&one, &browser).await.as_deref(), Some("alice"));
    assert_eq!(read::<Notes>(&browser, &one).await.unwrap(), "early");
    one.pass(MOMENT);
    assert_eq!(change(&former, &one, CHANGES[0]).await.set_cookies().len(), 1);
}

#[tokio::test]
async fn a_write_during_the_login_is_rejected() {
    for (index, changes) in CHANGES.into_iter().enumerate() {
        let [one, other] = nodes(Duration::ZERO);
        let mut browser = Browser::default();
        browser.set(&one, "n", 1).await.value();
        let mut tab = browser.clone();
        let slow = browser.send(&one, move |session: Session| async move {
            assert_eq!(session.get::<u32>("n").unwrap(), Some(1));
            log_in(&other, &mut tab).await;
            changes(&session);
        });
        assert_is_rejected(&slow.await, &format!("change {index}"));
    }
}

#[tokio::test]
async fn a_read_with_the_cookie_from_before_a_login_finds_the_anonymous_session_and_sets_no_cookie() {
    let [one, _] = nodes(Duration::ZERO);
    let (former, _) = taken_along(&one).await;
    one.pass(MINUTE - MOMENT);
    // The idle deadline would be moved here.
    let visit = former.send(&one, |session| async move { (session.get::<u32>("n").unwrap(), session.principal()) });
    let visit = visit.await;
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
    assert_eq!(visit.value(), (Some(1), None));
    one.pass(MOMENT);
    let visit = former.send(&one, |session| async move { session.get::<u32>("n").unwrap() }).await;
    assert_eq!((visit.set_cookies().len(), visit.value()), (1, Some(1)));
}

#[tokio::test]
async fn another_login_goes_on_from_the_anonymous_session() {
    for name in ["alice", "bob"] {
        let [one, other] = nodes(Duration::ZERO);
        let (mut former, mut browser) = taken_along(&one).await;
        log_in_as(&other, &mut former, name).await;
        assert_eq!(principal(&one, &former).await.as_deref(), Some(name));
        assert_eq!(former.get(&one, "n").await, Some(1));
        // The first login is another session.
        log_out(&one, &mut former).await.value();
        assert_eq!(principal(&one, &browser).await.as_deref(), Some("alice"));
        browser.set(&one, "n", 3).await.value();
    }
}

#[tokio::test]
async fn a_login_that_replaces_the_anonymous_session_ends_it() {
    let [one, _] = nodes(Duration::ZERO);
    let (mut former, _) = taken_along(&one).await;
    let mut copy = former.clone();
    former.visit(&one, |session| async move { session.login_fresh("bob") }).await.value();
    assert_eq!(principal(&one, &former).await.as_deref(), Some("bob"));
    assert_eq!(former.get(&one, "n").await, None);
    one.pass(MINUTE);
    assert_eq!(copy.get(&one, "n").await, None, "the mark is kept");
}

#[tokio::test]
async fn with_a_delay_the_node_of_the_login_rejects_writes_at_once_and_others_within_the_delay() {
    let delay = Duration::from_secs(10);
    let [one, other] = nodes(delay);
    let mut browser = Browser::default();
    browser.set(&one, "n", 1).await.value();
    assert_eq!(browser.get(&other, "n").await, Some(1));
    let former = browser.clone();
    log_in(&one, &mut browser).await;
    assert_is_rejected(&change(&former, &one, CHANGES[0]).await, "the node of the login");
    assert_eq!(change(&former, &other, CHANGES[0]).await.set_cookies().len(), 1);
    one.pass(delay);
    assert_is_rejected(&change(&former, &other, CHANGES[0]).await, "after the delay");
}
