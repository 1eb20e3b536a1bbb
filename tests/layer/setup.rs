//! Mistakes in the set-up: each shows when the layer is built or at the first request, with the remedy.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::test_kit::EventLog;
use session_state::{
    CookieConfig, Error, ErrorKind, InCookie, KeyRing, MemoryStore, Session, SessionEvent, SessionLayer, SessionPart,
    require_recent_login,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::browser::{App, Browser};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

enum Admin {}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cart {
    lines: Vec<String>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// Visits twice, and returns the error of the first visit, if there is one, and the warnings.
async fn first_request(set: impl FnOnce(SessionLayer) -> SessionLayer) -> (Option<String>, Vec<String>) {
    let log = EventLog::default();
    let app = App::unobserved(SessionLayer::server(MemoryStore::new()).add_observer(log.clone())).with(set);
    let browser = Browser::default();
    let visit = browser.send(&app, |session| async move { session.insert("n", 1).unwrap() }).await;
    assert_eq!(visit.error.is_some(), visit.status == StatusCode::INTERNAL_SERVER_ERROR);
    // A route that does not ask for its session fails too.
    let other = browser.send_raw(&app, |_| async { Ok((StatusCode::OK, ())) }).await;
    assert_eq!(other.status, visit.status);
    let (mut warnings, mut failures) = (Vec::new(), 0);
    for event in log.take(&app.layer).await {
        match event {
            SessionEvent::SetupWarning { message } => warnings.push(message.into_owned()),
            SessionEvent::RequestFailed { error } => {
                assert!(matches!(error.kind(), ErrorKind::Misconfigured(_)), "{error:?}");
                failures += 1;
            }
            _ => {}
        }
    }
    assert_eq!(failures, if visit.error.is_some() { 2 } else { 0 }, "each request tells of its failure");
    (visit.error.map(|error| error.to_string()), warnings)
}

type Set = fn(SessionLayer) -> SessionLayer;

#[tokio::test]
async fn times_that_are_zero_or_contradict_each_other_are_an_error_at_the_first_request() {
    let cases: [(Set, &[&str]); 6] = [
        (|layer| layer.with_idle_timeout(Duration::ZERO), &["idle timeout of zero", "with_idle_timeout", "None"]),
        (|layer| layer.with_absolute_timeout(Duration::ZERO), &["absolute timeout of zero", "with_absolute_timeout"]),
        (|layer| layer.with_store_timeout(Duration::ZERO), &["store timeout of zero", "with_store_timeout"]),
        (|layer| layer.with_max_record_size(0), &["0 bytes", "with_max_record_size"]),
        (
            |layer| layer.with_idle_timeout(2 * HOUR).with_absolute_timeout(HOUR),
            &["idle timeout of 7200s never applies", "3600s", "shorten `with_idle_timeout`"],
        ),
        (
            |layer| layer.with_renewal(2 * HOUR).with_absolute_timeout(HOUR),
            &["no id is renewed after 7200s", "3600s", "shorten `with_renewal`"],
        ),
    ];
    for (set, pieces) in cases {
        let (error, warnings) = first_request(set).await;
        let error = error.expect("the settings are wrong");
        assert!(pieces.iter().all(|piece| error.contains(piece)), "{pieces:?}: {error}");
        assert!(warnings.is_empty());
    }
}

#[tokio::test]
async fn settings_that_work_in_another_way_than_they_say_are_warned_of_once() {
    let cases: [(Set, &[&str]); 5] = [
        (
            |layer| layer.with_idle_timeout(24 * HOUR),
            &["idle timeout of 86400s never applies", "43200s", "set `with_absolute_timeout` too"],
        ),
        (
            |layer| layer.with_idle_timeout(SECOND).with_touch_interval(HOUR),
            &["touch interval of 3600s", "half of that is used", "shorten `with_touch_interval`"],
        ),
        (|layer| layer.with_renewal(Duration::ZERO), &["zero seconds", "lengthen `with_renewal`"]),
        (
            |layer| layer.with_renewal(4 * SECOND).with_grace(HOUR),
            &["renewed after 4s", "grace of 3600s", "shorten `with_grace`"],
        ),
        (|layer| layer.with_renewal(24 * HOUR), &["no id is renewed after 86400s", "set `with_absolute_timeout` too"]),
    ];
    for (set, pieces) in cases {
        let (error, warnings) = first_request(set).await;
        assert_eq!(error, None);
        let [warning] = &warnings[..] else { panic!("{pieces:?}: {warnings:?}") };
        assert!(pieces.iter().all(|piece| warning.contains(piece)), "{pieces:?}: {warning}");
    }
}

#[tokio::test]
async fn settings_that_go_together_are_not_complained_of() {
    let cases: [Set; 8] = [
        |layer| layer,
        |layer| layer.with_idle_timeout(HOUR).with_absolute_timeout(HOUR),
        // Both in turn: the last word counts.
        |layer| layer.with_idle_timeout(2 * HOUR).with_absolute_timeout(HOUR).with_absolute_timeout(3 * HOUR),
        |layer| layer.with_absolute_timeout(60 * SECOND),
        |layer| layer.with_idle_timeout(None).with_absolute_timeout(None).with_renewal(HOUR),
        |layer| layer.with_touch_interval(Duration::ZERO),
        |layer| layer.with_grace(Duration::ZERO),
        |layer| layer.with_renewal(HOUR).with_idle_timeout(HOUR),
    ];
    for (index, set) in cases.into_iter().enumerate() {
        assert_eq!(first_request(set).await, (None, Vec::new()), "case {index}");
    }
}

/// Sends a request through two layers, the second within the first, and returns the error.
async fn through(outer: &SessionLayer, inner: &SessionLayer) -> (StatusCode, Option<Error>) {
    let handler = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(());
        let loaded = async { Session::from_extensions(request.extensions())?.load().await?.insert("n", 1) };
        if let Err(error) = loaded.await {
            response.extensions_mut().insert(error);
        }
        Ok::<_, Infallible>(response)
    });
    let response = outer.layer(inner.layer(handler)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers().contains_key("set-cookie"), response.status() == StatusCode::OK);
    (response.status(), response.extensions().get().cloned())
}

