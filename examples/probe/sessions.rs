//! The session layer that the options ask for.

use std::time::{Duration, SystemTime};

use axum::Router;
use session_state::{
    ConfigError, CookieConfig, CookieState, InCookie, InStore, Key, KeyRing, MemoryStore, SessionEvent, SessionLayer,
    SessionLimitPolicy, SessionPart,
};

use crate::options::{Error, Options, PartPlace, State};
use crate::stores::Opened;
use crate::wizard::{Unreadable, Wizard};
use crate::{devices, stores};

/// The end of the year 9999, since 1970.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// The layers that the options ask for, and the routes that only some states have.
pub(crate) struct Layers {
    pub(crate) sessions: SessionLayer,
    /// A layer over the same sessions, in which the place of the wizard holds an [`Unreadable`].
    pub(crate) breaking: SessionLayer,
    pub(crate) routes: Router,
}

impl Layers {
    pub(crate) async fn open(options: &Options) -> Result<Self, Error> {
        let (keys, cookie) = (keys(&options.keys)?, cookie(options)?);
        let Opened { layer, parts, routes } = open_state(options, &keys).await?;
        let layer = with_timeouts(layer, options).with_conflict_policy(options.conflict);
        let mut layer = layer.with_cookie(cookie)?.add_observer(log);
        if options.encrypt_at_rest {
            layer = layer.with_encryption_at_rest(keys.clone())?;
        }
        if options.accept_plain {
            layer = layer.with_plain_records_until(SystemTime::UNIX_EPOCH + YEAR_9999)?;
        }
        if let Some(most) = options.max_sessions {
            layer = layer.with_max_sessions(most, SessionLimitPolicy::EvictOldest)?;
        }
        let breaking = place::<Unreadable>(layer.clone(), options.part_place, &keys, &parts)?;
        let sessions = place::<Wizard>(layer, options.part_place, &keys, &parts)?;
        let routes = routes.merge(devices::router(&sessions));
        Ok(Self { sessions, breaking, routes })
    }
}

async fn open_state(options: &Options, keys: &KeyRing) -> Result<Opened, Error> {
    match &options.state {
        State::CookieEncrypted => client(CookieState::encrypted(keys.clone()), options).await,
        State::CookieSigned => client(CookieState::signed(keys.clone()), options).await,
        _ if options.revocation.is_some() => {
            Err("--revocation is for state in the cookie: a session in a store ends in the store".into())
        }
        State::Memory => Ok(Opened::new(MemoryStore::new())),
        State::Stored(engine, address) => stores::open(*engine, &address.0).await,
    }
}

async fn client(state: CookieState, options: &Options) -> Result<Opened, Error> {
    let (state, parts) = match &options.revocation {
        None => (state, InStore::new(MemoryStore::new())),
        Some(State::Memory) => stores::remember(state, MemoryStore::new()),
        Some(State::Stored(engine, address)) => stores::remember_at(state, *engine, &address.0).await?,
        Some(State::CookieEncrypted | State::CookieSigned) => {
            return Err(
                "--revocation takes a store: a cookie remembers nothing that its client would rather forget".into()
            );
        }
    };
    Ok(Opened { layer: SessionLayer::client(state), parts, routes: Router::new() })
}

/// Returns the layer with the part `T` in its place.
fn place<T: SessionPart>(
    layer: SessionLayer,
    place: PartPlace,
    keys: &KeyRing,
    parts: &InStore,
) -> Result<SessionLayer, ConfigError> {
    match place {
        PartPlace::Record => Ok(layer),
        PartPlace::Cookie => layer.with_part::<T>(InCookie::encrypted(keys.clone())),
        PartPlace::Store => layer.with_part::<T>(parts.clone()),
    }
}

fn with_timeouts(mut sessions: SessionLayer, options: &Options) -> SessionLayer {
    if let Some(idle) = options.idle {
        // The layer rejects an idle timeout beyond the absolute one. Here it is one that never ends a session.
        sessions = sessions.with_idle_timeout(options.absolute.map_or(idle, |absolute| idle.min(absolute)));
    }
    if let Some(absolute) = options.absolute {
        sessions = sessions.with_absolute_timeout(absolute);
    }
    if let Some(interval) = options.touch_interval {
        sessions = sessions.with_touch_interval(interval);
    }
    // Nor is a session renewed that ends before.
    if let Some(age) = options.renewal.filter(|age| options.absolute.is_none_or(|absolute| *age < absolute)) {
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
    if let Some(name) = &options.cookie_name {
        cookie = cookie.with_name(name.clone())?;
    }
    if let Some(domain) = &options.cookie_domain {
        cookie = cookie.with_domain(domain.clone())?;
    }
    if let Some(path) = &options.cookie_path {
        cookie = cookie.with_path(path.clone())?;
    }
    Ok(match options.cookie_lifetime {
        Some(lifetime) => cookie.with_lifetime(lifetime),
        None => cookie,
    })
}

/// Logs what an operator should look into. The other events are everyday life.
fn log(event: &SessionEvent) {
    match event {
        SessionEvent::RequestFailed { error } if !error.status().is_server_error() => {}
        SessionEvent::RequestFailed { .. }
        | SessionEvent::StoreFailed { .. }
        | SessionEvent::UndecodableRecord
        | SessionEvent::ChangesUnsaved => {
            eprintln!("probe: {event:?}");
        }
        _ => {}
    }
}
