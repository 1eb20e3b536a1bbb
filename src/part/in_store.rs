//! Parts in a record of their own.

use std::sync::Arc;

use crate::seal::KeyRing;
use crate::store::{ErasedStore, Store};

/// Places a part in a record of its own, in any [store](crate::store): the session's, or another.
///
/// For state that is heavy or seldom needed: a long form, the results of a search, an upload that is being put together.
/// Only handlers that ask for the part load it, and only those that change it write it; the session's record does not
/// grow with it. It works with state in the client's cookie too, and is then what of the session can be revoked.
///
/// The part begins with its first write, which begins a session if there is none, and ends with its session: at a logout,
/// and when another principal takes over. Where it is follows from the name of the part and the session's
/// [handle](crate::Handle), which a renewed ID does not change: its key is SHA-256 over the label `session-state prt v1`,
/// the handle's bytes and the name.
///
/// # Consistency
///
/// Requests that change the part at the same time lose nothing of each other, as with the session. But the part and the
/// session's record are written one after the other, the part first: when a store fails between the two, the request is
/// answered with 503 and the part has changed, while the rest has not. What must change together belongs into one place.
///
/// # Timeouts
///
/// When a session expires, nobody can get at the part any more, but its record stays in the store until the session's
/// absolute timeout, or for 400 days if there is none.
///
/// # Security
///
/// With [`encrypt_at_rest`](Self::encrypt_at_rest), or that of the layer, the part is encrypted. Its key comes of the key
/// ring alone, not of the session's ID as well, which changes while the part stays.
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
///     .with_part::<SearchResults>(InStore::new(MemoryStore::new()));
/// # let _ = sessions;
/// ```
#[derive(Clone, Debug)]
pub struct InStore {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) keys: Option<KeyRing>,
}

impl InStore {
    /// A record in `store`.
    ///
    /// It may be the store of the session: the records stay apart. A store of its own is to be swept by whoever has it,
    /// if its engine does not do so: the layer's [sweeper](crate::SessionLayer::sweeper) sweeps the stores of parts too.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), keys: None }
    }

    /// Encrypts the part before the store gets it, with XAES-256-GCM under these keys.
    ///
    /// Without this, the keys of the layer's [`encrypt_at_rest`](crate::SessionLayer::encrypt_at_rest) are used, if it has
    /// any. All nodes need the same keys.
    #[must_use]
    pub fn encrypt_at_rest(mut self, keys: impl Into<KeyRing>) -> Self {
        self.keys = Some(keys.into());
        self
    }
}
