//! A slow request that only reads sets no cookie late: with state in the cookie it would undo a logout.

use std::time::Duration;

use http::StatusCode;
use session_state::{
    Clock as _, CookieState, InCookie, Key, KeyRing, MemoryStore, Part, Session, SessionLayer, Timestamp,
};

use crate::browser::{App, Browser};
use crate::part_kit::{Having, Notes, Prefs, keys, login, read, write};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Applications whose next read sends the cookie again: to move its idle deadline, with another key, or by its age.
fn resending() -> Vec<(App, App)> {
    let rotated = {
        let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
        let before = App::new(SessionLayer::client(CookieState::encrypted(old.clone())));
        let layer = SessionLayer::client(CookieState::encrypted(KeyRing::new(new).add_fallback(old).unwrap()));
        (before.clone(), with_layer(&before, layer))
    };
    let aged = App::signed().with(|layer| layer.with_renewal(MINUTE).with_touch_interval(10 * MINUTE));
    [App::encrypted(), App::signed(), aged].into_iter().map(|app| (app.clone(), app)).chain([rotated]).collect()
}

/// Returns the application after a deploy: another layer, and the same clock.
fn with_layer(app: &App, layer: SessionLayer) -> App {
    let clock = app.clock.clone();
    app.clone().with(|_| layer.with_clock(clock))
}

async fn read_slowly(browser: &Browser, app: &App, time: Duration, saves: bool) -> Vec<String> {
    let clock = app.clone();
    let visit = browser.send(app, move |session: Session| async move {
        let _ = session.get::<u32>("n");
        if saves {
            session.save().await.unwrap();
        }
        clock.pass(time);
    });
    let visit = visit.await;
    assert_eq!(visit.status, StatusCode::OK);
    visit.set_cookies().iter().map(|cookie| (*cookie).to_owned()).collect()
}

