//! Every way in which an error of ours ends a request is told to observers, once and with its source.

use std::convert::Infallible;
use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::routing::get;
use futures_util::FutureExt as _;
use http::{Extensions, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::test_kit::{Call, EventLog, Fault, Faults, FaultyStore};
use session_state::{
    ConflictPolicy, CookieConfig, CookieState, Error, ErrorKind, InStore, KeyRing, MemoryStore, Part, Session,
    SessionEvent, SessionLayer, SessionLimitPolicy, SessionPart, require_recent_login,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::browser::{App, Browser};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cart {
    total: f64,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

enum Admin {}

/// An application whose stores fail on demand, and a browser with a session of it.
struct Shop {
    app: App,
    log: EventLog,
    faults: Faults,
    part_faults: Faults,
    browser: Browser,
}

impl Shop {
    async fn open(set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        let (store, parts) = (FaultyStore::new(MemoryStore::new()), FaultyStore::new(MemoryStore::new()));
        let (faults, part_faults) = (store.faults(), parts.faults());
        let layer = SessionLayer::server(store).with_part::<Cart>(InStore::new(parts)).unwrap();
        let (log, mut browser) = (EventLog::default(), Browser::default());
        let app = App::unobserved(set(layer)).with(|layer| layer.add_observer(log.clone()));
        browser.set(&app, "n", 1).await.value();
        log.take(&app.layer).await;
        Self { app, log, faults, part_faults, browser }
    }

    /// Visits with a handler that answers with the error that it gets.
    async fn visit<F, Fut>(&mut self, handler: F) -> StatusCode
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let visit = self.browser.send_raw(&self.app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            handler(session).await.map(|()| (StatusCode::OK, ()))
        });
        visit.await.status
    }

    /// Visits with a handler that looks at the error and answers with a page of its own.
    async fn visit_own_page(&mut self, status: StatusCode, act: fn(&Session) -> Result<(), Error>) -> StatusCode {
        let visit = self.browser.send_raw(&self.app, move |extensions| async move {
            let loader = Session::from_extensions(&extensions)?;
            match loader.load().await.and_then(|session| act(&session)) {
                Ok(()) => Ok((StatusCode::OK, ())),
                Err(_) => Ok((status, ())),
            }
        });
        visit.await.status
    }

    /// Returns the failures that were told: what, the kind of the error, and the last of its sources.
    async fn told(&self) -> Vec<(&'static str, ErrorKind, String)> {
        let mut told = Vec::new();
        for event in self.log.take(&self.app.layer).await {
            let (name, error) = match event {
                SessionEvent::RequestFailed { error } => ("request", error),
                SessionEvent::StoreFailed { error } => ("store", error),
                _ => continue,
            };
            let source = std::iter::successors(error.source(), |source| (**source).source()).last();
            told.push((name, error.kind().clone(), source.map(ToString::to_string).unwrap_or_default()));
        }
        told
    }

    async fn assert_told(&self, what: &'static str, kind: ErrorKind, source: &str, story: &str) {
        assert_eq!(self.told().await, [(what, kind, source.to_owned())], "{story}");
    }
}

const FAULT: &str = "an injected fault";

fn plain(layer: SessionLayer) -> SessionLayer {
    layer
}

#[tokio::test]
async fn a_load_that_fails_is_told_whatever_the_handler_answers() {
    let mut shop = Shop::open(plain).await;
    shop.faults.next(2, Fault::Refuse);
    assert_eq!(shop.visit(|_| async { Ok(()) }).await, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "the error is the response").await;

    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR] {
        shop.faults.next(2, Fault::Refuse);
        assert_eq!(shop.visit_own_page(status, |_| Ok(())).await, status);
        shop.assert_told("request", ErrorKind::Unavailable, FAULT, "a page of its own").await;
    }
    shop.faults.next(2, Fault::Refuse);
    assert_eq!(shop.visit_own_page(StatusCode::OK, |_| Ok(())).await, StatusCode::OK);
    shop.assert_told("store", ErrorKind::Unavailable, FAULT, "a handler that copes").await;

    // Two extractors fail, each with an error of its own, and the handler answers with one of them.
    shop.faults.next(4, Fault::Refuse);
    let visit = shop.browser.send_raw(&shop.app, |extensions| async move {
        assert!(Session::from_extensions(&extensions)?.load().await.is_err());
        Session::from_extensions(&extensions)?.load().await?;
        Ok((StatusCode::OK, ()))
    });
    assert_eq!(visit.await.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "two extractors").await;
}

