//! A panic of the handler commits nothing, and a panic of a task that holds the session discards nothing.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{InCookie, InStore, KeyRing, MemoryStore, Part, PartPlace, Session, SessionLayer, SessionPart};

use crate::browser::{App, Browser};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notes {
    lines: Vec<String>,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

/// Applications whose part lives in each of the places that need no database.
fn apps() -> Vec<(PartPlace, App)> {
    let layer = || SessionLayer::server(MemoryStore::new());
    let keys = KeyRing::generate().unwrap();
    let in_cookie = layer().with_part::<Notes>(InCookie::encrypted(keys)).unwrap();
    let in_store = layer().with_part::<Notes>(InStore::new(MemoryStore::new())).unwrap();
    let layers = [(PartPlace::Session, layer()), (PartPlace::Cookie, in_cookie), (PartPlace::Store, in_store)];
    layers.into_iter().map(|(place, layer)| (place, App::new(layer))).collect()
}

/// The value that is dropped during a panic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Session,
    Part,
    Both,
}

impl Held {
    const ALL: [Self; 3] = [Self::Session, Self::Part, Self::Both];
}

/// Holds a value, and panics.
async fn panic_with(held: Held, session: Session, part: Part<Notes>) {
    let _session = (held != Held::Part).then_some(session);
    let _part = (held != Held::Session).then_some(part);
    tokio::task::yield_now().await;
    panic!("the test panics here");
}

async fn notes(app: &App, browser: &Browser) -> Vec<String> {
    let look = |extensions| async move {
        Ok((StatusCode::OK, Part::<Notes>::from_extensions(&extensions).await?.lines.clone()))
    };
    browser.send_raw(app, look).await.value()
}

#[tokio::test]
async fn a_panicking_task_discards_no_change_of_the_request() {
    for ((place, app), held) in apps().into_iter().flat_map(|app| Held::ALL.map(|held| (app.clone(), held))) {
        let story = format!("a part in {place:?}, the task holds {held:?}");
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        let visit = browser.send_raw(&app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            session.insert("n", 2)?;
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            part.update(|notes| notes.lines.push("of the handler".to_owned()));
            let task = tokio::spawn(panic_with(held, session, part));
            assert!(task.await.unwrap_err().is_panic());
            Ok((StatusCode::OK, ()))
        });
        let visit = visit.await;
        browser.receive(&visit);
        assert_eq!(visit.status, StatusCode::OK, "{story}");
        assert_eq!(browser.get(&app, "n").await, Some(2), "{story}");
        assert_eq!(notes(&app, &browser).await, ["of the handler"], "{story}");
    }
}

#[tokio::test]
async fn a_panicking_task_discards_no_login_or_logout_of_the_request() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        for (logs_out, expected) in [(false, (Some("alice"), Some(1))), (true, (None, None))] {
            let visit = browser.visit(&app, move |session| async move {
                if logs_out {
                    session.logout();
                } else {
                    session.login("alice");
                }
                let task = tokio::spawn(async move {
                    let _held = session;
                    panic!("the test panics here");
                });
                assert!(task.await.unwrap_err().is_panic());
            });
            let visit = visit.await;
            assert_eq!(visit.set_cookies().len(), 1);
            visit.value();
            let look = |session: Session| async move { (session.principal(), session.get::<u32>("n").unwrap()) };
            let (principal, n) = browser.send(&app, look).await.value();
            assert_eq!((principal.as_deref(), n), expected);
        }
    }
}

#[tokio::test]
async fn a_panicking_thread_discards_no_change_of_the_request() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let visit = browser.visit(&app, |session| async move {
            session.insert("n", 1).unwrap();
            let thread = std::thread::spawn(move || {
                let _held = session;
                panic!("the test panics here");
            });
            assert!(thread.join().is_err());
        });
        visit.await.value();
        assert_eq!(browser.get(&app, "n").await, Some(1));
    }
}

#[tokio::test]
async fn a_panicking_handler_commits_nothing_with_any_value_held() {
    for ((place, app), held) in apps().into_iter().flat_map(|app| Held::ALL.map(|held| (app.clone(), held))) {
        let story = format!("a part in {place:?}, the handler holds {held:?}");
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        let visit = browser.send_raw(&app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            session.insert("n", 2)?;
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            part.update(|notes| notes.lines.push("of the handler".to_owned()));
            session.login("alice");
            // Like a middleware inside the layer that turns a panic into a response.
            let caught = AssertUnwindSafe(panic_with(held, session, part)).catch_unwind().await;
            assert!(caught.is_err());
            Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
        });
        let visit = visit.await;
        assert!(visit.set_cookies().is_empty(), "{story}");
        assert_eq!(browser.get(&app, "n").await, Some(1), "{story}");
        assert_eq!(notes(&app, &browser).await, [""; 0], "{story}");
        let principal = browser.visit(&app, |session| async move { session.principal() }).await.value();
        assert_eq!(principal, None, "{story}");
    }
}
