//! Parts in a cookie of their own.

use std::sync::Arc;
use std::time::Duration;

use crate::seal::{Algorithm, KeyRing};

/// Places a part in a cookie of its own, sealed like [`CookieState`](crate::CookieState).
///
/// For small things that a server need not look up: preferences, a locale, a dismissed notice. The cookie is named
/// after the part and has the attributes of the session's cookie.
///
/// By default the part is bound to its session and to the session's last login: it opens only together with them,
/// cannot be carried into another session, and is removed when the session ends. The response of a login seals it again
/// for that login. A part with a [retention](Self::with_retention) of its own stands for itself and needs no session.
///
/// A response that changes a bound part, and writes nothing else of a session in a store, asks the store once whether
/// the session is still there.
///
/// # Security
///
/// A copy of an old cookie stays valid until the session ends or logs in again; that of a part with a retention, until
/// it has been unused for that long. The last of concurrent changes wins.
#[derive(Clone, Debug)]
pub struct InCookie {
    pub(crate) keys: KeyRing,
    pub(crate) algorithm: Algorithm,
    pub(crate) application: Arc<str>,
    /// How long a part that stands for itself is kept unused; `None` for one that is bound to its session.
    pub(crate) retention: Option<Duration>,
}

impl InCookie {
    /// Returns a place in a cookie that the visitor can neither read nor change: XAES-256-GCM under the ring's primary
    /// key.
    #[must_use]
    pub fn encrypted(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Encrypted)
    }

    /// Returns a place in **a cookie that the visitor can read**, but not change: HMAC-SHA-256 under the ring's primary
    /// key.
    ///
    /// Only for values that the visitor, and anyone with access to the browser, may know.
    #[must_use]
    pub fn signed(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Signed)
    }

    /// Gives the part a retention of its own of 180 days; see [`with_retention`](Self::with_retention).
    #[must_use]
    pub fn with_default_retention(self) -> Self {
        self.with_retention(Duration::from_secs(180 * 24 * 60 * 60))
    }

    /// Gives the part a retention of its own: it is kept until it has been unused for `unused`, at most 400 days.
    /// Default: none, the part is bound to its session.
    ///
    /// A part with a retention of its own stands for itself: it needs no session, opens in every session of the browser
    /// and survives a logout. For preferences, also those of visitors without a session.
    ///
    /// # Security
    ///
    /// The next user of the same browser gets the part. Nothing that belongs to an account goes into it.
    #[must_use]
    pub fn with_retention(mut self, unused: Duration) -> Self {
        self.retention = Some(unused);
        self
    }

    /// Binds the part to an application, for applications that share keys. The default is the empty name.
    ///
    /// Changing it loses what the browsers have.
    #[must_use]
    pub fn with_application(mut self, application: &str) -> Self {
        self.application = application.into();
        self
    }

    fn new(keys: KeyRing, algorithm: Algorithm) -> Self {
        Self { keys, algorithm, application: "".into(), retention: None }
    }
}
