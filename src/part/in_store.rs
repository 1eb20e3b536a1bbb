//! Parts in a record of their own.

use std::sync::Arc;

use crate::seal::KeyRing;
use crate::store::{ErasedStore, Store};

/// Places a part in a record of its own, in any [store](crate::store): the session's, or another.
///
/// For state that is large or seldom needed: a long form, the results of a search, an upload in pieces. Only handlers
/// that ask for the part load it, and only those that change it write it; the session's record does not grow with it.
/// It also works with state in the client's cookie.
///
/// The part begins with its first write, which begins a session if there is none, and ends with its session: at a
/// logout, and when another principal takes over. Its key is SHA-256 over the label `session-state prt v1`, the bytes
/// of the session's [handle](crate::Handle), which a renewal of the ID does not change, and the part's name.
///
/// # Consistency
///
/// Concurrent changes of the part merge, as with the session.
///
/// The session's own write decides. Its record refers to the text of the part that counts. When a request changes the
/// part and anything else of the session, the new text is written ahead, beside the one that counts, and becomes
/// visible with the session's write. If that fails or is refused, or if the node dies in between, the new text stays
/// invisible and is removed with the part's record at the latest. A request that changes nothing but one part writes it
/// in place.
///
/// Each login changes the session's generation, and the part's record has it too. A request that loaded the session
/// before a login neither reads nor writes the part after it.
///
/// With state in the client's cookie there is no record to refer to the part: of several copies of a cookie any may be
/// the one in use, so the latest text counts. The rule of the generation holds there too.
///
/// # Cost
///
/// One call of the store for a handler that asks for the part, and one for a change of it. A request that changes
/// nothing but one part does not write the session's record; one that changes two parts in stores does, with one more
/// round trip. A login takes over each part of the session with two calls, before it is written: it fails when the
/// part's store does, or requests from before it could still write the part.
///
/// # Timeouts
///
/// The record of a part is kept as long as its session: until the session's idle deadline, rounded up to a quarter of
/// the idle timeout, plus the touch interval, and at most until the absolute deadline. The touch of a session moves it
/// only when that step is passed.
///
/// # Security
///
/// With [`with_encryption_at_rest`](Self::with_encryption_at_rest), or that of the layer, the part is encrypted. Its
/// key is derived from the key ring alone and not from the session's ID, which changes while the part stays.
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
    pub(crate) keys: Option<KeyRing>,
}

impl InStore {
    /// Returns a place in records of `store`.
    ///
    /// It may be the store of the sessions: the records stay apart. The layer's [sweeper](crate::SessionLayer::sweeper)
    /// sweeps the stores of parts too.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), keys: None }
    }

    /// Encrypts the part with XAES-256-GCM under these keys before the store gets it. Default: the keys of the layer's
    /// [`with_encryption_at_rest`](crate::SessionLayer::with_encryption_at_rest), if it has any.
    ///
    /// All nodes need the same keys.
    #[must_use]
    pub fn with_encryption_at_rest(mut self, keys: impl Into<KeyRing>) -> Self {
        self.keys = Some(keys.into());
        self
    }
}
