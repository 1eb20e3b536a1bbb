//! Whose session it is: logins, proofs that are asked for again, and what names the session.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Session;
use crate::error::Error;
use crate::record::changes::Change;
use crate::record::{Handle, Record};

/// The most bytes of a label.
const LONGEST_LABEL: usize = 256;

impl<M: 'static> Session<M> {
    /// Binds the session to a principal, such as the ID of a user, who has just proved to be that.
    ///
    /// The session gets a new ID and the old one is dead at once, so that nobody who planted or saw it is logged in
    /// along with the visitor (OWASP ASVS 5.0, 7.2.4). Its absolute timeout begins anew. The values of a visitor stay,
    /// as a shopping cart must; those of *another* principal go, and with them the timeouts it had of its own. See
    /// [`login_fresh`](Self::login_fresh) for keeping nothing. Where the number of sessions is
    /// [limited](crate::SessionLayer::with_max_sessions), whether there is room for this one shows when it is
    /// [saved](Self::save).
    ///
    /// # Security
    ///
    /// Check who it is before, and call this at every login, also at one that confirms who is logged in already.
    ///
    /// State in the cookie has no ID that could die. A copy of the cookie from before the login stays what it was: a
    /// visitor's, or, after a login that confirms, one that is logged in until its timeouts. The former session of another
    /// principal can be replayed too, unless there is [revocation](crate::CookieState::with_revocation), which ends it as a
    /// logout does.
    pub fn login(&self, principal: impl Into<String>) {
        self.shared.change(Change::Login { principal: principal.into().into(), fresh: false });
    }

    /// Does what [`login`](Self::login) does and removes all values first.
    pub fn login_fresh(&self, principal: impl Into<String>) {
        self.shared.change(Change::Login { principal: principal.into().into(), fresh: true });
    }

    /// Notes that the principal who is logged in has just proved again to be that, as before a payment or a new password.
    ///
    /// [`authenticated_at`](Self::authenticated_at) is now, and the session gets a new ID, the old one being dead at once, as
    /// with a [login](Self::login) (OWASP ASVS 5.0, 7.2.4). Everything else stays, the absolute timeout too. State in the
    /// cookie has no ID: it is sealed anew, and a copy from before says what it said before.
    ///
    /// # Errors
    ///
    /// [`LoginRequired`](crate::ErrorKind::LoginRequired) when nobody is logged in.
    pub fn mark_reauthenticated(&self) -> Result<(), Error> {
        self.draft(|draft| draft.principal().map(drop)).ok_or_else(Error::login_required)?;
        self.shared.change(Change::Reauthenticated);
        Ok(())
    }

    /// Fails unless the principal has logged in, or [proved again](Self::mark_reauthenticated) who it is, within this time.
    ///
    /// For what must not be done with a session that somebody left open (OWASP ASVS 5.0, 7.5.1 to 7.5.3). Where a whole
    /// route is to be guarded, [`require_recent_login`](crate::require_recent_login) does it from outside.
    ///
    /// # Errors
    ///
    /// [`LoginRequired`](crate::ErrorKind::LoginRequired) when nobody is logged in,
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

    /// Gives the session a name for [lists](crate::Sessions::list), such as that of a browser or device. It is kept as it is
    /// given, and stays until it is set again, the session ends, or another principal takes it over.
    ///
    /// What a browser says of itself is the visitor's choice: escape it like any other input where it is shown. Stores
    /// keep it readable, also where values are [encrypted](crate::SessionLayer::encrypt_at_rest).
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when it has more than 256 bytes. The label stays as it was.
    pub fn set_label(&self, label: impl Into<String>) -> Result<(), Error> {
        let label = label.into();
        if label.len() > LONGEST_LABEL {
            return Err(Error::too_large("label", label.len(), LONGEST_LABEL));
        }
        self.shared.change(Change::Label(Some(label.into())));
        Ok(())
    }

    /// Takes the [label](Self::set_label) away.
    pub fn remove_label(&self) {
        self.shared.change(Change::Label(None));
    }

    /// Returns what the session is called in lists.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        self.draft(|draft| draft.label().map(|label| label.as_ref().to_owned()))
    }

    /// Returns who is logged in.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        self.draft(|draft| draft.principal().map(|principal| principal.as_ref().to_owned()))
    }

    /// Returns when the principal logged in, or last [proved again](Self::mark_reauthenticated) who it is. `None` when nobody
    /// is logged in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        let now = self.shared.config().now();
        self.draft(|draft| draft.authenticated_at(now).map(SystemTime::from))
    }

    /// Returns who is logged in, and what the session was loaded as, unless the login is one that this request makes.
    pub(crate) fn logged_in(&self) -> Option<(Arc<str>, Option<Arc<Record>>)> {
        self.shared.with(|work| {
            let principal = work.draft.principal()?;
            let record = work.loaded.record.clone().filter(|_| !work.changes.logs_in());
            Some((Arc::clone(principal), record))
        })
    }

    /// Returns the public name of the session, for logs and lists. It opens nothing.
    ///
    /// A session that this request makes has none yet. The name stays the same when the ID is renewed.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.draft(|draft| draft.base().map(|record| record.handle))
    }
}
