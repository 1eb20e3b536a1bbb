//! The events that observers receive; no request waits for an observer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use session_state::test_kit::{Call, EventLog, Fault, FaultyStore};
use session_state::{Expiry, MemoryStore, Observer, Session, SessionEvent, SessionLayer};

use crate::browser::{App, Browser, name};

/// The capacity of an observer's queue.
const MOST_WAITING: u64 = 1024;

/// Longer than any pending work of another thread takes.
const SOON: Duration = Duration::from_secs(30);

/// Visits the application with a forged cookie, which sends one event and makes no call of the store.
async fn come_with_forged_cookie(app: &App) {
    let mut browser = Browser::default();
    browser.jar.insert("__Host-Http-id".into(), "forged".into());
    assert_eq!(browser.get(app, "n").await, None);
}

/// An observer that blocks at each event until it is released, and reports when it is dropped.
struct Blocked {
    arrived: Sender<SessionEvent>,
    go_on: Mutex<Receiver<()>>,
    /// Receives the thread in which this is dropped.
    dropped: Sender<thread::ThreadId>,
}

/// The test's handle to it.
struct Gate {
    arrived: Receiver<SessionEvent>,
    go_on: Option<Sender<()>>,
    dropped: Receiver<thread::ThreadId>,
}

fn blocked() -> (Blocked, Gate) {
    let ((arrived, arrivals), (go_on, go), (dropped, drops)) = (channel(), channel(), channel());
    let gate = Gate { arrived: arrivals, go_on: Some(go_on), dropped: drops };
    (Blocked { arrived, go_on: Mutex::new(go), dropped }, gate)
}

impl Observer for Blocked {
    fn observe(&self, event: &SessionEvent) {
        self.arrived.send(event.clone()).unwrap();
        // Nothing blocks once the test has dropped its handle.
        let _ = self.go_on.lock().unwrap().recv();
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = self.dropped.send(thread::current().id());
    }
}

#[tokio::test]
async fn an_observer_that_panics_at_each_event_gets_all_events_and_fails_no_request() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let observer = move |_: &SessionEvent| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("an observer panics");
    };
    let app = App::memory().with(|layer| layer.add_observer(observer));
    let mut browser = Browser::default();
    for n in 0..10 {
        assert_eq!(browser.set(&app, "n", n).await.status, StatusCode::OK);
        browser.visit(&app, |session| async move { session.renew() }).await.value();
    }
    assert_eq!(app.events().len(), 11);
    assert_eq!(calls.load(Ordering::Relaxed), 11);
}

/// A panic payload that panics again when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("and again");
    }
}

#[tokio::test]
async fn an_observer_survives_a_panic_payload_that_panics_when_dropped() {
    let app = App::memory().with(|layer| {
        layer.add_observer(|_: &SessionEvent| {
            std::panic::panic_any(PanicsAgain);
        })
    });
    for _ in 0..3 {
        come_with_forged_cookie(&app).await;
        assert_eq!(app.events(), ["InvalidCookie"], "the flush waits for the panicking one too");
    }
}

#[tokio::test]
async fn a_blocking_observer_delays_no_request_or_observer_and_learns_of_lost_events() {
    let (observer, gate) = blocked();
    let app = App::memory().with(|layer| layer.add_observer(observer));
    // The observer holds the first event, and others fill the queue.
    come_with_forged_cookie(&app).await;
    let first = gate.arrived.recv_timeout(SOON).unwrap();
    assert!(matches!(first, SessionEvent::InvalidCookie));
    let (lost, mut handles) = (500, Vec::new());
    for _ in 0..MOST_WAITING + lost {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        handles.push(browser.visit(&app, |session| async move { session.handle().unwrap() }).await.value());
    }
    let told = app.layer.flush_observers();
    come_with_forged_cookie(&app).await;
    assert!(told.now_or_never().is_none(), "one observer has not processed its events");

    drop(gate.go_on);
    let created = |event: SessionEvent| match event {
        SessionEvent::Created { session } => session,
        other => panic!("{other:?}"),
    };
    let mut rest = Vec::new();
    while rest.last().is_none_or(|last| !matches!(last, SessionEvent::EventsLost { .. })) {
        rest.push(gate.arrived.recv_timeout(SOON).unwrap());
    }
    assert!(matches!(rest.pop(), Some(SessionEvent::EventsLost { count }) if count == lost + 1));
    let rest: Vec<_> = rest.into_iter().map(created).collect();
    assert_eq!(rest[..], handles[..MOST_WAITING as usize]);

    app.layer.flush_observers().await;
    come_with_forged_cookie(&app).await;
    let next = gate.arrived.recv_timeout(SOON).unwrap();
    assert!(matches!(next, SessionEvent::InvalidCookie));
}

