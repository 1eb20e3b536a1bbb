//! Errors: [`Error`] while a request is served, [`ConfigError`] while a layer is built.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Error of a session while a request is served.
///
/// It has a [`kind`](Self::kind), the HTTP [`status`](Self::status) that answers it and, where another error caused it,
/// that [`source`](StdError::source). It never holds a session ID, a cookie's value or a key. Cloning it is cheap.
///
/// With the feature `axum` it is the rejection of the extractors and can be returned by a handler.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    /// The type that a value was decoded as, or encoded from.
    type_name: Option<&'static str>,
    source: Option<BoxError>,
    /// Whether it has been reported to observers.
    is_told: AtomicBool,
    /// Whether it has been reported to `tracing`.
    is_traced: AtomicBool,
}

/// The kinds of [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No `SessionLayer` of this marker served the request: the route is outside the layer.
    MissingLayer,
    /// The settings of a layer, or of two layers on one route, contradict each other. Each response is this error,
    /// whose message names the settings and the remedy.
    Misconfigured(ConfigError),
    /// The principal of a login is empty. The session is unchanged.
    EmptyPrincipal,
    /// The store could not be reached, failed, or took longer than its time limit. Nothing was written, unless the
    /// store wrote it and its reply was lost.
    Unavailable,
    /// Other requests kept changing the session, or changed it once and the layer is set to
    /// [fail](crate::ConflictPolicy::Fail) on that, or two changes of a part do not merge into one that can be decoded.
    Conflict,
    /// The session has ended, or another request has logged in, while the request was under way, or less than a minute
    /// before it arrived. Its unsaved changes were dropped.
    Ended,
    /// The request ended without a response, because its handler panicked or its client went away. Its unsaved changes
    /// were dropped. Returned by [`Session::save`](crate::Session::save) in tasks that outlive the request.
    Abandoned,
    /// A constraint of the application's table refuses a row of a part: a unique key, a foreign key, a check, the type
    /// of a column. Nothing of the request was written.
    Constraint,
    /// The state does not fit its place. Nothing was changed; the client's state stays valid.
    TooLarge {
        /// Which state it is: `session`, or the name of a part.
        what: Cow<'static, str>,
        /// Its size in bytes.
        size: usize,
        /// The most that fits, in bytes.
        limit: usize,
    },
    /// A stored value is not of the type that was asked for.
    Decode {
        /// The key of the value, or the name of the part.
        key: String,
    },
    /// A value cannot be written as JSON: it is nested too deep, has NaN or an infinity, or does not decode again.
    Encode {
        /// The key of the value, or the name of the part.
        key: String,
    },
    /// The same part is already in use by this request.
    PartInUse {
        /// The name of the part.
        part: &'static str,
    },
    /// Two part types have the same [`NAME`](crate::SessionPart::NAME): each would overwrite the other.
    DuplicatePartName {
        /// The name of both parts.
        part: &'static str,
        /// The names of the types.
        types: [&'static str; 2],
    },
    /// The part does not live in tables of this engine.
    NoTables {
        /// The name of the part.
        part: &'static str,
    },
    /// The principal has as many sessions as the layer allows, and the layer
    /// [refuses](crate::SessionLimitPolicy::RefuseLogin) further logins. Nothing of the request was written.
    TooManySessions {
        /// The most sessions that a principal may have.
        limit: usize,
    },
    /// The session has no principal.
    LoginRequired,
    /// The principal last authenticated longer ago than is allowed here.
    RecentLoginRequired,
    /// The change needs a cookie, but the head of the response has already been sent.
    TooLate,
    /// The operating system gave no random bytes.
    NoRandomness,
}

