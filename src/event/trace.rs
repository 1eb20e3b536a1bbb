//! Events for `tracing`. They name a session by its handle, and hold no more than the [event](SessionEvent) does.

use std::error::Error as StdError;
use std::fmt;

use tracing::field::display;
use tracing::{debug, error, info, warn};

use super::SessionEvent;
use crate::error::{Error, ErrorKind};

const TARGET: &str = "session_state";

/// Emits the event at once, in the thread and the span of the request.
pub(super) fn note(event: &SessionEvent) {
    match event {
        SessionEvent::Created { session } => debug!(target: TARGET, %session, "session created"),
        SessionEvent::Renewed { session } => debug!(target: TARGET, %session, "session renewed"),
        SessionEvent::LoggedIn { session } => info!(target: TARGET, %session, "logged in"),
        SessionEvent::Reauthenticated { session } => info!(target: TARGET, %session, "reauthenticated"),
        SessionEvent::LoginRefused => warn!(target: TARGET, "login refused"),
        SessionEvent::LoggedOut { session } => info!(target: TARGET, %session, "logged out"),
        SessionEvent::Revoked { session, cause } => info!(target: TARGET, %session, ?cause, "session revoked"),
        SessionEvent::Destroyed { session } => debug!(target: TARGET, %session, "session destroyed"),
        SessionEvent::Expired { session, expiry } => debug!(target: TARGET, %session, ?expiry, "session expired"),
        SessionEvent::RetiredIdUsed => warn!(target: TARGET, "retired id used"),
        SessionEvent::UnknownIdUsed => debug!(target: TARGET, "unknown id used"),
        SessionEvent::DuplicateCookie => warn!(target: TARGET, "duplicate cookie"),
        SessionEvent::InvalidCookie => warn!(target: TARGET, "invalid cookie"),
        SessionEvent::Conflict { session } => debug!(target: TARGET, %session, "conflict"),
        SessionEvent::ChangesDiscarded { session } => debug!(target: TARGET, %session, "changes discarded"),
        SessionEvent::ChangesUnsaved => warn!(target: TARGET, "changes unsaved"),
        SessionEvent::UndecodableRecord => error!(target: TARGET, "undecodable record"),
        SessionEvent::RequestFailed { error } => request_failed(error),
        SessionEvent::StoreFailed { error } => {
            let (sources, error) = (sources(error), error as &(dyn StdError + 'static));
            error!(target: TARGET, error, sources, "store failed");
        }
        SessionEvent::SetupWarning { message } => warn!(target: TARGET, "{message}"),
        SessionEvent::EventsLost { count } => warn!(target: TARGET, count, "events lost"),
    }
}

/// Reports an error that becomes a response where no layer may report it.
pub(crate) fn trace_missing_layer(error: &Error) {
    if *error.kind() == ErrorKind::MissingLayer {
        request_failed(error);
    }
}

/// Reports an error once, at the level of its kind.
fn request_failed(failure: &Error) {
    if !failure.begin_tracing() {
        return;
    }
    let (sources, error) = (sources(failure), failure as &(dyn StdError + 'static));
    match failure.kind() {
        ErrorKind::Conflict => warn!(target: TARGET, error, sources, "request failed"),
        // The message of a database may quote the row.
        ErrorKind::Constraint => warn!(target: TARGET, error = %failure, "request failed"),
        ErrorKind::Ended => info!(target: TARGET, error, sources, "request failed"),
        ErrorKind::Abandoned
        | ErrorKind::TooManySessions { .. }
        | ErrorKind::LoginRequired
        | ErrorKind::RecentLoginRequired => debug!(target: TARGET, error, sources, "request failed"),
        _ => error!(target: TARGET, error, sources, "request failed"),
    }
}

/// Returns the sources of an error as text: not every subscriber follows them.
fn sources(error: &Error) -> Option<impl tracing::Value> {
    error.source().map(|source| display(Sources(source)))
}

/// An error and its sources, separated by colons.
struct Sources<'e>(&'e (dyn StdError + 'static));

impl fmt::Display for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}
