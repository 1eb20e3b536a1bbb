//! Parts in a cookie of their own.

use std::sync::Arc;
use std::time::Duration;

use crate::seal::{Algorithm, KeyRing};

/// Places a part in a cookie of its own, sealed like [`CookieState`](crate::CookieState).
///
/// For small things that a server need not look up: preferences, a locale, a dismissed notice. The cookie is named
/// after the part and has the attributes of the session's cookie.
///
/// By default the part is bound to its session: it opens only together with it, cannot be carried into another one, and
/// goes when the session ends. A [free-standing](Self::free_standing) part needs no session.
///
/// # Security
///
/// A copy of an old cookie is good again for as long as its session lives, or for as long as the part is kept. The last
/// of concurrent changes wins.
#[derive(Clone, Debug)]
pub struct InCookie {
    pub(crate) keys: KeyRing,
    pub(crate) algorithm: Algorithm,
    pub(crate) application: Arc<str>,
    /// How long a free-standing part is kept unused; `None` for one that is bound to its session.
    pub(crate) kept: Option<Duration>,
}

impl InCookie {
    /// A cookie that the visitor can neither read nor change: XAES-256-GCM under the ring's primary key.
    #[must_use]
    pub fn encrypted(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Encrypted)
    }

    /// **A cookie that the visitor can read**, but not change: HMAC-SHA-256 under the ring's primary key.
    ///
    /// Put nothing into it that its visitor, or whoever looks over the visitor's shoulder, must not know.
    #[must_use]
    pub fn signed(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Signed)
    }

    /// Lets the part stand for itself, for preferences of visitors who have no session.
    ///
    /// It survives a logout, and is kept until it was not used for 180 days.
    #[must_use]
    pub fn free_standing(self) -> Self {
        self.kept_for(Duration::from_secs(180 * 24 * 60 * 60))
    }

    /// Lets the part stand for itself and be kept until it was not used for `unused`, at most 400 days.
    #[must_use]
    pub fn kept_for(mut self, unused: Duration) -> Self {
        self.kept = Some(unused);
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
        Self { keys, algorithm, application: "".into(), kept: None }
    }
}
