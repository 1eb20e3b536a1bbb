//! Encryption at rest: turned on, turned off, and the way from one to the other.

use std::time::SystemTime;

use super::SessionLayer;
use crate::error::ConfigError;
use crate::seal::{AtRest, KeyRing};
use crate::state::State;

impl SessionLayer {
    /// Encrypts the values of sessions before the store gets them, with XAES-256-GCM.
    ///
    /// The key is derived from the key ring and the session's ID, of which the store has only a hash: a dump of the
    /// store reveals no values, even together with the key ring. Each record is bound to its row and version. The
    /// fields that a store uses stay readable: times, the handle, the principal's name, the label and the size.
    ///
    /// It works with every store. All nodes need it, with the same keys. A record that is not encrypted, or that no key
    /// of the ring opens, is unreadable: its user becomes anonymous, and observers get the event
    /// [`UndecodableRecord`](crate::SessionEvent::UndecodableRecord). To turn encryption on or off without that, see
    /// [`with_plain_records_until`](Self::with_plain_records_until) and
    /// [`with_decryption_at_rest`](Self::with_decryption_at_rest).
    ///
    /// After a [rotation](KeyRing) a record is sealed with the new key at its next write or touch. So keep the old key
    /// until the longest idle timeout has passed, including timeouts that sessions have of their own, and for parts in
    /// stores twice that.
    ///
    /// Parts in [stores](crate::InStore) are encrypted too, with a key derived from the key ring alone. Rows of parts
    /// in tables are not encrypted: their columns belong to the application.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the state lives in the cookie, which has its own seal.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{Key, KeyRing, MemoryStore, SessionLayer};
    ///
    /// # let text = Key::generate()?.to_base64();
    /// let keys = KeyRing::new(Key::from_base64(&text)?);
    /// let sessions = SessionLayer::server(MemoryStore::new()).with_encryption_at_rest(keys)?;
    /// # let _ = sessions;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_encryption_at_rest(mut self, keys: impl Into<KeyRing>) -> Result<Self, ConfigError> {
        *self.at_rest_mut()? = Some(AtRest::encrypting(keys.into()));
        Ok(self)
    }

    /// Opens records that are encrypted at rest, and writes records that are not.
    ///
    /// It is the first step to turn [encryption](Self::with_encryption_at_rest) on while nodes of the former release
    /// still run, and the last step to turn it off. A record that is encrypted is written as a plain one at its next
    /// write or touch. [Deploys](crate::guide::deploys#encryption-at-rest) shows the steps in order.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the state lives in the cookie, which has its own seal.
    ///
    /// # Security
    ///
    /// It reads plain records, so an attacker with write access to the store can change sessions, as without
    /// encryption.
    pub fn with_decryption_at_rest(mut self, keys: impl Into<KeyRing>) -> Result<Self, ConfigError> {
        *self.at_rest_mut()? = Some(AtRest::decrypting(keys.into()));
        Ok(self)
    }

    /// Also reads records that are not encrypted, until a time. Default: none, from the first request on.
    ///
    /// It keeps the users logged in when [encryption at rest](Self::with_encryption_at_rest) is turned on. A plain
    /// record is encrypted at its first use, so a time one idle timeout after the deploy is enough. Count the longest
    /// timeout that sessions have of their own, and twice that for parts in [stores](crate::InStore). From then on a
    /// plain record is unreadable.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless encryption at rest is on.
    ///
    /// # Security
    ///
    /// Until then, encryption hides values and does not protect them: an attacker with write access to the store can
    /// replace an encrypted record by a plain one with values of their choice. Remove the call when the time has
    /// passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use session_state::{Key, KeyRing, MemoryStore, SessionLayer};
    ///
    /// # let text = Key::generate()?.to_base64();
    /// let keys = KeyRing::new(Key::from_base64(&text)?);
    /// // The release of 1 March 2027, in seconds since 1970, and the 14 days of "remember me".
    /// let release = SystemTime::UNIX_EPOCH + Duration::from_secs(1_803_859_200);
    /// let sessions = SessionLayer::server(MemoryStore::new())
    ///     .with_encryption_at_rest(keys)?
    ///     .with_plain_records_until(release + Duration::from_secs(14 * 24 * 60 * 60))?;
    /// # let _ = sessions;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_plain_records_until(mut self, until: SystemTime) -> Result<Self, ConfigError> {
        let at_rest = self.at_rest_mut()?;
        *at_rest = AtRest::reading_plain(at_rest.take(), until)?;
        Ok(self)
    }

    fn at_rest_mut(&mut self) -> Result<&mut Option<AtRest>, ConfigError> {
        match &mut self.config_mut().state {
            State::Server(server) => Ok(&mut server.at_rest),
            State::Client(_) => {
                Err(ConfigError::new("encryption at rest is for state in a store: this state is in the cookie"))
            }
        }
    }
}
