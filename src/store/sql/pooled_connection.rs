//! A connection of the pool, for one call that may be cancelled.

use std::iter;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Database, Error, Pool};

/// How long a connection of a cancelled call may take to answer a ping. The pool itself would wait until the operating
/// system gives up the connection, and could not reuse its slot meanwhile.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The prefixes of the error codes that mean a closed connection: PostgreSQL's, every engine's, and those of MySQL and
/// MariaDB, which report a connection that was idle for too long only as a general error.
const CONNECTION_CODES: [&str; 4] = ["57P", "08", "70100", "HY000"];

/// The effects of a cancellation on the connections of an engine.
pub(crate) trait PooledEngine: Database {
    /// Whether a connection can be reused after a call on it was cancelled.
    ///
    /// It is false for MySQL: sqlx loses track of the pending replies and of an open transaction, in which the next
    /// call would run and never be committed.
    const SURVIVES_CANCELLATION: bool;

    /// Whether a connection can be reused after the statement that begins a transaction was cancelled.
    ///
    /// It is false for PostgreSQL too: until the reply arrives, sqlx does not know about the transaction, and would not
    /// roll it back.
    const SURVIVES_CANCELLED_BEGIN: bool;

    /// Whether the error means that the server rejects writes. It was demoted, and its address may resolve to another
    /// server by now.
    fn rejects_writes(error: &dyn DatabaseError) -> bool;
}

/// A connection that returns to the pool when the call is done.
///
/// When the call is cancelled, the connection returns once it answers a ping. The pool opens a new one in its place if
/// it does not answer, or [must not be reused](PooledEngine::SURVIVES_CANCELLATION).
pub(crate) struct PooledConnection<D: Database> {
    connection: Option<PoolConnection<D>>,
    is_reusable: bool,
}

impl<D: PooledEngine> PooledConnection<D> {
    /// Runs one or several statements on a connection of the pool.
    pub(crate) async fn run<T>(
        pool: &Pool<D>,
        statement: impl AsyncFnOnce(&mut D::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut pooled = Self::acquire(pool).await?;
        let answer = statement(pooled.connection()).await;
        pooled.end(answer.as_ref().err());
        if let Err(error) = &answer {
            Self::on_error(pool, error);
        }
        answer
    }

    pub(crate) async fn acquire(pool: &Pool<D>) -> Result<Self, Error> {
        Ok(Self { connection: Some(pool.acquire().await?), is_reusable: D::SURVIVES_CANCELLATION })
    }

    /// Ends the call: returns the connection to the pool, or closes it if its server rejects writes.
    pub(super) fn end(&mut self, error: Option<&Error>) {
        match self.connection.take() {
            Some(connection) if error.is_some_and(rejects_writes::<D>) => drop(connection.detach()),
            connection => drop(connection),
        }
    }

    /// Pings the idle connections if the error means that one was closed. Closes them if their server rejects writes:
    /// it would answer a ping.
    pub(crate) fn on_error(pool: &Pool<D>, error: &Error) {
        if rejects_writes::<D>(error) {
            iter::from_fn(|| pool.try_acquire()).for_each(|idle| drop(idle.detach()));
        } else if is_connection_error(error) {
            Self::ping_idle(pool);
        }
    }

    /// Pings all idle connections, so that the pool drops the dead ones. A restart of the server closes all of them,
    /// and a retry must not pick the next dead one.
    fn ping_idle(pool: &Pool<D>) {
        let idle = |connection| Self { connection: Some(connection), is_reusable: true };
        // All are acquired before the first one is released.
        let idle: Vec<Self> = iter::from_fn(|| pool.try_acquire()).map(idle).collect();
        drop(idle);
    }
}

impl<D: Database> PooledConnection<D> {
    pub(super) fn connection(&mut self) -> &mut D::Connection {
        self.connection.as_deref_mut().expect("a connection that is in use has not returned to the pool")
    }

    /// Returns whether the connection returns to the pool if the call is cancelled now.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_reusable
    }

    pub(super) fn set_reusable(&mut self, is_reusable: bool) {
        self.is_reusable = is_reusable;
    }
}

/// Whether the error means that the server rejects writes.
pub(super) fn rejects_writes<D: PooledEngine>(error: &Error) -> bool {
    error.as_database_error().is_some_and(D::rejects_writes)
}

/// Returns whether an error is about the connection, and not only about the statement.
fn is_connection_error(error: &Error) -> bool {
    match error {
        // The server is shutting down, or has closed the connection and gives the reason.
        Error::Database(error) => {
            error.code().is_some_and(|code| CONNECTION_CODES.iter().any(|prefix| code.starts_with(prefix)))
        }
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => true,
        _ => false,
    }
}

impl<D: Database> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !self.is_reusable {
            return drop(connection.detach());
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let is_alive = tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.is_ok_and(|pong| pong.is_ok());
            if !is_alive {
                drop(connection.detach());
            }
        });
    }
}
