//! The command line.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

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
    /// Base64 texts, the one that seals first.
    pub(crate) keys: Vec<String>,
    pub(crate) cookie_name: Option<String>,
    pub(crate) insecure: bool,
}

/// Where the state lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    CookieEncrypted,
    CookieSigned,
    Memory,
}

/// What is wrong with the command line.
pub(crate) type Error = Box<dyn std::error::Error>;

/// The states of later releases, by what they begin with.
const LATER_STATES: [&str; 9] = [
    "sqlite:",
    "postgres://",
    "postgresql://",
    "mysql://",
    "redis://",
    "rediss://",
    "memcached://",
    "mongodb://",
    "mongodb+srv://",
];

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let (mut state, mut listen, mut keys) = (None, None, Vec::new());
        let (mut idle, mut absolute, mut touch_interval) = (None, None, None);
        let (mut renewal, mut grace, mut store_timeout) = (None, None, None);
        let (mut cookie_name, mut insecure) = (None, false);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} has no value"));
            match name.as_str() {
                "--state" => state = Some(parsed(&name, &value()?)?),
                "--listen" => listen = Some(parsed(&name, &value()?)?),
                "--idle" => idle = Some(duration(&name, &value()?)?),
                "--absolute" => absolute = Some(duration(&name, &value()?)?),
                "--touch-interval" => touch_interval = Some(duration(&name, &value()?)?),
                "--renewal" => renewal = Some(duration(&name, &value()?)?),
                "--grace" => grace = Some(duration(&name, &value()?)?),
                "--store-timeout" => store_timeout = Some(duration(&name, &value()?)?),
                "--keys" => keys = value()?.split(',').map(str::to_owned).collect(),
                "--cookie-name" => cookie_name = Some(value()?),
                "--insecure" => insecure = true,
                "--revocation" | "--max-sessions" => return Err(format!("{name} is not built yet").into()),
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
            keys,
            cookie_name,
            insecure,
        })
    }
}

impl FromStr for State {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cookie-encrypted" => Ok(Self::CookieEncrypted),
            "cookie-signed" => Ok(Self::CookieSigned),
            "memory" => Ok(Self::Memory),
            _ if LATER_STATES.iter().any(|later| text.starts_with(later)) => Err("not built yet"),
            _ => Err("no such state"),
        }
    }
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
