//! The changes of a request are kept as a whole, despite concurrent requests.

use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{ConflictPolicy, ErrorKind, MemoryStore, ServerErrorPolicy, SessionLayer};
use tokio::sync::Barrier;

use crate::browser::{App, Browser};

#[tokio::test]
async fn reading_sets_no_cookie_and_stores_no_record() {
    let store = MemoryStore::new();
    let memory = App::new(SessionLayer::server(store.clone()));
    for app in [memory, App::encrypted(), App::signed()] {
        let mut browser = Browser::default();
        let visit = browser
            .visit(&app, |session| async move {
                assert!(session.is_new());
                assert_eq!(session.get::<u32>("n").unwrap(), None);
                assert!(!session.remove("n"));
                session.clear();
                session.renew();
                session.logout();
                assert!(session.is_empty());
            })
            .await;
        assert!(visit.set_cookies().is_empty());
        assert_eq!(visit.headers["vary"], "Cookie");
        assert!(store.is_empty());
    }
}

#[tokio::test]
async fn a_value_set_and_removed_again_makes_no_session() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let visit = browser
            .visit(&app, |session| async move {
                session.insert("n", 1).unwrap();
                assert!(session.remove("n"));
            })
            .await;
        assert!(visit.set_cookies().is_empty());
    }
}

#[tokio::test]
async fn the_next_request_reads_the_written_values() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let wrote = browser
            .visit(&app, |session| async move {
                session.insert("text", "käse").unwrap();
                session.insert("list", vec![1, 2, 3]).unwrap();
                session.insert("@odd", "a name that looks like a part's").unwrap();
                session.insert("", 0).unwrap();
                session.update("n", |n: &mut u32| *n += 1).unwrap()
            })
            .await;
        assert_eq!(wrote.headers["cache-control"], "no-store");
        assert_eq!(wrote.value(), 1);
        browser
            .visit(&app, |session| async move {
                assert!(!session.is_new());
                assert_eq!(session.get::<String>("text").unwrap().as_deref(), Some("käse"));
                assert_eq!(session.get::<Vec<u8>>("list").unwrap(), Some(vec![1, 2, 3]));
                assert_eq!(session.keys(), ["text", "list", "@odd", "", "n"]);
                assert_eq!(session.len(), 5);
                assert_eq!(session.update("n", |n: &mut u32| *n += 1).unwrap(), 2);
                assert_eq!(session.take::<u32>("n").unwrap(), Some(2));
                assert!(!session.contains("n"));
            })
            .await
            .value();
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error_and_stays() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.visit(&app, |session| async move { session.insert("name", "alice").unwrap() }).await.value();
        let error = browser.visit(&app, |session| async move { session.get::<u32>("name") }).await.value();
        assert_eq!(error.unwrap_err().kind(), &ErrorKind::Decode { key: "name".into() });
        let name = browser.visit(&app, |session| async move { session.get::<String>("name").unwrap() }).await;
        assert_eq!(name.value().as_deref(), Some("alice"));
    }
}

#[tokio::test]
async fn two_concurrent_requests_keep_both_changes() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await;
    let both_loaded = std::sync::Arc::new(Barrier::new(2));
    let request = |key: &'static str| {
        let both_loaded = both_loaded.clone();
        browser.send(&app, move |session| async move {
            both_loaded.wait().await;
            session.insert(key, 1).unwrap();
            session.update("n", |n: &mut u32| *n += 1).unwrap();
        })
    };
    tokio::join!(request("mine"), request("yours"));
    assert_eq!(browser.get(&app, "mine").await, Some(1));
    assert_eq!(browser.get(&app, "yours").await, Some(1));
    assert_eq!(browser.get(&app, "n").await, Some(2));
    assert_eq!(app.events(), ["Created", "Conflict"]);
}

