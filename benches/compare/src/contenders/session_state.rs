//! This crate, with its defaults.

use axum::Router;
use axum::routing::get;
use session_state::{CookieState, Error, KeyRing, MemoryStore, Session, SessionLayer};

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, Place, SEED, SMALL, value};

pub fn router(place: Place) -> Router {
    let sessions = match place {
        Place::Memory => SessionLayer::server(MemoryStore::new()),
        Place::Encrypted => SessionLayer::client(CookieState::encrypted(KeyRing::generate().unwrap())),
    };
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(async |session: Session| session.insert(NUMBER, SEED)))
        .route("/seed-small", get(async |session: Session| seed(&session, SMALL)))
        .route("/seed-large", get(async |session: Session| seed(&session, LARGE)))
        .route("/seed-100", get(async |session: Session| session.insert("v", value("v", 90))))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .layer(sessions)
}

fn seed(session: &Session, size: usize) -> Result<(), Error> {
    KEYS.iter().try_for_each(|key| session.insert(key, value(key, size)))
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get::<u64>(NUMBER)?.unwrap_or(0).to_string())
}

async fn increment(session: Session) -> Result<String, Error> {
    Ok(session.update(NUMBER, |n: &mut u64| *n += 1)?.to_string())
}

async fn read_one(session: Session) -> Result<String, Error> {
    Ok(session.get::<String>(ONE)?.unwrap_or_default())
}

async fn change_one(session: Session) -> Result<&'static str, Error> {
    let replacement = next_replacement();
    session.insert(ONE, replacement)?;
    Ok(replacement)
}
