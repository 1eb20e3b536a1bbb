//! A connection that is made anew when it fails.
//!
//! The `ConnectionManager` of the client is another, with two habits that a server of requests cannot live with: after a
//! handshake that was refused, as by a server with too many clients, it never connects again, and while nothing comes back
//! on a connection it keeps it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisFuture,
    RedisResult, ServerErrorKind, Value,
};

/// How long one attempt to connect may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a reply may take. Two of them fit into the layer's default store timeout.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pauses between the attempts to connect of one call.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// After how many calls in a row that were dropped before their reply a connection is given up. The layer drops what takes
/// longer than its store timeout, which may be shorter than ours.
const MOST_DROPPED: u32 = 5;

/// A connection to one server, or to the one that Sentinels name, which is made anew when it fails. Clones share it.
///
/// A call fails when the connection breaks, when no reply comes within 2 seconds, and when the server says that it may not
/// be written to because it is a replica now. Then, and when five calls in a row were dropped before a reply came, the next call connects again, and looks up the name of the server or asks the
/// Sentinels. It makes up to three attempts of at most a second each, with 50 and 150 milliseconds in between, and all
/// calls that come meanwhile wait for the same ones.
#[derive(Clone)]
pub struct RedisConnection {
    shared: Arc<Shared>,
}

struct Shared {
    current: Mutex<Current>,
    target: tokio::sync::Mutex<Target>,
    /// Calls that were dropped since the last reply.
    dropped: AtomicU32,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// How often we have tried to connect, so that a late failure of an earlier connection does not end a newer one.
    number: u64,
}

/// To whom we connect.
struct Target {
    server: Server,
    /// Why we could not the last time.
    error: Option<RedisError>,
}

enum Server {
    Of(Client),
    #[cfg(feature = "redis-sentinel")]
    FromSentinels(Box<redis::sentinel::SentinelClient>),
}

impl RedisConnection {
    pub(super) async fn of_url(url: &str) -> RedisResult<Self> {
        Self::connect(Server::Of(Client::open(url.into_connection_info()?.set_tcp_settings(tcp_settings()))?)).await
    }

    /// Connects with a client of yours, which has its own addresses, names, passwords and certificates.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached, or refuses.
    pub async fn of_client(client: Client) -> RedisResult<Self> {
        Self::connect(Server::Of(client)).await
    }

    /// Asks Sentinels for the master and connects to it.
    ///
    /// The client must be one for the master, not for a replica. Names, passwords and certificates, for the Sentinels and
    /// for the servers, are its business.
    ///
    /// # Errors
    ///
    /// Fails when no Sentinel can be reached, or none knows of a master that can.
    #[cfg(feature = "redis-sentinel")]
    pub async fn of_sentinels(client: redis::sentinel::SentinelClient) -> RedisResult<Self> {
        Self::connect(Server::FromSentinels(Box::new(client))).await
    }

    async fn connect(server: Server) -> RedisResult<Self> {
        let target = tokio::sync::Mutex::new(Target { server, error: None });
        let connection =
            Self { shared: Arc::new(Shared { current: Mutex::default(), target, dropped: AtomicU32::new(0) }) };
        connection.get().await?;
        Ok(connection)
    }

    /// Returns the connection that there is, with its number, or makes one.
    async fn get(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let before = match self.current() {
            (number, Some(connection)) => return Ok((number, connection)),
            (number, None) => number,
        };
        let mut target = self.shared.target.lock().await;
        // Of those who have waited one after the other, only the first has to try.
        match (self.current(), &target.error) {
            ((number, Some(connection)), _) => return Ok((number, connection)),
            ((number, None), Some(error)) if number > before => return Err(error.clone()),
            _ => {}
        }
        let made = target.server.connect().await;
        target.error = made.as_ref().err().cloned();
        let mut current = self.lock();
        current.number += 1;
        current.connection = made.as_ref().ok().cloned();
        Ok((current.number, made?))
    }

    fn current(&self) -> (u64, Option<MultiplexedConnection>) {
        let current = self.lock();
        (current.number, current.connection.clone())
    }

    /// Makes a call, and gives up the connection when it fails.
    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T> + Send,
    ) -> RedisResult<T> {
        let (number, mut connection) = self.get().await?;
        let waiting = Waiting { connection: self, number };
        let result = call(&mut connection).await;
        waiting.is_over();
        if result.as_ref().is_err_and(is_about_the_connection) {
            self.give_up(number);
        }
        result
    }

    /// Lets the next call connect again, unless that was done meanwhile.
    fn give_up(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number {
            current.connection = None;
        }
    }

    /// Nothing under the lock can panic with the connection half changed.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has had no reply yet.
struct Waiting<'c> {
    connection: &'c RedisConnection,
    number: u64,
}

impl Waiting<'_> {
    fn is_over(self) {
        self.connection.shared.dropped.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let dropped = &self.connection.shared.dropped;
        if dropped.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_DROPPED {
            dropped.store(0, Ordering::Relaxed);
            self.connection.give_up(self.number);
        }
    }
}

impl Server {
    async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        for pause in PAUSES {
            if let Ok(connection) = self.try_to_connect().await {
                return Ok(connection);
            }
            tokio::time::sleep(pause).await;
        }
        self.try_to_connect().await
    }

    async fn try_to_connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match self {
            Self::Of(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            #[cfg(feature = "redis-sentinel")]
            Self::FromSentinels(client) => client.get_async_connection_with_config(&config).await,
        }
    }
}

/// Whether an error says that the connection is broken, or leads to the wrong server.
fn is_about_the_connection(error: &RedisError) -> bool {
    let is_of_a_replica =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    is_of_a_replica || error.is_io_error() || error.is_unrecoverable_error()
}

/// A machine that is silent for a few seconds counts as gone.
pub(super) fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(2));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(3));
    settings
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.call(async |connection| connection.send_packed_command(cmd).await.and_then(Value::extract_error)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.call(async move |connection| connection.send_packed_commands(pipeline, offset, count).await))
    }

    fn get_db(&self) -> i64 {
        self.current().1.map_or(0, |connection| connection.get_db())
    }
}

/// Shows nothing of the client, which may have a password.
impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").finish_non_exhaustive()
    }
}