#[tokio::test]
async fn with_the_fail_policy_the_later_of_two_changes_is_409() {
    let app = App::memory().with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await;
    let (other, other_app) = (browser.clone(), app.clone());
    let late = browser
        .visit(&app, |session| async move {
            let mut other = other;
            other.set(&other_app, "n", 1).await;
            session.insert("n", 2).unwrap();
        })
        .await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert_eq!(late.error.unwrap().kind(), &ErrorKind::Conflict);
    assert_eq!(browser.get(&app, "n").await, Some(1));
}

#[tokio::test]
async fn with_the_fail_policy_a_renewal_is_not_a_conflict() {
    let app = App::memory().with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await;
    for (also, expected) in [(None, StatusCode::OK), (Some(1), StatusCode::CONFLICT)] {
        let (mut other, other_app) = (browser.clone(), app.clone());
        let late = browser
            .visit(&app, move |session| async move {
                let renew = move |session: session_state::Session| async move {
                    session.renew();
                    if let Some(n) = also {
                        session.insert("n", n).unwrap();
                    }
                };
                other.visit(&other_app, renew).await.value();
                session.insert("late", expected.as_u16()).unwrap();
            })
            .await;
        assert_eq!(late.status, expected);
    }
}

#[tokio::test]
async fn a_server_error_keeps_changes_unless_the_layer_says_otherwise() {
    for (policy, expected) in [(ServerErrorPolicy::Keep, Some(2)), (ServerErrorPolicy::Discard, Some(1))] {
        for app in App::everywhere() {
            let app = app.with(|layer| layer.with_server_error_policy(policy));
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await;
            let visit = browser
                .send_raw(&app, |extensions| async move {
                    let session = session_state::Session::from_extensions(&extensions)?.load().await?;
                    session.insert("n", 2)?;
                    session.login("alice");
                    Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
                })
                .await;
            browser.receive(&visit);
            assert_eq!(browser.get(&app, "n").await, expected);
            let principal = browser.visit(&app, |session| async move { session.principal() }).await.value();
            assert_eq!(principal.as_deref(), Some("alice"), "a login still takes effect");
        }
    }
}

#[tokio::test]
async fn a_handler_that_panics_commits_nothing_even_behind_a_middleware_that_catches() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser
            .send_raw(&app, |extensions| async move {
                let session = session_state::Session::from_extensions(&extensions)?.load().await?;
                // Inside the handler, like `CatchPanicLayer`.
                let handler = std::panic::AssertUnwindSafe(async move {
                    session.insert("n", 2).unwrap();
                    session.logout();
                    panic!("the test panics here");
                });
                assert!(handler.catch_unwind().await.is_err());
                Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
            })
            .await;
        assert!(visit.set_cookies().is_empty());
        browser.receive(&visit);
        assert_eq!(browser.get(&app, "n").await, Some(1));
    }
}

#[tokio::test]
async fn a_session_is_read_in_one_round_trip_and_written_in_two() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    browser.send_raw(&app, |_| async { Ok((StatusCode::OK, ())) }).await;
    browser.get(&app, "n").await;
    assert_eq!(faults.all_calls(), 0, "without a cookie");
    browser.set(&app, "n", 1).await;
    assert_eq!(faults.all_calls(), 1, "a new session");
    browser.send_raw(&app, |_| async { Ok((StatusCode::OK, ())) }).await;
    assert_eq!(faults.all_calls(), 1, "a handler without the session");
    browser.get(&app, "n").await;
    assert_eq!(faults.all_calls(), 2, "a read");
    browser.set(&app, "n", 2).await;
    assert_eq!(faults.all_calls(), 4, "a write");
    browser.visit(&app, |session| async move { session.renew() }).await;
    assert_eq!(faults.all_calls(), 6, "a renewal");
    browser.jar.insert("__Host-Http-id".into(), "malformed".into());
    browser.get(&app, "n").await;
    assert_eq!(faults.all_calls(), 6, "a malformed id");
}

