//! Ends sessions in cookies from outside their own requests.

use std::fmt;
use std::sync::Arc;

use crate::error::{ConfigError, Error};
use crate::middleware::SessionLayer;
use crate::session::Session;
use crate::state::{Config, Revocation, RevocationList};
use crate::store::Handle;

/// Ends sessions that live in cookies, from [`SessionLayer::revocations`].
///
/// Clones are cheap and also work outside of requests. All nodes reject a revoked session from then on, or after their
/// [delay](crate::CookieState::with_revocation_delay). A request in flight continues with its loaded session, and
/// cannot revive it.
///
/// # Differences to `Sessions`
///
/// [`Sessions`](crate::Sessions) finds sessions in a store by their principal. Sessions in cookies cannot be listed, so
/// here [`revoke_session`](Self::revoke_session) takes only a handle, which the application has kept from
/// [`Session::handle`] after the last login. It does not report whether that session exists or to which principal it
/// belongs.
///
/// # Errors
///
/// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails. All calls are idempotent and can be repeated.
///
/// # Cancel safety
///
/// After a dropped future the revocation may or may not have taken effect.
///
/// # Examples
///
/// ```
/// use session_state::{CookieState, Error, KeyRing, MemoryStore, Revocations, Session, SessionLayer};
///
/// async fn password_changed(session: Session, revocations: Revocations) -> Result<(), Error> {
///     revocations.revoke_others(&session).await
/// }
///
/// let state = CookieState::encrypted(KeyRing::generate()?).with_revocation(MemoryStore::new());
/// let revocations = SessionLayer::client(state).revocations()?;
/// # let _ = (revocations, password_changed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Revocations {
    config: Arc<Config>,
    /// The revocation settings of that layer.
    revocation: Revocation,
}

impl SessionLayer {
    /// Returns a handle that revokes sessions in cookies, with the current settings of the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless the state lives in cookies [with revocation](crate::CookieState::with_revocation).
    pub fn revocations(&self) -> Result<Revocations, ConfigError> {
        let config = self.config();
        let revocation = config.revocation().ok_or_else(|| {
            ConfigError::new("revocations need state in the cookie with `CookieState::with_revocation`")
        })?;
        Ok(Revocations { config: Arc::clone(config), revocation: revocation.clone() })
    }
}

impl Revocations {
    /// Ends the session with this handle, and its parts in [stores](crate::InStore).
    ///
    /// A login gives the session another handle, and so does a reauthentication. Keep the newest one: take it from
    /// [`Session::handle`] once each login is saved. An older handle ends the session only while a copy of the cookie
    /// with that handle could still be valid: for the absolute timeout after the login that replaced it. A handle from
    /// before the first login does not end the session.
    ///
    /// # Security
    ///
    /// The caller must know that the session belongs to the principal it acts for: a handle from a form may be forged.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_session(&self, session: Handle) -> Result<(), Error> {
        self.list().revoke(session).await
    }

    /// Ends all sessions of the session's principal except this one. Ends none when the session has no principal.
    ///
    /// # Security
    ///
    /// A copy of this session's cookie is the same session and stays valid. To end it too, call
    /// [`revoke_all`](Self::revoke_all) and let the principal [log in](Session::login) again.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_others<M: 'static>(&self, session: &Session<M>) -> Result<(), Error> {
        let Some((principal, record)) = session.logged_in() else { return Ok(()) };
        self.list().revoke_all(&principal, record.as_deref()).await
    }

    /// Ends all sessions of a principal. Logins after this call stay valid, even within the same millisecond.
    ///
    /// This holds for a clock skew of up to a minute between nodes. A login concurrent with the call may or may not
    /// end.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_all(&self, principal: &str) -> Result<(), Error> {
        self.list().revoke_all(principal, None).await
    }

    fn list(&self) -> RevocationList<'_> {
        RevocationList::new(&self.config, &self.revocation)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}
