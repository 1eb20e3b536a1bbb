//! Routes that require a recent login.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, LOCATION, VARY};
use http::{Request, Response, StatusCode};
use session_state::test_kit::{Fault, FaultyStore};
use session_state::{
    Clock as _, CookieConfig, Error, ErrorKind, MemoryStore, RequireRecentLogin, Session, SessionLayer,
    require_recent_login,
};
use tower::{Layer, Service, ServiceExt as _};

use crate::browser::{App, Browser};

const RECENT: Duration = Duration::from_secs(5 * 60);

/// A service that accepts one call per readiness, and counts the calls.
#[derive(Debug, Default)]
struct Guarded {
    is_ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Guarded {
    fn clone(&self) -> Self {
        Self { is_ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<()>> for Guarded {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(())))
    }
}

fn request(browser: &Browser) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in &browser.jar {
        request.headers_mut().append(COOKIE, format!("{name}={value}").try_into().unwrap());
    }
    request
}

/// Sends a request to the guarded service, and returns the response and how often the service was called.
async fn ask<M: 'static>(app: &App, guard: RequireRecentLogin<M>, browser: &Browser) -> (Response<()>, usize) {
    let guarded = Guarded::default();
    let calls = Arc::clone(&guarded.calls);
    let response = app.layer.layer(guard.layer(guarded)).oneshot(request(browser)).await.unwrap();
    (response, calls.load(Ordering::Relaxed))
}

async fn log_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    browser.visit(app, |session| async move { session.login("alice") }).await;
    browser
}

fn assert_is_private(response: &Response<()>) {
    assert_eq!(response.headers()[VARY], "Cookie");
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
}

fn kind(response: &Response<()>) -> ErrorKind {
    response.extensions().get::<Error>().expect("the error").kind().clone()
}

#[tokio::test]
async fn a_recent_login_is_accepted_and_an_older_one_is_403() {
    for app in App::everywhere() {
        let mut browser = log_in(&app).await;
        app.pass(RECENT - Duration::from_millis(1));
        let (response, calls) = ask(&app, require_recent_login(RECENT), &browser).await;
        assert_eq!((response.status(), calls), (StatusCode::OK, 1));
        assert_eq!(response.headers()[VARY], "Cookie");
        app.pass(Duration::from_millis(1));
        let (response, calls) = ask(&app, require_recent_login(RECENT), &browser).await;
        assert_eq!(
            (response.status(), calls, kind(&response)),
            (StatusCode::FORBIDDEN, 0, ErrorKind::RecentLoginRequired)
        );
        assert_is_private(&response);
        browser.visit(&app, |session| async move { session.mark_reauthenticated().unwrap() }).await;
        let (response, calls) = ask(&app, require_recent_login(RECENT), &browser).await;
        assert_eq!((response.status(), calls), (StatusCode::OK, 1));
    }
}

#[tokio::test]
async fn an_anonymous_request_is_401_and_gets_no_session() {
    for app in App::everywhere() {
        let mut visitor = Browser::default();
        for _ in 0..2 {
            let (response, calls) = ask(&app, require_recent_login(RECENT), &visitor).await;
            assert_eq!(
                (response.status(), calls, kind(&response)),
                (StatusCode::UNAUTHORIZED, 0, ErrorKind::LoginRequired)
            );
            assert_is_private(&response);
            assert!(!response.headers().contains_key("set-cookie"));
            // Also with an anonymous session.
            visitor.set(&app, "n", 1).await;
        }
    }
}

#[tokio::test]
async fn both_are_redirected_if_a_target_is_set() {
    let app = App::memory();
    let old = log_in(&app).await;
    app.pass(RECENT);
    let guard = require_recent_login(RECENT).with_redirect("/confirm?next=%2Fpassword").unwrap();
    for browser in [&old, &Browser::default()] {
        let (response, calls) = ask(&app, guard.clone(), browser).await;
        assert_eq!((response.status(), calls), (StatusCode::SEE_OTHER, 0));
        assert_eq!(response.headers()[LOCATION], "/confirm?next=%2Fpassword");
        assert_is_private(&response);
        assert!(response.extensions().get::<Error>().is_some());
    }
    let (response, calls) = ask(&app, guard, &log_in(&app).await).await;
    assert_eq!((response.status(), calls), (StatusCode::OK, 1));
}

