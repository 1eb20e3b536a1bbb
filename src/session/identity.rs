//! The principal of a session: logins, reauthentication, and the names of the session.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Session;
use crate::error::Error;
use crate::record::changes::Change;
use crate::record::{Handle, Record};
use crate::state::SharedWork as _;

/// The most bytes of a label.
const LONGEST_LABEL: usize = 256;

impl<M: 'static> Session<M> {
    /// Binds the session to an authenticated principal, such as the ID of a user.
    ///
    /// The session gets a new ID and the old one is dead at once, which defeats session fixation (OWASP ASVS 5.0,
    /// 7.2.4). The absolute timeout begins anew. The values of an anonymous session stay, such as a shopping cart; the
    /// values and timeouts of *another* principal are removed. [`login_fresh`](Self::login_fresh) keeps nothing.
    ///
    /// A second login of the same principal with the old ID, such as a second click, continues the session of the first
    /// one for a minute.
    ///
    /// With a [limit of sessions](crate::SessionLayer::with_max_sessions), the login may be refused when the session is
    /// [saved](Self::save).
    ///
    /// With an empty principal the session stays as it is, and the response and [`save`](Self::save) are the error
    /// [`EmptyPrincipal`](crate::ErrorKind::EmptyPrincipal).
    ///
    /// # Security
    ///
    /// Authenticate the user first. Call this at every login, including one that confirms the current principal.
    ///
    /// State in the cookie has no ID to invalidate. Its session gets another [handle](Self::handle) instead, so that a
    /// copy of the cookie from before the login neither reads the parts of the session in other places nor ends it,
    /// except within a [revocation delay](crate::CookieState::with_revocation_delay). The copy itself stays valid until
    /// its timeouts: as an anonymous session, or, if the principal had logged in before, as a logged-in one, unless
    /// [revocation](crate::CookieState::with_revocation) ends it as a logout does.
    pub fn login(&self, principal: impl Into<String>) {
        self.begin_login(principal.into(), false);
    }

    /// Removes all values, then [logs in](Self::login).
    pub fn login_fresh(&self, principal: impl Into<String>) {
        self.begin_login(principal.into(), true);
    }

    fn begin_login(&self, principal: String, fresh: bool) {
        if principal.is_empty() {
            self.shared.note_failure(Err(Error::empty_principal()));
        } else {
            self.shared.change(Change::Login { principal: principal.into(), fresh });
        }
    }

    /// Records that the principal has just authenticated again, such as before a payment or a password change.
    ///
    /// Sets [`authenticated_at`](Self::authenticated_at) to now and gives the session a new ID; the old one is dead at
    /// once, as with a [login](Self::login) (OWASP ASVS 5.0, 7.2.4). Everything else stays, including the absolute
    /// timeout. State in the cookie has no ID: it gets another [handle](Self::handle), and an older copy keeps its
    /// earlier time, unless it can be [revoked](crate::CookieState::with_revocation).
    ///
    /// # Errors
    ///
    /// [`LoginRequired`](crate::ErrorKind::LoginRequired) when the session has no principal.
    pub fn mark_reauthenticated(&self) -> Result<(), Error> {
        self.draft(|draft| draft.principal().map(drop)).ok_or_else(Error::login_required)?;
        self.shared.change(Change::Reauthenticated);
        Ok(())
    }

    /// Fails unless the principal has logged in, or [reauthenticated](Self::mark_reauthenticated), within `within`.
    ///
    /// For actions that an unattended session must not allow (OWASP ASVS 5.0, 7.5.1 to 7.5.3). The layer
    /// [`require_recent_login`](crate::require_recent_login) guards whole routes.
    ///
    /// # Errors
    ///
    /// [`LoginRequired`](crate::ErrorKind::LoginRequired) when the session has no principal,
    /// [`RecentLoginRequired`](crate::ErrorKind::RecentLoginRequired) when the login is older.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use session_state::{Error, Session};
    ///
    /// async fn change_password(session: Session) -> Result<&'static str, Error> {
    ///     session.require_recent_login(Duration::from_secs(5 * 60))?;
    ///     Ok("changed")
    /// }
    /// ```
    pub fn require_recent_login(&self, within: Duration) -> Result<(), Error> {
        let now = self.shared.config().now();
        self.draft(|draft| {
            draft.principal().ok_or_else(Error::login_required)?;
            let is_recent = draft.authenticated_at(now).is_some_and(|at| now.since(at) < within);
            if is_recent { Ok(()) } else { Err(Error::recent_login_required()) }
        })
    }

    /// Sets the label that [lists](crate::Sessions::list) show for the session, such as the name of a browser or
    /// device. It is kept verbatim until it is set again, the session ends, or another principal takes it over. A label
    /// set in the same request as the takeover stays.
    ///
    /// # Security
    ///
    /// Clients can choose the name of a browser: escape the label like any other input. Stores keep it readable, even
    /// if values are [encrypted](crate::SessionLayer::with_encryption_at_rest).
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when it has more than 256 bytes. The previous label stays.
    pub fn set_label(&self, label: impl Into<String>) -> Result<(), Error> {
        let label = label.into();
        if label.len() > LONGEST_LABEL {
            return Err(Error::too_large("label", label.len(), LONGEST_LABEL));
        }
        self.shared.change(Change::Label(Some(label.into())));
        Ok(())
    }

    /// Removes the [label](Self::set_label).
    pub fn remove_label(&self) {
        self.shared.change(Change::Label(None));
    }

    /// Returns the [label](Self::set_label).
    #[must_use]
    pub fn label(&self) -> Option<String> {
        self.draft(|draft| draft.label().map(|label| label.as_ref().to_owned()))
    }

    /// Returns the principal that is logged in, if there is one.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        self.draft(|draft| draft.principal().map(|principal| principal.as_ref().to_owned()))
    }

    /// Returns when the principal last logged in or [reauthenticated](Self::mark_reauthenticated). `None` without a
    /// principal.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        let now = self.shared.config().now();
        self.draft(|draft| draft.authenticated_at(now).map(SystemTime::from))
    }

    /// Returns the principal, and the record that the session was loaded from, unless this request has made the login.
    pub(crate) fn logged_in(&self) -> Option<(Arc<str>, Option<Arc<Record>>)> {
        self.shared.with(|work| {
            let principal = work.draft.principal()?;
            let record = work.loaded.record().cloned().filter(|_| !work.changes.logs_in());
            Some((Arc::clone(principal), record))
        })
    }

    /// Returns the handle of the session, including one that is just being created.
    pub(crate) fn current_handle(&self) -> Option<Handle> {
        self.shared.with(|work| work.current_handle())
    }

    /// Returns the public name of the session, for logs and lists. It grants no access.
    ///
    /// For a session in a store it stays the same until the session ends or another principal takes it over. For a
    /// session in the cookie it changes with each [login](Self::login) and
    /// [reauthentication](Self::mark_reauthenticated) as well, once the login is saved.
    ///
    /// `None` for a session that this request creates.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.draft(|draft| draft.base().map(|record| record.handle))
    }
}
