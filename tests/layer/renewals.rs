//! Renewals, logins and logouts, with concurrent requests.

use std::time::Duration;

use session_state::test_kit::FaultyStore;
use session_state::{MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser};

#[tokio::test]
async fn a_renewal_gives_a_new_id_and_keeps_the_values() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let before = browser.clone();
        browser.visit(&app, |session| async move { session.renew() }).await.value();
        assert_ne!(browser.id(), before.id());
        assert_eq!(browser.get(&app, "n").await, Some(1));
        assert_eq!(app.events(), ["Created", "Renewed"]);
    }
}

#[tokio::test]
async fn within_the_grace_an_old_id_finds_the_session_and_the_response_carries_the_new_id() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let mut late = browser.clone();
    let old = late.clone();
    browser.visit(&app, |session| async move { session.renew() }).await.value();
    app.pass(Duration::from_millis(9_999));
    assert_eq!(late.get(&app, "n").await, Some(1));
    assert_eq!(late.id(), browser.id());
    app.pass(Duration::from_millis(1));
    let mut too_late = old;
    let _ = app.events();
    assert_eq!(too_late.get(&app, "n").await, None);
    assert_eq!(app.events(), ["RetiredIdUsed"]);
    assert_eq!(late.get(&app, "n").await, Some(1));
}

#[tokio::test]
async fn many_concurrent_requests_agree_on_one_new_id_and_stay_logged_in() {
    let app = App::memory().with(|layer| layer.with_renewal(Duration::from_secs(60)));
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await;
    app.pass(Duration::from_secs(60));
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let (app, browser) = (app.clone(), browser.clone());
            tokio::spawn(async move {
                let mut browser = browser;
                let add = |session: session_state::Session| async move {
                    tokio::task::yield_now().await;
                    session.update("n", |n: &mut u32| *n += 1).unwrap();
                };
                browser.visit(&app, add).await.value();
                browser.id().unwrap().to_owned()
            })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for request in requests {
        ids.insert(request.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    assert!(!ids.contains(browser.id().unwrap()));
    browser.jar.insert("__Host-Http-id".into(), ids.pop_first().unwrap());
    assert_eq!(browser.get(&app, "n").await, Some(200));
    assert_eq!(app.events().iter().filter(|event| *event == "Renewed").count(), 1);
}

#[tokio::test]
async fn a_chain_of_renewals_within_their_graces_is_followed() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let mut late = browser.clone();
    for _ in 0..5 {
        browser.visit(&app, |session| async move { session.renew() }).await.value();
    }
    assert_eq!(late.get(&app, "n").await, Some(1));
    assert_eq!(late.id(), browser.id());
}

#[tokio::test]
async fn a_login_kills_the_old_id_at_once_and_keeps_the_values() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "cart", 3).await;
    let mut planted = browser.clone();
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(browser.get(&app, "cart").await, Some(3));
    let who = |session: session_state::Session| async move { (session.principal(), session.is_new()) };
    assert_eq!(browser.visit(&app, who).await.value(), (Some("alice".into()), false));
    assert_eq!(planted.visit(&app, who).await.value(), (None, true));
    assert_eq!(app.events(), ["Created", "Renewed", "LoggedIn", "RetiredIdUsed"]);
}

#[tokio::test]
async fn a_takeover_removes_the_values_and_changes_the_handle() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        browser.set(&app, "n", 1).await;
        let handle = |session: session_state::Session| async move { session.handle().unwrap() };
        let of_alice = browser.visit(&app, handle).await.value();
        let _ = app.events();
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        assert_eq!(browser.get(&app, "n").await, Some(1), "the same principal once more");
        let of_second = browser.visit(&app, handle).await.value();
        assert_eq!(of_second != of_alice, app.is_in_cookie(), "state in the cookie gets another handle in each login");
        assert_eq!(app.events(), app.events_of_login("LoggedIn"));
        browser
            .visit(&app, |session| async move {
                session.login("bob");
                session.insert("greeting", 7).unwrap();
            })
            .await
            .value();
        assert_eq!(app.events(), ["LoggedOut", "Destroyed", "Created", "LoggedIn"]);
        assert_eq!(browser.get(&app, "n").await, None);
        assert_eq!(browser.get(&app, "greeting").await, Some(7));
        let of_bob = browser.visit(&app, handle).await.value();
        assert!(of_bob != of_alice && of_bob != of_second);
    }
}

#[tokio::test]
async fn a_label_and_timeouts_set_with_a_takeover_stay_even_if_unchanged() {
    const HOUR: Duration = Duration::from_secs(3600);
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let seen = |session: Session| async move {
            let lifetime = session.lifetime();
            (session.label(), lifetime.idle_timeout, lifetime.absolute_timeout, session.is_empty())
        };
        let set = |session: &Session| {
            session.set_label("phone").unwrap();
            session.set_idle_timeout(HOUR);
            session.set_absolute_timeout(2 * HOUR);
        };
        let phone = (Some("phone".to_owned()), Some(HOUR), Some(2 * HOUR), true);
        browser.visit(&app, move |session| async move { (session.login("alice"), set(&session)) }).await.value();
        for principal in ["bob", "carol"] {
            browser.set(&app, "n", 1).await.value();
            let taken_over = browser.visit(&app, move |session| async move {
                set(&session);
                session.login(principal);
                seen(session).await
            });
            assert_eq!(taken_over.await.value(), phone);
            assert_eq!(browser.visit(&app, seen).await.value(), phone);
        }
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        let (label, idle_timeout, ..) = browser.visit(&app, seen).await.value();
        assert_eq!(label, None);
        assert_ne!(idle_timeout, Some(HOUR));
    }
}

