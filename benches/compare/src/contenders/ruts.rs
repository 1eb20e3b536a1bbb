//! ruts with its store in memory, which is moka's cache.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use ruts::store::Ttl;
use ruts::store::moka::MokaStore;
use ruts::{CookieOptions, SessionLayer};
use tower_cookies::CookieManagerLayer;

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, SEED, SMALL, value};

type Session = ruts::Session<MokaStore>;

pub fn router() -> Router {
    let store = Arc::new(MokaStore::builder().max_capacity(10_000_000).build());
    let cookie = CookieOptions::build().name("session").http_only(true).secure(true).path("/");
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(|session: Session| async move { set(&session, NUMBER, &SEED).await }))
        .route("/seed-small", get(|session| seed(session, SMALL)))
        .route("/seed-large", get(|session| seed(session, LARGE)))
        .route("/seed-100", get(|session: Session| async move { set(&session, "v", &value("v", 90)).await }))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .layer(SessionLayer::new(store).with_cookie_options(cookie))
        .layer(CookieManagerLayer::new())
}

async fn set<T: serde::Serialize + Send + Sync + 'static>(session: &Session, key: &str, value: &T) {
    session.set(key, value, Ttl::new(1800).unwrap(), None).await.unwrap();
}

async fn seed(session: Session, size: usize) {
    for key in KEYS {
        set(&session, key, &value(key, size)).await;
    }
}

async fn read(session: Session) -> String {
    session.get::<u64>(NUMBER).await.unwrap().unwrap_or(0).to_string()
}

async fn increment(session: Session) -> String {
    let n = session.get::<u64>(NUMBER).await.unwrap().unwrap_or(0) + 1;
    set(&session, NUMBER, &n).await;
    n.to_string()
}

async fn read_one(session: Session) -> String {
    session.get::<String>(ONE).await.unwrap().unwrap_or_default()
}

async fn change_one(session: Session) -> &'static str {
    let replacement = next_replacement();
    set(&session, ONE, &replacement).await;
    replacement
}
