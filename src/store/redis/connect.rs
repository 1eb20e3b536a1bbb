//! Constructors of stores with their own connection.

use super::connection::RedisConnection;
use super::reply::failed;
use super::store::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    /// Connects to one server: `redis://[user][:password@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// All requests share the connection, which reconnects with short time limits; see [`RedisConnection`]. A call that
    /// fails does not wait for the server to return, and the next one reconnects.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not a Redis URL, or the server cannot be reached.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, StoreError> {
        Ok(Self::new(RedisConnection::of_url(url.as_ref()).await.map_err(failed)?))
    }

    /// Connects to the master that Sentinels name, and to the next one after a failover.
    ///
    /// During a failover there is no master, and calls fail.
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
    /// # Errors
    ///
    /// Fails if no Sentinel can be reached, or none knows a reachable master.
    #[cfg(feature = "redis-sentinel")]
    pub async fn connect_sentinel(client: redis::sentinel::SentinelClient) -> Result<Self, StoreError> {
        Ok(Self::new(RedisConnection::of_sentinels(client).await.map_err(failed)?))
    }
    /// Connects to a Cluster by the URLs of some of its nodes.
    ///
    /// # Errors
    ///
    /// Fails if a URL is not a Redis URL, or none of the nodes can be reached.
    #[cfg(feature = "redis-cluster")]
    pub async fn connect_cluster(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, StoreError> {
        let urls: Vec<String> = urls.into_iter().map(|url| url.as_ref().to_owned()).collect();
        Ok(Self::new(RedisConnection::of_cluster_urls(urls.into_iter()).await.map_err(failed)?))
    }
}