#[tokio::test]
async fn two_layers_with_one_cookie_on_a_route_are_an_error_that_names_it() {
    let layer = || SessionLayer::server(MemoryStore::new());
    let named = |name: &'static str| layer().with_cookie(CookieConfig::new().with_name(name).unwrap()).unwrap();
    let carted = || layer().with_part::<Cart>(InCookie::encrypted(KeyRing::generate().unwrap())).unwrap();
    let same = [
        (layer(), layer(), "__Host-Http-id"),
        (layer(), layer().with_marker::<Admin>(), "__Host-Http-id"),
        (layer().with_marker::<Admin>(), layer(), "__Host-Http-id"),
        (carted(), named("__Host-Http-cart").with_marker::<Admin>(), "__Host-Http-cart"),
        (named("__Host-Http-cart").with_marker::<Admin>(), carted(), "__Host-Http-cart"),
    ];
    for (outer, inner, name) in same {
        let log = EventLog::default();
        let inner = inner.add_observer(log.clone());
        let (status, error) = through(&outer, &inner).await;
        let error = error.expect("two layers share a cookie");
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        for piece in [name, "two layers of this route", "clones of one layer", "with_cookie"] {
            assert!(error.to_string().contains(piece), "{piece}: {error}");
        }
        let told = log.take(&inner).await;
        assert!(matches!(&told[..], [SessionEvent::RequestFailed { .. }]), "{told:?}");
    }
    let one = layer();
    let different =
        [(layer(), named("__Host-Http-admin").with_marker::<Admin>()), (named("__Host-Http-admin"), one.clone())];
    for (outer, inner) in different.into_iter().chain([(one.clone(), one)]) {
        let (status, error) = through(&outer, &inner).await;
        assert_eq!(status, StatusCode::OK, "{error:?}");
    }
}

#[tokio::test]
async fn times_of_zero_elsewhere_are_errors_too() {
    let place = InCookie::encrypted(KeyRing::generate().unwrap()).with_retention(Duration::ZERO);
    let message = SessionLayer::server(MemoryStore::new()).with_part::<Cart>(place).unwrap_err().to_string();
    assert!(message.contains("\"cart\"") && message.contains("lengthen `with_retention`"), "{message}");

    let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    let guarded = SessionLayer::server(MemoryStore::new()).layer(require_recent_login(Duration::ZERO).layer(handler));
    let response = guarded.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let error: &Error = response.extensions().get().unwrap();
    assert!(error.to_string().contains("`require_recent_login` rejects every login"), "{error}");
}

