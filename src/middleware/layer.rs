//! The layer, with all settings of an application's sessions.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::SessionService;
use crate::clock::{Clock, SystemClock};
use crate::cookie::{CookieConfig, CookieWriter};
use crate::error::ConfigError;
use crate::event::{Observers, SessionEvent};
use crate::part::{Placement, SessionPart};
use crate::record::id::IdDomain;
use crate::record::lifetime::Timeouts;
use crate::session::{Main, Marker};
use crate::state::{Config, ConflictPolicy, CookieState, ServerErrorPolicy, ServerState, Setup, State};
use crate::store::{ErasedStore, Store};

/// The default limit on the size of a session's values: 1 MiB.
const MAX_RECORD_SIZE: usize = 1024 * 1024;

/// The default time limit of a store call.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many expired records a sweep removes before it yields.
const SWEEP_BATCH: usize = 1000;

/// Layer that gives requests their sessions.
///
/// It configures where the state lives, [in a store](Self::server) or [in the cookie](Self::client), and how long
/// sessions last. Its type does not depend on the store. Clones are cheap and share their settings. A layer that is
/// applied twice to a route, as with nested routers, gives a request one session.
///
/// Timeouts that contradict each other, and two layers with one cookie on a route, show at the first request: each
/// response is a 500 that says what to change ([`Misconfigured`](crate::ErrorKind::Misconfigured)). Observers are
/// warned once of a setting that has no effect or another one than its value says
/// ([`SetupWarning`](SessionEvent::SetupWarning)).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use session_state::{MemoryStore, SessionLayer};
///
/// let sessions = SessionLayer::server(MemoryStore::new())
///     .with_idle_timeout(Duration::from_secs(30 * 60))
///     .with_absolute_timeout(Duration::from_secs(12 * 60 * 60));
/// # let _: axum::Router = axum::Router::new().layer(sessions);
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a router or service"]
pub struct SessionLayer {
    config: Arc<Config>,
    marker: Marker,
}

impl SessionLayer {
    /// Keeps sessions in a store on the server.
    ///
    /// The client gets a cookie with an ID and nothing else.
    pub fn server(store: impl Store) -> Self {
        Self::new(|_| State::Server(ServerState::new(store)))
    }

    /// Keeps sessions sealed in the client's cookie. The server keeps nothing, except marks of ended sessions
    /// [with revocation](CookieState::with_revocation).
    ///
    /// # Security
    ///
    /// Without revocation a copy of an old cookie stays valid until its timeout, also after a logout; see
    /// [`CookieState`].
    pub fn client(state: CookieState) -> Self {
        Self::new(|writer| State::Client(state.into_state(writer.clone())))
    }

    /// Sets the place of the part `T`. Default: the session's record, or its cookie.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the part's name is not a valid cookie name, when another part of the layer has the same
    /// name, or when the part's tables are not in the database that the layer keeps sessions in.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{InCookie, KeyRing, MemoryStore, SessionLayer, SessionPart};
    ///
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Preferences {
    ///     dark: bool,
    /// }
    ///
    /// impl SessionPart for Preferences {
    ///     const NAME: &'static str = "preferences";
    /// }
    ///
    /// let preferences = InCookie::encrypted(KeyRing::generate()?).with_default_retention();
    /// let sessions = SessionLayer::server(MemoryStore::new()).with_part::<Preferences>(preferences)?;
    /// # let _ = sessions;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_part<T: SessionPart>(mut self, placement: impl Into<Placement<T>>) -> Result<Self, ConfigError> {
        self.config_mut().place_part::<T>(placement.into().placement)?;
        Ok(self)
    }

