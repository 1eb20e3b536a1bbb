//! The sessions of a principal, for account pages, admin pages and jobs.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::SystemTime;

use super::SessionLayer;
use crate::error::{ConfigError, Error};
use crate::event::RevocationCause;
use crate::session::Session;
use crate::state::{Config, Evict, Principals, SessionLimit};
use crate::store::{Handle, Record};

impl SessionLayer {
    /// Sets how many sessions a principal may have, and what happens to a login when there are so many. Default: no limit.
    ///
    /// The number is exact, however many logins there are at once, and on however many nodes: the logins of one principal
    /// wait for each other. Each takes a lease, lists the sessions of its principal, and gives the lease back, which is
    /// three calls of the store more. What has expired does not count, and neither does another login of the same session.
    /// With [`Evict::Oldest`] the session that began first is ended before the new one is written, so that there are never
    /// too many. With [`Evict::Refuse`] the request is answered with
    /// [`TooManySessions`](crate::ErrorKind::TooManySessions) (403), and nothing of what it did to its session is kept. A
    /// handler that would rather answer itself [saves](crate::Session::save) after the login, and gets the error.
    ///
    /// A node that dies while it logs a principal in keeps the other logins of that principal waiting for up to four
    /// [store timeouts](Self::with_store_timeout), a minute at most.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `most` is 0, or when sessions cannot be found by their principal: as
    /// [`sessions`](Self::sessions).
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{Evict, MemoryStore, SessionLayer};
    ///
    /// let sessions = SessionLayer::server(MemoryStore::new()).with_max_sessions(5, Evict::Oldest)?;
    /// # let _ = sessions;
    /// # Ok::<(), session_state::ConfigError>(())
    /// ```
    pub fn with_max_sessions(mut self, most: usize, when_full: Evict) -> Result<Self, ConfigError> {
        Principals::of(&self.config)?;
        if most == 0 {
            return Err(ConfigError::new("a principal who may have 0 sessions could never log in"));
        }
        self.config_mut().session_limit = Some(SessionLimit::new(most, when_full));
        Ok(self)
    }

    /// Returns the sessions of principals: to list them, and to end them from outside.
    ///
    /// It sees the layer as it is when this is called, so set everything else before.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the state lives in the cookie, where nobody can list it, or in a store that does not find
    /// sessions by their principal: memcached, or one of your own
    /// [without that](crate::store::Store::FINDS_PRINCIPALS).
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
        Sessions::new(&self.config)
    }
}

/// The sessions of principals: who is logged in where, and how to end that from outside.
///
/// It comes from [`SessionLayer::sessions`](crate::SessionLayer::sessions), is cheap to clone, and can be used anywhere: in a
/// handler, on an admin page, in a job. Sessions are found by an index of the store, which is never behind: what a request
/// has logged in is listed as soon as it is answered, and what has ended is not.
///
/// A session that is ended is gone at once, on every node: its next request is anonymous, and one that is under way can
/// neither bring it back nor change anything. Its parts in stores and tables go with it. Parts in cookies that are bound to it
/// open no more.
///
/// # Errors
///
/// All calls fail with [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be asked, twice in a row. What
/// was ended before that in a call that ends many stays ended, and the call can be made again.
///
/// # Security
///
/// A session is named by its [`Handle`], from which nobody can make an ID. A handle that comes from a form may be forged, so
/// ending a session takes the principal as well: somebody else's session is not found. Whether the visitor may act for that
/// principal is the application's to check.
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
///     let Some(principal) = session.principal() else { return Ok(String::from("nobody is logged in")) };
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
}

/// A live session of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public name of the session.
    pub handle: Handle,
    /// When its principal logged in.
    pub created_at: SystemTime,
    /// When it was last used, to within the [touch interval](crate::SessionLayer::with_touch_interval).
    pub last_seen_at: SystemTime,
    /// When its principal logged in, or last [proved again](Session::mark_reauthenticated) who it is.
    pub authenticated_at: Option<SystemTime>,
    /// When it ends if it is not used again.
    pub expires_at: SystemTime,
    /// What the application [calls it](Session::set_label). A visitor may have chosen it.
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

    /// Whether it is the session of a request.
    #[must_use]
    pub fn is<M: 'static>(&self, session: &Session<M>) -> bool {
        session.handle() == Some(self.handle)
    }
}

impl Sessions {
    pub(super) fn new(config: &Arc<Config>) -> Result<Self, ConfigError> {
        Principals::of(config)?;
        Ok(Self { config: Arc::clone(config) })
    }

    /// Returns the live sessions of a principal, the one that was used last first.
    ///
    /// It asks the store once for each hundred of them.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn list(&self, principal: &str) -> Result<Vec<SessionInfo>, Error> {
        let mut records = self.principals()?.list(principal).await?;
        records.sort_by_key(|record| (Reverse(record.last_seen_at), record.handle));
        Ok(records.iter().map(|record| SessionInfo::new(record)).collect())
    }

    /// Returns how many live sessions a principal has.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn count(&self, principal: &str) -> Result<usize, Error> {
        self.principals()?.count(principal).await
    }

    /// Ends a session of a principal. Returns `false`, and ends nothing, when the principal has no such session.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke(&self, principal: &str, session: Handle) -> Result<bool, Error> {
        self.principals()?.revoke(principal, session).await
    }

    /// Ends all sessions of the principal who is logged in, but for this one: "log out my other devices". Returns how many.
    ///
    /// A visitor who is not logged in has no others.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke_others<M: 'static>(&self, session: &Session<M>) -> Result<usize, Error> {
        let Some(principal) = session.principal() else { return Ok(0) };
        self.principals()?.revoke_all(&principal, session.handle(), RevocationCause::Others).await
    }

    /// Ends all sessions of a principal, in batches of a hundred. Returns how many.
    ///
    /// For a password that was changed, an account that was closed. A login that is made while the sessions are being ended
    /// may stay.
    ///
    /// # Errors
    ///
    /// As [all calls](Self#errors).
    pub async fn revoke_all(&self, principal: &str) -> Result<usize, Error> {
        self.principals()?.revoke_all(principal, None, RevocationCause::All).await
    }

    fn principals(&self) -> Result<Principals<'_>, Error> {
        // That there are some was made sure of when this was made.
        Principals::of(&self.config).map_err(|_| Error::missing_layer())
    }
}
