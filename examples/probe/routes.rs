//! The handlers, each of which does one thing to the session.

use std::time::Duration;

use axum::extract::Query;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE, VARY};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use session_state::{Error, Session, SessionLoader};

use crate::body::{Add, Body, Fail, FailWith, Login, Logout, Panic, Remember, Remove, Set, Take};

type Answer = Result<Json<Value>, Error>;

/// The time between two chunks of a stream.
const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn router() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/dump", get(dump))
        .route("/lifetime", get(lifetime))
        .route("/peek", get(peek))
        .route("/set", post(set))
        .route("/add", post(add))
        .route("/remove", post(remove))
        .route("/take", post(take))
        .route("/clear", post(clear))
        .route("/renew", post(renew))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/remember", post(remember))
        .route("/fail", post(fail))
        .route("/fail-logout", post(fail_logout))
        .route("/fail-renew", post(fail_renew))
        .route("/own-headers", get(own_headers))
        .route("/panic", post(panic))
        .route("/stream", get(chunks))
}

async fn plain() -> Json<Value> {
    ok()
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

async fn read(Query(Key { key }): Query<Key>, session: Session) -> Answer {
    Ok(Json(json!({ "value": session.get::<Value>(&key)? })))
}

async fn dump(session: Session) -> Answer {
    let mut values = Map::new();
    for key in session.keys() {
        let value = session.get(&key)?.unwrap_or_default();
        values.insert(key, value);
    }
    Ok(Json(json!({ "values": values, "principal": session.principal(), "new": session.is_new() })))
}

/// As `/lifetime`, without using the session.
async fn peek(loader: SessionLoader) -> Answer {
    Ok(lifetime(loader.peek().await?).await)
}

async fn lifetime(session: Session) -> Json<Value> {
    let lifetime = session.lifetime();
    Json(json!({
        "idle_seconds": lifetime.idle_timeout.map(begun_seconds),
        "absolute_seconds": lifetime.absolute_timeout.map(begun_seconds),
        "idle_remaining": lifetime.idle_remaining.map(begun_seconds),
        "absolute_remaining": lifetime.absolute_remaining.map(begun_seconds),
    }))
}

async fn set(session: Session, Body(Set { key, value, hold_ms }): Body<Set>) -> Answer {
    hold(hold_ms).await;
    session.insert(&key, value)?;
    Ok(ok())
}

async fn add(session: Session, Body(Add { key, by, hold_ms }): Body<Add>) -> Answer {
    hold(hold_ms).await;
    let value = session.update(&key, move |number: &mut i64| *number = number.saturating_add(by))?;
    Ok(Json(json!({ "value": value })))
}

async fn remove(session: Session, Body(Remove { key }): Body<Remove>) -> Json<Value> {
    session.remove(&key);
    ok()
}

async fn take(session: Session, Body(Take { key, hold_ms }): Body<Take>) -> Answer {
    hold(hold_ms).await;
    Ok(Json(json!({ "value": session.take::<Value>(&key)? })))
}

async fn clear(session: Session) -> Json<Value> {
    session.clear();
    ok()
}

async fn renew(session: Session) -> Json<Value> {
    session.renew();
    ok()
}

async fn login(session: Session, Body(Login { principal, hold_ms }): Body<Login>) -> Json<Value> {
    hold(hold_ms).await;
    session.login(principal);
    ok()
}

async fn logout(session: Session, Body(Logout { hold_ms }): Body<Logout>) -> Json<Value> {
    hold(hold_ms).await;
    session.logout();
    ok()
}

async fn remember(session: Session, Body(Remember { seconds }): Body<Remember>) -> Json<Value> {
    session.set_idle_timeout(Duration::from_secs(seconds));
    ok()
}

async fn fail(session: Session, Body(Fail { key, value, status }): Body<Fail>) -> Result<impl IntoResponse, Error> {
    session.insert(&key, value)?;
    Ok((status.0, ok()))
}

async fn fail_logout(session: Session, Body(FailWith { status }): Body<FailWith>) -> impl IntoResponse {
    session.logout();
    (status.0, ok())
}

async fn fail_renew(session: Session, Body(FailWith { status }): Body<FailWith>) -> impl IntoResponse {
    session.renew();
    (status.0, ok())
}

async fn own_headers(session: Session) -> Result<impl IntoResponse, Error> {
    session.insert("own-headers", true)?;
    let headers = [(SET_COOKIE, "theme=dark; Path=/"), (VARY, "Accept-Encoding"), (CACHE_CONTROL, "max-age=60")];
    Ok((headers, ok()))
}

async fn panic(session: Session, Body(Panic { key, value }): Body<Panic>) -> Answer {
    session.insert(&key, value)?;
    panic!("the probe was asked to panic");
}

#[derive(Deserialize)]
struct Chunks {
    chunks: u32,
    key: String,
}

/// Each chunk is a line of its own, with the value as JSON. The first one leaves at once.
async fn chunks(Query(Chunks { chunks, key }): Query<Chunks>, session: Session) -> impl IntoResponse {
    let lines = stream::unfold(0, move |sent| {
        let (session, key) = (session.clone(), key.clone());
        async move {
            if sent == chunks {
                return None;
            }
            if sent > 0 {
                tokio::time::sleep(CHUNK_INTERVAL).await;
            }
            let line = session.get::<Value>(&key).map(|value| format!("{}\n", value.unwrap_or_default()));
            Some((line, sent + 1))
        }
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], axum::body::Body::from_stream(lines))
}

pub(crate) fn ok() -> Json<Value> {
    Json(json!({ "ok": true }))
}

pub(crate) async fn hold(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Counts a second that has begun as a whole one, as `Max-Age` does: a session that has none left has ended.
fn begun_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