#[tokio::test]
async fn a_cookie_renewed_by_a_touch_costs_no_extra_round_trip() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    let remember = |session: session_state::Session| async move { session.set_idle_timeout(Duration::from_secs(3600)) };
    browser.visit(&app, remember).await.value();
    app.pass(Duration::from_secs(60));
    faults.reset_calls();
    let read = browser.visit(&app, |_| async {}).await;
    assert!(read.set_cookies()[0].ends_with("; Max-Age=3600"), "{read:?}");
    assert_eq!((faults.calls(Call::Load), faults.calls(Call::Touch), faults.all_calls()), (1, 1, 2));
    app.pass(Duration::from_secs(60));
    faults.next_of(Call::Touch, 2, Fault::Refuse);
    let read = browser.visit(&app, |_| async {}).await;
    assert!(read.set_cookies().is_empty(), "the session was not checked");
}

#[tokio::test(start_paused = true)]
async fn a_save_dropped_while_it_waits_leaves_the_session_unchanged() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let before = browser.clone();
    app.pass(Duration::from_secs(60));
    faults.next_of(Call::Touch, 1, Fault::Hang);
    let visit = browser
        .visit(&app, |session| async move {
            tokio::time::timeout(Duration::from_millis(1), session.save()).await.unwrap_err();
            session.logout();
        })
        .await;
    assert_eq!(visit.set_cookies().len(), 1);
    assert_eq!(before.clone().get(&app, "n").await, None, "the logout ends the session that was loaded");
    assert_eq!(app.events(), ["Created", "Destroyed", "RetiredIdUsed"]);
}

