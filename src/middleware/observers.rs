//! The observers of a layer.

use super::SessionLayer;
use crate::event::Observer;

impl SessionLayer {
    /// Adds an observer of [events](crate::SessionEvent), which runs in a thread of its own; see [`Observer`].
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

    /// Returns a future that waits until each observer has taken note of everything that was told before this call.
    ///
    /// For a server that stops, so that its audit log misses nothing, and for tests. An observer that panics has taken
    /// note. One that blocks is waited for, so put a time limit around it. One whose thread the operating system
    /// refuses to start is not waited for.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any point, and another one made.
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
