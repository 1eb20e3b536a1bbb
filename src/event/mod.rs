//! What happens to sessions, told to each [`Observer`] and, with the feature `tracing`, to the subscriber of that.

mod observers;
#[cfg_attr(not(feature = "tracing"), path = "no_trace.rs")]
mod trace;

use crate::error::Error;
use crate::record::Handle;
use crate::record::lifetime::Expiry;

pub(crate) use observers::Observers;

/// Something that happened to a session.
///
/// Events name a session by its public [`Handle`] and never hold an ID, a cookie's value, a principal or a value of the
/// session. [The guide](crate::guide::events) says what to do about which, and what `tracing` is told.
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
    /// A client came with a session that had ended by itself. A store whose engine removes what has expired no longer knows
    /// of it, and then it is [`UnknownIdUsed`](Self::UnknownIdUsed).
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
    /// A client came with an ID that the store does not know: that of a session which was ended, or has expired and been
    /// swept, or one that somebody made up. The request is anonymous.
    UnknownIdUsed,
    /// A client sent the cookie more than once: somebody may have planted one. The request is anonymous.
    DuplicateCookie,
    /// A client sent a cookie that is no session ID, or is sealed by none of our keys, or was changed, or holds a part
    /// that is bound to another session. The request is anonymous, or the part is the default.
    InvalidCookie,
    /// Another request changed the session first, or a part of it. The changes are made again on what it left, unless the
    /// layer is told to [fail](crate::ConflictPolicy::Fail).
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
    /// What the store holds, or the client under our seal, is no record this release can read. The request is anonymous.
    UndecodableRecord,
    /// The store failed in a call whose failure harms no request: a touch, or a sweep.
    StoreFailed {
        /// The failure.
        error: Error,
    },
    /// More happened than this observer took note of in time, and it is not told of so many events.
    EventsLost {
        /// How many.
        count: u64,
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
/// Each observer of a layer has a thread of its own, in which it is told one event after another, in the order in which they
/// were told. It may take its time, wait for a disk or a network, or panic: no request waits for it, and no other observer.
/// After a panic it goes on with the next event.
///
/// Up to 1024 events wait for an observer. While there is no room for another, events are lost, and the observer is told how
/// many, in the place where they would have been ([`EventsLost`](SessionEvent::EventsLost)).
///
/// What waits when the process ends is lost: see
/// [`SessionLayer::flush_observers`](crate::SessionLayer::flush_observers). The thread starts with the first event, and ends
/// when the layer is gone, with its clones, services and requests, and the observer has been told everything. Then the
/// observer is dropped; one that holds a clone of its own layer never is.
///
/// Closures are observers: see [`SessionLayer::add_observer`](crate::SessionLayer::add_observer).
pub trait Observer: Send + Sync + 'static {
    /// Takes note of an event.
    fn observe(&self, event: &SessionEvent);
}

impl<F: Fn(&SessionEvent) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &SessionEvent) {
        self(event);
    }
}
