//! Parts, and concurrent tasks and requests.

use std::sync::Arc;

use http::StatusCode;
use session_state::test_kit::Call;
use session_state::{
    ConflictPolicy, CookieState, InCookie, InStore, MemoryStore, Part, ServerErrorPolicy, SessionLayer,
};

use crate::browser::{App, Browser};
use crate::part_kit::{Having, Notes, Prefs, keys, login, read, session, write};
use crate::paused::{Gates, Paused, Side};

/// Writes a part, logs in and saves, and writes the part again, without a rival.
async fn write_after_saved_login(layer: SessionLayer) {
    let layer = layer.with_conflict_policy(ConflictPolicy::Fail);
    let app = App::new(layer.having::<Notes>(InStore::new(MemoryStore::new())));
    for write_before in [false, true] {
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, &app, "old").await.value();
        let visit = browser
            .send_raw(&app, move |extensions| async move {
                let session = session(&extensions).await;
                let mut part = Part::<Notes>::from_extensions(&extensions).await?;
                if write_before {
                    part.a = "middle".to_owned();
                }
                drop(part);
                session.login("alice");
                session.save().await?;
                Part::<Notes>::from_extensions(&extensions).await?.a = "new".to_owned();
                Ok((StatusCode::OK, ()))
            })
            .await;
        assert_eq!(visit.status, StatusCode::OK, "alone; written before: {write_before}, {:?}", visit.error);
        browser.receive(&visit);
        assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "new");
    }
}

#[tokio::test]
async fn a_part_of_a_session_in_a_cookie_is_written_after_a_login_that_was_saved() {
    write_after_saved_login(SessionLayer::client(CookieState::encrypted(keys()))).await;
}

#[tokio::test]
async fn a_part_is_written_after_a_login_that_was_saved() {
    write_after_saved_login(SessionLayer::server(MemoryStore::new())).await;
}

/// Cookie state with revocation: a part that is written late, after a logout.
#[tokio::test]
async fn with_revocation_a_late_part_write_after_a_logout_is_rejected() {
    let parts = MemoryStore::new();
    let state = CookieState::encrypted(keys()).with_revocation(MemoryStore::new());
    let layer = SessionLayer::client(state).having::<Notes>(InStore::new(parts.clone()));
    let (app, mut browser) = (App::new(layer), Browser::default());
    login(&mut browser, &app, "alice").await.value();
    write::<Notes>(&mut browser, &app, "old").await.value();
    let (inner, mut tab) = (app.clone(), browser.clone());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            tab.visit(&inner, |session| async move { session.logout() }).await.value();
            part.a = "late".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!((visit.status, parts.len()), (StatusCode::CONFLICT, 0), "the status, and the number of stored parts");
}

/// The same, for a part that is created late.
#[tokio::test]
async fn with_revocation_a_part_created_late_after_a_logout_is_rejected() {
    let parts = MemoryStore::new();
    let state = CookieState::encrypted(keys()).with_revocation(MemoryStore::new());
    let layer = SessionLayer::client(state).having::<Notes>(InStore::new(parts.clone()));
    let (app, mut browser) = (App::new(layer), Browser::default());
    login(&mut browser, &app, "alice").await.value();
    let (inner, mut tab) = (app.clone(), browser.clone());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            tab.visit(&inner, |session| async move { session.logout() }).await.value();
            part.a = "late".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!((visit.status, parts.len()), (StatusCode::CONFLICT, 0), "the status, and the number of stored parts");
}

/// The response future is dropped while a task saves, and that task is aborted; another task saves.
#[tokio::test]
async fn changes_dropped_with_their_request_are_not_saved_by_another_task() {
    let gates = Gates::default();
    let store = Paused::new(MemoryStore::new(), gates.clone());
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await.value();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let stop = gates.stop(Call::Update, Side::Before);
    let request = {
        let (app, browser) = (app.clone(), browser.clone());
        tokio::spawn(async move {
            browser
                .send(&app, |session| async move {
                    session.insert("saved", 1).unwrap();
                    let task = session.clone();
                    let saving = tokio::spawn(async move { task.save().await });
                    tokio::task::yield_now().await;
                    let _ = sender.send((session.clone(), saving));
                    session.insert("unsaved", 1).unwrap();
                    std::future::pending::<()>().await;
                })
                .await;
        })
    };
    let (session, saving) = receiver.await.unwrap();
    stop.reached().await;
    request.abort();
    let _ = request.await;
    saving.abort();
    let _ = saving.await;
    stop.open();
    let saved = session.save().await;
    let kept = browser.get(&app, "unsaved").await;
    assert!(saved.is_err() == kept.is_none(), "{saved:?}, and {kept:?}");
}

