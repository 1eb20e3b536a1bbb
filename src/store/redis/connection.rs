//! A connection that reconnects after a failure.
//!
//! The reconnecting connections of the client are not reliable enough. A `ConnectionManager` never reconnects after a
//! rejected handshake, for example by a server with too many clients, and keeps a connection that has stopped to reply.
//! A `ClusterConnection` (redis 1.8) can stop to reply for good during a failover.

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
#[cfg(feature = "redis-cluster")]
use redis::{cluster::ClusterClient, cluster_async::ClusterConnection};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a reply may take. Two of them fit into the layer's default store timeout.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The delays between the attempts of one call to connect.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The time limit to discover the nodes of a Cluster, or the master, and to connect.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);

/// How many calls in a row without a reply discard a connection that may be good: the calls may have been dropped, as
/// the layer does after its store timeout, or only one node of a Cluster may be gone.
const MAX_UNANSWERED: u32 = 5;

/// A connection to one server, to the master that Sentinels name, or to a Cluster. It reconnects after a failure.
/// Clones share it.
///
/// A call fails if the connection breaks, if no reply arrives within 2 seconds, and if the server has become a replica.
/// The next call reconnects, and resolves the host name or asks the Sentinels again. It makes up to three attempts of
/// at most one second each (three seconds with discovery), with delays of 50 and 150 milliseconds, and concurrent calls
/// share the attempts. Five cancelled calls in a row without a reply also discard the connection.
///
/// In a Cluster a call follows moved slots, and is retried up to 3 times within the 2 seconds while the Cluster elects
/// another master. After five calls in a row without a reply the Cluster is discovered again.
#[derive(Clone)]
pub struct RedisConnection {
    inner: Arc<Inner>,
}

struct Inner {
    current: Mutex<Current>,
    target: tokio::sync::Mutex<Target>,
    /// Calls without a reply since the last one.
    unanswered: AtomicU32,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// The number of the connection, so that a late failure of an earlier connection does not discard a newer one.
    number: u64,
}

#[derive(Clone)]
enum Connection {
    ToServer(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    ToCluster(ClusterConnection),
}

/// The server to connect to.
struct Target {
    server: Server,
    /// The error of the last attempt.
    error: Option<RedisError>,
}

enum Server {
    Single(Client),
    #[cfg(feature = "redis-sentinel")]
    FromSentinels(Box<redis::sentinel::SentinelClient>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<ClusterClient>),
}

impl RedisConnection {
    pub(super) async fn of_url(url: &str) -> RedisResult<Self> {
        Self::of_client(Client::open(url.into_connection_info()?.set_tcp_settings(tcp_settings()))?).await
    }

    #[cfg(feature = "redis-cluster")]
    pub(super) async fn of_cluster_urls(urls: impl Iterator<Item = String>) -> RedisResult<Self> {
        let client = ClusterClient::builder(urls)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .retries(3)
            .min_retry_wait(100)
            .max_retry_wait(500)
            .tcp_settings(tcp_settings());
        Self::of_cluster(client.build()?).await
    }

    /// Connects with your own client, which has its own addresses, credentials and certificates.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached or rejects the connection.
    pub async fn of_client(client: Client) -> RedisResult<Self> {
        Self::connect(Server::Single(client)).await
    }

    /// Asks Sentinels for the master and connects to it.
    ///
    /// The client must be for the master, not for a replica. It has its own credentials and certificates for the
    /// Sentinels and the servers.
    ///
    /// # Errors
    ///
    /// Fails if no Sentinel can be reached, or none knows a reachable master.
    #[cfg(feature = "redis-sentinel")]
    pub async fn of_sentinels(client: redis::sentinel::SentinelClient) -> RedisResult<Self> {
        Self::connect(Server::FromSentinels(Box::new(client))).await
    }

    /// Connects to a Cluster with your own client, which has its own initial nodes, time limits, credentials and
    /// certificates.
    ///
    /// # Errors
    ///
    /// Fails if none of the nodes can be reached, or none knows the others.
    #[cfg(feature = "redis-cluster")]
    pub async fn of_cluster(client: ClusterClient) -> RedisResult<Self> {
        Self::connect(Server::Cluster(Box::new(client))).await
    }

    async fn connect(server: Server) -> RedisResult<Self> {
        let target = tokio::sync::Mutex::new(Target { server, error: None });
        let connection =
            Self { inner: Arc::new(Inner { current: Mutex::default(), target, unanswered: AtomicU32::new(0) }) };
        connection.get().await?;
        Ok(connection)
    }

