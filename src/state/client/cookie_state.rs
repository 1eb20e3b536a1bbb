//! [`CookieState`]: what an application says about state in cookies.

use std::sync::Arc;
use std::time::Duration;

use super::revocation::Revocation;
use super::sealed_cookie::SealedCookie;
use crate::cookie::{CookieWriter, MAX_CHUNKS};
use crate::seal::{Algorithm, KeyRing};
use crate::store::{ErasedStore, Store};

/// Session state that lives in the client's cookie, for [`SessionLayer::client`](crate::SessionLayer::client).
///
/// No storage is needed, and no failure of a server loses a session. In return the state travels with each request,
/// has to fit a cookie of 4096 bytes, and is the client's to keep:
///
/// # Security
///
/// - A copy of an older cookie is good again until its idle or absolute timeout, whichever is sooner: 30 minutes after
///   that copy was last used by default, and 12 hours after the login if it is used all the while. Whoever has such a
///   copy is logged in again after a logout, and undoes what was changed since, such as a used voucher.
/// - [`with_revocation`](Self::with_revocation) bounds the first: what was logged out or revoked is refused at once.
///   An older copy of a session that has *not* ended is good all the same. What must not be undone belongs into a
///   [store](crate::store).
/// - Of concurrent requests that change the state the last answer to arrive wins; there is nothing to merge with.
///
/// # Examples
///
/// ```
/// use session_state::{CookieState, Key, SessionLayer};
///
/// # let text = Key::generate()?.to_base64();
/// // let text = std::env::var("SESSION_KEY")?;
/// let sessions = SessionLayer::client(CookieState::encrypted(Key::from_base64(&text)?));
/// # let _ = sessions;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CookieState {
    keys: KeyRing,
    algorithm: Algorithm,
    application: Arc<str>,
    max_chunks: usize,
    revocation_store: Option<Arc<dyn ErasedStore>>,
    revocation_delay: Duration,
}

/// Where the state of a layer is.
#[derive(Clone, Debug)]
pub(crate) struct ClientState {
    pub(crate) cookie: SealedCookie,
    pub(crate) revocation: Option<Revocation>,
}

impl CookieState {
    /// State that the visitor can neither read nor change: XAES-256-GCM under the ring's primary key.
    #[must_use]
    pub fn encrypted(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Encrypted)
    }

    /// **State that the visitor can read**, but not change: HMAC-SHA-256 under the ring's primary key.
    ///
    /// Put nothing into it that its visitor, or whoever looks over the visitor's shoulder, must not know.
    #[must_use]
    pub fn signed(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Signed)
    }

    /// Binds the state to an application, for applications that share keys: what one sealed opens in no other.
    ///
    /// The default is the empty name. Changing it ends all sessions.
    #[must_use]
    pub fn with_application(mut self, application: &str) -> Self {
        self.application = application.into();
        self
    }

    /// Lets state that does not fit one cookie be split over several, `max_chunks` at most and never more than 16.
    ///
    /// The default is 1: larger state is an error. Servers and proxies limit the headers of a request, often to 8 KiB
    /// in all, so more than two is seldom wise. Large state belongs into a [store](crate::store).
    #[must_use]
    pub fn with_chunks(mut self, max_chunks: usize) -> Self {
        self.max_chunks = max_chunks.clamp(1, MAX_CHUNKS);
        self
    }

    /// Lets sessions be ended before their time: by a logout, and by [`Revocations`](crate::Revocations).
    ///
    /// The store keeps no session, only marks: one for each session that was ended, until no copy of its cookie can be
    /// good any more, and one for each principal whose sessions were ended together. Any [`Store`] will do, also one
    /// that holds other sessions; let it be [swept](crate::SessionLayer::sweeper). Without this call the server keeps
    /// nothing, a logout removes the cookie from the browser alone, and
    /// [`SessionLayer::revocations`](crate::SessionLayer::revocations) is an error.
    ///
    /// What it costs: a request that asks for its session asks the store for it, in one round trip; see
    /// [`with_revocation_delay`](Self::with_revocation_delay) for less. A login takes another, a logout two, and so
    /// does a session that is given a longer absolute timeout than the layer's. A request without a session that opens
    /// does not reach the store. When the store cannot be asked the answer is 503, and the client keeps its cookie: a
    /// session that may have been revoked is not let in.
    ///
    /// A mark is a record without values. That of a logout stays for the absolute timeout of the layer, or the longest
    /// that the session was ever given, counted from the logout; where there is none, and for what was revoked from
    /// outside, for 400 days. A session that was not used for 400 days ends, whatever its timeouts say. So there are
    /// never more marks than there were logouts, and sessions with a longer timeout of their own, within that time.
    ///
    /// # Security
    ///
    /// - All nodes need it, and the same store. A [`MemoryStore`](crate::MemoryStore) is for one process and forgets
    ///   when that ends; memcached may forget at any time. What is forgotten can be replayed.
    /// - Turned on later, it lets the sessions that are there live on, and can end them. An absolute timeout that was
    ///   lengthened before is known only of the copy that is logged out with.
    /// - It knows sessions, not versions of them: an older copy of a session that goes on is good.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use session_state::{CookieState, KeyRing, MemoryStore, SessionLayer};
    ///
    /// let state = CookieState::encrypted(KeyRing::generate()?)
    ///     .with_revocation(MemoryStore::new())
    ///     .with_revocation_delay(Duration::from_secs(10));
    /// let sessions = SessionLayer::client(state);
    /// let revocations = sessions.revocations()?;
    /// # let _ = (sessions, revocations);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_revocation(mut self, store: impl Store) -> Self {
        self.revocation_store = Some(Arc::new(store));
        self
    }

    /// Lets a node go by what the [revocation store](Self::with_revocation) has told it less than this long ago.
    /// Default: zero, each request asks.
    ///
    /// Most requests then take no round trip. What another node has ended is refused after the delay at the latest;
    /// what this one has ended, at once. The copy holds the answers that were asked for last, 32 768 at least and twice
    /// as many at most, in about 11 MB. A login always asks the store.
    #[must_use]
    pub fn with_revocation_delay(mut self, delay: Duration) -> Self {
        self.revocation_delay = delay;
        self
    }

    fn new(keys: KeyRing, algorithm: Algorithm) -> Self {
        let (revocation_store, revocation_delay) = (None, Duration::ZERO);
        Self { keys, algorithm, application: "".into(), max_chunks: 1, revocation_store, revocation_delay }
    }

    pub(crate) fn into_state(self, writer: CookieWriter) -> ClientState {
        let Self { keys, algorithm, application, max_chunks, revocation_store, revocation_delay } = self;
        ClientState {
            cookie: SealedCookie::new(writer, (algorithm, keys), "session", "session", application, max_chunks),
            revocation: revocation_store.map(|store| Revocation::new(store, revocation_delay)),
        }
    }
}