#[tokio::test]
async fn a_load_that_fails_is_told_when_the_handler_panics_or_is_dropped() {
    let shop = Shop::open(plain).await;
    for panics in [true, false] {
        shop.faults.next(2, Fault::Refuse);
        let visit = shop.browser.send_raw(&shop.app, move |extensions| async move {
            let loaded = Session::from_extensions(&extensions)?.load().await;
            assert!(!panics || loaded.is_ok(), "the handler panics");
            std::future::pending::<()>().await;
            Ok((StatusCode::OK, ()))
        });
        assert_eq!(AssertUnwindSafe(visit).catch_unwind().now_or_never().is_some(), panics);
        shop.assert_told("request", ErrorKind::Unavailable, FAULT, "no response").await;
    }
}

async fn set_total(extensions: Extensions, total: f64) -> Result<(StatusCode, ()), Error> {
    Part::<Cart>::from_extensions(&extensions).await?.total = total;
    Ok((StatusCode::OK, ()))
}

#[tokio::test]
async fn a_part_that_cannot_be_loaded_taken_or_written_is_told() {
    let mut shop = Shop::open(plain).await;
    let visit = shop.browser.send_raw(&shop.app, |extensions| set_total(extensions, f64::NAN)).await;
    assert_eq!(visit.status, StatusCode::INTERNAL_SERVER_ERROR);
    let encode = ErrorKind::Encode { key: "cart".to_owned() };
    let source = "a number is nan or infinite, which json cannot hold";
    shop.assert_told("request", encode, source, "dropped by the handler").await;

    shop.part_faults.next(100, Fault::Refuse);
    let visit = shop.browser.send_raw(&shop.app, |extensions| set_total(extensions, 1.0)).await;
    shop.part_faults.heal();
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "written").await;

    let visit = shop.browser.send_raw(&shop.app, |extensions| set_total(extensions, 1.0)).await;
    shop.browser.receive(&visit);
    shop.part_faults.next(2, Fault::Refuse);
    let visit = shop.browser.send_raw(&shop.app, |extensions| set_total(extensions, 1.0)).await;
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "loaded").await;

    let visit = shop.browser.send_raw(&shop.app, |extensions| async move {
        let _first = Part::<Cart>::from_extensions(&extensions).await?;
        set_total(extensions, 1.0).await
    });
    assert_eq!(visit.await.status, StatusCode::INTERNAL_SERVER_ERROR);
    shop.assert_told("request", ErrorKind::PartInUse { part: "cart" }, "", "taken twice").await;
}

#[tokio::test]
async fn a_commit_that_fails_is_told_whatever_was_to_be_written() {
    type Change = (Call, fn(&Session));
    let changes: [Change; 5] = [
        (Call::Update, |session| session.insert("n", 2).unwrap()),
        (Call::Renew, |session| session.renew()),
        (Call::Renew, |session| session.login("alice")),
        (Call::Delete, |session| session.logout()),
        (Call::Create, |session| {
            session.logout();
            session.insert("n", 3).unwrap();
        }),
    ];
    for (call, change) in changes {
        let mut shop = Shop::open(plain).await;
        shop.faults.next_of(call, 100, Fault::Refuse);
        let handler = move |session: Session| async move {
            change(&session);
            Ok(())
        };
        assert_eq!(shop.visit(handler).await, StatusCode::SERVICE_UNAVAILABLE);
        shop.assert_told("request", ErrorKind::Unavailable, FAULT, &format!("{call:?}")).await;
    }
    let mut shop = Shop::open(plain).await;
    shop.browser = Browser::default();
    shop.faults.next_of(Call::Create, 100, Fault::Refuse);
    assert_eq!(shop.visit(|session| async move { session.insert("n", 1) }).await, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "a first write").await;
}

