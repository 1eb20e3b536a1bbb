//! What a request costs: a bare router as the floor, then the same router with a session in memory, in an encrypted
//! and in a signed cookie, whose handler leaves it alone, reads from it or writes to it.
//!
//! For comparisons that repeat on a busy machine, and with other crates, see `benches/compare`.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{Request, Response};
use session_state::{CookieState, Error, KeyRing, MemoryStore, Session, SessionLayer};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

fn requests(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let mut bare = Router::new().route("/", get(unused)).with_state(());
    c.bench_function("bare", |b| b.iter(|| serve(&runtime, &mut bare, "/", None)));

    let layers = [
        ("memory", SessionLayer::server(MemoryStore::new())),
        ("encrypted", SessionLayer::client(CookieState::encrypted(key_ring()))),
        ("signed", SessionLayer::client(CookieState::signed(key_ring()))),
    ];
    for (place, layer) in layers {
        let mut app = app(layer);
        let seeded = serve(&runtime, &mut app, "/increment", None);
        let cookie = cookie_of(&seeded).expect("the session has a cookie");
        let mut group = c.benchmark_group(place);
        for path in ["/unused", "/read", "/increment"] {
            group.bench_function(&path[1..], |b| b.iter(|| serve(&runtime, &mut app, path, Some(&cookie))));
        }
        group.finish();
    }
}

fn key_ring() -> KeyRing {
    KeyRing::generate().expect("the system has random bytes")
}

/// A router finished as a server finishes it: otherwise every request pays for applying the layer.
fn app(layer: SessionLayer) -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .layer(layer)
        .with_state(())
}

async fn unused() -> &'static str {
    "unused"
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get::<u64>("n")?.unwrap_or(0).to_string())
}

async fn increment(session: Session) -> Result<String, Error> {
    Ok(session.update("n", |n: &mut u64| *n += 1)?.to_string())
}

fn serve(runtime: &Runtime, app: &mut Router, path: &str, cookie: Option<&HeaderValue>) -> Response<Body> {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = runtime.block_on(app.call(request)).expect("the router does not fail");
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response
}

fn cookie_of(response: &Response<Body>) -> Option<HeaderValue> {
    let set = response.headers().get(SET_COOKIE)?.to_str().ok()?;
    HeaderValue::from_str(set.split(';').next()?).ok()
}

criterion_group!(benches, requests);
criterion_main!(benches);
