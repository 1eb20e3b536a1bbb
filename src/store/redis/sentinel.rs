//! A connection to whichever server the Sentinels call the master.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::sentinel::SentinelClient;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
};

use super::connect::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};

/// A connection to the master of a group of servers that Sentinels watch. Clones share it.
///
/// When the connection breaks, a reply takes more than 2 seconds, or the server turns out not to be the master any more,
/// the call fails, and the next one asks the Sentinels again. While a failover is going on there is no master, and calls
/// fail.
#[derive(Clone)]
pub struct SentinelConnection {
    shared: Arc<Shared>,
}

struct Shared {
    master: Mutex<Master>,
    finder: tokio::sync::Mutex<Finder>,
}

/// What the last search has found.
#[derive(Default)]
struct Master {
    connection: Option<MultiplexedConnection>,
    /// How many searches have ended, so that a late failure of an earlier connection does not end a newer one.
    searches: u64,
}

struct Finder {
    client: SentinelClient,
    error: Option<RedisError>,
}

impl SentinelConnection {
    /// Asks the Sentinels for the master and connects to it.
    ///
    /// The client must be one for the master, not for a replica. Names, passwords and TLS, of the Sentinels and of the
    /// servers, are its business.
    ///
    /// # Errors
    ///
    /// Fails when no Sentinel can be reached, or none knows of a master that can.
    pub async fn new(client: SentinelClient) -> RedisResult<Self> {
        let finder = tokio::sync::Mutex::new(Finder { client, error: None });
        let connection = Self { shared: Arc::new(Shared { master: Mutex::default(), finder }) };
        connection.master().await?;
        Ok(connection)
    }

    /// Returns the connection that there is, with its number, or looks for the master.
    async fn master(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let before = match self.current() {
            (number, Some(connection)) => return Ok((number, connection)),
            (number, None) => number,
        };
        let mut finder = self.shared.finder.lock().await;
        // Of those who wait one after the other, only the first has to search.
        match (self.current(), &finder.error) {
            ((number, Some(connection)), _) => return Ok((number, connection)),
            ((number, None), Some(error)) if number > before => return Err(error.clone()),
            _ => {}
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let found = finder.client.get_async_connection_with_config(&config).await;
        let mut master = self.lock();
        master.searches += 1;
        master.connection = found.as_ref().ok().cloned();
        finder.error = found.as_ref().err().cloned();
        Ok((master.searches, found?))
    }

    fn current(&self) -> (u64, Option<MultiplexedConnection>) {
        let master = self.lock();
        (master.searches, master.connection.clone())
    }

    /// Lets the next call ask the Sentinels, unless that was done meanwhile.
    fn check<T>(&self, number: u64, result: RedisResult<T>) -> RedisResult<T> {
        if result.as_ref().is_err_and(is_about_the_master) {
            let mut master = self.lock();
            if master.searches == number {
                master.connection = None;
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Master> {
        self.shared.master.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error says that the master may be another server now.
fn is_about_the_master(error: &RedisError) -> bool {
    let is_of_another_role = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
    );
    is_of_another_role || error.is_io_error() || error.is_unrecoverable_error()
}

impl ConnectionLike for SentinelConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (number, mut master) = self.master().await?;
            let result = master.send_packed_command(cmd).await.and_then(Value::extract_error);
            self.check(number, result)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (number, mut master) = self.master().await?;
            let result = master.send_packed_commands(pipeline, offset, count).await;
            self.check(number, result)
        })
    }

    fn get_db(&self) -> i64 {
        self.current().1.map_or(0, |connection| connection.get_db())
    }
}

/// Shows nothing of the client, which may have a password.
impl fmt::Debug for SentinelConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelConnection").finish_non_exhaustive()
    }
}
