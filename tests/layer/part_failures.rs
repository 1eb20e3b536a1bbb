//! Parts of requests that fail, are rejected or are answered with an error.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{
    ConflictPolicy, CookieState, ErrorKind, InCookie, InStore, MemoryStore, Part, ServerErrorPolicy, SessionLayer,
    SessionLimitPolicy, SessionPart,
};

use crate::browser::{App, Browser};
use crate::part_kit::{Having, IDLE, Notes, Prefs, Second, keys, login, read, remove, session, write};

/// A bound part of an anonymous session, and a saved login in a request that then fails.
#[tokio::test]
async fn a_bound_part_survives_a_saved_login_even_if_the_request_fails() {
    let app = App::new(
        SessionLayer::server(MemoryStore::new()).having::<Prefs>(InCookie::encrypted(keys())).with_max_record_size(500),
    );
    let mut browser = Browser::default();
    write::<Prefs>(&mut browser, &app, "dark").await.value();
    assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let session = session(&extensions).await;
            session.login("alice");
            session.save().await?;
            Part::<TooLong>::from_extensions(&extensions).await?.text = "x".repeat(2000);
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_ne!(visit.status, StatusCode::OK);
    browser.receive(&visit);
    let who = browser.visit(&app, |session| async move { session.principal() }).await.value();
    assert_eq!(who.as_deref(), Some("alice"), "the login was saved, and its cookie sent");
    assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark", "the part survives the login");
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TooLong {
    text: String,
}
impl SessionPart for TooLong {
    const NAME: &'static str = "too-long";
}

/// A saved part in a cookie, in a request that then fails.
#[tokio::test]
async fn a_saved_part_in_a_cookie_is_sent_even_if_the_request_fails() {
    for free in [false, true] {
        let place = InCookie::encrypted(keys());
        let place = if free { place.with_default_retention() } else { place };
        let layer = SessionLayer::server(MemoryStore::new()).having::<Prefs>(place).with_max_record_size(500);
        let (app, mut browser) = (App::new(layer), Browser::default());
        browser.set(&app, "n", 1).await.value();
        let visit = browser
            .send_raw(&app, |extensions| async move {
                let session = session(&extensions).await;
                Part::<Prefs>::from_extensions(&extensions).await?.a = "dark".to_owned();
                session.insert("n", 2)?;
                session.save().await?;
                Part::<TooLong>::from_extensions(&extensions).await?.text = "x".repeat(2000);
                Ok((StatusCode::OK, ()))
            })
            .await;
        assert_ne!(visit.status, StatusCode::OK);
        browser.receive(&visit);
        assert_eq!(browser.get(&app, "n").await, Some(2), "saved changes stay");
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark", "save() said Ok; free: {free}");
    }
}

/// A rejected login leaves the session unchanged, even within the same request.
async fn after_a_refused_login(app: App, through_update: bool) {
    let app = app.with(|layer| layer.with_max_sessions(1, SessionLimitPolicy::RefuseLogin).unwrap());
    login(&mut Browser::default(), &app, "bob").await.value();
    let mut browser = Browser::default();
    login(&mut browser, &app, "alice").await.value();
    write::<Notes>(&mut browser, &app, "alice's").await.value();
    let visit = browser
        .send_raw(&app, move |extensions| async move {
            let session = session(&extensions).await;
            drop(Part::<Notes>::from_extensions(&extensions).await?);
            session.login("bob");
            let refused = session.save().await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::TooManySessions { .. }), "{refused}");
            let seen = session.principal();
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            let shown = part.a.clone();
            if through_update {
                part.update(|part| part.b = "more".to_owned());
            } else {
                part.b = "more".to_owned();
            }
            Ok((StatusCode::OK, (seen, shown)))
        })
        .await;
    browser.receive(&visit);
    let (seen, shown) = visit.value();
    let after = read::<Notes>(&browser, &app).await.unwrap();
    assert_eq!((seen.as_deref(), &*shown, &*after), (Some("alice"), "alice's", "alice's"), "seen, shown, kept after");
}

#[tokio::test]
async fn a_refused_takeover_leaves_a_part_in_the_record_unchanged() {
    after_a_refused_login(App::memory(), false).await;
    after_a_refused_login(App::memory(), true).await;
}

#[tokio::test]
async fn a_refused_takeover_leaves_a_part_in_a_store_unchanged() {
    for update in [false, true] {
        let layer = SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(MemoryStore::new()));
        after_a_refused_login(App::new(layer), update).await;
    }
}

#[tokio::test]
async fn a_refused_takeover_leaves_a_part_in_a_cookie_unchanged() {
    for update in [false, true] {
        let layer = SessionLayer::server(MemoryStore::new()).having::<Notes>(InCookie::encrypted(keys()));
        after_a_refused_login(App::new(layer), update).await;
    }
}

/// Cookie state with two parts in stores: a failed request writes neither.
#[tokio::test]
async fn an_oversized_part_of_two_writes_neither() {
    let layer = SessionLayer::client(CookieState::encrypted(keys()))
        .having::<Notes>(InStore::new(MemoryStore::new()))
        .having::<Second>(InStore::new(MemoryStore::new()))
        .with_max_record_size(1000);
    let (app, mut browser) = (App::new(layer), Browser::default());
    write::<Notes>(&mut browser, &app, "old").await.value();
    write::<Second>(&mut browser, &app, "old").await.value();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            Part::<Notes>::from_extensions(&extensions).await?.a = "new".to_owned();
            Part::<Second>::from_extensions(&extensions).await?.a = "x".repeat(2000);
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert!(matches!(visit.error.as_ref().unwrap().kind(), ErrorKind::TooLarge { .. }), "{:?}", visit.error);
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "old", "the request was answered with an error");
}

