//! tower-sessions with its memory store, as its documentation shows it.

use axum::Router;
use axum::routing::get;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, SEED, SMALL, value};

pub fn router() -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(|session: Session| async move { session.insert(NUMBER, SEED).await.unwrap() }))
        .route("/seed-small", get(|session| seed(session, SMALL)))
        .route("/seed-large", get(|session| seed(session, LARGE)))
        .route("/seed-100", get(|session: Session| async move { session.insert("v", value("v", 90)).await.unwrap() }))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .layer(SessionManagerLayer::new(MemoryStore::default()))
}

async fn seed(session: Session, size: usize) {
    for key in KEYS {
        session.insert(key, value(key, size)).await.unwrap();
    }
}

async fn read(session: Session) -> String {
    session.get::<u64>(NUMBER).await.unwrap().unwrap_or(0).to_string()
}

async fn increment(session: Session) -> String {
    let n = session.get::<u64>(NUMBER).await.unwrap().unwrap_or(0) + 1;
    session.insert(NUMBER, n).await.unwrap();
    n.to_string()
}

async fn read_one(session: Session) -> String {
    session.get::<String>(ONE).await.unwrap().unwrap_or_default()
}

async fn change_one(session: Session) -> &'static str {
    let replacement = next_replacement();
    session.insert(ONE, replacement).await.unwrap();
    replacement
}
