//! The sessions of a principal: listed, and ended from outside. Sessions in cookies cannot be listed.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use session_state::{Error, Revocations, Session, SessionInfo, SessionLayer, Sessions};

use crate::body::{Body, Principal, Revoke};
use crate::routes::ok;

/// Returns the routes that this layer can have: none of a state whose sessions nobody can list.
pub(crate) fn router(layer: &SessionLayer) -> Router {
    match (layer.sessions(), layer.revocations()) {
        (Ok(sessions), _) => of_store(sessions),
        (_, Ok(revocations)) => of_cookie(revocations),
        _ => Router::new(),
    }
}

fn of_store(sessions: Sessions) -> Router {
    Router::new()
        .route("/sessions", get(list))
        .route("/revoke", post(revoke))
        .route("/revoke-others", post(revoke_others))
        .route("/revoke-all", post(revoke_all))
        .with_state(sessions)
}

async fn list(State(sessions): State<Sessions>, session: Session) -> Result<Json<Value>, Error> {
    let own = match session.principal() {
        Some(principal) => sessions.list(&principal).await?,
        None => Vec::new(),
    };
    let shown = own.iter().map(|info| show(info, &session)).collect();
    Ok(Json(Value::Array(shown)))
}

fn show(info: &SessionInfo, session: &Session) -> Value {
    json!({
        "handle": info.handle,
        "current": info.is(session),
        "created_at": seconds(info.created_at),
        "last_seen_at": seconds(info.last_seen_at),
    })
}

/// Returns the seconds since 1970, to the millisecond.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A handle of another principal or an invalid one ends nothing.
async fn revoke(
    State(sessions): State<Sessions>,
    session: Session,
    Body(Revoke { handle }): Body<Revoke>,
) -> Result<Response, Error> {
    let is_ended = match (session.principal(), handle.parse()) {
        (Some(principal), Ok(handle)) => sessions.revoke(&principal, handle).await?,
        _ => false,
    };
    Ok(if is_ended { ok().into_response() } else { StatusCode::NOT_FOUND.into_response() })
}

async fn revoke_others(State(sessions): State<Sessions>, session: Session) -> Result<Json<Value>, Error> {
    sessions.revoke_others(&session).await?;
    Ok(ok())
}

async fn revoke_all(
    State(sessions): State<Sessions>,
    Body(Principal { principal }): Body<Principal>,
) -> Result<Json<Value>, Error> {
    sessions.revoke_all(&principal).await?;
    Ok(ok())
}

fn of_cookie(revocations: Revocations) -> Router {
    Router::new()
        .route("/revoke", post(revoke_own_cookie))
        .route("/revoke-others", post(revoke_other_cookies))
        .route("/revoke-all", post(revoke_all_cookies))
        .with_state(revocations)
}

/// With state in cookies, a request knows its own session only.
async fn revoke_own_cookie(
    State(revocations): State<Revocations>,
    session: Session,
    Body(Revoke { handle }): Body<Revoke>,
) -> Result<Response, Error> {
    match handle.parse() {
        Ok(handle) if session.handle() == Some(handle) => revocations.revoke_session(handle).await?,
        _ => return Ok(StatusCode::NOT_FOUND.into_response()),
    }
    Ok(ok().into_response())
}

async fn revoke_other_cookies(State(revocations): State<Revocations>, session: Session) -> Result<Json<Value>, Error> {
    revocations.revoke_others(&session).await?;
    Ok(ok())
}

async fn revoke_all_cookies(
    State(revocations): State<Revocations>,
    Body(Principal { principal }): Body<Principal>,
) -> Result<Json<Value>, Error> {
    revocations.revoke_all(&principal).await?;
    Ok(ok())
}