    /// Returns the present connection and its number, or connects.
    async fn get(&self) -> RedisResult<(u64, Connection)> {
        match self.current() {
            (number, Some(connection)) => Ok((number, connection)),
            // Boxed, so that the future of a call does not include that of connecting.
            (number, None) => Box::pin(self.get_after(number)).await,
        }
    }

    /// Connects, unless another call has tried since connection `before`.
    async fn get_after(&self, before: u64) -> RedisResult<(u64, Connection)> {
        let mut target = self.inner.target.lock().await;
        // Of the calls that waited for the lock, only the first connects.
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

    fn current(&self) -> (u64, Option<Connection>) {
        let current = self.lock();
        (current.number, current.connection.clone())
    }

    /// Makes a call, and discards the connection if it fails.
    async fn call<T>(&self, call: impl AsyncFnOnce(&mut Connection) -> RedisResult<T> + Send) -> RedisResult<T> {
        let (number, mut connection) = self.get().await?;
        let waiting = PendingCall { connection: self, number };
        let result = call(&mut connection).await;
        match result.as_ref().map_err(Failure::of) {
            Err(Failure::NoReply) if !matches!(connection, Connection::ToServer(_)) => drop(waiting),
            Err(Failure::NoReply | Failure::WrongServer) => {
                waiting.end();
                self.discard(number);
            }
            Ok(_) | Err(Failure::Other) => waiting.end(),
        }
        result
    }

    /// Makes the next call reconnect, unless another call has reconnected meanwhile.
    fn discard(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number {
            current.connection = None;
        }
    }

    /// No code that can panic runs under the lock, so a poisoned one is consistent.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call without a reply yet.
struct PendingCall<'c> {
    connection: &'c RedisConnection,
    number: u64,
}

impl PendingCall<'_> {
    fn end(self) {
        self.connection.inner.unanswered.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let unanswered = &self.connection.inner.unanswered;
        if unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_UNANSWERED {
            unanswered.store(0, Ordering::Relaxed);
            self.connection.discard(self.number);
        }
    }
}

impl Server {
    async fn connect(&mut self) -> RedisResult<Connection> {
        for pause in RETRY_DELAYS {
            if let Ok(connection) = self.try_to_connect().await {
                return Ok(connection);
            }
            tokio::time::sleep(pause).await;
        }
        self.try_to_connect().await
    }

    async fn try_to_connect(&mut self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connecting = async {
            match self {
                Self::Single(client) => {
                    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::ToServer)
                }
                #[cfg(feature = "redis-sentinel")]
                Self::FromSentinels(client) => {
                    client.get_async_connection_with_config(&config).await.map(Connection::ToServer)
                }
                #[cfg(feature = "redis-cluster")]
                Self::Cluster(client) => client.get_async_connection().await.map(Connection::ToCluster),
            }
        };
        let found = tokio::time::timeout(SEARCH_TIMEOUT, connecting).await;
        found.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }
}

/// The meaning of an error for the connection.
enum Failure {
    /// The connection may be broken.
    NoReply,
    /// The server is not the master any more.
    WrongServer,
    /// The connection is fine.
    Other,
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Self::WrongServer,
            // `min-replicas-to-write`: the replicas may have moved to another master.
            _ if error.code() == Some("NOREPLICAS") => Self::WrongServer,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Self::NoReply,
            _ => Self::Other,
        }
    }
}

/// Returns settings that give up a silent machine after a few seconds.
fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(2));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(3));
    settings
}

impl Connection {
    async fn send(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::ToServer(connection) => connection.send_packed_command(cmd).await,
            #[cfg(feature = "redis-cluster")]
            Self::ToCluster(connection) => connection.req_packed_command(cmd).await,
        }
    }

    async fn send_all(&mut self, pipeline: &Pipeline, offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        match self {
            Self::ToServer(connection) => connection.send_packed_commands(pipeline, offset, count).await,
            #[cfg(feature = "redis-cluster")]
            Self::ToCluster(connection) => connection.req_packed_commands(pipeline, offset, count).await,
        }
    }

    fn db(&self) -> i64 {
        match self {
            Self::ToServer(connection) => connection.get_db(),
            #[cfg(feature = "redis-cluster")]
            Self::ToCluster(connection) => connection.get_db(),
        }
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.call(async |connection| connection.send(cmd).await.and_then(Value::extract_error)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.call(async move |connection| connection.send_all(pipeline, offset, count).await))
    }

    fn get_db(&self) -> i64 {
        self.current().1.map_or(0, |connection| connection.db())
    }
}

/// Omits the client, which may have a password.
impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").finish_non_exhaustive()
    }
}
