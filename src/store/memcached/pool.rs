//! The connections to one server. Each serves one call at a time, and is reused only after a complete reply.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::connection::{ClientError, Connection, Reply};
use crate::clock::MonotonicTime;

/// A connection that was idle for longer is not reused: a firewall may have dropped it without telling either side.
const MAX_IDLE: Duration = Duration::from_secs(60);

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

    /// Sends a command over an idle connection, or a new one, and returns the reply.
    ///
    /// This future owns the connection until the reply is complete. If it is dropped before, the connection is closed,
    /// so no later call can read the late reply.
    pub(super) async fn call(&self, command: &str, value: Option<&[u8]>) -> Result<Reply, ClientError> {
        let _permit = self.permits.acquire().await;
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        let reply = connection.call(command, value).await;
        match &reply {
            Ok(_) | Err(ClientError::TooLarge { .. }) => self.put_back(connection),
            // A restart of the server has closed the others too.
            Err(ClientError::Io(_)) => self.idle().clear(),
            Err(_) => {}
        }
        reply
    }

    /// Opens a connection for later calls, which fails if there is no server.
    pub(super) async fn warm_up(&self) -> Result<(), ClientError> {
        let connection = Connection::open(&self.address).await?;
        self.put_back(connection);
        Ok(())
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|connection| connection.used_at.elapsed() < MAX_IDLE);
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn put_back(&self, mut connection: Connection) {
        connection.used_at = MonotonicTime::now();
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_reused_until_it_was_idle_for_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"END\r\n").await;
            stream
        });
        let pool = Pool::new(address, 1);
        pool.warm_up().await.expect("a server");
        let _open = server.await.expect("a stream");
        for _ in 0..3 {
            tokio::time::advance(MAX_IDLE - Duration::from_millis(1)).await;
            let connection = pool.take().expect("a connection used less than a minute ago");
            pool.put_back(connection);
        }
        tokio::time::advance(MAX_IDLE).await;
        assert!(pool.take().is_none(), "a firewall may have dropped it");
    }
}
