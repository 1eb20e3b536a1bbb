//! Idle and absolute timeouts, and a session's own.

use std::time::Duration;

use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{CookieConfig, CookieLifetime, MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn with_timeouts(app: App, idle: u64, absolute: u64) -> App {
    app.with(|layer| {
        layer
            .with_idle_timeout(seconds(idle))
            .with_absolute_timeout(seconds(absolute))
            .with_touch_interval(Duration::ZERO)
    })
}

#[tokio::test]
async fn a_session_ends_after_its_idle_timeout_to_the_millisecond() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 1000);
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        for _ in 0..5 {
            app.pass(seconds(10) - MILLISECOND);
            assert_eq!(browser.get(&app, "n").await, Some(1), "reading counts as use");
        }
        app.pass(seconds(10));
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn activity_does_not_move_the_absolute_timeout() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 30);
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        for _ in 0..5 {
            app.pass(seconds(5));
            assert_eq!(browser.get(&app, "n").await, Some(1));
        }
        app.pass(seconds(5) - MILLISECOND);
        assert_eq!(browser.set(&app, "n", 2).await.set_cookies().len(), usize::from(browser.id().unwrap().len() > 43));
        app.pass(MILLISECOND);
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_login_begins_the_absolute_timeout_anew() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 30, 30);
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        app.pass(seconds(20));
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        app.pass(seconds(20));
        assert_eq!(browser.get(&app, "n").await, Some(1));
        app.pass(seconds(10));
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_use_is_stored_at_most_once_an_interval_so_a_session_may_end_early_but_never_late() {
    for app in App::everywhere() {
        let app = app.with(|layer| {
            layer.with_idle_timeout(seconds(100)).with_absolute_timeout(None).with_touch_interval(seconds(10))
        });
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        app.pass(seconds(9));
        let early = browser.visit(&app, |_| async {}).await;
        assert!(early.set_cookies().is_empty());
        app.pass(seconds(91));
        assert_eq!(browser.get(&app, "n").await, None, "the use after 9 seconds was not stored");
    }
}

#[tokio::test]
async fn a_sessions_own_idle_timeout_outlives_later_writes_and_keeps_the_cookie() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 1000);
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser.visit(&app, |session| async move { session.set_idle_timeout(seconds(100)) }).await;
        let [cookie] = visit.set_cookies()[..] else { panic!("the cookie is persistent now") };
        assert!(cookie.contains("; Max-Age=100"), "{cookie}");
        app.pass(seconds(50));
        browser.set(&app, "n", 2).await;
        app.pass(seconds(99));
        assert_eq!(browser.get(&app, "n").await, Some(2));
        browser.visit(&app, |session| async move { session.reset_timeouts() }).await.value();
        app.pass(seconds(10));
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_sessions_own_absolute_timeout_replaces_that_of_the_layer() {
    for app in App::everywhere() {
        let app = app.with(|layer| layer.with_idle_timeout(None).with_absolute_timeout(seconds(10)));
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        browser.visit(&app, |session| async move { session.set_absolute_timeout(seconds(50)) }).await.value();
        app.pass(seconds(49));
        assert_eq!(browser.get(&app, "n").await, Some(1));
        app.pass(seconds(1));
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn a_session_reports_its_lifetime() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 30);
        let mut browser = Browser::default();
        let new = browser.visit(&app, |session| async move { session.lifetime() }).await.value();
        assert_eq!(new.idle_timeout, Some(seconds(10)));
        assert_eq!(new.absolute_remaining, Some(seconds(30)));
        browser.set(&app, "n", 1).await;
        app.pass(seconds(7));
        browser.get(&app, "n").await;
        app.pass(seconds(7));
        let used = browser.visit(&app, |session| async move { session.lifetime() }).await.value();
        assert_eq!(used.idle_remaining, Some(seconds(10)));
        assert_eq!(used.absolute_remaining, Some(seconds(16)));
    }
}

#[tokio::test]
async fn without_timeouts_a_session_stays() {
    for app in App::everywhere() {
        let app = app.with(|layer| layer.with_idle_timeout(None).with_absolute_timeout(None));
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        app.pass(seconds(399 * 24 * 60 * 60));
        assert_eq!(browser.get(&app, "n").await, Some(1));
        let lifetime = browser.visit(&app, |session| async move { session.lifetime() }).await.value();
        assert_eq!((lifetime.idle_timeout, lifetime.absolute_remaining), (None, None));
    }
}

#[tokio::test]
async fn a_shorter_timeout_of_a_session_leaves_the_cookie_to_the_browser_session() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 1000);
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        for (idle, absolute) in [(9, 999), (10, 1000), (1, 1000)] {
            let set = move |session: Session| async move {
                session.set_idle_timeout(seconds(idle));
                session.set_absolute_timeout(seconds(absolute));
            };
            let visit = browser.visit(&app, set).await;
            assert!(visit.set_cookies().iter().all(|cookie| !cookie.contains("Max-Age")), "{visit:?}");
        }
        app.pass(seconds(1));
        assert_eq!(browser.get(&app, "n").await, None, "it ends the session all the same");
    }
}

