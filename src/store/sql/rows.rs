//! Rows of the application's tables, written together with a session.

use std::any::Any;

use sqlx::Error as SqlxError;

use super::dialect::Dialect;
use super::executor::{Attempts, Executor};
use super::pooled_connection::PooledConnection;
use super::pooled_transaction::PooledTransaction;
use super::read;
use super::statement::{Call, Statement};
use super::store::SqlStore;
use super::table::Table;
use crate::clock::Timestamp;
use crate::record::StoreKey;
use crate::store::{Entry, Outcome, RecordCall, StoreError};

/// Rows of one table to write.
pub(crate) struct Batch<'b> {
    /// Each runs only if those before it affected fewer than `count` rows.
    pub(crate) statements: Vec<&'b Statement>,
    pub(crate) rows: Option<&'b str>,
    pub(crate) count: u64,
}

#[expect(private_bounds, reason = "only the engines of this crate implement it")]
impl<D: Dialect> SqlStore<D> {
    /// The table of the sessions.
    pub(crate) fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Returns whether `store` is a clone of this one.
    pub(crate) fn is_same_as(&self, store: &dyn Any) -> bool {
        store.downcast_ref::<Self>().is_some_and(|store| std::sync::Arc::ptr_eq(&self.inner, &store.inner))
    }

    /// Runs SQL without parameters and returns all rows.
    pub(crate) async fn query(&self, sql: String) -> Result<Vec<D::Row>, SqlxError> {
        self.fetch_rows(&Statement::new::<D>(&sql), &Call::default()).await
    }

    /// Runs a statement and returns all of its rows.
    pub(crate) async fn fetch_rows(&self, statement: &Statement, call: &Call<'_>) -> Result<Vec<D::Row>, SqlxError> {
        self.executor().fetch_all(statement, call).await
    }

    /// Makes a call and writes rows of its session in one transaction. Writes no row if the call does not take place.
    pub(crate) async fn write_with_rows(
        &self,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            let transaction = self.begin().await.map_err(Self::failed);
            let written = match transaction {
                Ok(transaction) => self.write_and_end(transaction, call, batches, now).await,
                Err(error) => Err(error),
            };
            let error = written.as_ref().err().and_then(sqlx_error);
            let Some(error) = error else { return written };
            PooledConnection::on_error(&self.inner.pool, error);
            if !attempts.should_retry::<D>(error).await {
                return written;
            }
        }
    }

    /// Makes a call and writes rows of its session in a transaction, which it ends: with a commit if the call was
    /// [`Outcome::Done`].
    pub(crate) async fn write_and_end(
        &self,
        mut transaction: PooledTransaction<D>,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let written = self.write_all(transaction.connection(), call, batches, now).await;
        match &written {
            Ok(Outcome::Done) => transaction.commit().await.map_err(Self::write_error)?,
            Ok(_) => transaction.rollback().await.map_err(Self::failed)?,
            Err(error) => transaction.abort(sqlx_error(error)).await,
        }
        written
    }

    /// Begins a transaction in which the row of a session is locked.
    pub(crate) async fn lock(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(Box<PooledTransaction<D>>, Option<Entry>), StoreError> {
        let mut attempts = Attempts::default();
        let (transaction, row) = loop {
            let error = match self.begin_locked(key, now).await {
                Ok(locked) => break locked,
                Err(error) => error,
            };
            PooledConnection::on_error(&self.inner.pool, &error);
            if !attempts.should_retry::<D>(&error).await {
                return Err(Self::failed(error));
            }
        };
        let entry = row.map_or(Ok(None), |row| read::entry::<D>(&row))?;
        Ok((Box::new(transaction), entry))
    }

    async fn begin_locked(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(PooledTransaction<D>, Option<D::Row>), SqlxError> {
        let mut transaction = self.begin().await?;
        let call = Call { key: Some(key), now, ..Call::default() };
        let row = self.executor_on(transaction.connection()).fetch(&self.inner.statements.lock, &call).await?;
        Ok((transaction, row))
    }

    /// Begins a transaction on sessions.
    pub(super) async fn begin(&self) -> Result<PooledTransaction<D>, SqlxError> {
        PooledTransaction::begin(&self.inner.pool, D::BEGIN_CALL).await
    }

    /// Runs [`fetch_rows`](Self::fetch_rows) on a given connection.
    pub(crate) async fn fetch_rows_on(
        &self,
        connection: &mut D::Connection,
        statement: &Statement,
        call: &Call<'_>,
    ) -> Result<Vec<D::Row>, SqlxError> {
        self.executor_on(connection).fetch_all(statement, call).await
    }

    /// Makes a call and writes rows of its session in the caller's transaction.
    async fn write_all(
        &self,
        connection: &mut D::Connection,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let executor = &mut self.executor_on(connection);
        let outcome = self.call_on(executor, call, now).await?;
        if outcome != Outcome::Done {
            return Ok(outcome);
        }
        for batch in batches {
            let of_rows = Call { session: Some(&call.record().handle), rows: batch.rows, ..Call::default() };
            let mut affected = 0;
            for statement in &batch.statements {
                affected += executor.run(statement, &of_rows).await.map_err(Self::write_error)?;
                if affected >= batch.count {
                    break;
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn call_on(
        &self,
        executor: &mut Executor<'_, D>,
        call: &RecordCall<'_>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        match call {
            RecordCall::Create { key, record } => {
                let is_created = self.create_on(executor, key, record, now).await?;
                Ok(if is_created { Outcome::Done } else { Outcome::Conflict(None) })
            }
            RecordCall::Update { key, expected, record } => self.update_on(executor, key, *expected, record, now).await,
            RecordCall::Renew(renewal) => self.renew_on(executor, renewal, now).await,
        }
    }

    /// Returns the error for rows that were not written, for example because of a constraint.
    pub(crate) fn write_error(error: SqlxError) -> StoreError {
        if is_constraint_violation::<D>(&error) { StoreError::constraint(D::STORE, error) } else { Self::failed(error) }
    }
}

fn sqlx_error(error: &StoreError) -> Option<&SqlxError> {
    std::error::Error::source(error)?.downcast_ref()
}

fn is_constraint_violation<D: Dialect>(error: &SqlxError) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let is_rule = error.is_unique_violation() || error.is_foreign_key_violation() || error.is_check_violation();
    is_rule || error.code().is_some_and(|code| D::is_constraint_violation(&code))
}
