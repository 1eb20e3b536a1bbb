//! Removals of parts, and concurrent requests.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::test_kit::Call;
use session_state::{
    ConflictPolicy, CookieState, InCookie, InStore, MemoryStore, Part, PartOrDefault, SessionLayer, SessionPart,
};

use crate::browser::{App, Browser, Visit};
use crate::part_kit::{Having, Notes, keys, login, read, remove, session, write};
use crate::paused::{Gates, Paused, Side};

/// A part that is removed and written in one request, under `Fail`, without another request.
async fn remove_and_write(app: App) {
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &app, "old").await.value();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            session(&extensions).await.remove_part::<Notes>()?;
            Part::<Notes>::from_extensions(&extensions).await?.a = "new".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(
        (visit.status, visit.error.map(|e| e.to_string())),
        (StatusCode::OK, None),
        "without a concurrent request"
    );
    browser.receive(&Visit { output: None::<()>, headers: visit.headers, error: None, status: visit.status });
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "new");
}

#[tokio::test]
async fn a_part_in_a_store_is_removed_and_written_by_one_request_alone() {
    let layer = SessionLayer::server(MemoryStore::new()).with_conflict_policy(ConflictPolicy::Fail);
    remove_and_write(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
}

#[tokio::test]
async fn a_part_of_a_session_in_a_cookie_is_removed_and_written_by_one_request_alone() {
    let layer = SessionLayer::client(CookieState::encrypted(keys())).with_conflict_policy(ConflictPolicy::Fail);
    remove_and_write(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
}

#[tokio::test]
async fn a_part_is_removed_and_written_where_conflicts_merge() {
    let layer = SessionLayer::server(MemoryStore::new());
    remove_and_write(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
    let layer = SessionLayer::client(CookieState::encrypted(keys()));
    remove_and_write(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
    let layer = SessionLayer::server(MemoryStore::new());
    remove_and_write(App::new(layer.having::<Notes>(InCookie::encrypted(keys())))).await;
}

/// The delete of a removal arrives late.
#[tokio::test]
async fn a_late_delete_of_a_removal_keeps_newer_writes() {
    let gates = Gates::default();
    let parts = Paused::new(MemoryStore::new(), gates.clone());
    let app = App::new(SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(parts)));
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &app, "old").await.value();
    let stop = gates.stop(Call::Update, Side::Before);
    let remover = {
        let (app, browser) = (app.clone(), browser.clone());
        tokio::spawn(async move { remove(&browser, &app).await.status })
    };
    stop.reached().await;
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "", "the part is removed");
    write::<Notes>(&mut browser, &app, "new").await.value();
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "new");
    stop.open();
    assert_eq!(remover.await.unwrap(), StatusCode::OK);
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "new", "written with 200 after the removal");
}

/// Under `Fail`, a removal of a part that another request has changed since it was read.
async fn fail_policy_removal(app: App) {
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &app, "old").await.value();
    let (inner, mut tab) = (app.clone(), browser.clone());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let session = session(&extensions).await;
            assert_eq!(Part::<Notes>::from_extensions(&extensions).await?.a, "old");
            write::<Notes>(&mut tab, &inner, "theirs").await.value();
            session.remove_part::<Notes>()?;
            Ok((StatusCode::OK, ()))
        })
        .await;
    let left = read::<Notes>(&browser, &app).await.unwrap();
    assert_eq!((visit.status, &*left), (StatusCode::CONFLICT, "theirs"));
}

#[tokio::test]
async fn a_removal_from_the_record_conflicts_with_a_concurrent_change() {
    fail_policy_removal(App::memory().with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail))).await;
}

#[tokio::test]
async fn a_removal_from_a_store_conflicts_with_a_concurrent_change() {
    let layer = SessionLayer::server(MemoryStore::new()).with_conflict_policy(ConflictPolicy::Fail);
    fail_policy_removal(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
}

#[tokio::test]
async fn a_removal_in_a_cookie_session_conflicts_with_a_concurrent_change() {
    let layer = SessionLayer::client(CookieState::encrypted(keys())).with_conflict_policy(ConflictPolicy::Fail);
    fail_policy_removal(App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())))).await;
}

/// A logout by a request that has not seen a concurrently created part.
#[tokio::test]
async fn a_logout_removes_a_concurrently_created_part() {
    for takeover in [0, 1, 2] {
        let parts = MemoryStore::new();
        let layer = SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(parts.clone()));
        let (app, mut browser) = (App::new(layer), Browser::default());
        login(&mut browser, &app, "alice").await.value();
        let (inner, mut tab) = (app.clone(), browser.clone());
        let visit = browser
            .visit(&app, move |session| async move {
                write::<Notes>(&mut tab, &inner, "alice's").await.value();
                match takeover {
                    0 => session.logout(),
                    1 => session.login("bob"),
                    _ => {
                        session.logout();
                        session.insert("n", 1).unwrap();
                    }
                }
            })
            .await;
        assert_eq!(visit.status, StatusCode::OK);
        assert_eq!(parts.len(), 0, "alice's text is still stored; way {takeover}");
    }
}

/// A part with the same name and another shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Broken(u32);
impl Default for Broken {
    fn default() -> Self {
        Self(7)
    }
}
impl SessionPart for Broken {
    const NAME: &'static str = "notes";
}

/// A request with `PartOrDefault` that only reads must not remove a part that another request has just made readable.
async fn only_looks_at_garbage(app: App) {
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await.value();
    let (inner, mut tab) = (app.clone(), browser.clone());
    write::<Notes>(&mut browser, &app, "x").await.value();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            drop(PartOrDefault::<Broken>::from_extensions(&extensions).await?);
            // Another request makes it readable for this release.
            tab.send_raw(&inner, |extensions| async move {
                PartOrDefault::<Broken>::from_extensions(&extensions).await?.0.0 = 42;
                Ok((StatusCode::OK, ()))
            })
            .await
            .value();
            tab.jar.clear();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(visit.status, StatusCode::OK);
    let left = browser
        .send_raw(&app, |extensions| async move {
            Ok((StatusCode::OK, Part::<Broken>::from_extensions(&extensions).await?.0))
        })
        .await
        .value();
    assert_eq!(left, 42, "written with 200, and the other request only reads");
}

#[tokio::test]
async fn reading_an_unreadable_part_removes_no_readable_one() {
    only_looks_at_garbage(App::memory()).await;
}