impl Error {
    /// Returns what kind of error this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the HTTP status that answers this error.
    ///
    /// 503 when the store is unavailable; 409 for a conflict, an ended session or a violated constraint; 401 without a
    /// login; 403 for a login that is too old or over the limit; otherwise 500.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.0.kind {
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Conflict | ErrorKind::Ended | ErrorKind::Constraint => StatusCode::CONFLICT,
            ErrorKind::LoginRequired => StatusCode::UNAUTHORIZED,
            ErrorKind::RecentLoginRequired | ErrorKind::TooManySessions { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns a line of text for the body of a response: the message, without the names of the application's types.
    pub(crate) fn body_text(&self) -> String {
        Message { error: &self.0, shows_types: false }.to_string()
    }

    fn new(kind: ErrorKind, source: Option<BoxError>) -> Self {
        Self::of(kind, None, source)
    }

    fn of_type<T: ?Sized>(kind: ErrorKind, source: BoxError) -> Self {
        Self::of(kind, Some(type_name::<T>()), Some(source))
    }

    fn of(kind: ErrorKind, type_name: Option<&'static str>, source: Option<BoxError>) -> Self {
        let (is_told, is_traced) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Inner { kind, type_name, source, is_told, is_traced }))
    }

    /// Returns whether it must be reported to observers: once, even if several layers find it.
    pub(crate) fn begin_telling(&self) -> bool {
        !self.0.is_told.swap(true, Ordering::Relaxed)
    }

    /// Returns whether it must be reported to `tracing`: once.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nothing is traced"))]
    pub(crate) fn begin_tracing(&self) -> bool {
        !self.0.is_traced.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn missing_layer() -> Self {
        Self::new(ErrorKind::MissingLayer, None)
    }

    pub(crate) fn misconfigured(mistake: ConfigError) -> Self {
        Self::new(ErrorKind::Misconfigured(mistake), None)
    }

    pub(crate) fn empty_principal() -> Self {
        Self::new(ErrorKind::EmptyPrincipal, None)
    }

    pub(crate) fn unavailable(source: BoxError) -> Self {
        Self::new(ErrorKind::Unavailable, Some(source))
    }

    pub(crate) fn conflict() -> Self {
        Self::new(ErrorKind::Conflict, None)
    }

    pub(crate) fn ended() -> Self {
        Self::new(ErrorKind::Ended, None)
    }

    pub(crate) fn abandoned() -> Self {
        Self::new(ErrorKind::Abandoned, None)
    }

    pub(crate) fn constraint(source: BoxError) -> Self {
        Self::new(ErrorKind::Constraint, Some(source))
    }

    pub(crate) fn too_large(what: impl Into<Cow<'static, str>>, size: usize, limit: usize) -> Self {
        let what = what.into();
        Self::new(ErrorKind::TooLarge { what, size, limit }, None)
    }

    pub(crate) fn decode(key: &str, source: BoxError) -> Self {
        Self::new(ErrorKind::Decode { key: key.to_owned() }, Some(source))
    }

    /// Returns the error of a value that is not a `T`.
    pub(crate) fn decode_as<T: ?Sized>(key: &str, source: BoxError) -> Self {
        Self::of_type::<T>(ErrorKind::Decode { key: key.to_owned() }, source)
    }

    pub(crate) fn encode(key: &str, source: BoxError) -> Self {
        Self::new(ErrorKind::Encode { key: key.to_owned() }, Some(source))
    }

    /// Returns the error of a `T` that cannot be written.
    pub(crate) fn encode_as<T: ?Sized>(key: &str, source: BoxError) -> Self {
        Self::of_type::<T>(ErrorKind::Encode { key: key.to_owned() }, source)
    }

    pub(crate) fn part_in_use(part: &'static str) -> Self {
        Self::new(ErrorKind::PartInUse { part }, None)
    }

    pub(crate) fn duplicate_part_name(part: &'static str, types: [&'static str; 2]) -> Self {
        Self::new(ErrorKind::DuplicatePartName { part, types }, None)
    }

    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn no_tables(part: &'static str) -> Self {
        Self::new(ErrorKind::NoTables { part }, None)
    }

    pub(crate) fn too_many_sessions(limit: usize) -> Self {
        Self::new(ErrorKind::TooManySessions { limit }, None)
    }

    pub(crate) fn login_required() -> Self {
        Self::new(ErrorKind::LoginRequired, None)
    }

    pub(crate) fn recent_login_required() -> Self {
        Self::new(ErrorKind::RecentLoginRequired, None)
    }

    pub(crate) fn too_late() -> Self {
        Self::new(ErrorKind::TooLate, None)
    }

    pub(crate) fn no_randomness(source: BoxError) -> Self {
        Self::new(ErrorKind::NoRandomness, Some(source))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Message { error: &self.0, shows_types: true }.fmt(f)
    }
}