#[tokio::test]
async fn an_unchanged_label_is_not_written() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    let name = |session: Session| async move { session.set_label("phone").unwrap() };
    browser.visit(&app, name).await.value();
    let before = faults.all_calls();
    browser.visit(&app, name).await.value();
    assert_eq!(faults.all_calls() - before, 1, "only a load");
}

#[tokio::test]
async fn a_fresh_login_keeps_nothing() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        browser.visit(&app, |session| async move { session.login_fresh("alice") }).await.value();
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_slow_request_cannot_revive_a_logged_out_session() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let (mut other, other_app) = (browser.clone(), app.clone());
    let slow = browser
        .send(&app, |session| async move {
            other.visit(&other_app, |session| async move { session.logout() }).await.value();
            session.insert("n", 2).unwrap();
            session.renew();
        })
        .await;
    assert!(slow.set_cookies().is_empty());
    assert!(store.is_empty());
    assert_eq!(browser.get(&app, "n").await, None);
    assert_eq!(app.events(), ["Created", "Destroyed", "ChangesDiscarded", "RequestFailed", "RetiredIdUsed"]);
}

#[tokio::test]
async fn a_slow_login_cannot_revive_a_logged_out_session() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let (mut other, other_app) = (browser.clone(), app.clone());
    let slow = browser
        .send(&app, |session| async move {
            other.visit(&other_app, |session| async move { session.logout() }).await.value();
            session.login("alice");
        })
        .await;
    assert!(slow.set_cookies().is_empty());
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_logout_ends_a_concurrently_renewed_session_even_after_the_grace() {
    for pause in [Duration::ZERO, Duration::from_secs(60)] {
        let app = App::memory();
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (mut other, other_app) = (browser.clone(), app.clone());
        let (visit, mut other) = {
            let visit = browser
                .send(&app, move |session| async move {
                    other.visit(&other_app, |session| async move { session.renew() }).await.value();
                    other_app.pass(pause);
                    session.logout();
                    other
                })
                .await;
            assert_eq!(visit.set_cookies().len(), 1);
            (visit.headers.len(), visit.output.unwrap())
        };
        assert!(visit > 0);
        assert_eq!(other.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_logout_and_a_write_follow_many_concurrent_renewals() {
    for ends in [true, false] {
        let app = App::memory();
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (mut other, other_app) = (browser.clone(), app.clone());
        let slow = browser
            .send(&app, move |session| async move {
                for _ in 0..20 {
                    other.visit(&other_app, |session| async move { session.renew() }).await.value();
                }
                if ends {
                    session.logout()
                } else {
                    session.insert("n", 2).unwrap()
                }
                other
            })
            .await;
        let mut other = slow.value();
        assert_eq!(other.get(&app, "n").await, (!ends).then_some(2));
    }
}

#[tokio::test]
async fn a_logout_with_an_id_from_before_a_login_does_not_touch_the_login() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let (mut other, other_app) = (browser.clone(), app.clone());
    let slow = browser
        .send(&app, |session| async move {
            other.visit(&other_app, |session| async move { session.login("alice") }).await.value();
            session.logout();
            other
        })
        .await;
    assert!(slow.set_cookies().is_empty(), "a removal would race the cookie of the login");
    let mut other = slow.output.unwrap();
    assert_eq!(other.get(&app, "n").await, Some(1));
}

#[tokio::test]
async fn a_second_logout_removes_no_newer_cookie() {
    let app = App::memory();
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let (mut other, other_app) = (browser.clone(), app.clone());
    let slow = browser
        .send(&app, |session| async move {
            other.visit(&other_app, |session| async move { session.logout() }).await.value();
            session.logout();
        })
        .await;
    assert!(slow.set_cookies().is_empty());
}

#[tokio::test]
async fn a_write_that_was_under_way_during_a_renewal_is_kept() {
    for pause in [Duration::ZERO, Duration::from_secs(60)] {
        let app = App::memory();
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (mut other, other_app) = (browser.clone(), app.clone());
        let slow = browser
            .send(&app, move |session| async move {
                other.visit(&other_app, |session| async move { session.renew() }).await.value();
                other_app.pass(pause);
                session.update("n", |n: &mut u32| *n += 1).unwrap();
                other
            })
            .await;
        let told = slow.set_cookies().len();
        assert_eq!(told, usize::from(pause.is_zero()), "after its grace an old id earns no new one");
        let mut other = slow.output.unwrap();
        assert_eq!(other.get(&app, "n").await, Some(2));
    }
}

#[tokio::test]
async fn writes_after_a_logout_begin_another_session() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        browser.set(&app, "n", 1).await;
        let mut copy = browser.clone();
        let visit = browser
            .visit(&app, |session| async move {
                session.logout();
                assert!(session.is_new() && session.principal().is_none() && session.is_empty());
                session.insert("flash", 5).unwrap();
            })
            .await;
        assert_eq!(visit.set_cookies().len(), 1);
        assert_eq!(browser.get(&app, "n").await, None);
        assert_eq!(browser.get(&app, "flash").await, Some(5));
        if browser.id().unwrap().len() == 43 {
            assert_eq!(copy.get(&app, "n").await, None);
        }
    }
}
