//! The command line.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use session_state::{ConflictPolicy, CookieLifetime};

/// What the command line asks for. `None` stands for the crate's own default.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) state: State,
    pub(crate) listen: SocketAddr,
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) touch_interval: Option<Duration>,
    pub(crate) renewal: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) store_timeout: Option<Duration>,
    pub(crate) max_sessions: Option<usize>,
    /// Where sessions that live in the cookie are remembered when they have ended.
    pub(crate) revocation: Option<State>,
    pub(crate) conflict: ConflictPolicy,
    pub(crate) part_place: PartPlace,
    /// Base64 texts, the one that seals first.
    pub(crate) keys: Vec<String>,
    pub(crate) cookie_name: Option<String>,
    pub(crate) cookie_domain: Option<String>,
    pub(crate) cookie_path: Option<String>,
    pub(crate) cookie_lifetime: Option<CookieLifetime>,
    pub(crate) insecure: bool,
    /// Values are encrypted with the keys before a store gets them.
    pub(crate) encrypt_at_rest: bool,
    /// Values that were stored before that are still read.
    pub(crate) accept_plain: bool,
}

/// Where the state lives.
#[derive(Clone, Debug)]
pub(crate) enum State {
    CookieEncrypted,
    CookieSigned,
    Memory,
    Stored(Engine, Address),
}

/// Where the part of `/part` lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PartPlace {
    Record,
    Cookie,
    Store,
}

/// What keeps the state on the server side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    MySql,
    Redis,
    RedisCluster,
    Memcached,
    MongoDb,
}

/// The URL of a store, which may hold a password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

/// What is wrong with the command line.
pub(crate) type Error = Box<dyn std::error::Error>;

/// What the URL of each engine begins with, the feature that it takes, and whether the probe was built with it.
const ENGINES: [(&str, Engine, &str, bool); 10] = [
    ("sqlite:", Engine::Sqlite, "sqlite", cfg!(feature = "sqlite")),
    ("postgres://", Engine::Postgres, "postgres", cfg!(feature = "postgres")),
    ("postgresql://", Engine::Postgres, "postgres", cfg!(feature = "postgres")),
    ("mysql://", Engine::MySql, "mysql", cfg!(feature = "mysql")),
    ("redis://", Engine::Redis, "redis", cfg!(feature = "redis")),
    ("rediss://", Engine::Redis, "redis", cfg!(feature = "redis")),
    ("redis-cluster://", Engine::RedisCluster, "redis-cluster", cfg!(feature = "redis-cluster")),
    ("memcached://", Engine::Memcached, "memcached", cfg!(feature = "memcached")),
    ("mongodb://", Engine::MongoDb, "mongodb", cfg!(feature = "mongodb")),
    ("mongodb+srv://", Engine::MongoDb, "mongodb", cfg!(feature = "mongodb")),
];

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let (mut state, mut listen, mut keys) = (None, None, Vec::new());
        let (mut idle, mut absolute, mut touch_interval) = (None, None, None);
        let (mut renewal, mut grace, mut store_timeout) = (None, None, None);
        let mut revocation = None;
        let (mut conflict, mut part_place) = (ConflictPolicy::Merge, PartPlace::Record);
        let (mut max_sessions, mut insecure) = (None, false);
        let (mut encrypt_at_rest, mut accept_plain) = (false, false);
        let (mut cookie_name, mut cookie_domain, mut cookie_path, mut cookie_lifetime) = (None, None, None, None);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} has no value"));
            match name.as_str() {
                "--state" => state = Some(state_of(&name, &value()?)?),
                "--listen" => listen = Some(parsed(&name, &value()?)?),
                "--idle" => idle = Some(duration(&name, &value()?)?),
                "--absolute" => absolute = Some(duration(&name, &value()?)?),
                "--touch-interval" => touch_interval = Some(duration(&name, &value()?)?),
                "--renewal" => renewal = Some(duration(&name, &value()?)?),
                "--grace" => grace = Some(duration(&name, &value()?)?),
                "--store-timeout" => store_timeout = Some(duration(&name, &value()?)?),
                "--keys" => keys = value()?.split(',').map(str::to_owned).collect(),
                "--cookie-name" => cookie_name = Some(value()?),
                "--cookie-domain" => cookie_domain = Some(value()?),
                "--cookie-path" => cookie_path = Some(value()?),
                "--cookie-max-age" => cookie_lifetime = Some(cookie_max_age(&name, &value()?)?),
                "--insecure" => insecure = true,
                "--encrypt-at-rest" => encrypt_at_rest = true,
                "--accept-plain" => accept_plain = true,
                "--max-sessions" => max_sessions = Some(parsed(&name, &value()?)?),
                "--revocation" => revocation = Some(state_of(&name, &value()?)?),
                "--conflict" => conflict = conflict_policy(&name, &value()?)?,
                "--part-place" => part_place = parsed(&name, &value()?)?,
                _ => return Err(format!("{name:?} is no option").into()),
            }
        }
        let state = state.ok_or("--state is missing")?;
        let listen = listen.ok_or("--listen is missing")?;
        Ok(Self {
            state,
            listen,
            idle,
            absolute,
            touch_interval,
            renewal,
            grace,
            store_timeout,
            max_sessions,
            revocation,
            conflict,
            part_place,
            keys,
            cookie_name,
            cookie_domain,
            cookie_path,
            cookie_lifetime,
            insecure,
            encrypt_at_rest,
            accept_plain,
        })
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cookie-encrypted" => Ok(Self::CookieEncrypted),
            "cookie-signed" => Ok(Self::CookieSigned),
            "memory" => Ok(Self::Memory),
            _ => match ENGINES.iter().find(|(prefix, ..)| text.starts_with(prefix)) {
                Some((_, engine, _, true)) => Ok(Self::Stored(*engine, Address(text.to_owned()))),
                Some((prefix, _, feature, false)) => {
                    Err(format!("the probe was built without the feature `{feature}`, which {prefix} takes"))
                }
                None => Err("no such state".to_owned()),
            },
        }
    }
}

