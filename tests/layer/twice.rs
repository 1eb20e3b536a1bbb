//! One layer applied twice around a route, as with nested or merged routers: the request has one session.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::routing::get;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{
    CookieConfig, CookieState, Error, InCookie, InStore, KeyRing, MemoryStore, Part, Session, SessionLayer, SessionPart,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::browser::App;

/// The marker of another session.
enum Other {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notes {
    text: String,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

type Handling = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

/// The action of the handler inside both layers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inner {
    Insert,
    Login,
    Logout,
    WritePart,
    Nothing,
}

async fn act(inner: Inner, extensions: &http::Extensions) -> Result<(), Error> {
    let session = Session::from_extensions(extensions)?.load().await?;
    match inner {
        Inner::Insert => session.insert("handler", 1)?,
        Inner::Login => session.login("alice"),
        Inner::Logout => session.logout(),
        Inner::WritePart => Part::<Notes>::from_extensions(extensions).await?.text.push_str("handler"),
        Inner::Nothing => {}
    }
    Ok(())
}

/// The layer twice, with a service between the two that writes before and after the handler.
async fn send(layer: &SessionLayer, inner: Inner, cookies: Option<&str>) -> Response<()> {
    let handler = service_fn(move |request: Request<()>| async move {
        act(inner, request.extensions()).await.unwrap();
        Ok::<_, Infallible>(Response::new(()))
    });
    let within = layer.layer(handler);
    let between = service_fn(move |request: Request<()>| -> Handling {
        let within = within.clone();
        Box::pin(async move {
            let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
            session.insert("before", 1).unwrap();
            let response = within.oneshot(request).await;
            if inner != Inner::Logout {
                session.insert("after", 1).unwrap();
            }
            response
        })
    });
    let mut request = Request::new(());
    if let Some(cookies) = cookies {
        request.headers_mut().insert(COOKIE, cookies.try_into().unwrap());
    }
    layer.layer(between).oneshot(request).await.unwrap()
}

/// The cookies that a response sets, as a browser sends them.
fn cookies<B>(response: &Response<B>) -> String {
    let pairs = response.headers().get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap());
    pairs.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// Returns the state behind the cookies, with a single layer.
async fn found(layer: &SessionLayer, cookies: &str) -> (Option<String>, Vec<String>, String) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let look = service_fn(move |request: Request<()>| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
            let mut keys = session.keys();
            keys.sort();
            let part = Part::<Notes>::from_extensions(request.extensions()).await.unwrap();
            sender.send((session.principal(), keys, part.text.clone())).unwrap();
            drop(part);
            Ok::<_, Infallible>(Response::new(()))
        }
    });
    let mut request = Request::new(());
    request.headers_mut().insert(COOKIE, cookies.try_into().unwrap());
    layer.layer(look).oneshot(request).await.unwrap();
    receiver.await.unwrap()
}

fn layers() -> Vec<SessionLayer> {
    let keys = || KeyRing::generate().unwrap();
    let server = || SessionLayer::server(MemoryStore::new());
    vec![
        server(),
        server().with_part::<Notes>(InCookie::encrypted(keys())).unwrap(),
        server().with_part::<Notes>(InStore::new(MemoryStore::new())).unwrap(),
        server().with_encryption_at_rest(keys()).unwrap(),
        SessionLayer::client(CookieState::encrypted(keys())),
    ]
}

#[tokio::test]
async fn a_layer_applied_twice_makes_one_session_with_all_changes() {
    for layer in layers() {
        for inner in [Inner::Insert, Inner::Login, Inner::WritePart, Inner::Nothing] {
            for is_known in [false, true] {
                let known = if is_known { Some(cookies(&send(&layer, Inner::Insert, None).await)) } else { None };
                let response = send(&layer, inner, known.as_deref()).await;
                let story = format!("{inner:?}, known before: {is_known}, {layer:?}");
                assert_eq!(response.status(), StatusCode::OK, "{story}");
                let set = cookies(&response);
                let names: Vec<_> = set.split("; ").filter_map(|cookie| cookie.split('=').next()).collect();
                let ids = names.iter().filter(|name| **name == "__Host-Http-id").count();
                assert!(ids <= 1, "{story}: {names:?}");
                // A browser keeps cookies that are not set again.
                let known = known.filter(|_| ids == 0);
                let jar: Vec<_> = known.into_iter().chain(Some(set)).filter(|cookies| !cookies.is_empty()).collect();
                let (principal, keys, text) = found(&layer, &jar.join("; ")).await;
                assert_eq!(principal.as_deref(), (inner == Inner::Login).then_some("alice"), "{story}");
                let has_handler = is_known || inner == Inner::Insert;
                let expected: &[&str] =
                    if has_handler { &["after", "before", "handler"] } else { &["after", "before"] };
                assert_eq!(keys, expected, "{story}");
                assert_eq!(text, if inner == Inner::WritePart { "handler" } else { "" }, "{story}");
            }
        }
    }
}

