//! Parts in separate records.

use std::sync::Arc;
use std::time::SystemTime;

use crate::error::ConfigError;
use crate::seal::{AtRest, KeyRing};
use crate::store::{ErasedStore, Store, erase};

/// Places a part in a separate record, in any [store](crate::store): the session's, or another.
///
/// For state that is large or seldom needed: a long form, search results, a chunked upload. Only handlers that take the
/// part load it, and only those that change it write it; the session's record does not grow with it. It also works with
/// state in the client's cookie.
///
/// The first write creates the part, and a session if there is none. The part ends with its session: at a logout, and
/// when another principal takes over. Its key is SHA-256 over the label `session-state prt v1`, the bytes of the
/// session's [handle](crate::Handle), which a renewal of the ID does not change, and the part's name.
///
/// # Consistency
///
/// Concurrent changes of the part merge, as with the session.
///
/// The session's write decides. Its record refers to the current text of the part. When a request changes the part and
/// anything else of the session, the new text is written ahead, next to the current one, and becomes visible with the
/// session's write. If that write fails, or if the node dies in between, the new text stays invisible and is removed
/// with the part's record at the latest. A request that changes only one part writes it in place.
///
/// Each login changes the session's generation, which the part's record also holds. A request that loaded the session
/// before a login neither reads nor writes the part after it.
///
/// With state in the client's cookie there is no such reference: any copy of the cookie may be the one in use, so the
/// latest text is current. The generation rule still applies.
///
/// # Cost
///
/// One call of the store to load the part, and one to change it. A request that changes only one part does not write
/// the session's record; one that changes two parts in stores does, with one more round trip. A login moves each part
/// of the session to the new generation with two calls, before it is written. It fails if a part's store fails:
/// otherwise requests from before the login could still write the part.
///
/// # Timeouts
///
/// The record of a part is kept as long as its session: until the session's idle deadline, rounded up to a quarter of
/// the idle timeout, plus the touch interval, and at most until the absolute deadline. A touch of the session moves the
/// part's deadline only when it passes such a quarter.
///
/// # Security
///
/// With [`with_encryption_at_rest`](Self::with_encryption_at_rest), or the layer's, the part is encrypted. Its key is
/// derived from the key ring alone, not from the session's ID, which changes while the part stays.
///
/// # Examples
///
/// ```
/// use session_state::{InStore, MemoryStore, SessionLayer, SessionPart};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct SearchResults { hits: Vec<String> }
/// # impl SessionPart for SearchResults { const NAME: &'static str = "search"; }
///
/// let sessions = SessionLayer::server(MemoryStore::new())
///     .with_part::<SearchResults>(InStore::new(MemoryStore::new()))?;
/// # let _ = sessions;
/// # Ok::<(), session_state::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct InStore {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) at_rest: Option<AtRest>,
}

impl InStore {
    /// Returns a place in records of `store`.
    ///
    /// It may be the session store: the records have different keys. The layer's
    /// [sweeper](crate::SessionLayer::sweeper) sweeps the stores of parts too.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: erase(store), at_rest: None }
    }

    /// Encrypts the part with XAES-256-GCM under these keys before the store gets it. Default: the keys of the layer's
    /// [`with_encryption_at_rest`](crate::SessionLayer::with_encryption_at_rest), if it has any.
    ///
    /// All nodes need the same keys.
    #[must_use]
    pub fn with_encryption_at_rest(mut self, keys: impl Into<KeyRing>) -> Self {
        self.at_rest = Some(AtRest::encrypting(keys.into()));
        self
    }

    /// Opens the part if it is encrypted under one of these keys, and writes it unencrypted; see the layer's
    /// [`with_decryption_at_rest`](crate::SessionLayer::with_decryption_at_rest). Default: as the layer.
    #[must_use]
    pub fn with_decryption_at_rest(mut self, keys: impl Into<KeyRing>) -> Self {
        self.at_rest = Some(AtRest::decrypting(keys.into()));
        self
    }

    /// Also reads parts that are not encrypted, until a time; see the layer's
    /// [`with_plain_records_until`](crate::SessionLayer::with_plain_records_until). Default: as the layer.
    ///
    /// A plain part is encrypted with its next change, or when its lifetime is extended with its session's. So a time
    /// two idle timeouts after the deploy is enough.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless the place has keys of its own, from
    /// [`with_encryption_at_rest`](Self::with_encryption_at_rest).
    pub fn with_plain_records_until(mut self, until: SystemTime) -> Result<Self, ConfigError> {
        self.at_rest = AtRest::reading_plain(self.at_rest, until)?;
        Ok(self)
    }
}
