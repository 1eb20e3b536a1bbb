//! The sessions of a principal, for account pages, admin pages and jobs.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{ConfigError, Error};
use crate::event::RevocationCause;
use crate::middleware::SessionLayer;
use crate::session::Session;
use crate::state::{Config, Principals, ServerState};
use crate::store::{Handle, Record};

impl SessionLayer {
    /// Returns a handle that lists the sessions of principals and ends them from outside their own requests.
    ///
    /// It has the current settings of the layer, so call this last.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the state lives in the cookie, where it cannot be listed, or in a store that does not
    /// [find sessions by their principal](crate::store::FindPrincipals), such as memcached.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{MemoryStore, SessionLayer};
    ///
    /// let layer = SessionLayer::server(MemoryStore::new());
    /// let sessions = layer.sessions()?;
    /// # #[cfg(feature = "axum")]
    /// let app: axum::Router = axum::Router::new().layer(layer).with_state(sessions);
    /// # Ok::<(), session_state::ConfigError>(())
    /// ```
    pub fn sessions(&self) -> Result<Sessions, ConfigError> {
        let (config, server) = (Arc::clone(self.config()), Principals::server_of(self.config())?.clone());
        Ok(Sessions { config, server })
    }
}

/// Lists and ends the sessions of principals that live in a store, from
/// [`SessionLayer::sessions`](crate::SessionLayer::sessions).
///
/// Clones are cheap and work anywhere: in a handler, on an admin page, in a job. The store's index is never stale: a
/// login is listed as soon as its response is sent, and an ended session is not.
///
/// A revoked session ends at once on every node: its next request is anonymous, and a request in flight fails with
/// [`Ended`](crate::ErrorKind::Ended) if it changes anything, as does, for a minute, a later one with its ID. A login
/// is accepted at once. Its parts in stores and tables are removed. Parts in cookies that are bound to it no longer
/// open.
///
/// Sessions in cookies cannot be looked up by their principal; [`Revocations`](crate::Revocations) ends those.
///
/// # Errors
///
/// All calls fail with [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails twice in a row. Sessions
/// that a call ended before it failed stay ended, and the call can be repeated.
///
/// # Security
///
/// A session is identified by its [`Handle`], from which no ID can be derived. A handle from a form may be forged, so
/// [`revoke`](Self::revoke) also takes the principal and does not find sessions of others. The application must check
/// that the user may act for that principal.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum")]
/// # {
/// use axum::extract::State;
/// use session_state::{Error, Session, Sessions};
///
/// async fn devices(State(sessions): State<Sessions>, session: Session) -> Result<String, Error> {
///     let Some(principal) = session.principal() else { return Ok(String::from("not logged in")) };
///     let mut page = String::new();
///     for device in sessions.list(&principal).await? {
///         let here = if device.is(&session) { " (this one)" } else { "" };
///         page += &format!("{}{here}, ended by {}\n", device.label.as_deref().unwrap_or("a browser"), device.handle);
///     }
///     Ok(page)
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    config: Arc<Config>,
    /// The state of that layer: a store that finds sessions by their principal.
    server: ServerState,
}

/// A live session of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public name of the session.
    pub handle: Handle,
    /// When its principal logged in.
    pub created_at: SystemTime,
    /// When it was last used, within the [touch interval](crate::SessionLayer::with_touch_interval).
    pub last_seen_at: SystemTime,
    /// When its principal last logged in or [reauthenticated](Session::mark_reauthenticated).
    pub authenticated_at: Option<SystemTime>,
    /// When it expires unless it is used again.
    pub expires_at: SystemTime,
    /// The [label](Session::set_label) that the application gave it. Escape it if a visitor can choose it.
    pub label: Option<String>,
}

impl SessionInfo {
    fn new(record: &Record) -> Self {
        Self {
            handle: record.handle,
            created_at: record.created_at.into(),
            last_seen_at: record.last_seen_at.into(),
            authenticated_at: record.authenticated_at.map(Into::into),
            expires_at: record.expires_at.into(),
            label: record.label.as_deref().map(str::to_owned),
        }
    }

    /// Returns whether this is the session of a request.
    #[must_use]
    pub fn is<M: 'static>(&self, session: &Session<M>) -> bool {
        session.handle() == Some(self.handle)
    }
}

impl Sessions {
    /// Returns the live sessions of a principal, the most recently used first.
    ///
    /// It makes one call of the store for each hundred sessions.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn list(&self, principal: &str) -> Result<Vec<SessionInfo>, Error> {
        let mut records = self.principals().list(principal).await?;
        records.sort_by_key(|record| (Reverse(record.last_seen_at), record.handle));
        Ok(records.iter().map(|record| SessionInfo::new(record)).collect())
    }

    /// Returns how many live sessions a principal has.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn count(&self, principal: &str) -> Result<usize, Error> {
        self.principals().count(principal).await
    }

    /// Ends one session of a principal. Returns `false`, and ends nothing, when the principal has no such session.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke(&self, principal: &str, session: Handle) -> Result<bool, Error> {
        self.principals().revoke(principal, session).await
    }

    /// Ends all sessions of the session's principal except this one: "log out my other devices". Returns how many.
    ///
    /// Ends none when the session has no principal.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke_others<M: 'static>(&self, session: &Session<M>) -> Result<usize, Error> {
        let Some(principal) = session.principal() else { return Ok(0) };
        self.principals().revoke_all(&principal, session.current_handle(), RevocationCause::Others).await
    }

    /// Ends all sessions of a principal, in batches of a hundred. Returns how many.
    ///
    /// For a changed password or a closed account. A login during the call may survive it.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke_all(&self, principal: &str) -> Result<usize, Error> {
        self.principals().revoke_all(principal, None, RevocationCause::All).await
    }

    fn principals(&self) -> Principals<'_> {
        Principals::new(&self.config, &self.server)
    }
}
