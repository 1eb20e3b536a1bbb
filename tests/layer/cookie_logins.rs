//! Each login gives a session in the cookie another handle: a copy of the cookie from before it neither sees the parts
//! of the logged-in session nor ends it.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{
    ConflictPolicy, CookieState, ErrorKind, InCookie, InStore, MemoryStore, Part, Session, SessionLayer,
};

use crate::browser::{App, Browser, Visit};
use crate::part_kit::{Having, Notes, Second, keys, login, read, write};

type Change = fn(&Session);

const LOGIN: Change = |session| session.login("alice");
const REAUTHENTICATION: Change = |session| session.mark_reauthenticated().unwrap();

/// Whether the session is anonymous before, and how its principal authenticates.
const AUTHENTICATIONS: [(bool, Change); 3] = [(true, LOGIN), (false, LOGIN), (false, REAUTHENTICATION)];

fn app_with(notes: MemoryStore, is_revocable: bool) -> App {
    let state = CookieState::encrypted(keys());
    let state = if is_revocable { state.with_revocation(MemoryStore::new()) } else { state };
    let layer = SessionLayer::client(state).having::<Second>(InCookie::encrypted(keys()));
    App::new(layer.having::<Notes>(InStore::new(notes)))
}

async fn handle(browser: &Browser, app: &App) -> session_state::Handle {
    browser.send(app, |session| async move { session.handle().unwrap() }).await.value()
}

async fn principal(browser: &Browser, app: &App) -> Option<String> {
    browser.send(app, |session| async move { session.principal() }).await.value()
}

/// A browser with a session, its parts, and a value.
async fn begin(app: &App, is_anonymous: bool) -> Browser {
    let mut browser = Browser::default();
    if !is_anonymous {
        login(&mut browser, app, "alice").await.value();
    }
    write::<Notes>(&mut browser, app, "early").await.value();
    write::<Second>(&mut browser, app, "bound").await.value();
    browser.set(app, "n", 1).await.value();
    browser
}

#[tokio::test]
async fn a_login_keeps_values_and_parts_under_another_handle() {
    for is_revocable in [false, true] {
        for (is_anonymous, authenticate) in AUTHENTICATIONS {
            for saves in [false, true] {
                let app = app_with(MemoryStore::new(), is_revocable);
                let mut browser = begin(&app, is_anonymous).await;
                let before = handle(&browser, &app).await;
                let visit = browser.send_raw(&app, move |extensions| async move {
                    let session = Session::from_extensions(&extensions)?.load().await?;
                    authenticate(&session);
                    if saves {
                        session.save().await?;
                    }
                    let bound = Part::<Second>::from_extensions(&extensions).await?;
                    Ok((StatusCode::OK, bound.a.clone()))
                });
                let visit = visit.await;
                browser.receive(&visit);
                assert_eq!(visit.value(), "bound", "saved: {saves}");
                assert_ne!(handle(&browser, &app).await, before);
                assert_eq!(principal(&browser, &app).await.as_deref(), Some("alice"));
                assert_eq!(browser.get(&app, "n").await, Some(1));
                assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "early");
                assert_eq!(read::<Second>(&browser, &app).await.unwrap(), "bound");
            }
        }
    }
}

#[tokio::test]
async fn a_copy_from_before_a_login_neither_sees_its_parts_nor_ends_it() {
    for is_revocable in [false, true] {
        for (is_anonymous, authenticate) in AUTHENTICATIONS {
            for seconds in [0, 60] {
                let app = app_with(MemoryStore::new(), is_revocable);
                let mut browser = begin(&app, is_anonymous).await;
                let mut copy = browser.clone();
                browser.visit(&app, move |session| async move { authenticate(&session) }).await.value();
                write::<Notes>(&mut browser, &app, "secret").await.value();
                write::<Second>(&mut browser, &app, "secret").await.value();
                app.pass(Duration::from_secs(seconds));
                assert_eq!(read::<Notes>(&copy, &app).await.unwrap(), "");
                copy.jar.insert("__Host-Http-second".into(), browser.jar["__Host-Http-second"].clone());
                assert_eq!(read::<Second>(&copy, &app).await.unwrap(), "");
                let forged = write::<Notes>(&mut copy.clone(), &app, "forged").await;
                assert_eq!(forged.status == StatusCode::CONFLICT, seconds == 0, "{:?}", forged.error);
                let logout = copy.visit(&app, |session| async move { session.logout() }).await;
                let is_rejected = is_revocable && is_anonymous && seconds == 0;
                assert_eq!(logout.status == StatusCode::CONFLICT, is_rejected, "{:?}", logout.error);
                assert_eq!(principal(&browser, &app).await.as_deref(), Some("alice"));
                assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "secret");
                assert_eq!(read::<Second>(&browser, &app).await.unwrap(), "secret");
            }
        }
    }
}

