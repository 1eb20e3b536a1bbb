//! The connections to one server: each serves one call at a time, and is kept for the next one only if its answer came.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::connection::{ClientError, Connection, Reply};
use crate::clock::{Clock as _, SystemClock};

/// What lies unused for longer may have been forgotten by a firewall on the way, which tells nobody.
const LONGEST_REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pool {
    address: String,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Pool {
    pub(super) fn new(address: String, max_connections: usize) -> Self {
        let permits = Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS));
        Self { address, idle: Mutex::default(), permits }
    }

    /// Sends a command over a free connection, or a new one, and returns the answer.
    ///
    /// The connection belongs to this future until the answer is whole. If the future is dropped before, so is the
    /// connection: an answer that comes late is read by nobody.
    pub(super) async fn call(&self, command: &str, value: Option<&[u8]>) -> Result<Reply, ClientError> {
        let _permit = self.permits.acquire().await;
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        let answer = connection.call(command, value).await;
        match &answer {
            Ok(_) | Err(ClientError::TooLarge { .. }) => self.put_back(connection),
            // What happened to one has happened to the others: the server was restarted.
            Err(ClientError::Io(_)) => self.idle().clear(),
            Err(_) => {}
        }
        answer
    }

    /// Opens a connection for the calls to come, which shows whether there is a server.
    pub(super) async fn warm_up(&self) -> Result<(), ClientError> {
        let connection = Connection::open(&self.address).await?;
        self.put_back(connection);
        Ok(())
    }

    fn take(&self) -> Option<Connection> {
        let now = SystemClock.now();
        let mut idle = self.idle();
        idle.retain(|connection| now.since(connection.used_at) < LONGEST_REST);
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn put_back(&self, mut connection: Connection) {
        connection.used_at = SystemClock.now();
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
