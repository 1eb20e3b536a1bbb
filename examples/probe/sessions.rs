//! The session layer that the options ask for.

use axum::Router;
use session_state::{
    ConfigError, CookieConfig, CookieState, Evict, Key, KeyRing, MemoryStore, SessionEvent, SessionLayer,
};

use crate::options::{Error, Options, State};
use crate::{devices, stores};

/// Returns the layer, and the routes that only some states have.
pub(crate) async fn layer(options: &Options) -> Result<(SessionLayer, Router), Error> {
    let (keys, cookie) = (keys(&options.keys)?, cookie(options)?);
    let (sessions, routes) = match &options.state {
        State::CookieEncrypted => client(CookieState::encrypted(keys), options).await?,
        State::CookieSigned => client(CookieState::signed(keys), options).await?,
        _ if options.revocation.is_some() => {
            return Err("--revocation is for state in the cookie: a session in a store ends in the store".into());
        }
        State::Memory => (SessionLayer::server(MemoryStore::new()), Router::new()),
        State::Stored(engine, address) => stores::open(*engine, &address.0).await?,
    };
    let mut sessions = with_timeouts(sessions, options).with_cookie(cookie)?.add_observer(log);
    if let Some(most) = options.max_sessions {
        sessions = sessions.with_max_sessions(most, Evict::Oldest)?;
    }
    let routes = routes.merge(devices::router(&sessions));
    Ok((sessions, routes))
}

async fn client(state: CookieState, options: &Options) -> Result<(SessionLayer, Router), Error> {
    let state = match &options.revocation {
        None => state,
        Some(State::Memory) => state.with_revocation(MemoryStore::new()),
        Some(State::Stored(engine, address)) => stores::remember(state, *engine, &address.0).await?,
        Some(State::CookieEncrypted | State::CookieSigned) => {
            return Err(
                "--revocation takes a store: a cookie remembers nothing that its client would rather forget".into()
            );
        }
    };
    Ok((SessionLayer::client(state), Router::new()))
}

fn with_timeouts(mut sessions: SessionLayer, options: &Options) -> SessionLayer {
    if let Some(idle) = options.idle {
        sessions = sessions.with_idle_timeout(idle);
    }
    if let Some(absolute) = options.absolute {
        sessions = sessions.with_absolute_timeout(absolute);
    }
    if let Some(interval) = options.touch_interval {
        sessions = sessions.with_touch_interval(interval);
    }
    if let Some(age) = options.renewal {
        sessions = sessions.with_renewal(age);
    }
    if let Some(grace) = options.grace {
        sessions = sessions.with_grace(grace);
    }
    if let Some(timeout) = options.store_timeout {
        sessions = sessions.with_store_timeout(timeout);
    }
    sessions
}

/// Makes a ring in which the first key seals and all of them open. Without keys it has a random one.
fn keys(texts: &[String]) -> Result<KeyRing, Error> {
    let [primary, fallbacks @ ..] = texts else { return Ok(KeyRing::generate()?) };
    let mut ring = KeyRing::new(Key::from_base64(primary)?);
    for fallback in fallbacks {
        ring = ring.add_fallback(Key::from_base64(fallback)?)?;
    }
    Ok(ring)
}

fn cookie(options: &Options) -> Result<CookieConfig, ConfigError> {
    let mut cookie = CookieConfig::new();
    if options.insecure {
        cookie = cookie.with_insecure_http();
    }
    match &options.cookie_name {
        Some(name) => cookie.with_name(name.clone()),
        None => Ok(cookie),
    }
}

/// Logs what an operator should look into. The other events are everyday life.
fn log(event: &SessionEvent) {
    match event {
        SessionEvent::StoreFailed { .. } | SessionEvent::UndecodableRecord | SessionEvent::ChangesUnsaved => {
            eprintln!("probe: {event:?}");
        }
        _ => {}
    }
}