#[tokio::test]
async fn a_request_that_only_reads_sends_its_cookie_within_a_second_or_not_at_all() {
    for (before, app) in resending() {
        for saves in [false, true] {
            let mut browser = Browser::default();
            login(&mut browser, &before, "alice").await.value();
            app.pass(2 * MINUTE);
            assert_eq!(read_slowly(&browser, &app, SECOND, saves).await.len(), 1);
            let late = read_slowly(&browser, &app, SECOND + Duration::from_millis(1), saves).await;
            assert!(late.is_empty(), "saved: {saves}, {late:?}");
            // The next request does it.
            assert_eq!(read_slowly(&browser, &app, Duration::ZERO, saves).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_slow_read_does_not_revive_a_session_that_was_logged_out() {
    for (before, app) in resending() {
        let mut browser = Browser::default();
        login(&mut browser, &before, "alice").await.value();
        app.pass(2 * MINUTE);
        let (mut tab, other) = (browser.clone(), app.clone());
        let slow = browser.send(&app, move |session: Session| async move {
            tab.visit(&other, |session| async move { session.logout() }).await.value();
            other.pass(2 * SECOND);
            (session.principal(), tab)
        });
        let visit = slow.await;
        assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
        let (principal, tab) = visit.value();
        assert_eq!((principal.as_deref(), tab.jar.len()), (Some("alice"), 0));
    }
}

#[tokio::test]
async fn a_slow_write_sends_its_cookie() {
    for (before, app) in resending() {
        let mut browser = Browser::default();
        login(&mut browser, &before, "alice").await.value();
        let clock = app.clone();
        browser
            .visit(&app, move |session| async move {
                session.insert("n", 1).unwrap();
                clock.pass(MINUTE);
            })
            .await
            .value();
        assert_eq!(browser.get(&app, "n").await, Some(1));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_costs_nothing() {
    let app = App::encrypted();
    let mut browser = Browser::default();
    login(&mut browser, &app, "alice").await.value();
    app.pass(2 * MINUTE);
    let clock = app.clock.clone();
    let visit =
        browser.send(&app, move |_| async move { clock.set(Timestamp::from_millis(clock.now().as_millis() - 3000)) });
    assert_eq!(visit.await.set_cookies().len(), 1);
}

/// A part in a cookie is sent again after a day: a late one would overwrite what another request has changed.
#[tokio::test]
async fn a_slow_read_does_not_send_the_cookie_of_a_part_again() {
    let free = App::new(SessionLayer::client(CookieState::encrypted(keys())))
        .with(|layer| layer.having::<Prefs>(InCookie::encrypted(keys()).with_default_retention()));
    let mut browser = Browser::default();
    write::<Prefs>(&mut browser, &free, "dark").await.value();
    free.pass(48 * 60 * MINUTE);
    for (time, sent) in [(SECOND, 1), (SECOND + Duration::from_millis(1), 0), (Duration::ZERO, 1)] {
        let clock = free.clone();
        let visit = browser.send_raw(&free, move |extensions| async move {
            let prefs = Part::<Prefs>::from_extensions(&extensions).await?;
            clock.pass(time);
            Ok((StatusCode::OK, prefs.a.clone()))
        });
        let visit = visit.await;
        assert_eq!(visit.set_cookies().len(), sent, "{time:?}");
        assert_eq!(visit.value(), "dark");
    }
}

#[tokio::test]
async fn a_slow_read_does_not_reseal_a_bound_part() {
    let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
    let rotated = KeyRing::new(new).add_fallback(old.clone()).unwrap();
    let state = || CookieState::encrypted(rotated.clone());
    let before = App::new(SessionLayer::client(state()).having::<Notes>(InCookie::encrypted(old)));
    let layer = SessionLayer::client(state()).having::<Notes>(InCookie::encrypted(rotated.clone()));
    let app = with_layer(&before, layer);
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &before, "early").await.value();
    for (time, sent) in [(SECOND, 1), (SECOND + Duration::from_millis(1), 0)] {
        let clock = app.clone();
        let visit = browser.send_raw(&app, move |extensions| async move {
            let _part = Part::<Notes>::from_extensions(&extensions).await?;
            clock.pass(time);
            Ok((StatusCode::OK, ()))
        });
        assert_eq!(visit.await.set_cookies().len(), sent, "{time:?}");
    }
    assert_eq!(read::<Notes>(&browser, &app).await.unwrap(), "early");
}

/// A touch that is due must not hide that the part needs a live session.
#[tokio::test]
async fn a_slow_change_of_a_bound_part_after_the_end_of_its_session_is_409() {
    for is_touch_due in [false, true] {
        let state = CookieState::encrypted(keys()).with_revocation(MemoryStore::new());
        let app = App::new(SessionLayer::client(state).having::<Notes>(InCookie::encrypted(keys())));
        let mut browser = Browser::default();
        login(&mut browser, &app, "alice").await.value();
        write::<Notes>(&mut browser, &app, "early").await.value();
        if is_touch_due {
            app.pass(2 * MINUTE);
        }
        let (mut tab, other) = (browser.clone(), app.clone());
        let slow = browser.send_raw(&app, move |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            tab.visit(&other, |session| async move { session.logout() }).await.value();
            other.pass(2 * SECOND);
            part.a = "late".to_owned();
            Ok((StatusCode::OK, ()))
        });
        let slow = slow.await;
        assert_eq!(slow.status, StatusCode::CONFLICT, "a touch is due: {is_touch_due}");
        assert!(slow.set_cookies().is_empty(), "{:?}", slow.set_cookies());
    }
}

#[tokio::test]
async fn a_request_that_outlives_its_session_neither_writes_nor_revives_it() {
    for app in [App::encrypted(), App::signed(), App::memory()] {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        let (clock, copy) = (app.clone(), browser.clone());
        let late = browser.visit(&app, move |session: Session| async move {
            let n: Option<u32> = session.get("n").unwrap();
            clock.pass(31 * MINUTE);
            session.insert("n", n.map_or(7, |n| n + 1)).unwrap();
        });
        let late = late.await;
        assert_eq!((late.status, late.set_cookies().len()), (StatusCode::CONFLICT, 0));
        for mut browser in [browser, copy] {
            assert_eq!(browser.get(&app, "n").await, None);
        }
    }
}
