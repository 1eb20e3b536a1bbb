//! [`CookieState`]: configuration of state in cookies.

use std::sync::Arc;
use std::time::Duration;

use super::revocation::Revocation;
use super::sealed_cookie::SealedCookie;
use crate::cookie::{CookieWriter, MAX_CHUNKS};
use crate::seal::{Algorithm, KeyRing};
use crate::store::{ErasedStore, Store, erase};

/// Session state that lives in the client's cookie, for [`SessionLayer::client`](crate::SessionLayer::client).
///
/// Needs no storage, and no server failure loses a session. In return the state travels with each request, must fit a
/// cookie of 4096 bytes, and is under the client's control.
///
/// **A logout only removes the cookie from the browser**, unless there is a store for
/// [revocations](Self::with_revocation). A request that loaded the session before the logout and writes to it sends a
/// live cookie, and if its response arrives after that of the logout, the browser is logged in again. A request that
/// only reads sends none once a second has passed since it loaded the session: the next request moves the idle
/// deadline.
///
/// # Security
///
/// - A copy of an older cookie stays valid until its idle or absolute timeout, whichever is sooner: by default 30
///   minutes after that copy was last used, and 12 hours after the login at most. Replaying it restores the login after
///   a logout, and undoes later changes, such as a used voucher.
/// - [`with_revocation`](Self::with_revocation) prevents the former: sessions that were logged out or revoked are
///   rejected at once. An older copy of a session that has *not* ended stays valid. Keep data that must not be undone
///   in a [store](crate::store).
/// - Each [login](crate::Session::login) and reauthentication gives the session another [handle](crate::Handle). A copy
///   of the cookie from before it reads none of the session's parts outside the cookie, and a logout with it does not
///   end the session, except within the [revocation delay](Self::with_revocation_delay).
/// - If concurrent requests change the state, the last response to arrive wins; changes are not merged. So a write that
///   is on its way while the visitor logs in can put the cookie of the anonymous session in place of the login's. With
///   revocation it fails with [`Ended`](crate::ErrorKind::Ended) (409), for a minute after the login.
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

/// State of a layer that keeps sessions in cookies.
#[derive(Clone, Debug)]
pub(crate) struct ClientState {
    pub(crate) cookie: SealedCookie,
    pub(crate) revocation: Option<Revocation>,
}

impl CookieState {
    /// State that the client can neither read nor change: XAES-256-GCM under the ring's primary key.
    #[must_use]
    pub fn encrypted(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Encrypted)
    }

    /// **State that the client can read**, but not change: HMAC-SHA-256 under the ring's primary key.
    ///
    /// Do not put secrets into it: the user, and any other person with access to the browser, can read it.
    #[must_use]
    pub fn signed(keys: impl Into<KeyRing>) -> Self {
        Self::new(keys.into(), Algorithm::Signed)
    }

    /// Binds the state to an application, for applications that share keys: no other application opens it.
    ///
    /// The default is the empty name. Changing it ends all sessions.
    #[must_use]
    pub fn with_application(mut self, application: &str) -> Self {
        self.application = application.into();
        self
    }

    /// Splits state that does not fit one cookie over up to `max_chunks` cookies, and never more than 16.
    ///
    /// The default is 1: larger state is an error. Servers and proxies limit the headers of a request, often to 8 KiB
    /// in all, so more than two are seldom wise. Keep large state in a [store](crate::store).
    #[must_use]
    pub fn with_chunks(mut self, max_chunks: usize) -> Self {
        self.max_chunks = max_chunks.clamp(1, MAX_CHUNKS);
        self
    }

    /// Makes sessions revocable before they expire: by a logout, and by [`Revocations`](crate::Revocations).
    ///
    /// The store keeps only marks, no sessions: one for each ended session, until every copy of its cookie has expired,
    /// and one for each principal whose sessions were ended together. Any [`Store`] works, including one that holds
    /// other sessions; [sweep](crate::SessionLayer::sweeper) it regularly. Without this call the server keeps nothing,
    /// a logout only removes the cookie from the browser, and
    /// [`SessionLayer::revocations`](crate::SessionLayer::revocations) returns an error.
    ///
    /// Cost: a request that uses its session makes one round trip to the store;
    /// [`with_revocation_delay`](Self::with_revocation_delay) reduces this. A request that writes checks the session
    /// once more, so that a login or logout during it is not undone. A login makes one more, a logout two more, and
    /// setting an absolute timeout longer than the layer's two more. For the mark of the former session, a login in an
    /// anonymous session makes another one, and a login or reauthentication in one that is logged in already two. A
    /// request without a valid session cookie does not reach the store. If the store is unavailable, the response is
    /// 503 and the client keeps its cookie: a session that may have been revoked is rejected.
    ///
    /// For a minute after a session has ended, a request that comes with its cookie writes nothing: it fails with
    /// [`Ended`](crate::ErrorKind::Ended) (409) and sets no cookie, which could overwrite that of the next login. One
    /// that reads is anonymous, and a login begins another session. After that minute a write begins one too.
    ///
    /// After a login the same holds for writes with the cookie of the anonymous session before it. Reads and logins
    /// still use that session.
    ///
    /// A mark is a small record. A logout leaves one, and so does each login or reauthentication of a session that was
    /// logged in already. A login in an anonymous session leaves one for a minute. Any other mark stays for the
    /// absolute timeout of the layer, or the longest that the session was ever given. Without an absolute timeout, and
    /// for sessions revoked through `Revocations`, it stays for 400 days. A session that was not used for 400 days
    /// ends, whatever its timeouts. So the number of marks is bounded by the logouts, these logins and the sessions
    /// with a longer timeout within that time.
    ///
    /// # Security
    ///
    /// - All nodes need it, with the same store. A [`MemoryStore`](crate::MemoryStore) serves one process and loses its
    ///   marks when that ends; memcached may evict marks at any time. Without its mark an ended session can be
    ///   replayed.
    /// - Turned on later, it keeps existing sessions valid, and can end them. A longer absolute timeout set before is
    ///   known only from the copy that logs out.
    /// - It tracks sessions, not versions of them: an older copy of a live session stays valid.
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
        self.revocation_store = Some(erase(store));
        self
    }

    /// Caches answers of the [revocation store](Self::with_revocation) on each node for this long. Default: zero, which
    /// asks the store on each request.
    ///
    /// Most requests then need no round trip. Sessions ended by another node are rejected after the delay at the
    /// latest; those ended by this node, at once. Within the delay, another node may also accept a copy of the cookie
    /// from before a second login, and a logout with that copy ends the session. The cache holds the most recent
    /// answers, between 32 768 and twice as many, in about 11 MB. A login always asks the store.
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
