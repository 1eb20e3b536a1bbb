//! The sessions of a principal: listed, counted and ended.
//!
//! A renewal keeps the handle in the row of a session. In PostgreSQL one statement finds the rows by their handles and
//! returns those that it has deleted: after waiting for a renewal it sees the row as it is then.
//!
//! In SQLite no statement can insert forwards and return the handles, and MySQL has no `DELETE ... RETURNING`. A MySQL
//! statement that locks rows while it finds them by their handles misses a session that is renewed several times
//! meanwhile, or deadlocks with the renewal. So the rows are found without locks, then locked and deleted by their
//! keys, and those that were renewed in between are found again.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::Error as SqlxError;

use super::dialect::Dialect;
use super::executor::Attempts;
use super::pooled_connection::PooledConnection;
use super::principal_statements::Revoke;
use super::read;
use super::statement::{Call, MAX_SESSIONS, Statement};
use super::store::SqlStore;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey};
use crate::store::{Forward, StoreError};

/// The handle of a session and its key.
type Found = (Handle, StoreKey);

/// How often sessions are found again that were renewed before they could be deleted.
const MAX_SEARCHES: usize = 100;

#[expect(private_bounds, reason = "only the engines of this crate implement it")]
impl<D: Dialect> SqlStore<D> {
    pub(super) async fn list_sessions(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let call = Call { principal: Some(principal), after, limit, now, ..Call::default() };
        let rows = self.fetch_all(&self.inner.statements.principals.list, &call).await.map_err(Self::failed)?;
        rows.iter().map(read::live::<D>).collect()
    }

    pub(super) async fn count_sessions(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let call = Call { principal: Some(principal), now, ..Call::default() };
        let row = self.executor().fetch(&self.inner.statements.principals.count, &call).await.map_err(Self::failed)?;
        read::count::<D>(&row.ok_or_else(|| Self::failed(SqlxError::RowNotFound))?)
    }

    pub(super) async fn revoke_sessions(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Option<&Forward>,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let mut removed = Vec::new();
        for sessions in sessions.chunks(MAX_SESSIONS) {
            let call = Call { principal: Some(principal), sessions, forward, now, ..Call::default() };
            match &self.inner.statements.principals.revoke {
                Revoke::AtOnce(delete) => {
                    let rows = self.fetch_all(delete.for_call(&call), &call).await.map_err(Self::failed)?;
                    removed.extend(rows.iter().map(read::handle::<D>).collect::<Result<Vec<_>, _>>()?);
                }
                Revoke::ByKey { find, lock, delete } => {
                    removed.extend(self.revoke_by_key(find, [lock, delete.for_call(&call)], &call).await?);
                }
            }
        }
        Ok(removed)
    }

    async fn revoke_by_key(
        &self,
        find: &Statement,
        remove: [&Statement; 2],
        call: &Call<'_>,
    ) -> Result<Vec<Handle>, StoreError> {
        let mut removed = Vec::new();
        for _ in 0..MAX_SEARCHES {
            let found = self.fetch_all(find, call).await.map_err(Self::failed)?;
            let found = found.iter().map(read::handle_and_key::<D>).collect::<Result<Vec<_>, _>>()?;
            let there = found.len();
            let now_removed = if there == 0 { found } else { self.remove_found(remove, call, &found).await? };
            let are_all = now_removed.len() == there;
            removed.extend(now_removed.into_iter().map(|(handle, _)| handle));
            if are_all {
                return Ok(removed);
            }
        }
        Err(StoreError::failed(D::STORE, AlwaysMoving))
    }

    /// Deletes the sessions that still have the keys under which they were found, and returns them.
    async fn remove_found(
        &self,
        remove: [&Statement; 2],
        call: &Call<'_>,
        found: &[Found],
    ) -> Result<Vec<Found>, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            let error = match self.remove_once(remove, call, found).await {
                Err(error) => error,
                removed => return removed.map_err(Self::failed),
            };
            PooledConnection::on_error(&self.inner.pool, &error);
            if !attempts.should_retry::<D>(&error).await {
                return Err(Self::failed(error));
            }
        }
    }

    async fn remove_once(
        &self,
        remove: [&Statement; 2],
        call: &Call<'_>,
        found: &[Found],
    ) -> Result<Vec<Found>, SqlxError> {
        let mut transaction = self.begin().await?;
        let removed = self.remove_on(transaction.connection(), remove, call, found).await;
        match &removed {
            Ok(removed) if !removed.is_empty() => transaction.commit().await?,
            Ok(_) => transaction.rollback().await?,
            Err(error) => transaction.abort(Some(error)).await,
        }
        removed
    }

    async fn remove_on(
        &self,
        connection: &mut D::Connection,
        [lock, remove]: [&Statement; 2],
        call: &Call<'_>,
        found: &[Found],
    ) -> Result<Vec<Found>, SqlxError> {
        let mut executor = self.executor_on(connection);
        let keys = |found: &[Found]| found.iter().map(|(_, key)| *key).collect::<Vec<_>>();
        let of_keys = Call { keys: &keys(found), ..*call };
        let rows = executor.fetch_all(lock, &of_keys).await?;
        let locked = rows.iter().map(read::handle_and_key::<D>).collect::<Result<Vec<_>, _>>();
        let locked = locked.map_err(|error| SqlxError::Decode(error.into()))?;
        if !locked.is_empty() {
            let of_keys = Call { keys: &keys(&locked), ..*call };
            executor.run(remove, &of_keys).await?;
        }
        Ok(locked)
    }

    async fn fetch_all(&self, statement: &Statement, call: &Call<'_>) -> Result<Vec<D::Row>, SqlxError> {
        self.executor().fetch_all(statement, call).await
    }
}

/// Sessions were renewed each time before they could be deleted.
#[derive(Debug)]
struct AlwaysMoving;

impl fmt::Display for AlwaysMoving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sessions were renewed before each of {MAX_SEARCHES} attempts to delete them")
    }
}

impl StdError for AlwaysMoving {}