#[tokio::test]
async fn a_logout_within_a_layer_applied_twice_ends_the_session() {
    for layer in layers() {
        let known = cookies(&send(&layer, Inner::Insert, None).await);
        let response = send(&layer, Inner::Logout, Some(&known)).await;
        let removals = response.headers().get_all(SET_COOKIE).iter();
        let removals: Vec<_> = removals.map(|cookie| cookie.to_str().unwrap()).collect();
        assert!(!removals.is_empty() && removals.iter().all(|cookie| cookie.contains("Max-Age=0")), "{removals:?}");
    }
}

#[tokio::test]
async fn a_layer_applied_twice_reports_and_stores_one_session() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()));
    send(&app.layer, Inner::Insert, None).await;
    assert_eq!((store.len(), app.events()), (1, vec!["Created".to_owned()]));
}

/// Two layers with markers have two sessions, and each layer may be applied twice.
#[tokio::test]
async fn two_layers_with_markers_applied_twice_make_two_sessions() {
    let main = SessionLayer::server(MemoryStore::new());
    let cookie = CookieConfig::new().with_name("__Host-Http-other").unwrap();
    let other = SessionLayer::server(MemoryStore::new()).with_cookie(cookie).unwrap().with_marker::<Other>();
    let write = get(|request: AxumRequest| async move {
        let extensions = request.extensions();
        let main = Session::from_extensions(extensions).unwrap().load().await.unwrap();
        let other = Session::<Other>::with_marker_from_extensions(extensions).unwrap().load().await.unwrap();
        let seen = format!("{:?} {:?}", main.keys(), other.keys());
        main.insert("main", 1).unwrap();
        other.insert("other", 1).unwrap();
        seen
    });
    let app: Router = Router::new().route("/", write).layer(main.clone()).layer(other.clone()).layer(main).layer(other);
    let response = app.clone().oneshot(AxumRequest::new(Body::empty())).await.unwrap();
    assert_eq!(response.headers().get_all(SET_COOKIE).iter().count(), 2);
    let again = Request::builder().header(COOKIE, cookies(&response)).body(Body::empty()).unwrap();
    let response = app.oneshot(again).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    assert_eq!(body, r#"["main"] ["other"]"#);
}

#[tokio::test]
async fn routers_that_are_nested_or_merged_under_one_layer_share_the_session_of_the_request() {
    let layer = SessionLayer::server(MemoryStore::new());
    let route = |key: &'static str| {
        get(move |request: AxumRequest| async move {
            let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
            let seen = session.keys().join(",");
            session.insert(key, 1).unwrap();
            seen
        })
    };
    let note = |request: AxumRequest, next: axum::middleware::Next| async move {
        let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
        session.insert("outer", 1).unwrap();
        next.run(request).await
    };
    let inner = || Router::new().route("/nested", route("nested")).layer(layer.clone());
    let app: Router = Router::new()
        .route("/", route("plain"))
        .nest("/in", inner())
        .merge(inner())
        .layer(axum::middleware::from_fn(note))
        .layer(layer.clone());
    for path in ["/in/nested", "/nested"] {
        let request = |cookies: &str| Request::builder().uri(path).header(COOKIE, cookies).body(Body::empty()).unwrap();
        let first = app.clone().oneshot(request("a=1")).await.unwrap();
        let set = cookies(&first);
        let second = app.clone().oneshot(request(&set)).await.unwrap();
        let seen = axum::body::to_bytes(second.into_body(), 1000).await.unwrap();
        assert_eq!(seen, "outer,nested", "{path}: {set}");
    }
}
