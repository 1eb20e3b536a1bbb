//! `tracing`: a span for each call of a store, and the events of sessions.

use std::fmt::Debug;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{
    ConflictPolicy, InCookie, KeyRing, MemoryStore, Part, Session, SessionEvent, SessionLayer, SessionPart,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::browser::{App, Browser};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Records every span and event with all their fields.
#[derive(Clone, Default)]
struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    /// A session that the subscriber reads at each event.
    asked: Arc<Mutex<Option<Session>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Notes {
    fn note(&self, line: Line) {
        self.lines.lock().unwrap().push(line.0);
    }

    /// Returns the lines of one kind.
    fn take(&self, is_asked_for: impl Fn(&String) -> bool) -> Vec<String> {
        self.lines.lock().unwrap().drain(..).filter(is_asked_for).collect()
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        self.note(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("record".to_owned());
        values.record(&mut line);
        self.note(line);
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.note(line);
        if let Some(session) = &*self.asked.lock().unwrap() {
            assert!(session.is_new());
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_call_of_a_store_is_a_span_without_session_data() {
    let notes = Notes::default();
    // With only one subscriber, a span first reached by another test would be cached as disabled.
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let (app, mut browser) = (App::memory(), Browser::default());
    browser.set(&app, "n", 1).await;
    browser.set(&app, "n", 2).await;
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    let expected = ["create", "load", "update", "load", "renew", "load", "delete"];
    let spans = expected.map(|operation| format!("session_store store=\"memory\" operation=\"{operation}\""));
    assert_eq!(notes.take(|line| line.starts_with("session_store")), spans);
}

#[tokio::test]
async fn session_events_are_logged_with_handles_and_without_secrets() {
    let notes = Notes::default();
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let (store, keys) = (FaultyStore::new(MemoryStore::new()), KeyRing::generate().unwrap());
    let faults = store.faults();
    // Without an observer: `tracing` does not need one.
    let sealed = App::unobserved(SessionLayer::server(store.clone()).with_encryption_at_rest(keys).unwrap());
    let app = App::unobserved(SessionLayer::server(store).with_renewal(HOUR).with_idle_timeout(HOUR));
    let mut secrets = ["a-key", "a-value", "a-principal", "a-label"].map(str::to_owned).to_vec();

    let mut browser = Browser::default();
    browser.visit(&app, |session| async move { session.insert("a-key", "a-value").unwrap() }).await.value();
    let handle = browser.visit(&app, |session| async move { session.handle().unwrap() }).await.value();
    secrets.extend(browser.jar.values().cloned());
    let mut old = browser.clone();
    browser.visit(&app, |session| async move { session.login("a-principal") }).await.value();
    browser.visit(&app, |session| async move { session.mark_reauthenticated().unwrap() }).await.value();
    secrets.extend(browser.jar.values().cloned());
    assert_eq!(old.get(&app, "n").await, None);
    let (mut faster, same_app) = (browser.clone(), app.clone());
    let conflict = browser.visit(&app, |session| async move {
        faster.set(&same_app, "n", 1).await;
        session.set_label("a-label").unwrap();
    });
    conflict.await.value();
    app.pass(Duration::from_secs(60));
    faults.next_of(Call::Touch, 2, Fault::Refuse);
    assert_eq!(browser.get(&app, "n").await, Some(1));
    assert_eq!(browser.get(&sealed, "n").await, None);
    let (mut faster, same_app) = (browser.clone(), app.clone());
    let discarded = browser.visit(&app, |session| async move {
        faster.visit(&same_app, |session| async move { session.logout() }).await.value();
        session.insert("a-key", "another").unwrap();
    });
    assert_eq!(discarded.await.status, StatusCode::CONFLICT);
    assert_eq!(browser.get(&app, "n").await, None);
    assert_eq!(browser.get(&App::memory(), "n").await, None);
    browser.jar.insert("__Host-Http-id".into(), "a-value".into());
    assert_eq!(browser.get(&app, "n").await, None);
    browser.jar.insert("other".into(), "1; __Host-Http-id=another-value".into());
    assert_eq!(browser.get(&app, "n").await, None);

    let session = |text: &str| format!("{text} session={handle}");
    let expected = [
        session("DEBUG session_state: message=session created"),
        session("DEBUG session_state: message=session renewed"),
        session("INFO session_state: message=logged in"),
        session("DEBUG session_state: message=session renewed"),
        session("INFO session_state: message=reauthenticated"),
        "WARN session_state: message=retired id used".to_owned(),
        session("DEBUG session_state: message=conflict"),
        "ERROR session_state: message=store failed error=the session store is unavailable \
         sources=the memory store failed: an injected fault"
            .to_owned(),
        "ERROR session_state: message=undecodable record".to_owned(),
        session("INFO session_state: message=logged out"),
        session("DEBUG session_state: message=session destroyed"),
        session("DEBUG session_state: message=changes discarded"),
        "WARN session_state: message=retired id used".to_owned(),
        "DEBUG session_state: message=unknown id used".to_owned(),
        "WARN session_state: message=invalid cookie".to_owned(),
        "WARN session_state: message=duplicate cookie".to_owned(),
    ];
    let told = notes.take(|line| !line.starts_with("session_store") && !line.contains("request failed"));
    assert_eq!(told, expected);
    for line in told {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

#[tokio::test]
async fn expired_sessions_and_unsaved_changes_are_logged() {
    let notes = Notes::default();
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let app = App::unobserved(SessionLayer::server(MemoryStore::new()).with_idle_timeout(HOUR));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    let session = browser.visit(&app, |session| async move { session }).await.value();
    let handle = session.handle().unwrap();
    session.insert("n", 2).unwrap();
    drop(session);
    app.pass(HOUR);
    browser.get(&app, "n").await;
    let expected = [
        format!("DEBUG session_state: message=session created session={handle}"),
        "WARN session_state: message=changes unsaved".to_owned(),
        format!("DEBUG session_state: message=session expired session={handle} expiry=Idle"),
    ];
    assert_eq!(notes.take(|line| !line.starts_with("session_store")), expected);
}

#[tokio::test]
async fn lost_events_of_an_observer_are_logged_in_its_thread() {
    let (notes, _other) = (Notes::default(), tracing::Dispatch::new(Notes::default()));
    let ((arrived, arrival), (go_on, go)) = (channel(), channel());
    let (of_thread, go) = (notes.clone(), Mutex::new(go));
    let app = App::unobserved(SessionLayer::server(MemoryStore::new())).with(|layer| {
        layer.add_observer(move |event: &SessionEvent| {
            if let SessionEvent::InvalidCookie = event
                && arrived.send(()).is_ok()
            {
                // For the lifetime of the thread.
                std::mem::forget(tracing::subscriber::set_default(of_thread.clone()));
                go.lock().unwrap().recv().unwrap();
            }
        })
    });
    let mut browser = Browser::default();
    browser.jar.insert("__Host-Http-id".into(), "forged".into());
    browser.get(&app, "n").await;
    arrival.recv().unwrap();
    drop(arrival);
    for _ in 0..1030 {
        browser.get(&app, "n").await;
    }
    go_on.send(()).unwrap();
    app.layer.flush_observers().await;
    assert_eq!(notes.take(|_| true), ["WARN session_state: message=events lost count=6"]);
}

#[derive(Default, Serialize, Deserialize)]
struct Cart {}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

#[tokio::test]
async fn a_subscriber_is_told_of_a_part_while_nothing_is_locked() {
    let keys = KeyRing::generate().unwrap();
    let layer = SessionLayer::server(MemoryStore::new())
        .with_part::<Cart>(InCookie::encrypted(keys).with_default_retention())
        .unwrap();
    let (app, mut browser) = (App::unobserved(layer), Browser::default());
    browser.jar.insert("__Host-Http-cart".into(), "forged".into());
    let (done, answer) = channel();
    // In a separate thread, which a deadlock would block.
    std::thread::spawn(move || {
        let (notes, _other) = (Notes::default(), tracing::Dispatch::new(Notes::default()));
        let _guard = tracing::subscriber::set_default(notes.clone());
        let asked = Arc::clone(&notes.asked);
        let request = browser.send_raw(&app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            *asked.lock().unwrap() = Some(session);
            drop(Part::<Cart>::from_extensions(&extensions).await?);
            asked.lock().unwrap().take();
            Ok((StatusCode::OK, ()))
        });
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(request).value();
        done.send(notes.take(|_| true)).unwrap();
    });
    let told = answer.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(told, ["WARN session_state: message=invalid cookie"]);
}

#[tokio::test]
async fn a_request_that_fails_is_told_once_at_the_level_of_its_kind_with_the_sources() {
    let notes = Notes::default();
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::unobserved(SessionLayer::server(store).with_conflict_policy(ConflictPolicy::Fail));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    faults.next(2, Fault::Refuse);
    browser.visit(&app, |_| async {}).await;
    let (mut faster, same_app) = (browser.clone(), app.clone());
    let conflict = browser.visit(&app, |session| async move {
        faster.set(&same_app, "n", 2).await;
        session.insert("n", 3).unwrap();
    });
    assert_eq!(conflict.await.status, StatusCode::CONFLICT);
    let (mut faster, same_app) = (browser.clone(), app.clone());
    let ended = browser.visit(&app, |session| async move {
        faster.visit(&same_app, |session| async move { session.logout() }).await.value();
        session.insert("n", 3).unwrap();
    });
    assert_eq!(ended.await.status, StatusCode::CONFLICT);
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    for needs_login in [true, false] {
        let visit = browser.send_raw(&app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            if needs_login {
                session.mark_reauthenticated()?;
            }
            session.get::<String>("n")?;
            Ok((StatusCode::OK, ()))
        });
        visit.await;
    }
    let told = notes.take(|line| line.contains("request failed"));
    let expected = [
        "ERROR session_state: message=request failed error=the session store is unavailable \
         sources=the memory store failed: an injected fault",
        "WARN session_state: message=request failed error=the session was changed by another request at the same time",
        "INFO session_state: message=request failed error=the session ended, or another request logged in, during this \
         one or just before it: its changes were dropped",
        "DEBUG session_state: message=request failed error=no principal is logged in",
        "ERROR session_state: message=request failed error=the session's value \"n\" cannot be decoded as \
         `alloc::string::String` sources=a field or type does not match, at line 1 column 1",
    ];
    assert_eq!(told, expected);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_route_outside_every_layer_is_told_to_the_subscriber() {
    let notes = Notes::default();
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let app = axum::Router::new()
        .route("/", axum::routing::get(|_: Session| async {}))
        .route("/optional", axum::routing::get(|_: Option<Session>| async {}));
    for path in ["/", "/optional"] {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(app.clone(), request).await.unwrap();
    }
    let told = notes.take(|_| true);
    let expected = "ERROR session_state: message=request failed error=no session layer served this request: add \
                    `.layer(sessions)` to the router of this route";
    assert_eq!(told, [expected]);
}
