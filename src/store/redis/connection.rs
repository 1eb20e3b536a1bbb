//! A connection that is made anew when it fails.
//!
//! The client has such connections itself, with habits that a server of requests cannot live with. After a handshake that
//! was refused, as by a server with too many clients, a `ConnectionManager` never connects again, and it keeps a connection
//! on which nothing comes back. A `ClusterConnection` (of redis 1.8) can stop to answer for good in a failover.

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

/// The pauses between the attempts to connect of one call.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// How long it may take to find out where the servers of a Cluster are, or which one is the master, and to connect.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);

/// After how many calls in a row without a reply a connection is given up that may have been good: when the calls were
/// dropped, as the layer drops what takes longer than its store timeout, or when only one node of a Cluster may be gone.
const MOST_UNANSWERED: u32 = 5;

/// A connection to one server, to the one that Sentinels name, or to a Cluster, which is made anew when it fails. Clones
/// share it.
///
/// A call fails when the connection breaks, when no reply comes within 2 seconds, and when the server says that it may not
/// be written to because it is a replica now. The next call connects again, and looks up the name of the server or asks the
/// Sentinels. It makes up to three attempts of at most a second each (three seconds where servers have to be found first),
/// with 50 and 150 milliseconds in between, and all calls that come meanwhile wait for the same ones. The connection is
/// also given up after five calls in a row that were dropped before a reply came.
///
/// In a Cluster a call follows slots that move, and is sent again up to 3 times within the 2 seconds, while the Cluster
/// finds itself another master. Only after five calls in a row without a reply the Cluster is searched for anew.
#[derive(Clone)]
pub struct RedisConnection {
    shared: Arc<Shared>,
}

struct Shared {
    current: Mutex<Current>,
    target: tokio::sync::Mutex<Target>,
    /// Calls without a reply since the last one.
    unanswered: AtomicU32,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// How often we have tried to connect, so that a late failure of an earlier connection does not end a newer one.
    number: u64,
}

#[derive(Clone)]
enum Connection {
    ToServer(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    ToCluster(ClusterConnection),
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

    /// Connects to a Cluster, whose client has its own nodes to begin with, time limits, passwords and certificates.
    ///
    /// # Errors
    ///
    /// Fails when none of the nodes can be reached, or none knows the others.
    #[cfg(feature = "redis-cluster")]
    pub async fn of_cluster(client: ClusterClient) -> RedisResult<Self> {
        Self::connect(Server::Cluster(Box::new(client))).await
    }

    async fn connect(server: Server) -> RedisResult<Self> {
        let target = tokio::sync::Mutex::new(Target { server, error: None });
        let connection =
            Self { shared: Arc::new(Shared { current: Mutex::default(), target, unanswered: AtomicU32::new(0) }) };
        connection.get().await?;
        Ok(connection)
    }

    /// Returns the connection that there is, with its number, or makes one.
    async fn get(&self) -> RedisResult<(u64, Connection)> {
        match self.current() {
            (number, Some(connection)) => Ok((number, connection)),
            // Boxed, or every call would have room for all that connecting needs.
            (number, None) => Box::pin(self.get_after(number)).await,
        }
    }

    /// Makes a connection, unless that was tried since the one of that number.
    async fn get_after(&self, before: u64) -> RedisResult<(u64, Connection)> {
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

    fn current(&self) -> (u64, Option<Connection>) {
        let current = self.lock();
        (current.number, current.connection.clone())
    }

    /// Makes a call, and gives up the connection when it fails.
    async fn call<T>(&self, call: impl AsyncFnOnce(&mut Connection) -> RedisResult<T> + Send) -> RedisResult<T> {
        let (number, mut connection) = self.get().await?;
        let waiting = Waiting { connection: self, number };
        let result = call(&mut connection).await;
        match result.as_ref().map_err(Failure::of) {
            Err(Failure::NoReply) if !matches!(connection, Connection::ToServer(_)) => drop(waiting),
            Err(Failure::NoReply | Failure::WrongServer) => {
                waiting.end();
                self.give_up(number);
            }
            Ok(_) | Err(Failure::Other) => waiting.end(),
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
    fn end(self) {
        self.connection.shared.unanswered.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let unanswered = &self.connection.shared.unanswered;
        if unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_UNANSWERED {
            unanswered.store(0, Ordering::Relaxed);
            self.connection.give_up(self.number);
        }
    }
}

impl Server {
    async fn connect(&mut self) -> RedisResult<Connection> {
        for pause in PAUSES {
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
                Self::Of(client) => {
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

/// What an error says about the connection.
enum Failure {
    /// It may be broken.
    NoReply,
    /// It leads to a server that is not the master any more.
    WrongServer,
    /// Nothing.
    Other,
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Self::WrongServer,
            // `min-replicas-to-write`: its replicas may have gone over to another master.
            _ if error.code() == Some("NOREPLICAS") => Self::WrongServer,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Self::NoReply,
            _ => Self::Other,
        }
    }
}

/// A machine that is silent for a few seconds counts as gone.
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

/// Shows nothing of the client, which may have a password.
impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").finish_non_exhaustive()
    }
}
