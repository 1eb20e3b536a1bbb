//! axum_session without a database, with its default configuration.

use axum::Router;
use axum::routing::get;
use axum_session::{SessionConfig, SessionLayer, SessionNullPool, SessionStore};

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, SEED, SMALL, value};

type Session = axum_session::Session<SessionNullPool>;

pub async fn router() -> Router {
    let store = SessionStore::<SessionNullPool>::new(None, SessionConfig::default()).await.unwrap();
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(|session: Session| async move { session.set(NUMBER, SEED) }))
        .route("/seed-small", get(|session| seed(session, SMALL)))
        .route("/seed-large", get(|session| seed(session, LARGE)))
        .route("/seed-100", get(|session: Session| async move { session.set("v", value("v", 90)) }))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .layer(SessionLayer::new(store))
}

async fn seed(session: Session, size: usize) {
    for key in KEYS {
        session.set(key, value(key, size));
    }
}

async fn read(session: Session) -> String {
    session.get::<u64>(NUMBER).unwrap_or(0).to_string()
}

async fn increment(session: Session) -> String {
    let n = session.get::<u64>(NUMBER).unwrap_or(0) + 1;
    session.set(NUMBER, n);
    n.to_string()
}

async fn read_one(session: Session) -> String {
    session.get::<String>(ONE).unwrap_or_default()
}

async fn change_one(session: Session) -> &'static str {
    let replacement = next_replacement();
    session.set(ONE, replacement);
    replacement
}
