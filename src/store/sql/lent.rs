//! A connection of the pool, for one statement.

use std::iter;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Database, Error, Pool, Transaction};

use super::engine::Engine;

/// How long a connection may take to answer what nobody waits for any more. A pool by itself would wait for as long as the
/// operating system believes in the connection, and could lend nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the codes of such errors begin: of PostgreSQL, of every engine, and of MySQL and MariaDB, which for a connection that
/// lay idle for too long has only that of a general error.
const ENDED: [&str; 4] = ["57P", "08", "70100", "HY000"];

/// A connection that goes back to the pool when the answer has come. When the call is dropped before, the pool gets it back
/// once it has answered, and a new one in its place if it does not, or [cannot](Engine::OUTLIVES_DROPPED_CALLS) be used.
pub(crate) struct Lent<D: Database> {
    connection: Option<PoolConnection<D>>,
    may_go_back: bool,
}

/// Begins a transaction that has a connection for itself. It comes to its end also when this is dropped before: sqlx would
/// give a connection of MySQL back without knowing that it is in a transaction.
pub(crate) async fn begin<D: Engine>(
    pool: &Pool<D>,
    statement: &'static str,
) -> Result<Transaction<'static, D>, Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.map_err(|_| Error::WorkerCrashed)?
}

impl<D: Engine> Lent<D> {
    /// Runs a statement, or some, on a connection of the pool.
    pub(crate) async fn run<T>(
        pool: &Pool<D>,
        statement: impl AsyncFnOnce(&mut D::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut lent = Self::of(pool).await?;
        let answer = statement(lent.connection()?).await;
        lent.give_back(pool, answer.as_ref().err());
        answer
    }

    pub(crate) async fn of(pool: &Pool<D>) -> Result<Self, Error> {
        Ok(Self { connection: Some(pool.acquire().await?), may_go_back: D::OUTLIVES_DROPPED_CALLS })
    }

    pub(crate) fn connection(&mut self) -> Result<&mut D::Connection, Error> {
        self.connection.as_deref_mut().ok_or(Error::PoolClosed)
    }

    /// Gives the connection back when it has answered, perhaps with an error.
    pub(crate) fn give_back(mut self, pool: &Pool<D>, error: Option<&Error>) {
        self.connection = None;
        if let Some(error) = error {
            Self::note_error(pool, error);
        }
    }

    /// Takes note of an error on a connection that has gone back.
    pub(crate) fn note_error(pool: &Pool<D>, error: &Error) {
        if is_of_connection(error) {
            Self::test_idle(pool);
        }
    }

    /// Lets the connections that lie idle show whether they are alive. What happened to one has often happened to all, as
    /// when the server was restarted, and a call that is made again must not come upon the next dead one.
    fn test_idle(pool: &Pool<D>) {
        let idle = |connection| Self { connection: Some(connection), may_go_back: true };
        // All are taken before the first comes back.
        let idle: Vec<Self> = iter::from_fn(|| pool.try_acquire()).map(idle).collect();
        drop(idle);
    }
}

/// Whether an error says something about the connection, and not only about the statement.
fn is_of_connection(error: &Error) -> bool {
    match error {
        // The server is being stopped, or has ended the connection and says why.
        Error::Database(error) => error.code().is_some_and(|code| ENDED.iter().any(|begin| code.starts_with(begin))),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => true,
        _ => false,
    }
}

impl<D: Database> Drop for Lent<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !self.may_go_back {
            return drop(connection.detach());
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let is_well = tokio::time::timeout(PATIENCE, connection.ping()).await.is_ok_and(|pong| pong.is_ok());
            if !is_well {
                drop(connection.detach());
            }
        });
    }
}
