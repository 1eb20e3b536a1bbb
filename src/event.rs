//! What happens to sessions, told to an [`Observer`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;
use crate::record::Handle;
use crate::record::lifetime::Expiry;

/// Something that happened to a session.
///
/// Events name a session by its public [`Handle`] and never hold an ID, a cookie's value or a value of the session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A session began.
    Created {
        /// The session.
        session: Handle,
    },
    /// A session got a new ID.
    Renewed {
        /// The session.
        session: Handle,
    },
    /// A principal logged in.
    LoggedIn {
        /// The session.
        session: Handle,
    },
    /// A principal who is logged in has proved again who it is.
    Reauthenticated {
        /// The session.
        session: Handle,
    },
    /// A principal has as many sessions as the layer allows, and another login was refused.
    LoginRefused,
    /// A session in which a principal was logged in was ended by a request of its own. [`Destroyed`](Self::Destroyed)
    /// follows.
    LoggedOut {
        /// The session.
        session: Handle,
    },
    /// A session was ended from outside.
    Revoked {
        /// The session.
        session: Handle,
        /// Why.
        cause: RevocationCause,
    },
    /// A session was ended by the application, or by the login of another principal, which begins another.
    Destroyed {
        /// The session.
        session: Handle,
    },
    /// A client came with a session that had ended by itself.
    Expired {
        /// The session.
        session: Handle,
        /// Which timeout ended it.
        expiry: Expiry,
    },
    /// A client came with what is dead: an ID that was renewed and whose grace is over, or the cookie of a session that was
    /// ended where the state lives in it [and can be revoked](crate::CookieState::with_revocation). A client that missed the
    /// answer, or a thief.
    RetiredIdUsed,
    /// A client sent the cookie more than once: somebody may have planted one. The request is anonymous.
    DuplicateCookie,
    /// A client sent a cookie that is no session ID, or is sealed by none of our keys, or was changed, or holds a part
    /// that is bound to another session. The request is anonymous, or the part is the default.
    InvalidCookie,
    /// Another request changed the session first, and the changes were made again on the newer record.
    Conflict {
        /// The session.
        session: Handle,
    },
    /// The session was ended while a request was changing it, and the changes were dropped.
    ChangesDiscarded {
        /// The session.
        session: Handle,
    },
    /// A request changed the session after its response had been sent and did not save: the changes are lost.
    ChangesUnsaved,
    /// What the store holds is no record this release can read. The request is anonymous.
    UndecodableRecord,
    /// The store failed in a call whose failure harms no request: a touch, or a sweep.
    StoreFailed {
        /// The failure.
        error: Error,
    },
}

/// Why a session was [ended from outside](SessionEvent::Revoked).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// It was asked for by its handle.
    Asked,
    /// All other sessions of its principal were to end.
    Others,
    /// All sessions of its principal were to end.
    All,
    /// Its principal logged in elsewhere and had as many sessions as the layer allows.
    Evicted,
}

/// Somebody who is told of [events](SessionEvent): a log, a counter, an alarm.
///
/// It is called while a request waits, so it should hand the event on and return. An observer that panics harms no
/// request. Closures are observers: see [`SessionLayer::add_observer`](crate::SessionLayer::add_observer).
pub trait Observer: Send + Sync + 'static {
    /// Takes note of an event.
    fn observe(&self, event: &SessionEvent);
}

impl<F: Fn(&SessionEvent) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &SessionEvent) {
        self(event);
    }
}

/// The observers of a layer.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<std::sync::Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.0.push(std::sync::Arc::new(observer));
    }

    pub(crate) fn tell(&self, event: &SessionEvent) {
        for observer in &self.0 {
            // What the observer leaves half done is its own; the session is not in its reach.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