impl FromStr for PartPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "record" => Ok(Self::Record),
            "cookie" => Ok(Self::Cookie),
            "store" => Ok(Self::Store),
            _ => Err("a part lives in its session's record, a cookie or a store"),
        }
    }
}

fn conflict_policy(name: &str, value: &str) -> Result<ConflictPolicy, Error> {
    match value {
        "merge" => Ok(ConflictPolicy::Merge),
        "fail" => Ok(ConflictPolicy::Fail),
        _ => Err(format!("{name} {value}: the policy is merge or fail").into()),
    }
}

fn cookie_max_age(name: &str, value: &str) -> Result<CookieLifetime, Error> {
    match value {
        "browser" => Ok(CookieLifetime::BrowserSession),
        "session" => Ok(CookieLifetime::Persistent),
        _ => {
            Err(format!("{name} {value}: a cookie is kept as long as the browser runs, or as the session lives").into())
        }
    }
}

/// Reads a state, or a store for revocations. One with a URL is not shown, in which there may be a password.
fn state_of(name: &str, value: &str) -> Result<State, Error> {
    let shown = value.split_once("//").map_or(value, |(scheme, _)| scheme);
    value.parse().map_err(|error| format!("{name} {shown}: {error}").into())
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|error| format!("{name} {value}: {error}").into())
}

/// Reads a duration such as `500ms`, `2s`, `30m`, `12h` or `14d`.
fn duration(name: &str, value: &str) -> Result<Duration, Error> {
    let unit_at = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(unit_at);
    let milliseconds: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        "d" => Some(24 * 60 * 60 * 1000),
        _ => None,
    };
    let milliseconds =
        number.parse().ok().zip(milliseconds).and_then(|(number, unit): (u64, u64)| number.checked_mul(unit));
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{name} {value}: a duration is a number and ms, s, m, h or d").into())
}