    /// Sets the idle timeout: a session ends after this long without use. `None` disables it. Default: 30 minutes.
    ///
    /// Short timeouts protect sessions that are left open on a shared computer (OWASP ASVS 5.0, 7.3.1). Reading counts
    /// as use. A session may end earlier by up to the [touch interval](Self::with_touch_interval), and never later.
    pub fn with_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        let config = self.config_mut();
        (config.timeouts.idle, config.setup.sets_idle) = (timeout.into(), true);
        self.judged()
    }

    /// Sets the absolute timeout: a session ends this long after it began or its principal last logged in, even in
    /// steady use. `None` disables it. Default: 12 hours.
    ///
    /// It bounds how long a stolen ID stays valid (OWASP ASVS 5.0, 7.3.2). Without both timeouts, a session still ends
    /// after 400 days without use.
    pub fn with_absolute_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        let config = self.config_mut();
        (config.timeouts.absolute, config.setup.sets_absolute) = (timeout.into(), true);
        self.judged()
    }

    /// Renews the ID of a session when it reaches this age. `None` disables it. Default: `None`.
    ///
    /// A renewal costs a write. The old ID stays valid for the [grace period](Self::with_grace). State in the cookie
    /// has no ID, and is only resealed.
    pub fn with_renewal(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config_mut().timeouts.renewal = age.into();
        self.judged()
    }

    /// Sets the grace period, for which a renewed ID still leads to its successor. Default: 10 seconds.
    ///
    /// It must cover requests that are in flight when the ID is renewed. A longer grace period also keeps an ID valid
    /// that was renewed because it may have leaked. A login has no grace period.
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.config_mut().timeouts.grace = grace;
        self.judged()
    }

    /// Sets the minimum interval between two touches of a session. Default: a tenth of the idle timeout, at most a
    /// minute. It never exceeds half the idle timeout.
    ///
    /// Shorter intervals make the idle timeout more exact and cost more writes.
    pub fn with_touch_interval(mut self, interval: Duration) -> Self {
        self.config_mut().timeouts.touch_interval = Some(interval);
        self.judged()
    }

    /// Sets the session's cookie: its name, where it is sent, how long it is kept.
    ///
    /// Cookies of parts use the prefix of its name and its attributes. Changing the name ends all sessions, since
    /// existing cookies are no longer found.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a browser would reject the cookie, because its name does not allow its attributes.
    pub fn with_cookie(mut self, cookie: CookieConfig) -> Result<Self, ConfigError> {
        self.config_mut().set_cookie(cookie)?;
        Ok(self)
    }

    /// Sets the policy for concurrent changes of one session. Default: [`ConflictPolicy::Merge`].
    ///
    /// It applies to state in a store. With state in the cookie, the response that arrives last wins.
    pub fn with_conflict_policy(mut self, policy: ConflictPolicy) -> Self {
        self.config_mut().conflict_policy = policy;
        self
    }

    /// Sets the policy for changes of a handler that answers with a server error. Default: [`ServerErrorPolicy::Keep`].
    pub fn with_server_error_policy(mut self, policy: ServerErrorPolicy) -> Self {
        self.config_mut().server_error_policy = policy;
        self
    }

    /// Sets the time limit of a store call. Default: 5 seconds.
    ///
    /// A call that takes longer fails, and the response is 503. A request makes a few calls at most.
    pub fn with_store_timeout(mut self, timeout: Duration) -> Self {
        self.config_mut().store_timeout = timeout;
        self.judged()
    }

    /// Sets the largest size of a session: its keys, its values and its principal, in bytes. Default: 1 MiB.
    ///
    /// Setting a value that would exceed the limit is an error. A request that exceeds it in another way, such as by
    /// the name of its principal, gets an error response and stores nothing. A session that was stored under a larger
    /// limit can still be used and made smaller. State in a cookie is also limited by the cookie's 4096 bytes.
    pub fn with_max_record_size(mut self, bytes: usize) -> Self {
        self.config_mut().max_record_size = bytes;
        self.judged()
    }

    /// Sets the clock. Default: the system's. For tests.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.config_mut().clock = Arc::new(clock);
        self
    }

    /// Gives the sessions of this layer a marker, so that an application can have two layers side by side.
    ///
    /// Handlers take `Session<M>` and `Part<T, M>`. The cookies of the two layers must have different names.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # {
    /// use session_state::{CookieConfig, MemoryStore, Session, SessionLayer};
    ///
    /// enum Admin {}
    ///
    /// async fn handler(session: Session, admin: Session<Admin>) {
    ///     session.logout();
    ///     assert!(admin.is_new());
    /// }
    ///
    /// let sessions = SessionLayer::server(MemoryStore::new());
    /// let admin = SessionLayer::server(MemoryStore::new())
    ///     .with_cookie(CookieConfig::new().with_name("__Host-Http-admin")?)?
    ///     .with_marker::<Admin>();
    /// # let app: axum::Router =
    /// axum::Router::new().route("/", axum::routing::get(handler)).layer(sessions).layer(admin);
    /// # }
    /// # Ok::<(), session_state::ConfigError>(())
    /// ```
    pub fn with_marker<M: 'static>(mut self) -> Self {
        self.marker = Marker::of::<M>();
        self
    }

    /// Returns a future that removes expired sessions from the store, every `interval`, and never ends.
    ///
    /// The caller decides where to run it, and drops it to stop it. Building a layer starts no task.
    ///
    /// It sweeps the stores of [parts](crate::InStore) too. A failed sweep is retried after the next interval, and the
    /// observers get an event. Stores whose engine removes expired records by itself, and state in cookies, need no
    /// sweeper.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() {
    /// use std::time::Duration;
    /// use session_state::{MemoryStore, SessionLayer};
    ///
    /// let sessions = SessionLayer::server(MemoryStore::new());
    /// tokio::spawn(sessions.sweeper(Duration::from_secs(60)));
    /// # }
    /// ```
    pub fn sweeper(&self, interval: Duration) -> impl Future<Output = Infallible> + Send + 'static {
        let config = Arc::clone(&self.config);
        async move {
            loop {
                tokio::time::sleep(interval).await;
                for store in config.stores() {
                    sweep(&config, store).await;
                }
            }
        }
    }

    fn new(state: impl FnOnce(&CookieWriter) -> State) -> Self {
        let cookie = CookieConfig::new();
        let cookie_writer = CookieWriter::new(&cookie).expect("the default cookie is valid");
        let config = Config {
            state: state(&cookie_writer),
            timeouts: Timeouts::default(),
            id_domain: IdDomain::new(cookie_writer.name()),
            cookie,
            cookie_writer,
            parts: Vec::new(),
            clock: Arc::new(SystemClock),
            observers: Observers::default(),
            session_limit: None,
            conflict_policy: ConflictPolicy::default(),
            server_error_policy: ServerErrorPolicy::default(),
            store_timeout: STORE_TIMEOUT,
            max_record_size: MAX_RECORD_SIZE,
            setup: Setup::default(),
        };
        Self { config: Arc::new(config), marker: Marker::of::<Main>() }
    }

    /// Judges the settings anew.
    fn judged(mut self) -> Self {
        self.config_mut().judge_setup();
        self
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn config_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }
}

/// Sweeps in batches until nothing has expired, and yields between batches.
async fn sweep(config: &Config, store: &dyn ErasedStore) {
    loop {
        match store.sweep(config.now(), SWEEP_BATCH).within(config.store_timeout, store.name()).await {
            Ok(removed) if removed < SWEEP_BATCH => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => return config.tell(&SessionEvent::StoreFailed { error: error.into() }),
        }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, Arc::clone(&self.config), self.marker)
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Response, Uri};

    use super::*;
    use crate::middleware::future::{Unfinished, commit};
    use crate::session::Shared;
    use crate::store::MemoryStore;

    /// Allocators serve up to about a kibibyte from a free list; larger allocations cost several times as much.
    #[test]
    fn the_commit_of_a_request_is_a_small_allocation() {
        let layer = SessionLayer::server(MemoryStore::new());
        let shared = Arc::new(Shared::new(layer.config, &HeaderMap::new(), &Uri::default()));
        let commit = commit(Unfinished::new(shared), Response::new(String::new()));
        assert!(size_of_val(&commit) <= 1024, "{} bytes", size_of_val(&commit));
    }
}