/// With revocation, the logout must reach copies from before a second login too.
#[tokio::test]
async fn a_copy_from_before_a_second_login_is_ended_by_it() {
    for (is_anonymous, authenticate) in AUTHENTICATIONS {
        let app = app_with(MemoryStore::new(), true);
        let mut browser = begin(&app, is_anonymous).await;
        let copy = browser.clone();
        browser.visit(&app, move |session| async move { authenticate(&session) }).await.value();
        assert_eq!(principal(&copy, &app).await, None);
        browser.visit(&app, |session| async move { session.logout() }).await.value();
        app.pass(Duration::from_secs(3600 / 3));
        assert_eq!(principal(&copy, &app).await, None);
    }
}

/// A request that logs in, with a part loaded before or not, and changed or not.
async fn log_in_around(browser: &Browser, app: &App, text: Option<&'static str>, inner: Option<App>) -> Visit<()> {
    let mut tab = browser.clone();
    browser
        .send_raw(app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let mut part = None;
            if let Some(text) = text {
                let mut notes = Part::<Notes>::from_extensions(&extensions).await?;
                notes.a = text.to_owned();
                part = Some(notes);
            }
            session.login("alice");
            if let Some(inner) = inner {
                let other = tab.send_raw(&inner, |extensions| async move {
                    Part::<Notes>::from_extensions(&extensions).await?.b = "of the other".to_owned();
                    Ok((StatusCode::OK, ()))
                });
                let other = other.await;
                tab.receive(&other);
                other.value();
            }
            drop(part);
            Ok((StatusCode::OK, ()))
        })
        .await
}

async fn notes(browser: &Browser, app: &App) -> (String, String) {
    let visit = browser.send_raw(app, |extensions| async move {
        let notes = Part::<Notes>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, (notes.a.clone(), notes.b.clone())))
    });
    visit.await.value()
}

#[tokio::test]
async fn a_part_changed_by_another_request_before_the_login_is_merged() {
    for policy in [ConflictPolicy::Merge, ConflictPolicy::Fail] {
        for text in [None, Some("changed")] {
            let app = app_with(MemoryStore::new(), false).with(|layer| layer.with_conflict_policy(policy));
            let mut browser = begin(&app, true).await;
            let visit = log_in_around(&browser, &app, text, Some(app.clone())).await;
            browser.receive(&visit);
            if policy == ConflictPolicy::Fail && text.is_some() {
                assert_eq!((visit.status, principal(&browser, &app).await), (StatusCode::CONFLICT, None));
                assert_eq!(notes(&browser, &app).await, ("early".to_owned(), "of the other".to_owned()));
                continue;
            }
            visit.value();
            let expected = (text.unwrap_or("early").to_owned(), "of the other".to_owned());
            assert_eq!(notes(&browser, &app).await, expected, "{policy:?}");
        }
    }
}

#[tokio::test]
async fn a_part_removed_with_the_login_is_gone() {
    let parts = MemoryStore::new();
    let app = app_with(parts.clone(), false);
    let mut browser = begin(&app, true).await;
    let remove = |session: Session| async move {
        session.remove_part::<Notes>().unwrap();
        session.login("alice");
    };
    browser.visit(&app, remove).await.value();
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "");
}

