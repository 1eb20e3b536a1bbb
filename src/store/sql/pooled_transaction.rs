//! A transaction on a connection of the pool, which may be cancelled at any time.

use sqlx::{Database, Error, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::pooled_connection::{PooledConnection, PooledEngine};

/// A transaction on a connection of the pool. Dropping it rolls it back.
///
/// The connection returns to the pool only if no transaction is open on it. It is closed if sqlx does not know whether
/// one is, because a call was cancelled.
pub(crate) struct PooledTransaction<D: Database> {
    pooled: PooledConnection<D>,
    is_open: bool,
}

impl<D: PooledEngine> PooledTransaction<D> {
    /// Begins a transaction with the given statement.
    pub(crate) async fn begin(pool: &Pool<D>, statement: &'static str) -> Result<Self, Error> {
        let mut pooled = PooledConnection::acquire(pool).await?;
        pooled.set_reusable(D::SURVIVES_CANCELLED_BEGIN);
        let mut transaction = Self { pooled, is_open: true };
        D::TransactionManager::begin(transaction.connection(), Some(SqlStr::from_static(statement))).await?;
        transaction.pooled.set_reusable(D::SURVIVES_CANCELLATION);
        Ok(transaction)
    }

    /// Runs statements in a transaction, and commits if they return `true` with their answer.
    pub(super) async fn run<T>(
        pool: &Pool<D>,
        begin: &'static str,
        statements: impl AsyncFnOnce(&mut D::Connection) -> Result<(T, bool), Error>,
    ) -> Result<T, Error> {
        let ran = async {
            let mut transaction = Self::begin(pool, begin).await?;
            let answer = statements(transaction.connection()).await;
            match &answer {
                Ok((_, true)) => transaction.commit().await?,
                Ok((_, false)) => transaction.rollback().await?,
                Err(error) => transaction.abort(Some(error)).await,
            }
            answer
        };
        let answer = ran.await.inspect_err(|error| PooledConnection::on_error(pool, error));
        answer.map(|(answer, _)| answer)
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        D::TransactionManager::commit(self.connection()).await?;
        self.end(None);
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        D::TransactionManager::rollback(self.connection()).await?;
        self.end(None);
        Ok(())
    }

    /// Rolls back after an error. An error of the rollback is ignored: the first one is more specific.
    pub(crate) async fn abort(mut self, error: Option<&Error>) {
        if D::TransactionManager::rollback(self.connection()).await.is_ok() {
            self.end(error);
        }
    }

    fn end(mut self, error: Option<&Error>) {
        self.is_open = false;
        self.pooled.end(error);
    }
}

impl<D: Database> PooledTransaction<D> {
    pub(crate) fn connection(&mut self) -> &mut D::Connection {
        self.pooled.connection()
    }
}

impl<D: Database> Drop for PooledTransaction<D> {
    fn drop(&mut self) {
        // The rollback is sent before anything else on this connection. One that is closed needs none.
        if self.is_open && self.pooled.is_reusable() {
            D::TransactionManager::start_rollback(self.pooled.connection());
        }
    }
}
