//! Events for `tracing`. They name a session by its handle, and hold no more than the [event](SessionEvent) does.

use std::error::Error;

use tracing::{debug, info, warn};

use super::SessionEvent;

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
        SessionEvent::UndecodableRecord => warn!(target: TARGET, "undecodable record"),
        SessionEvent::StoreFailed { error } => {
            warn!(target: TARGET, error = error as &(dyn Error + 'static), "store failed");
        }
        SessionEvent::EventsLost { count } => warn!(target: TARGET, count, "events lost"),
    }
}
