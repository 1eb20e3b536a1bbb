//! An observer that records events.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Observer, SessionEvent};
use crate::middleware::SessionLayer;

/// [`Observer`] that records events, for tests. Clones share their events.
///
/// ```
/// use session_state::test_kit::EventLog;
/// use session_state::{MemoryStore, Session, SessionEvent, SessionLayer};
/// # use tower::{Layer as _, ServiceExt as _};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let log = EventLog::default();
/// let sessions = SessionLayer::server(MemoryStore::new()).add_observer(log.clone());
/// # let service = tower::service_fn(|request: http::Request<()>| async move {
/// #     Session::from_extensions(request.extensions())?.load().await?.insert("n", 1)?;
/// #     Ok::<_, session_state::Error>(http::Response::new(()))
/// # });
/// # sessions.layer(service).oneshot(http::Request::new(())).await?;
/// // After a request that has put something into its session:
/// assert!(matches!(log.take(&sessions).await[..], [SessionEvent::Created { .. }]));
/// # Ok::<(), session_state::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventLog(Arc<Mutex<Vec<SessionEvent>>>);

impl EventLog {
    /// Waits for the pending events of the layer, and returns all events since the last call.
    pub async fn take(&self, sessions: &SessionLayer) -> Vec<SessionEvent> {
        sessions.flush_observers().await;
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for EventLog {
    fn observe(&self, event: &SessionEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}