/// A takeover during a save in place keeps nothing of the former principal.
#[tokio::test]
async fn a_takeover_during_a_save_in_place_keeps_nothing() {
    for fresh in [false, true] {
        let gates = Gates::default();
        let parts = Paused::new(MemoryStore::new(), gates.clone());
        let app = App::new(SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(parts)));
        let mut browser = Browser::default();
        login(&mut browser, &app, "alice").await.value();
        write::<Notes>(&mut browser, &app, "alice's").await.value();
        let visit = browser
            .send_raw(&app, move |extensions| async move {
                let session = session(&extensions).await;
                Part::<Notes>::from_extensions(&extensions).await?.a = "alice's more".to_owned();
                let stop = gates.stop(Call::Update, Side::After);
                let task = session.clone();
                let saving = tokio::spawn(async move { task.save().await });
                stop.reached().await;
                if fresh {
                    session.login_fresh("alice");
                } else {
                    session.login("bob");
                }
                stop.open();
                saving.await.unwrap()?;
                let seen = Part::<Notes>::from_extensions(&extensions).await?.a.clone();
                Part::<Notes>::from_extensions(&extensions).await?.b = "bob's".to_owned();
                Ok((StatusCode::OK, seen))
            })
            .await;
        browser.receive(&visit);
        assert_eq!(visit.value(), "");
        assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "", "fresh: {fresh}");
    }
}

/// Two concurrent saves.
#[tokio::test]
async fn two_saves_at_once_lose_nothing() {
    let layer = SessionLayer::server(MemoryStore::new()).having::<Notes>(InStore::new(MemoryStore::new()));
    let (app, mut browser) = (App::new(layer), Browser::default());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let session = session(&extensions).await;
            session.insert("n", 1)?;
            Part::<Notes>::from_extensions(&extensions).await?.a = "x".to_owned();
            session.login("alice");
            let (one, two) = tokio::join!(session.save(), session.save());
            one?;
            two?;
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    assert_eq!(visit.status, StatusCode::OK);
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "x");
}

