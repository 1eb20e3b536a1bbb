//! Connections with time limits that suit a request.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, IntoConnectionInfo as _, RedisResult};

use super::super::StoreError;
use super::{RedisStore, failed};

/// How long one attempt to connect may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a reply may take. Two of them fit into the layer's default store timeout.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the server's machine may be silent before the connection is given up and another is made.
const SILENCE: Duration = Duration::from_secs(3);

impl RedisStore<ConnectionManager> {
    /// Connects to one server: `redis://[user][:password@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// The connection is one that all requests share, and it is made anew when it breaks:
    ///
    /// | what | limit |
    /// | --- | --- |
    /// | one attempt to connect | 1 second |
    /// | attempts before a call fails, and the pauses between them | 3, up to 100 and 200 milliseconds |
    /// | a reply | 2 seconds |
    /// | silence of the server's machine, after which the connection counts as broken | 3 seconds (Linux; elsewhere, and while nothing is sent, keep-alive probes after 10 seconds) |
    ///
    /// A call that fails does not wait for the server to come back, and the next one connects again: a restart is
    /// survived without a pause of its own.
    ///
    /// # Errors
    ///
    /// Fails when the URL is not one of Redis, or the server cannot be reached.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, StoreError> {
        Ok(Self::new(manager(url.as_ref()).await.map_err(failed)?))
    }
}

#[cfg(feature = "redis-cluster")]
impl RedisStore<redis::cluster_async::ClusterConnection> {
    /// Connects to a Cluster by the URLs of some of its nodes, which know the others.
    ///
    /// One attempt to connect may take 1 second and a reply 2 seconds. The connection follows slots that move, and sends
    /// a command again up to 3 times, after at most half a second each, while the Cluster finds itself another master.
    ///
    /// # Errors
    ///
    /// Fails when a URL is not one of Redis, or none of the nodes can be reached.
    pub async fn connect_cluster(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, StoreError> {
        let urls = urls.into_iter().map(|url| url.as_ref().to_owned());
        let client = redis::cluster::ClusterClientBuilder::new(urls)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .overall_response_timeout(None)
            .retries(3)
            .min_retry_wait(100)
            .max_retry_wait(500)
            .tcp_settings(tcp_settings())
            .build();
        match client {
            Ok(client) => Ok(Self::new(client.get_async_connection().await.map_err(failed)?)),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(feature = "redis-sentinel")]
impl RedisStore<super::SentinelConnection> {
    /// Connects to the master that Sentinels name, and after a failover to the next one.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use redis::sentinel::{SentinelClient, SentinelServerType};
    /// use session_state::RedisStore;
    ///
    /// let sentinels = vec!["redis://sentinel-1:26379", "redis://sentinel-2:26379", "redis://sentinel-3:26379"];
    /// let client = SentinelClient::build(sentinels, "mymaster".to_owned(), None, SentinelServerType::Master)?;
    /// let store = RedisStore::connect_sentinel(client).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [`SentinelConnection`](super::SentinelConnection) for when the Sentinels are asked.
    ///
    /// # Errors
    ///
    /// Fails when no Sentinel can be reached, or none knows of a master that can.
    pub async fn connect_sentinel(client: redis::sentinel::SentinelClient) -> Result<Self, StoreError> {
        Ok(Self::new(super::SentinelConnection::new(client).await.map_err(failed)?))
    }
}

async fn manager(url: &str) -> RedisResult<ConnectionManager> {
    let info = url.into_connection_info()?.set_tcp_settings(tcp_settings());
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_number_of_retries(2)
        .set_min_delay(Duration::from_millis(100))
        .set_max_delay(Duration::from_millis(200));
    ConnectionManager::new_with_config(Client::open(info)?, config).await
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(2));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}
