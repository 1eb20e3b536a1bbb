//! Parts in separate cookies.

use std::sync::Arc;
use std::time::Duration;

use crate::seal::{Algorithm, KeyRing};

/// Places a part in a separate cookie, sealed like [`CookieState`](crate::CookieState).
///
/// For small values that the server need not look up: preferences, a locale, a dismissed notice. The cookie is named
/// after the part and has the attributes of the session's cookie.
///
/// By default the part is bound to its session and to the session's last login: it opens only together with them, is
/// rejected in any other session, and is removed when the session ends. The response to a login reseals it for that
/// login. A part with a [retention](Self::with_retention) is independent of the session. Where browsers keep the
/// [session's cookie](crate::CookieLifetime) when they are closed, they keep a bound part that is set then or later.
///
/// A request that changes a bound part, and nothing else of a session in a store, makes one call of the store to check
/// that the session is still live.
///
/// A cookie whose name has no prefix `__Host-` may have variants: cookies of its name with another domain or path. A
/// response that sets another value than the request carried also removes these, which takes up to 16 more headers.
///
/// # Security
///
/// A copy of an old cookie stays valid until the session ends or logs in again; with a retention, until it has been
/// unused for that long. The last of concurrent changes wins.
#[derive(Clone, Debug)]
pub struct InCookie {
    pub(crate) keys: KeyRing,
    pub(crate) algorithm: Algorithm,
    pub(crate) application: Arc<str>,
    /// How long an unbound part is kept unused; `None` for a part that is bound to its session.
    pub(crate) retention: Option<Duration>,
}

impl InCookie {
    /// Returns a place in a cookie that the client can neither read nor change: XAES-256-GCM under the ring's primary
    /// key.
    #[must_use]
    pub fn encrypted(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Encrypted)
    }

    /// Returns a place in **a cookie that the client can read**, but not change: HMAC-SHA-256 under the ring's primary
    /// key.
    ///
    /// Only for values that the user, and any other person with access to the browser, may know.
    #[must_use]
    pub fn signed(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Signed)
    }

    /// Sets a retention of 180 days; see [`with_retention`](Self::with_retention).
    #[must_use]
    pub fn with_default_retention(self) -> Self {
        self.with_retention(Duration::from_secs(180 * 24 * 60 * 60))
    }

    /// Sets a retention: the part is kept until it has been unused for `unused`, at most 400 days. Default: none, the
    /// part is bound to its session.
    ///
    /// A part with a retention is independent of the session: it needs none, opens in every session of the browser and
    /// survives a logout. For preferences, including those of clients without a session.
    ///
    /// # Security
    ///
    /// The next user of the same browser gets the part. Do not put data of an account into it.
    #[must_use]
    pub fn with_retention(mut self, unused: Duration) -> Self {
        self.retention = Some(unused);
        self
    }

    /// Binds the part to an application, for applications that share keys. The default is the empty name.
    ///
    /// Changing it makes existing cookies unreadable.
    #[must_use]
    pub fn with_application(mut self, application: &str) -> Self {
        self.application = application.into();
        self
    }

    fn new(keys: KeyRing, algorithm: Algorithm) -> Self {
        Self { keys, algorithm, application: "".into(), retention: None }
    }
}