#[tokio::test]
async fn other_observers_get_all_events_in_order_while_one_blocks_forever() {
    let (observer, gate) = blocked();
    let (teller, told) = channel();
    let other = move |event: &SessionEvent| teller.send(name(event)).unwrap();
    let app = App::memory().with(|layer| layer.add_observer(observer).add_observer(other));
    // More events than the queue holds: the other observer takes its events in between.
    for _ in 0..20 {
        for _ in 0..100 {
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await.value();
            browser.visit(&app, |session| async move { session.logout() }).await.value();
        }
        for name in ["Created", "Destroyed"].repeat(100) {
            assert_eq!(told.recv_timeout(SOON).unwrap(), name);
        }
    }
    assert!(matches!(gate.arrived.recv_timeout(SOON).unwrap(), SessionEvent::Created { .. }));
    assert_eq!(gate.arrived.try_iter().count(), 0);
}

#[tokio::test]
async fn a_dropped_flush_has_no_effect() {
    let (observer, gate) = blocked();
    let app = App::memory().with(|layer| layer.add_observer(observer));
    come_with_forged_cookie(&app).await;
    for _ in 0..3 {
        assert!(app.layer.flush_observers().now_or_never().is_none());
    }
    drop(gate.go_on);
    app.layer.flush_observers().await;
    assert_eq!(gate.arrived.try_iter().count(), 1);
    assert!(app.layer.flush_observers().now_or_never().is_some(), "there is nothing to wait for");
}

#[tokio::test]
async fn a_layer_starts_nothing_until_there_is_an_event() {
    let (observer, gate) = blocked();
    let app = App::memory().with(|layer| layer.add_observer(observer));
    let mut browser = Browser::default();
    assert_eq!(browser.get(&app, "n").await, None);
    assert!(app.layer.flush_observers().now_or_never().is_some());
    drop(app);
    // A started thread would have dropped it.
    assert_eq!(gate.dropped.try_recv(), Ok(thread::current().id()));
}

#[tokio::test]
async fn the_thread_of_an_observer_ends_after_the_layer_and_its_last_event() {
    let (observer, mut gate) = blocked();
    let app = App::memory().with(|layer| layer.add_observer(observer));
    let clone = app.layer.clone();
    for _ in 0..3 {
        come_with_forged_cookie(&app).await;
    }
    let go_on = gate.go_on.take().unwrap();
    drop((app, clone));
    for _ in 0..3 {
        gate.arrived.recv_timeout(SOON).unwrap();
        assert!(gate.dropped.try_recv().is_err(), "it has pending events");
        go_on.send(()).unwrap();
    }
    assert_ne!(gate.dropped.recv_timeout(SOON).unwrap(), thread::current().id());
    assert_eq!(gate.arrived.try_iter().count(), 0);
}