/// A contested part: a request that has shut a rival out must not overwrite a third request.
#[tokio::test]
async fn shutting_a_rival_out_does_not_overwrite_a_third_request() {
    let gates = Gates::default();
    let app = App::new(
        SessionLayer::server(Paused::new(MemoryStore::new(), gates.clone()))
            .having::<Notes>(InStore::new(MemoryStore::new())),
    );
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &app, "old").await.value();
    // A request that dies with a prepared text.
    let stop = gates.stop(Call::Update, Side::Before);
    let dying = {
        let (app, browser) = (app.clone(), browser.clone());
        tokio::spawn(async move {
            browser
                .send_raw(&app, |extensions| async move {
                    session(&extensions).await.insert("n", 1)?;
                    Part::<Notes>::from_extensions(&extensions).await?.a = "dying".to_owned();
                    Ok((StatusCode::OK, ()))
                })
                .await
        })
    };
    stop.reached().await;
    dying.abort();
    assert!(dying.await.is_err());
    let stop = gates.stop(Call::Update, Side::After);
    let second = {
        let (app, browser) = (app.clone(), browser.clone());
        tokio::spawn(async move {
            let mut browser = browser;
            write::<Notes>(&mut browser, &app, "second").await.status
        })
    };
    stop.reached().await;
    let third = browser
        .send_raw(&app, |extensions| async move {
            Part::<Notes>::from_extensions(&extensions).await?.b = "third".to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(third.status, StatusCode::OK);
    stop.open();
    let second = second.await.unwrap();
    let left = browser
        .send_raw(&app, |extensions| async move {
            let part = Part::<Notes>::from_extensions(&extensions).await?;
            Ok((StatusCode::OK, (part.a.clone(), part.b.clone())))
        })
        .await
        .value();
    assert_eq!((second, left.0.as_str(), left.1.as_str()), (StatusCode::OK, "second", "third"));
}

/// On several threads: a part written before a takeover does not get into the new session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_on_another_thread_gets_nothing_of_a_part_being_written_back() {
    let mut leaks = 0;
    for _ in 0..3000 {
        let app = App::unobserved(SessionLayer::server(MemoryStore::new()));
        let mut browser = Browser::default();
        browser
            .visit(&app, |session| async move {
                session.login("alice");
            })
            .await
            .value();
        write::<Notes>(&mut browser, &app, "alice's").await.value();
        let visit = browser
            .send_raw(&app, |extensions| async move {
                let session = session(&extensions).await;
                let mut part = Part::<Notes>::from_extensions(&extensions).await?;
                part.b = part.a.clone();
                let barrier = Arc::new(std::sync::Barrier::new(2));
                let other = Arc::clone(&barrier);
                let thread = std::thread::spawn(move || {
                    other.wait();
                    session.login("bob");
                });
                barrier.wait();
                drop(part);
                thread.join().unwrap();
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&visit);
        let b = browser
            .send_raw(&app, |extensions| async move {
                Ok((StatusCode::OK, Part::<Notes>::from_extensions(&extensions).await?.b.clone()))
            })
            .await
            .value();
        leaks += usize::from(!b.is_empty());
    }
    assert_eq!(leaks, 0, "of 3000 runs leak alice's part to bob");
}

/// A request is freed even if its save was aborted after it.
#[tokio::test]
async fn a_request_dropped_during_a_dropped_save_is_freed() {
    let gates = Gates::default();
    let app = App::new(SessionLayer::server(Paused::new(MemoryStore::new(), gates.clone())));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await.value();
    let token = Arc::new(());
    let weak = Arc::downgrade(&token);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let stop = gates.stop(Call::Update, Side::Before);
    let request = {
        let (app, browser) = (app.clone(), browser.clone());
        tokio::spawn(async move {
            browser
                .send(&app, |session| async move {
                    let held = (session.clone(), token);
                    session
                        .update("n", move |n: &mut u32| {
                            let _ = &held;
                            *n += 1;
                        })
                        .unwrap();
                    let saving = tokio::spawn(async move { session.save().await });
                    let _ = sender.send(saving);
                    std::future::pending::<()>().await;
                })
                .await;
        })
    };
    let saving = receiver.await.unwrap();
    stop.reached().await;
    request.abort();
    let _ = request.await;
    saving.abort();
    let _ = saving.await;
    assert!(weak.upgrade().is_none(), "the request leaks");
}

/// A logout during a save of a bound cookie part, with a response of 500 that discards changes.
#[tokio::test]
async fn a_logout_during_a_save_of_a_bound_part_survives_a_server_error() {
    let gates = Gates::default();
    let layer = SessionLayer::server(Paused::new(MemoryStore::new(), gates.clone()))
        .having::<Prefs>(InCookie::encrypted(keys()))
        .with_server_error_policy(ServerErrorPolicy::Discard);
    let (app, mut browser) = (App::new(layer), Browser::default());
    login(&mut browser, &app, "alice").await.value();
    write::<Prefs>(&mut browser, &app, "alice's").await.value();
    let visit = browser
        .send_raw(&app, move |extensions| async move {
            let session = session(&extensions).await;
            Part::<Prefs>::from_extensions(&extensions).await?.a = "alice's more".to_owned();
            let stop = gates.stop(Call::Load, Side::Before);
            let task = session.clone();
            let saving = tokio::spawn(async move { task.save().await });
            stop.reached().await;
            session.logout();
            stop.open();
            let _ = saving.await.unwrap();
            Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
        })
        .await;
    browser.receive(&visit);
    let cookies = visit.set_cookies().len();
    let seen = read::<Prefs>(&browser, &app).await.unwrap();
    assert_eq!((seen.as_str(), browser.id()), ("", None), "after the logout; {cookies} cookies were set");
}

/// A logout during a save in place of a part in a store, with a response of 500 that discards changes.
#[tokio::test]
async fn a_logout_during_a_save_of_a_part_in_a_store_survives_a_server_error() {
    let gates = Gates::default();
    let layer = SessionLayer::server(MemoryStore::new())
        .having::<Notes>(InStore::new(Paused::new(MemoryStore::new(), gates.clone())))
        .with_server_error_policy(ServerErrorPolicy::Discard);
    let (app, mut browser) = (App::new(layer), Browser::default());
    login(&mut browser, &app, "alice").await.value();
    write::<Notes>(&mut browser, &app, "alice's").await.value();
    let visit = browser
        .send_raw(&app, move |extensions| async move {
            let session = session(&extensions).await;
            Part::<Notes>::from_extensions(&extensions).await?.a = "alice's more".to_owned();
            let stop = gates.stop(Call::Update, Side::After);
            let task = session.clone();
            let saving = tokio::spawn(async move { task.save().await });
            stop.reached().await;
            session.logout();
            stop.open();
            let _ = saving.await.unwrap();
            Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
        })
        .await;
    browser.receive(&visit);
    assert_eq!(browser.id(), None, "after the logout");
}

/// Cookie state, without a fault: an old copy of a logged-out cookie does not revive a part in a store, and a bound
/// cookie part is carried through a login.
#[tokio::test]
async fn a_bound_cookie_part_survives_login_and_reauthentication() {
    for app in [App::encrypted(), App::memory()] {
        let app = app.with(|layer| layer.having::<Prefs>(InCookie::encrypted(keys())));
        let mut browser = Browser::default();
        write::<Prefs>(&mut browser, &app, "dark").await.value();
        login(&mut browser, &app, "alice").await.value();
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
        browser.visit(&app, |session| async move { drop(session.mark_reauthenticated()) }).await.value();
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
        browser.visit(&app, |session| async move { session.renew() }).await.value();
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
        // Two logins in one request, each saved.
        browser
            .visit(&app, |session| async move {
                session.login("alice");
                session.save().await.unwrap();
                drop(session.mark_reauthenticated());
                session.save().await.unwrap();
                session.renew();
            })
            .await
            .value();
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "dark");
        login(&mut browser, &app, "bob").await.value();
        assert_eq!(read::<Prefs>(&browser, &app).await.unwrap(), "");
    }
}