#[tokio::test]
async fn a_conflict_of_one_of_two_parts_writes_neither() {
    let layer = SessionLayer::client(CookieState::encrypted(keys()))
        .having::<Notes>(InStore::new(MemoryStore::new()))
        .having::<Second>(InStore::new(MemoryStore::new()))
        .with_conflict_policy(ConflictPolicy::Fail);
    let (app, mut browser) = (App::new(layer), Browser::default());
    write::<Notes>(&mut browser, &app, "old").await.value();
    write::<Second>(&mut browser, &app, "old").await.value();
    let (inner, mut tab) = (app.clone(), browser.clone());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let mut notes = Part::<Notes>::from_extensions(&extensions).await?;
            let mut second = Part::<Second>::from_extensions(&extensions).await?;
            write::<Second>(&mut tab, &inner, "theirs").await.value();
            notes.a = "mine".to_owned();
            second.a = "mine".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(visit.status, StatusCode::CONFLICT);
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "old", "the request was answered with 409");
}

/// Cookie state: a failed removal is an error.
#[tokio::test]
async fn a_removal_that_failed_is_not_answered_with_200() {
    let parts = FaultyStore::new(MemoryStore::new());
    let faults = parts.faults();
    let layer = SessionLayer::client(CookieState::encrypted(keys())).having::<Notes>(InStore::new(parts));
    let (app, mut browser) = (App::new(layer), Browser::default());
    write::<Notes>(&mut browser, &app, "secret").await.value();
    faults.next_of(Call::Delete, 10, Fault::Refuse);
    let visit = remove(&browser, &app).await;
    browser.receive(&visit);
    faults.heal();
    let left = read::<Notes>(&browser, &app).await.unwrap();
    assert!(visit.status != StatusCode::OK || left.is_empty(), "{}: {left:?} is still stored", visit.status);
}

/// The session expires during a request that writes its part.
#[tokio::test]
async fn a_part_written_after_the_session_has_expired_fails() {
    let layer = SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(MemoryStore::new()));
    let (app, mut browser) = (App::new(layer), Browser::default());
    write::<Notes>(&mut browser, &app, "old").await.value();
    let clock = app.clock.clone();
    let visit = browser
        .send_raw(&app, move |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            clock.advance(IDLE + Duration::from_millis(1));
            part.a = "new".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    let left = read::<Notes>(&browser, &app).await.unwrap();
    assert!(visit.status != StatusCode::OK || left == "new", "{} and {left:?}", visit.status);
}

/// A bound cookie part, and a server error that discards changes, in the request of a login.
#[tokio::test]
async fn a_bound_cookie_part_survives_a_login_answered_with_a_server_error() {
    let layer = SessionLayer::server(MemoryStore::new())
        .having::<Prefs>(InCookie::encrypted(keys()))
        .having::<Notes>(InStore::new(MemoryStore::new()))
        .with_server_error_policy(ServerErrorPolicy::Discard);
    let (app, mut browser) = (App::new(layer), Browser::default());
    write::<Prefs>(&mut browser, &app, "dark").await.value();
    write::<Notes>(&mut browser, &app, "kept").await.value();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let session = session(&extensions).await;
            Part::<Prefs>::from_extensions(&extensions).await?.b = "x".to_owned();
            Part::<Notes>::from_extensions(&extensions).await?.b = "x".to_owned();
            session.login("alice");
            Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
        })
        .await;
    browser.receive(&visit);
    assert_eq!(
        browser.visit(&app, |session| async move { session.principal() }).await.value().as_deref(),
        Some("alice")
    );
    assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "kept");
}

/// A value in the cookie and a part whose store fails.
#[tokio::test]
async fn a_part_that_fails_after_a_logout_leaves_the_clients_session() {
    let parts = FaultyStore::new(MemoryStore::new());
    let faults = parts.faults();
    let layer = SessionLayer::client(CookieState::encrypted(keys())).having::<Notes>(InStore::new(parts));
    let (app, mut browser) = (App::new(layer), Browser::default());
    login(&mut browser, &app, "alice").await.value();
    write::<Notes>(&mut browser, &app, "old").await.value();
    // A value and a part whose store is down: neither is written.
    let broken = faults.clone();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            broken.next(100, Fault::Refuse);
            session(&extensions).await.insert("n", 2)?;
            part.a = "new".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    faults.heal();
    assert_ne!(visit.status, StatusCode::OK);
    assert_eq!(browser.get(&app, "n").await, None);
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "old");
}

/// The store of the part applies writes and does not answer.
#[tokio::test]
async fn a_part_with_unanswered_writes_is_changed_once() {
    let parts = FaultyStore::new(MemoryStore::new());
    let faults = parts.faults();
    let app = App::new(SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(parts)));
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &app, "a").await.value();
    for unanswered in 1..=5 {
        let before = read::<Notes>(&browser, &app).await.unwrap();
        let broken = faults.clone();
        let visit = browser
            .send_raw(&app, move |extensions| async move {
                let mut part = Part::<Notes>::from_extensions(&extensions).await?;
                broken.next_of(Call::Update, unanswered, Fault::LoseReply);
                part.update(|notes| notes.a.push('b'));
                // The end of the request retries.
                drop(session(&extensions).await.save().await);
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&visit);
        faults.heal();
        let after = read::<Notes>(&browser, &app).await.unwrap();
        assert_eq!(after, before + "b", "{unanswered} writes are not answered: {}", visit.status);
    }
}