/// The store of the part fails at each of its calls, or loses its reply.
#[tokio::test]
async fn a_login_with_a_failing_store_leaves_the_old_cookie_and_part_or_the_new_ones() {
    for text in [None, Some("changed")] {
        for call in [Call::Load, Call::Create, Call::Update] {
            for fault in [Fault::Refuse, Fault::LoseReply] {
                for count in [1, 2, usize::MAX] {
                    let store = FaultyStore::new(MemoryStore::new());
                    let faults = store.faults();
                    let layer = SessionLayer::client(CookieState::encrypted(keys()));
                    let app = App::new(layer.having::<Notes>(InStore::new(store)));
                    let mut browser = Browser::default();
                    write::<Notes>(&mut browser, &app, "early").await.value();
                    faults.next_of(call, count, fault);
                    let visit = log_in_around(&browser, &app, text, None).await;
                    browser.receive(&visit);
                    faults.heal();
                    let story = format!("{text:?}, {call:?}, {count} times {fault:?}");
                    let has_logged_in = principal(&browser, &app).await.is_some();
                    assert_eq!(has_logged_in, visit.status == StatusCode::OK, "{story}: {:?}", visit.error);
                    assert_eq!(visit.set_cookies().len(), usize::from(has_logged_in), "{story}");
                    let expected = if has_logged_in { text.unwrap_or("early") } else { "early" };
                    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), expected, "{story}");
                    // What a failure left behind is in nobody's way.
                    login(&mut browser, &app, "alice").await.value();
                    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), expected, "{story}");
                }
            }
        }
    }
}

/// The mark of the former session fails: the login can be repeated, whether or not the mark was written.
#[tokio::test]
async fn a_login_whose_mark_failed_can_be_saved_again() {
    for fault in [Fault::Refuse, Fault::LoseReply] {
        for count in [1, 2] {
            let marks = FaultyStore::new(MemoryStore::new());
            let faults = marks.faults();
            let state = CookieState::encrypted(keys()).with_revocation(marks);
            let app = App::new(SessionLayer::client(state).having::<Notes>(InStore::new(MemoryStore::new())));
            let mut browser = Browser::default();
            login(&mut browser, &app, "alice").await.value();
            write::<Notes>(&mut browser, &app, "early").await.value();
            let visit = browser
                .visit(&app, move |session| async move {
                    session.login("alice");
                    faults.next_of(Call::Create, count, fault);
                    if session.save().await.is_err() {
                        session.save().await.unwrap();
                    }
                })
                .await;
            visit.value();
            assert_eq!(principal(&browser, &app).await.as_deref(), Some("alice"), "{count} times {fault:?}");
            assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "early", "{count} times {fault:?}");
        }
    }
}

/// The encryption of the part was turned on, without a time for plain records.
#[tokio::test]
async fn a_part_that_cannot_be_decoded_begins_anew_with_the_login() {
    for is_revocable in [false, true] {
        for (is_anonymous, authenticate) in AUTHENTICATIONS {
            let (notes, state) = (InStore::new(MemoryStore::new()), CookieState::encrypted(keys()));
            let state = if is_revocable { state.with_revocation(MemoryStore::new()) } else { state };
            let layer = SessionLayer::client(state).having::<Second>(InCookie::encrypted(keys()));
            let plain = App::new(layer.clone().having::<Notes>(notes.clone()));
            let app = App::new(layer.having::<Notes>(notes.with_encryption_at_rest(keys())));
            let mut browser = begin(&plain, is_anonymous).await;
            let error = read::<Notes>(&browser, &app).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Decode { .. }), "{error}");
            let _ = app.events();
            browser.visit(&app, move |session| async move { authenticate(&session) }).await.value();
            assert!(app.events().contains(&"UndecodableRecord".to_owned()));
            assert_eq!(principal(&browser, &app).await.as_deref(), Some("alice"));
            assert_eq!(browser.get(&app, "n").await, Some(1));
            assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "");
            write::<Notes>(&mut browser, &app, "anew").await.value();
            login(&mut browser, &app, "alice").await.value();
            assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "anew");
        }
    }
}