#[tokio::test]
async fn a_conflict_an_ended_session_and_a_refused_login_are_told() {
    let mut shop = Shop::open(|layer| layer.with_conflict_policy(ConflictPolicy::Fail)).await;
    let (mut faster, app) = (shop.browser.clone(), shop.app.clone());
    let conflict = |session: Session| async move {
        faster.set(&app, "n", 2).await.value();
        session.insert("n", 3)
    };
    assert_eq!(shop.visit(conflict).await, StatusCode::CONFLICT);
    shop.assert_told("request", ErrorKind::Conflict, "", "conflict").await;

    let (mut faster, app) = (shop.browser.clone(), shop.app.clone());
    let ended = |session: Session| async move {
        faster.visit(&app, |session| async move { session.logout() }).await.value();
        session.insert("n", 3)
    };
    assert_eq!(shop.visit(ended).await, StatusCode::CONFLICT);
    shop.assert_told("request", ErrorKind::Ended, "", "ended").await;

    let limit = |layer: SessionLayer| layer.with_max_sessions(1, SessionLimitPolicy::RefuseLogin).unwrap();
    let mut shop = Shop::open(limit).await;
    let login = |session: Session| async move {
        session.login("alice");
        Ok(())
    };
    Browser::default().visit(&shop.app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(shop.visit(login).await, StatusCode::FORBIDDEN);
    shop.assert_told("request", ErrorKind::TooManySessions { limit: 1 }, "", "refused").await;
}

#[tokio::test]
async fn values_that_do_not_fit_are_told_if_the_request_ends_in_them() {
    type Act = fn(&Session) -> Result<(), Error>;
    let read: Act = |session| {
        session.insert("text", "text")?;
        session.get::<u32>("text").map(drop)
    };
    let update: Act = |session| {
        session.insert("text", "text")?;
        session.update("text", |n: &mut u32| *n += 1).map(drop)
    };
    let decode = ErrorKind::Decode { key: "text".to_owned() };
    let cases: [(Act, ErrorKind, &str); 4] = [
        (read, decode.clone(), "a field or type does not match, at line 1 column 6"),
        (update, decode, "a field or type does not match, at line 1 column 6"),
        (
            |session| session.insert("f", f64::NAN),
            ErrorKind::Encode { key: "f".to_owned() },
            "a number is nan or infinite, which json cannot hold",
        ),
        (
            |session| session.insert("big", "x".repeat(2000)),
            ErrorKind::TooLarge { what: "session".into(), size: 2024, limit: 1000 },
            "",
        ),
    ];
    let mut shop = Shop::open(|layer| layer.with_max_record_size(1000)).await;
    for (act, kind, source) in cases {
        let status = shop.visit(move |session| async move { act(&session) }).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        shop.assert_told("request", kind.clone(), source, "the error is the response").await;
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        assert_eq!(shop.visit_own_page(status, act).await, status);
        shop.assert_told("request", kind, source, "a page of its own").await;
        assert_eq!(shop.visit_own_page(StatusCode::NOT_FOUND, act).await, StatusCode::NOT_FOUND);
        assert_eq!(shop.told().await, [], "the handler copes");
    }

    let sealed = App::encrypted();
    let log = EventLog::default();
    let app = sealed.with(|layer| layer.add_observer(log.clone()));
    let fill = |session: Session| async move { session.insert("big", "x".repeat(9000)).unwrap() };
    assert_eq!(Browser::default().visit(&app, fill).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    let told = log.take(&app.layer).await;
    let [SessionEvent::RequestFailed { error }] = &told[..] else { panic!("{told:?}") };
    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_save_that_fails_in_the_handler_is_told_once_with_the_request() {
    let mut shop = Shop::open(plain).await;
    // The commit at the end fails too.
    shop.faults.next_of(Call::Update, 100, Fault::Refuse);
    let save = |session: Session| async move {
        session.insert("n", 2)?;
        assert!(session.save().await.is_err());
        Ok(())
    };
    assert_eq!(shop.visit(save).await, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "and the commit").await;
    shop.faults.heal();
    shop.faults.next_of(Call::Update, 2, Fault::Refuse);
    assert_eq!(shop.visit(save).await, StatusCode::OK);
    shop.assert_told("store", ErrorKind::Unavailable, FAULT, "the commit has made up for it").await;
}

/// Returns the session of a request that has been answered.
async fn answered(shop: &Shop) -> Session {
    shop.browser.send(&shop.app, |session| async move { session }).await.value()
}

#[tokio::test]
async fn a_save_that_fails_after_the_response_is_told_at_once() {
    let shop = Shop::open(plain).await;
    let session = answered(&shop).await;
    shop.faults.next_of(Call::Update, 2, Fault::Refuse);
    session.insert("n", 2).unwrap();
    assert!(session.save().await.is_err());
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "the store fails").await;
    session.save().await.unwrap();
    session.login("alice");
    assert_eq!(session.save().await.unwrap_err().kind(), &ErrorKind::TooLate);
    shop.assert_told("request", ErrorKind::TooLate, "", "too late").await;

    let (sender, receiver) = tokio::sync::oneshot::channel();
    let gone = shop.browser.send(&shop.app, |session| async move {
        session.insert("n", 3).unwrap();
        assert!(sender.send(session).is_ok());
        std::future::pending::<()>().await;
    });
    assert!(gone.now_or_never().is_none());
    let session = receiver.await.unwrap();
    assert_eq!(session.save().await.unwrap_err().kind(), &ErrorKind::Abandoned);
    shop.assert_told("request", ErrorKind::Abandoned, "", "the client is gone").await;
}

#[tokio::test]
async fn a_part_that_cannot_be_written_after_the_response_is_told_and_the_save_fails() {
    let shop = Shop::open(plain).await;
    let visit = shop.browser.send_raw(&shop.app, |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        Ok((StatusCode::OK, (session, Part::<Cart>::from_extensions(&extensions).await?)))
    });
    let (session, mut part) = visit.await.value();
    part.total = f64::NAN;
    drop(part);
    let encode = ErrorKind::Encode { key: "cart".to_owned() };
    shop.assert_told("request", encode.clone(), "a number is nan or infinite, which json cannot hold", "late").await;
    assert_eq!(session.save().await.unwrap_err().kind(), &encode);
    assert_eq!(shop.told().await, [], "it has been told");
    session.save().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_fails_is_told() {
    let shop = Shop::open(plain).await;
    shop.faults.next_of(Call::Sweep, 1, Fault::Refuse);
    let sweeper = shop.app.layer.sweeper(Duration::from_secs(60));
    assert!(tokio::time::timeout(Duration::from_secs(90), sweeper).await.is_err());
    shop.assert_told("store", ErrorKind::Unavailable, FAULT, "a sweep").await;
}

#[tokio::test]
async fn an_error_that_passes_two_layers_is_told_by_the_inner_one() {
    let (shop, outer) = (Shop::open(plain).await, EventLog::default());
    let cookie = CookieConfig::new().with_name("__Host-Http-admin").unwrap();
    let admin = SessionLayer::client(CookieState::encrypted(KeyRing::generate().unwrap()))
        .with_cookie(cookie)
        .unwrap()
        .with_marker::<Admin>()
        .add_observer(outer.clone());
    let send = |extensions_error: fn(&Extensions) -> Result<(), Error>| {
        let handler = service_fn(move |request: Request<()>| async move {
            let mut response = Response::new(());
            let loaded = match extensions_error(request.extensions()) {
                Ok(()) => Session::from_extensions(request.extensions()).unwrap().load().await.map(drop),
                error => error,
            };
            if let Err(error) = loaded {
                response.extensions_mut().insert(error);
            }
            Ok::<_, Infallible>(response)
        });
        admin.layer(shop.app.layer.layer(handler)).oneshot(request_of(&shop.browser))
    };
    shop.faults.next(2, Fault::Refuse);
    send(|_| Ok(())).await.unwrap();
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "by the layer whose store failed").await;
    assert!(outer.take(&admin).await.is_empty());

    // The marker of no layer: the innermost layer tells of it.
    send(|extensions| Session::<Cart>::with_marker_from_extensions(extensions).map(drop)).await.unwrap();
    shop.assert_told("request", ErrorKind::MissingLayer, "", "a marker without a layer").await;
    assert!(outer.take(&admin).await.is_empty());
}

fn request_of(browser: &Browser) -> Request<()> {
    let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    Request::builder().header("cookie", cookie).body(()).unwrap()
}

#[tokio::test]
async fn a_request_that_a_guard_rejects_is_told() {
    let shop = Shop::open(plain).await;
    let guard = require_recent_login(Duration::from_secs(60));
    let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    let guarded = shop.app.layer.layer(guard.layer(handler));
    let response = guarded.oneshot(request_of(&shop.browser)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    shop.assert_told("request", ErrorKind::LoginRequired, "", "not logged in").await;
}

#[tokio::test]
async fn a_request_without_an_error_tells_of_none() {
    let mut shop = Shop::open(plain).await;
    assert_eq!(shop.visit(|session| async move { session.insert("n", 2) }).await, StatusCode::OK);
    assert_eq!(shop.visit_own_page(StatusCode::OK, |_| Ok(())).await, StatusCode::OK);
    let visit = shop.browser.send_raw(&shop.app, |_| async { Ok((StatusCode::INTERNAL_SERVER_ERROR, ())) });
    assert_eq!(visit.await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.told().await, []);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_body_of_a_rejection_says_in_a_line_of_text_what_is_wrong() {
    let shop = Shop::open(plain).await;
    let read = |session: Session| async move { session.get::<String>("n").map(drop) };
    let app = axum::Router::new()
        .route("/", get(|_: Session| async {}))
        .route("/read", get(read))
        .layer(shop.app.layer.clone());
    let ask = async |path: &str| {
        let (mut head, ()) = request_of(&shop.browser).into_parts();
        head.uri = path.parse().unwrap();
        let response = app.clone().oneshot(Request::from_parts(head, Body::empty())).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        String::from_utf8(to_bytes(response.into_body(), 1000).await.unwrap().to_vec()).unwrap()
    };
    shop.faults.next(2, Fault::Refuse);
    assert_eq!(ask("/").await, "the session store is unavailable");
    shop.assert_told("request", ErrorKind::Unavailable, FAULT, "a rejection").await;
    // Names of types are for the log.
    assert_eq!(ask("/read").await, "the session's value \"n\" is not of the type asked for");
}
