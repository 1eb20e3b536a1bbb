//! The limit on concurrent sessions per principal.

use super::SessionLayer;
use crate::error::ConfigError;
use crate::state::{Principals, SessionLimit, SessionLimitPolicy};

impl SessionLayer {
    /// Limits the concurrent sessions of a principal; `policy` decides about logins at the limit. Default: no limit.
    ///
    /// The limit is exact under concurrent logins on any number of nodes: the logins of one principal run one after the
    /// other. Each takes a lease in the store, lists the principal's sessions and releases the lease: three more calls
    /// of the store. Expired sessions do not count, and neither does another login of the same session.
    ///
    /// With [`SessionLimitPolicy::EvictOldest`] the oldest session ends before the new one is written. With
    /// [`SessionLimitPolicy::RefuseLogin`] the request fails with
    /// [`TooManySessions`](crate::ErrorKind::TooManySessions) (403) and writes nothing. A handler that wants to answer
    /// by itself calls [`save`](crate::Session::save) after the login and gets the error.
    ///
    /// A dropped request releases its lease. A node that dies during a login delays the principal's other logins for up
    /// to four [store timeouts](Self::with_store_timeout), a minute at most.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `max` is 0, or when sessions cannot be found by their principal: as for
    /// [`sessions`](Self::sessions).
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{MemoryStore, SessionLayer, SessionLimitPolicy};
    ///
    /// let sessions = SessionLayer::server(MemoryStore::new()).with_max_sessions(5, SessionLimitPolicy::EvictOldest)?;
    /// # let _ = sessions;
    /// # Ok::<(), session_state::ConfigError>(())
    /// ```
    pub fn with_max_sessions(mut self, max: usize, policy: SessionLimitPolicy) -> Result<Self, ConfigError> {
        Principals::server_of(self.config())?;
        if max == 0 {
            return Err(ConfigError::new("a limit of 0 sessions rejects every login: allow at least 1"));
        }
        self.config_mut().session_limit = Some(SessionLimit::new(max, policy));
        Ok(self)
    }
}