#[tokio::test]
async fn a_login_to_an_empty_principal_is_an_error_and_nobody_is_logged_in() {
    let logins: [fn(&Session); 2] = [|session| session.login(""), |session| session.login_fresh("")];
    for app in App::everywhere() {
        for login in logins {
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await.value();
            let before = browser.clone();
            let visit = browser.visit(&app, move |session| async move {
                login(&session);
                (session.principal(), session.save().await.map_err(|error| error.kind().clone()))
            });
            let visit = visit.await;
            assert_eq!(visit.output.unwrap(), (None, Err(ErrorKind::EmptyPrincipal)));
            assert_eq!(visit.status, StatusCode::INTERNAL_SERVER_ERROR);
            let message = visit.error.unwrap().to_string();
            assert_eq!(message, "the principal is empty: log in with the id of the user who has authenticated");
            assert_eq!(browser.jar, before.jar);
            assert_eq!(browser.get(&app, "n").await, Some(1));
        }
    }
}

/// Sends requests with these headers, and returns the warnings.
async fn warnings(set: Set, method: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let log = EventLog::default();
    let layer = set(SessionLayer::server(MemoryStore::new()).add_observer(log.clone()));
    let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    for _ in 0..3 {
        let request = Request::builder().method(method).uri("/");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        layer.layer(handler).oneshot(request.body(()).unwrap()).await.unwrap();
    }
    let message = |event| match event {
        SessionEvent::SetupWarning { message } => message.into_owned(),
        other => panic!("{other:?}"),
    };
    log.take(&layer).await.into_iter().map(message).collect()
}

#[tokio::test]
async fn a_page_over_http_whose_cookie_is_secure_is_warned_of_once_with_the_remedy() {
    let shown: [(&str, &[(&str, &str)]); 6] = [
        ("POST", &[("origin", "http://shop.example")]),
        ("POST", &[("referer", "http://192.168.1.5:3000/cart")]),
        ("POST", &[("origin", "http://shop.example:3000"), ("host", "SHOP.example:3000")]),
        ("POST", &[("origin", "http://shop.example"), ("cookie", "theme=dark")]),
        ("PUT", &[("referer", "http://shop.example/"), ("cookie", "theme=dark")]),
        ("DELETE", &[("origin", "http://shop.example"), ("referer", "https://other.example/")]),
    ];
    for (method, headers) in shown {
        let warnings = warnings(|layer| layer, method, headers).await;
        let [warning] = &warnings[..] else { panic!("{headers:?}: {warnings:?}") };
        assert!(warning.contains("with_insecure_http") && warning.contains("https"), "{warning}");
    }
    let not_shown: [(&str, &[(&str, &str)]); 7] = [
        ("POST", &[]),
        ("POST", &[("origin", "https://shop.example"), ("referer", "https://shop.example/")]),
        ("POST", &[("origin", "http://localhost:3000"), ("referer", "http://localhost:3000/")]),
        ("POST", &[("origin", "http://127.0.0.1:3000")]),
        // A form on another site's page.
        ("POST", &[("referer", "http://blog.example/"), ("host", "shop.example")]),
        // Reads are not checked.
        ("GET", &[("referer", "http://shop.example/")]),
        ("POST", &[("origin", "null")]),
    ];
    for (method, headers) in not_shown {
        assert_eq!(warnings(|layer| layer, method, headers).await, [""; 0], "{headers:?}");
    }
    let insecure: Set = |layer| layer.with_cookie(CookieConfig::new().with_insecure_http()).unwrap();
    assert_eq!(warnings(insecure, "POST", &[("origin", "http://shop.example")]).await, [""; 0]);
}

#[tokio::test]
async fn a_store_in_memory_without_a_sweeper_does_not_grow_for_ever() {
    let store = MemoryStore::new();
    let app = App::unobserved(SessionLayer::server(store.clone()));
    // A session lives for half an hour, and there is a new visitor each second.
    for _ in 0..8_000 {
        Browser::default().set(&app, "n", 1).await.value();
        app.pass(SECOND);
    }
    assert!((1_800..4_000).contains(&store.len()), "{} sessions", store.len());
}