#[tokio::test]
async fn the_cookie_of_a_session_that_is_no_longer_remembered_is_gone_with_the_browser() {
    for app in App::everywhere() {
        let app = with_timeouts(app, 10, 1000);
        let changes: [fn(Session); 3] = [
            |session| session.reset_timeouts(),
            |session| session.set_idle_timeout(seconds(5)),
            |session| session.set_idle_timeout(seconds(10)),
        ];
        for change in changes {
            let mut browser = Browser::default();
            let kept = browser.visit(&app, |session| async move { session.set_idle_timeout(seconds(100)) }).await;
            assert!(kept.set_cookies()[0].ends_with("; Max-Age=100"), "{kept:?}");
            let reset = browser.visit(&app, move |session| async move { change(session) }).await;
            let [cookie] = reset.set_cookies()[..] else { panic!("the cookie without a Max-Age: {reset:?}") };
            assert!(!cookie.contains("Max-Age"), "{cookie}");
            let read = browser.visit(&app, |_| async {}).await;
            assert!(read.set_cookies().iter().all(|cookie| !cookie.contains("Max-Age")), "{:?}", read.set_cookies());
        }
    }
}

#[tokio::test]
async fn whether_the_browser_keeps_the_cookie_is_apart_from_how_long_the_session_lasts() {
    for (lifetime, longer, shorter) in [
        (CookieLifetime::BrowserSession, false, false),
        (CookieLifetime::PersistentIfLonger, true, false),
        (CookieLifetime::Persistent, true, true),
    ] {
        for app in App::everywhere() {
            let cookie = CookieConfig::new().with_lifetime(lifetime);
            let app = with_timeouts(app, 10, 1000).with(|layer| layer.with_cookie(cookie).unwrap());
            for (idle, is_kept) in [(100, longer), (5, shorter)] {
                let mut browser = Browser::default();
                let visit = browser.visit(&app, move |session| async move {
                    session.insert("n", 1).unwrap();
                    session.set_idle_timeout(seconds(idle));
                });
                let visit = visit.await;
                assert_eq!(visit.set_cookies()[0].contains("; Max-Age="), is_kept, "{lifetime:?}: {visit:?}");
                app.pass(seconds(idle) - MILLISECOND);
                assert_eq!(browser.get(&app, "n").await, Some(1), "{lifetime:?}");
                app.pass(seconds(idle));
                assert_eq!(browser.get(&app, "n").await, None, "{lifetime:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_persistent_cookie_moves_with_the_deadline() {
    let cookie = CookieConfig::new().with_lifetime(CookieLifetime::Persistent);
    for app in App::everywhere() {
        let app = with_timeouts(app, 60, 100).with(|layer| layer.with_cookie(cookie.clone()).unwrap());
        let mut browser = Browser::default();
        assert!(browser.set(&app, "n", 1).await.set_cookies()[0].ends_with("; Max-Age=60"));
        app.pass(seconds(50));
        let touched = browser.visit(&app, |_| async {}).await;
        assert!(touched.set_cookies()[0].ends_with("; Max-Age=50"), "{:?}", touched.set_cookies());
    }
}

#[tokio::test]
async fn expired_sessions_are_reported_and_swept() {
    let store = MemoryStore::new();
    let app = with_timeouts(App::new(SessionLayer::server(store.clone())), 10, 1000);
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    app.pass(seconds(10));
    assert_eq!(browser.get(&app, "n").await, None);
    assert_eq!(store.len(), 1, "still stored, but never returned");
    let sweeping = tokio::time::timeout(seconds(5), app.layer.sweeper(MILLISECOND));
    let watching = async {
        while !store.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = sweeping => panic!("a sweeper does not end, and sweeps within five seconds"),
        () = watching => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_sweep_times_out_and_is_retried() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    faults.next_of(Call::Sweep, 1, Fault::Hang);
    let sweeping = tokio::time::timeout(seconds(20), app.layer.sweeper(seconds(10)));
    assert!(sweeping.await.is_err(), "a sweeper does not end");
    assert_eq!((app.events(), faults.calls(Call::Sweep)), (vec!["StoreFailed".to_owned()], 1));
    let sweeping = tokio::time::timeout(seconds(15), app.layer.sweeper(seconds(10)));
    assert!(sweeping.await.is_err());
    assert_eq!((app.events(), faults.calls(Call::Sweep)), (Vec::new(), 2));
}

#[tokio::test]
async fn times_sealed_by_a_clock_far_ahead_are_rejected() {
    for app in [App::encrypted(), App::signed()] {
        let mut browser = Browser::default();
        let now = session_state::Clock::now(&app.clock);
        browser.set(&app, "n", 1).await;
        app.clock.set(session_state::Timestamp::from_millis(now.as_millis() - 60_000));
        assert_eq!(browser.clone().get(&app, "n").await, Some(1), "clocks may differ by a minute");
        app.clock.set(session_state::Timestamp::from_millis(now.as_millis() - 60_001));
        assert_eq!(browser.get(&app, "n").await, None);
    }
}