/// The message of an error, with the names of types or without.
struct Message<'e> {
    error: &'e Inner,
    shows_types: bool,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = self.error.type_name.filter(|_| self.shows_types);
        match &self.error.kind {
            ErrorKind::MissingLayer => {
                f.write_str("no session layer served this request: add `.layer(sessions)` to the router of this route")
            }
            ErrorKind::Misconfigured(mistake) => write!(f, "the session layer is misconfigured: {mistake}"),
            ErrorKind::EmptyPrincipal => {
                f.write_str("the principal is empty: log in with the id of the user who has authenticated")
            }
            ErrorKind::Unavailable => f.write_str("the session store is unavailable"),
            ErrorKind::Conflict => f.write_str("the session was changed by another request at the same time"),
            ErrorKind::Ended => f.write_str(
                "the session ended, or another request logged in, during this one or just before it: its changes were dropped",
            ),
            ErrorKind::Abandoned => {
                f.write_str("the request ended without a response: its unsaved changes were dropped")
            }
            ErrorKind::Constraint => f.write_str("a constraint of a table refuses a row of the part"),
            ErrorKind::TooLarge { what, size, limit } => {
                write!(f, "{what} takes {size} bytes where at most {limit} fit")
            }
            ErrorKind::Decode { key } => match type_name {
                Some(type_name) => write!(f, "the session's value {key:?} cannot be decoded as `{type_name}`"),
                None => write!(f, "the session's value {key:?} is not of the type asked for"),
            },
            ErrorKind::Encode { key } => match type_name {
                Some(type_name) => write!(f, "the value for {key:?}, a `{type_name}`, cannot be written as json"),
                None => write!(f, "the value for {key:?} cannot be written as json"),
            },
            ErrorKind::PartInUse { part } => {
                write!(f, "part {part:?} is already in use by this request: drop the first before taking a second")
            }
            ErrorKind::DuplicatePartName { part, .. } if !self.shows_types => {
                write!(f, "two part types are named {part:?}")
            }
            ErrorKind::DuplicatePartName { part, types: [one, other] } => {
                write!(f, "the part types `{one}` and `{other}` are both named {part:?}: give one of them another `NAME`")
            }
            ErrorKind::NoTables { part } => write!(f, "part {part:?} does not live in tables of this engine"),
            ErrorKind::TooManySessions { limit } => {
                write!(f, "the principal has {limit} sessions, and no more are allowed: end one of them first")
            }
            ErrorKind::LoginRequired => f.write_str("no principal is logged in"),
            ErrorKind::RecentLoginRequired => f.write_str("the last login is too long ago: authenticate again"),
            ErrorKind::TooLate => f.write_str(
                "the change needs a cookie, but the response head was already sent: change the session before answering",
            ),
            ErrorKind::NoRandomness => f.write_str("the operating system gave no random bytes"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Error");
        fields.field("kind", &self.0.kind);
        if let Some(type_name) = self.0.type_name {
            fields.field("type", &format_args!("{type_name}"));
        }
        fields.field("source", &self.0.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Error of a layer, a cookie or a key ring that cannot be built with these settings.
///
/// The message names the thing, its value unless that is secret, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    message: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ConfigError {}
