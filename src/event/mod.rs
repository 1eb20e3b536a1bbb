//! Events of sessions, for each [`Observer`] and, with the feature `tracing`, for its subscriber.

mod observers;
#[cfg_attr(not(feature = "tracing"), path = "no_trace.rs")]
mod trace;

use std::borrow::Cow;

use crate::error::Error;
use crate::record::Handle;
use crate::record::lifetime::Expiry;

pub(crate) use observers::Observers;
pub(crate) use trace::trace_missing_layer;

/// Something that happened to a session.
///
/// Events name a session by its public [`Handle`] and never hold an ID, a cookie's value, a principal or a value of the
/// session. [The guide](crate::guide::events) has the response to each, and the fields for `tracing`.
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
    /// The principal of a session authenticated again.
    Reauthenticated {
        /// The session.
        session: Handle,
    },
    /// A login was refused because its principal has as many sessions as the layer allows.
    LoginRefused,
    /// A request ended its own session, which had a principal. [`Destroyed`](Self::Destroyed)
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
    /// A session was ended by the application, or by the login of another principal, which begins a new session. With
    /// state in the cookie, each login or reauthentication also ends the session under its former handle, and
    /// [`Created`](Self::Created) with the new one follows.
    Destroyed {
        /// The session.
        session: Handle,
    },
    /// A client sent the ID or the cookie of an expired session. A store whose engine removes expired records no longer
    /// knows it, and then the event is [`UnknownIdUsed`](Self::UnknownIdUsed).
    Expired {
        /// The session.
        session: Handle,
        /// Which timeout ended it.
        expiry: Expiry,
    },
    /// A client sent an ID that was renewed and whose grace is over, or that of a session that was ended less than a
    /// minute ago, or, where the state lives in the cookie [and can be revoked](crate::CookieState::with_revocation),
    /// the cookie of a session that was ended. Either the client missed a response, or the session was revoked, or the
    /// ID was stolen.
    RetiredIdUsed,
    /// A client sent an ID that the store does not know: that of a session that was ended more than a minute ago, or
    /// has expired and was swept, or a forged one. The request is anonymous.
    UnknownIdUsed,
    /// A client sent the cookie with several values: one may be planted, or be left over from a release that set it
    /// with another domain or path. The request is anonymous.
    DuplicateCookie,
    /// A client sent a cookie that is no session ID, is sealed by none of the ring's keys, was changed, or holds a part
    /// that is bound to another session or an earlier login. The request is anonymous, or the part is the default.
    InvalidCookie,
    /// Another request changed the session, or a part of it, first. The changes are made again on the newer state,
    /// unless the layer is set to [fail](crate::ConflictPolicy::Fail).
    Conflict {
        /// The session.
        session: Handle,
    },
    /// The session was ended, or another request logged in, while a request was changing it. The changes were dropped,
    /// and the request failed with [`Ended`](crate::ErrorKind::Ended).
    ChangesDiscarded {
        /// The session.
        session: Handle,
    },
    /// A request changed the session after its response had been sent and did not save: the changes are lost.
    ChangesUnsaved,
    /// A stored or sealed record cannot be decoded by this release. The request is anonymous.
    UndecodableRecord,
    /// A request ended in an error of this crate, or a save after its response failed.
    ///
    /// There is one for each such request: for the error in the response's extensions, or, if the handler answers with
    /// its own error page, for the error that a call returned to it. The source of a
    /// [`Constraint`](crate::ErrorKind::Constraint) is the message of the database, which may quote a value of the row;
    /// `tracing` gets no sources of it.
    RequestFailed {
        /// The error, with its [kind](Error::kind) and its sources.
        error: Error,
    },
    /// The store failed in a call whose failure harms no request, such as a touch or a sweep, or in one after which the
    /// handler answered with success.
    StoreFailed {
        /// The failure.
        error: Error,
    },
    /// A setting of the layer has no effect, or not the one that its value says, or browsers drop its cookie. Sent
    /// once.
    SetupWarning {
        /// The setting and the remedy.
        message: Cow<'static, str>,
    },
    /// The observer was too slow and misses this many events.
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// Why a session was [ended from outside](SessionEvent::Revoked).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// It was revoked by its handle.
    Asked,
    /// All other sessions of its principal were revoked.
    Others,
    /// All sessions of its principal were revoked.
    All,
    /// Its principal logged in elsewhere, at the limit of sessions.
    Evicted,
}

/// Receiver of [events](SessionEvent): a log, a counter, an alarm.
///
/// Each observer runs in a separate thread and receives the layer's events one at a time and in order. It may be
/// slow, wait for a disk or a network, or panic: no request and no other observer waits for it. After a panic it
/// continues with the next event.
///
/// A queue of up to 1024 events stands before each observer. While it is full, events are lost, and the observer gets
/// their number in their place ([`EventsLost`](SessionEvent::EventsLost)).
///
/// Queued events are lost when the process ends; see
/// [`SessionLayer::flush_observers`](crate::SessionLayer::flush_observers). The thread starts with the first event. It
/// ends, and drops the observer, once the layer, its clones, services and requests are dropped and the queue is empty.
/// An observer that holds a clone of the layer it observes is never dropped.
///
/// Closures are observers: see [`SessionLayer::add_observer`](crate::SessionLayer::add_observer).
pub trait Observer: Send + Sync + 'static {
    /// Handles an event.
    fn observe(&self, event: &SessionEvent);
}

impl<F: Fn(&SessionEvent) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &SessionEvent) {
        self(event);
    }
}