#[tokio::test]
async fn the_lifecycle_of_a_session_is_reported_for_every_state() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.get(&app, "n").await;
        assert_eq!(app.events(), [""; 0], "reading creates no session");
        browser.set(&app, "n", 1).await;
        browser.set(&app, "n", 2).await;
        assert_eq!(app.events(), ["Created"]);
        browser.visit(&app, |session| async move { session.renew() }).await.value();
        assert_eq!(app.events(), ["Renewed"]);
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        assert_eq!(app.events(), app.events_of_login("LoggedIn"));
        browser.visit(&app, |session| async move { session.mark_reauthenticated().unwrap() }).await.value();
        assert_eq!(app.events(), app.events_of_login("Reauthenticated"));
        browser.visit(&app, |session| async move { session.login("bob") }).await.value();
        assert_eq!(app.events(), ["LoggedOut", "Destroyed", "Created", "LoggedIn"]);
        browser.visit(&app, |session| async move { session.logout() }).await.value();
        assert_eq!(app.events(), ["LoggedOut", "Destroyed"]);
        browser.visit(&app, |session| async move { session.login_fresh("alice") }).await.value();
        assert_eq!(app.events(), ["Created", "LoggedIn"]);
        let goodbye = |session: Session| async move {
            session.destroy();
            session.insert("message", "goodbye").unwrap();
        };
        browser.visit(&app, goodbye).await.value();
        let mut told = app.events();
        told.sort();
        assert_eq!(told, ["Created", "Destroyed", "LoggedOut"]);
        browser.visit(&app, |session| async move { session.destroy() }).await.value();
        assert_eq!(app.events(), ["Destroyed"], "there was no login");
    }
}

#[tokio::test]
async fn an_expired_session_is_reported_with_its_timeout() {
    const MINUTE: Duration = Duration::from_secs(60);
    for (steps, ended_by) in [(vec![30], Expiry::Idle), (vec![29; 25], Expiry::Absolute)] {
        for app in App::everywhere() {
            let log = EventLog::default();
            let app = app.with(|layer| layer.add_observer(log.clone()));
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await;
            let session = browser.visit(&app, |session| async move { session.handle().unwrap() }).await.value();
            log.take(&app.layer).await;
            let (last, uses) = steps.split_last().unwrap();
            for step in uses {
                app.pass(*step * MINUTE);
                assert_eq!(browser.get(&app, "n").await, Some(1));
            }
            assert!(log.take(&app.layer).await.is_empty());
            app.pass(*last * MINUTE);
            assert_eq!(browser.get(&app, "n").await, None);
            let told = log.take(&app.layer).await;
            let [SessionEvent::Expired { session: ended, expiry }] = told[..] else { panic!("{told:?}") };
            assert_eq!((ended, expiry), (session, ended_by));
        }
    }
}

#[tokio::test]
async fn a_dead_id_is_reported_for_every_cause() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let mut before = browser.clone();
    browser.visit(&app, |session| async move { session.renew() }).await.value();
    let _ = app.events();
    assert_eq!(before.clone().get(&app, "n").await, Some(1), "within the grace it is live");
    assert_eq!(app.events(), [""; 0]);
    app.pass(Duration::from_secs(10));
    before.get(&app, "n").await;
    assert_eq!(app.events(), ["RetiredIdUsed"]);
    // The forward has expired and was not swept.
    app.pass(Duration::from_secs(24 * 60 * 60));
    before.get(&app, "n").await;
    assert_eq!(app.events(), ["RetiredIdUsed"]);

    let mut ended = Browser::default();
    ended.set(&app, "n", 1).await;
    let mut copy = ended.clone();
    ended.visit(&app, |session| async move { session.logout() }).await.value();
    let _ = app.events();
    copy.get(&app, "n").await;
    assert_eq!(app.events(), ["RetiredIdUsed"]);
    app.pass(Duration::from_secs(60));
    // The forward of its end has expired and was not swept.
    copy.set(&app, "n", 1).await;
    assert_eq!(app.events(), ["RetiredIdUsed", "Created"]);
    assert_ne!(copy.id(), before.id());
}

#[tokio::test]
async fn a_failed_check_of_the_current_id_is_reported() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let old = browser.clone();
    browser.visit(&app, |session| async move { session.renew() }).await.value();
    let _ = app.events();
    let visit = old
        .send(&app, move |_| async move {
            faults.next_of(Call::Load, 1, Fault::Refuse);
        })
        .await;
    assert!(visit.set_cookies().is_empty());
    assert_eq!(app.events(), ["StoreFailed"]);
}
