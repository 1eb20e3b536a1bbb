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
/// Clones are cheap, and it works anywhere, also outside a request. All nodes reject a revoked session from then on;
/// nodes with a [delay](crate::CookieState::with_revocation_delay) up to that much later. A request under way goes on
/// with what it has loaded, and cannot bring the session back.
///
/// # Differences to `Sessions`
///
/// [`Sessions`](crate::Sessions) finds sessions in a store by their principal. Sessions in cookies cannot be listed, so
/// here [`revoke_session`](Self::revoke_session) takes a handle alone, which the application has kept from
/// [`Session::handle`], and does not tell whether there is such a session or whose it is.
///
/// # Errors
///
/// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails. All calls are idempotent and can be made again.
///
/// # Cancel safety
///
/// After a dropped future the revocation may have been made or not.
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
    /// Where that layer keeps its revocations.
    revocation: Revocation,
}

impl SessionLayer {
    /// Returns the revocations of sessions that live in cookies, with the settings that the layer has now.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless the state lives in cookies [with revocation](crate::CookieState::with_revocation).
    pub fn revocations(&self) -> Result<Revocations, ConfigError> {
        let config = self.config();
        let revocation = config.revocation().ok_or_else(|| {
            ConfigError::new("revocations are for state in the cookie, and it needs `CookieState::with_revocation`")
        })?;
        Ok(Revocations { config: Arc::clone(config), revocation: revocation.clone() })
    }
}

impl Revocations {
    /// Ends the session with this handle, and its parts in [stores](crate::InStore).
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
    /// A copy of this session's cookie is the same session and stays valid. To end that too, call
    /// [`revoke_all`](Self::revoke_all) and let the principal [log in](Session::login) again.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_others<M: 'static>(&self, session: &Session<M>) -> Result<(), Error> {
        let Some((principal, record)) = session.logged_in() else { return Ok(()) };
        self.list().revoke_all(&principal, record.as_deref()).await
    }

    /// Ends all sessions of a principal. Logins after this call stay valid, also within the same millisecond.
    ///
    /// This holds for clocks that differ by up to a minute between nodes. A login under way during the call may have
    /// ended or not.
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
