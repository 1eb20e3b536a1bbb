//! Ending sessions from outside, where they live in cookies.

use std::fmt;
use std::sync::Arc;

use super::SessionLayer;
use crate::error::{ConfigError, Error};
use crate::session::Session;
use crate::state::{Config, Marks};
use crate::store::Handle;

/// Ends sessions that live in cookies, from [`SessionLayer::revocations`].
///
/// It can be used anywhere, also where no request is served; clones are cheap. What it has ended is refused by all nodes
/// from then on, up to the [delay](crate::CookieState::with_revocation_delay) later by those that have one. A request that
/// is under way goes on with what it has loaded, and cannot bring the session back.
///
/// Nobody has a list of sessions in cookies: an application that wants to end a single one keeps its
/// [handle](Session::handle).
///
/// # Errors
///
/// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be asked. The call can be made again; that a
/// revocation was made twice changes nothing.
///
/// # Cancel safety
///
/// When a future is dropped, the revocation was made or not.
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
    /// Of a layer that has marks.
    config: Arc<Config>,
}

impl SessionLayer {
    /// Returns what ends sessions that live in cookies. It knows the settings that the layer has now.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless the state lives in cookies [with revocation](crate::CookieState::with_revocation).
    pub fn revocations(&self) -> Result<Revocations, ConfigError> {
        if Marks::of(&self.config).is_none() {
            return Err(ConfigError::new(
                "revocations are for state in the cookie, and it needs `CookieState::with_revocation`",
            ));
        }
        Ok(Revocations { config: Arc::clone(&self.config) })
    }
}

impl Revocations {
    /// Ends a session by its handle, and with it its parts in [stores](crate::InStore).
    ///
    /// # Security
    ///
    /// Whose session it is, is for the caller to know: handles come out of forms, and forms are forged.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke(&self, session: Handle) -> Result<(), Error> {
        match Marks::of(&self.config) {
            Some(marks) => marks.revoke(session).await,
            None => Ok(()),
        }
    }

    /// Ends the sessions of the principal who is logged in, but for the one that is given. If nobody is, it does nothing.
    ///
    /// # Security
    ///
    /// A copy of the given session's cookie is that session, and goes on too. To end that as well, end
    /// [all](Self::revoke_all) and let the principal [log in](Session::login) again.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_others<M: 'static>(&self, session: &Session<M>) -> Result<(), Error> {
        let (Some(marks), Some((principal, record))) = (Marks::of(&self.config), session.logged_in()) else {
            return Ok(());
        };
        marks.revoke_all(&principal, record.as_deref()).await
    }

    /// Ends all sessions of a principal. Logins from now on live, also those of the same moment.
    ///
    /// The clocks of two nodes may differ by up to a minute: what was logged in by then has ended, whichever of them says
    /// it was later. That of a request which is under way may have ended or not.
    ///
    /// # Errors
    ///
    /// See [above](Self#errors).
    pub async fn revoke_all(&self, principal: &str) -> Result<(), Error> {
        match Marks::of(&self.config) {
            Some(marks) => marks.revoke_all(principal, None).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}
