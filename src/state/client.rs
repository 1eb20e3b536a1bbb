//! State that lives in the client's cookie.

use std::sync::Arc;

use super::{Committed, Config, Loaded, ROOM_TO_GROW, SealedCookie, Work};
use crate::cookie::{CookieWriter, MAX_CHUNKS, Received};
use crate::error::Error;
use crate::record::plan::Plan;
use crate::seal::{Algorithm, KeyRing};

/// Session state that lives in the client's cookie, for [`SessionLayer::client`](crate::SessionLayer::client).
///
/// No storage is needed, and no failure of a server loses a session. In return the state travels with each request,
/// has to fit a cookie of 4096 bytes, and is the client's to keep:
///
/// # Security
///
/// - A copy of an old cookie is good again until its idle or absolute timeout: after a logout, and after a change that
///   the application would rather forget. What must be revocable belongs into a [store](crate::store).
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

    fn new(keys: KeyRing, algorithm: Algorithm) -> Self {
        Self { keys, algorithm, application: "".into(), max_chunks: 1 }
    }

    pub(crate) fn into_cookie(self, writer: CookieWriter) -> SealedCookie {
        let Self { keys, algorithm, application, max_chunks } = self;
        SealedCookie { writer, keys, algorithm, what: "session", purpose: "session".into(), application, max_chunks }
    }
}

pub(super) fn load(config: &Config, cookie: &SealedCookie, received: &Received) -> Loaded {
    match cookie.open(received, None, &config.timeouts, config.now()) {
        Ok(opened) => Loaded {
            record: Some(Arc::new(opened.record)),
            reseal: !opened.by_primary,
            chunks: opened.chunks,
            ..Loaded::default()
        },
        Err(event) => {
            event.iter().for_each(|event| config.tell(event));
            // What cannot be opened is in the way of what will be written all the same.
            Loaded { chunks: cookie.received_chunks(received), ..Loaded::default() }
        }
    }
}

/// State in the cookie has no other writer to be told from, and is the shorter for it.
const NO_MARK: u32 = 0;

pub(super) fn commit(
    config: &Config,
    cookie: &SealedCookie,
    work: &mut Work,
    may_set_cookie: bool,
) -> Result<Committed, Error> {
    let now = config.now();
    let plan = match work.plan(config, may_set_cookie, now) {
        plan if may_set_cookie || plan == Plan::Keep => plan,
        // Nobody has asked for it.
        Plan::Touch => Plan::Keep,
        _ => return Err(Error::too_late()),
    };
    let chunks = work.loaded.chunks;
    match plan {
        Plan::Keep => Ok(Committed::default()),
        Plan::Destroy => {
            work.tell_end(config);
            work.loaded = Loaded { chunks, ..Loaded::default() };
            Ok(Committed { cookies: cookie.removals(0, chunks).collect(), ..Committed::default() })
        }
        Plan::Create | Plan::Replace | Plan::Touch | Plan::Update | Plan::Renew { .. } => {
            let mut record = work.to_record(config, NO_MARK, now)?;
            if matches!(plan, Plan::Renew { .. }) {
                Arc::make_mut(&mut record).renewed_at = now;
            }
            let room = if work.draft.is_changed() { ROOM_TO_GROW } else { 0 };
            let cookies = cookie.seal(&record, None, config.max_age(&record, now), chunks, room)?;
            if plan == Plan::Replace {
                work.tell_end(config);
            }
            work.tell_written(config, plan, record.handle);
            // The browser still has the chunks it sent: nothing of this request has reached it yet.
            work.loaded = Loaded { record: Some(record), chunks, outside: work.written_outside(), ..Loaded::default() };
            Ok(Committed { cookies, ..Committed::default() })
        }
    }
}