#[tokio::test]
async fn oversized_state_is_an_error_and_the_clients_cookie_stays_valid() {
    // 4096 bytes minus the name and the room for growing times.
    let limit = 4050;
    for app in [App::encrypted(), App::signed()] {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser.visit(&app, |session| async move { session.insert("n", "x".repeat(4100)).unwrap() }).await;
        assert_eq!(visit.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(visit.set_cookies().is_empty());
        let error = visit.error.unwrap();
        let ErrorKind::TooLarge { what, size, limit: told } = error.kind() else { panic!("{error}") };
        assert_eq!((what.as_ref(), *told), ("session", limit));
        assert!(*size > limit);
        assert_eq!(browser.get(&app, "n").await, Some(1));
    }
}

#[tokio::test]
async fn a_session_larger_than_a_new_limit_can_be_read_on() {
    for app in App::everywhere() {
        let app = app.with(|layer| layer.with_renewal(Duration::from_secs(60)));
        let mut browser = Browser::default();
        let fill = |session: session_state::Session| async move { session.insert("big", "x".repeat(2000)).unwrap() };
        browser.visit(&app, fill).await.value();
        let app = app.with(|layer| layer.with_max_record_size(1000));
        for _ in 0..3 {
            app.pass(Duration::from_secs(60));
            assert_eq!(browser.get(&app, "n").await, None);
        }
        assert!(browser.visit(&app, |session| async move { session.contains("big") }).await.value());
        let grown = browser.visit(&app, |session| async move { session.insert("n", 1) }).await.value();
        assert!(matches!(grown.unwrap_err().kind(), ErrorKind::TooLarge { .. }));
    }
}

#[tokio::test]
async fn saving_in_the_handler_reports_the_error_to_it() {
    for app in [App::encrypted(), App::signed()] {
        let mut browser = Browser::default();
        let saved = browser
            .visit(&app, |session| async move {
                session.insert("big", "x".repeat(4100)).unwrap();
                let error = session.save().await.unwrap_err();
                session.insert("big", "small").unwrap();
                session.save().await.unwrap();
                error
            })
            .await;
        assert_eq!(saved.set_cookies().len(), 1);
        assert!(matches!(saved.value().kind(), ErrorKind::TooLarge { .. }));
    }
}

#[tokio::test]
async fn the_cookie_of_a_save_is_sent_even_if_the_request_fails() {
    for app in App::everywhere() {
        let app = app.with(|layer| layer.with_max_record_size(1000));
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let failed = browser
            .visit(&app, |session| async move {
                session.login("alice");
                session.save().await.unwrap();
                session.login("x".repeat(5000));
                session
            })
            .await;
        assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!((failed.set_cookies().len(), failed.headers["cache-control"].as_bytes()), (1, &b"no-store"[..]));
        let principal = browser.visit(&app, |session| async move { session.principal() }).await.value();
        assert_eq!(principal.as_deref(), Some("alice"));
        let still_there = failed.output.unwrap();
        let told = still_there.save().await.unwrap_err();
        assert!(matches!(told.kind(), ErrorKind::TooLarge { .. }), "a task gets the error of its changes");
        still_there.renew();
        assert_eq!(still_there.save().await.unwrap_err().kind(), &ErrorKind::TooLate);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_waits_for_a_save_in_progress() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    let before = browser.clone();
    faults.next_of(Call::Renew, 1, Fault::Hang);
    let visit = browser
        .visit(&app, |session| async move {
            session.renew();
            let saving = tokio::spawn(async move { session.save().await });
            // The task starts a save and waits for the store.
            tokio::task::yield_now().await;
            Some(saving)
        })
        .await;
    assert_ne!(browser.id(), before.id(), "the client gets the current id");
    let saved = visit.value().unwrap().await.unwrap();
    assert_eq!(saved.unwrap_err().kind(), &ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_id_of_a_lost_session_is_not_sent() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let ends: [fn(&session_state::Session); 2] =
        [|session| session.insert("n", 2).unwrap(), session_state::Session::logout];
    for end in ends {
        let (mut other, other_app) = (browser.clone(), app.clone());
        let slow = browser
            .send(&app, move |session| async move {
                session.renew();
                session.save().await.unwrap();
                // Within the grace the old id leads to the new one.
                other.visit(&other_app, |session| async move { session.login("alice") }).await.value();
                end(&session);
                other
            })
            .await;
        assert!(slow.set_cookies().is_empty(), "it would overwrite the login's cookie");
        browser = slow.output.unwrap();
    }
}

#[tokio::test]
async fn a_stream_saves_its_changes_after_the_response_was_sent() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let session = browser.visit(&app, |session| async move { session }).await.value();
    session.update("n", |n: &mut u32| *n += 1).unwrap();
    session.save().await.unwrap();
    session.update("n", |n: &mut u32| *n += 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(browser.get(&app, "n").await, Some(3));
    session.renew();
    assert_eq!(session.save().await.unwrap_err().kind(), &ErrorKind::TooLate);
    assert_eq!(app.events(), ["Created", "RequestFailed"]);
    session.insert("n", 9).unwrap();
    drop(session);
    assert_eq!(app.events(), ["ChangesUnsaved"]);
}

#[tokio::test]
async fn a_stream_that_outlives_the_age_of_the_id_still_saves() {
    let app = App::memory().with(|layer| layer.with_renewal(Duration::from_secs(60)));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let session = browser.visit(&app, |session| async move { session }).await.value();
    let before = browser.clone();
    app.pass(Duration::from_secs(90));
    session.save().await.unwrap();
    session.update("n", |n: &mut u32| *n += 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(browser.get(&app, "n").await, Some(2));
    assert_ne!(browser.id(), before.id(), "the next response carries the new id");
}

#[tokio::test]
async fn a_stream_without_changes_is_never_too_late() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let session = browser.visit(&app, |session| async move { session }).await.value();
        app.pass(Duration::from_secs(90));
        session.save().await.unwrap();
    }
}

#[tokio::test]
async fn state_saved_in_the_handler_can_change_again_and_the_last_cookie_wins() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let visit = browser
            .visit(&app, |session| async move {
                session.insert("n", 1).unwrap();
                session.save().await.unwrap();
                assert!(!session.is_new());
                session.update("n", |n: &mut u32| *n += 1).unwrap();
                session.renew();
                session.save().await.unwrap();
                session.insert("more", 5).unwrap();
            })
            .await;
        assert_eq!(visit.set_cookies().len(), 1);
        assert_eq!(browser.get(&app, "n").await, Some(2));
        assert_eq!(browser.get(&app, "more").await, Some(5));
    }
}