#[test]
fn a_redirect_target_is_a_path_or_a_url() {
    let redirect = |location: &str| require_recent_login(RECENT).with_redirect(location);
    for good in ["/", "/confirm", "/a/b?c=d#e", "https://login.example/confirm", "http://127.0.0.1:3000/"] {
        assert!(redirect(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "confirm",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "/a b",
        "/a\r\nset-cookie: a=b",
        "/\u{e4}",
        "/\t",
        "https://",
        "https:///confirm",
        "javascript:alert(1)",
        "ftp://a/",
    ] {
        let error = redirect(bad).unwrap_err();
        assert!(error.to_string().contains("not a valid redirect target"), "{error}");
    }
}

#[tokio::test]
async fn an_error_before_the_check_is_not_redirected() {
    let guard = || require_recent_login(RECENT).with_redirect("/confirm").unwrap();
    // Outside any layer.
    let response = guard().layer(Guarded::default()).oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.status(), kind(&response)), (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::MissingLayer));
    // The store is unavailable.
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store));
    let browser = log_in(&app).await;
    faults.next(2, Fault::Refuse);
    let (response, calls) = ask(&app, guard(), &browser).await;
    assert_eq!(
        (response.status(), calls, kind(&response)),
        (StatusCode::SERVICE_UNAVAILABLE, 0, ErrorKind::Unavailable)
    );
    assert!(!response.headers().contains_key(LOCATION));
    let (response, _) = ask(&app, guard(), &browser).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_session_of_another_layer_is_found_by_its_marker() {
    enum Admin {}
    let cookie = CookieConfig::new().with_name("__Host-Http-admin").unwrap();
    let admin = App::memory().with(|layer| layer.with_cookie(cookie).unwrap());
    let browser = log_in(&admin).await;
    let admin = admin.with(SessionLayer::with_marker::<Admin>);
    let guard = require_recent_login(RECENT).with_redirect("/confirm").unwrap();
    let (response, _) = ask(&admin, guard.clone().with_marker::<Admin>(), &browser).await;
    assert_eq!(response.status(), StatusCode::OK);
    let (response, _) = ask(&admin, guard.clone().with_marker::<Admin>(), &Browser::default()).await;
    assert_eq!(
        (response.status(), &response.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/confirm".parse().unwrap())
    );
    let (response, _) = ask(&admin, guard, &browser).await;
    assert_eq!(kind(&response), ErrorKind::MissingLayer);
}

#[tokio::test]
async fn the_service_that_is_called_is_the_one_that_was_ready() {
    let app = App::memory();
    let browser = log_in(&app).await;
    let guarded = Guarded::default();
    let calls = Arc::clone(&guarded.calls);
    let mut service = app.layer.layer(require_recent_login(RECENT).layer(guarded));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(request(&browser)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let shown = format!("{service:?}");
    assert!(shown.contains("RequireRecentLogin"), "{shown}");
}

#[tokio::test]
async fn a_reauthentication_is_recent_and_kills_the_old_id() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let check =
            |session: Session| async move { session.require_recent_login(RECENT).map_err(|e| e.kind().clone()) };
        assert_eq!(browser.visit(&app, check).await.value(), Err(ErrorKind::LoginRequired));
        let anonymous = browser.visit(&app, |session| async move { session.mark_reauthenticated() }).await.value();
        assert_eq!(*anonymous.unwrap_err().kind(), ErrorKind::LoginRequired);
        assert_eq!(browser.id(), None);
        browser.visit(&app, |session| async move { session.login("alice") }).await;
        let began = browser.visit(&app, |session| async move { session.created_at() }).await.value();
        assert_eq!(browser.visit(&app, check).await.value(), Ok(()));
        app.pass(RECENT - Duration::from_millis(1));
        assert_eq!(browser.visit(&app, check).await.value(), Ok(()));
        app.pass(Duration::from_millis(1));
        assert_eq!(browser.visit(&app, check).await.value(), Err(ErrorKind::RecentLoginRequired));
        let (mut old, now) = (browser.clone(), app.clock.now().into());
        app.events();
        browser.visit(&app, |session| async move { session.mark_reauthenticated().unwrap() }).await;
        assert_eq!(app.events().last().map(String::as_str), Some("Reauthenticated"));
        assert_ne!(browser.id(), old.id());
        let times = |session: Session| async move { (session.authenticated_at(), session.created_at()) };
        assert_eq!(browser.visit(&app, times).await.value(), (Some(now), began), "the absolute timeout did not change");
        assert_eq!(browser.visit(&app, check).await.value(), Ok(()));
        if app.layer.sessions().is_ok() {
            let principal = old.visit(&app, |session| async move { session.principal() }).await.value();
            assert_eq!(principal, None, "the old id is dead");
        }
    }
}
