//! A connection of the pool, for one statement.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Database, Error, Pool};

/// How long a connection may take to answer what nobody waits for any more. A pool by itself would wait for as long as the
/// operating system believes in the connection, and could lend nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that goes back to the pool when the answer has come. When the call is dropped before, the pool gets it back
/// once it has answered, and a new one in its place if it does not.
pub(crate) struct Lent<D: Database>(Option<PoolConnection<D>>);

impl<D: Database> Lent<D> {
    /// Runs a statement, or some, on a connection of the pool.
    pub(crate) async fn run<T>(
        pool: &Pool<D>,
        statement: impl AsyncFnOnce(&mut D::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut lent = Self(Some(pool.acquire().await?));
        let Some(connection) = &mut lent.0 else { return Err(Error::PoolClosed) };
        let answer = statement(connection).await;
        lent.0 = None;
        answer
    }
}

impl<D: Database> Drop for Lent<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let is_well = tokio::time::timeout(PATIENCE, connection.ping()).await.is_ok_and(|pong| pong.is_ok());
            if !is_well {
                drop(connection.detach());
            }
        });
    }
}
