//! The observers of a layer.

use super::SessionLayer;
use crate::event::Observer;

impl SessionLayer {
    /// Adds an observer of [events](crate::SessionEvent), which runs in its own thread; see [`Observer`].
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{MemoryStore, SessionEvent, SessionLayer};
    ///
    /// let sessions = SessionLayer::server(MemoryStore::new())
    ///     .add_observer(|event: &SessionEvent| eprintln!("session: {event:?}"));
    /// # let _ = sessions;
    /// ```
    pub fn add_observer(mut self, observer: impl Observer) -> Self {
        self.config_mut().observers.add(observer);
        self
    }

    /// Returns a future that waits until each observer has processed all events from before this call.
    ///
    /// For the shutdown of a server, so that its audit log is complete, and for tests. An observer that panics counts
    /// as having processed its event. An observer that blocks delays the future, so give it a time limit. An observer
    /// whose thread the operating system refuses to start is skipped.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any point, and created again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use session_state::{MemoryStore, SessionEvent, SessionLayer};
    /// use tokio::net::TcpListener;
    ///
    /// # #[cfg(feature = "axum")]
    /// # async fn example(audit: std::sync::mpsc::Sender<String>) -> std::io::Result<()> {
    /// let sessions = SessionLayer::server(MemoryStore::new())
    ///     .add_observer(move |event: &SessionEvent| audit.send(format!("{event:?}")).expect("the log is open"));
    /// let app = axum::Router::new().layer(sessions.clone());
    /// let stop = async { drop(tokio::signal::ctrl_c().await) };
    /// axum::serve(TcpListener::bind("localhost:3000").await?, app).with_graceful_shutdown(stop).await?;
    /// if tokio::time::timeout(Duration::from_secs(5), sessions.flush_observers()).await.is_err() {
    ///     eprintln!("the audit log is incomplete");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn flush_observers(&self) -> impl Future<Output = ()> + Send + use<> {
        self.config().observers.flush()
    }
}
