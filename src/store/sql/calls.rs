//! The calls of a store, each of one statement where the engine can do it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::Error as SqlxError;

use super::dialect::Dialect;
use super::executor::Executor;
use super::read;
use super::statement::{Call, Row, Statement};
use super::statements::Statements;
use super::store::SqlStore;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey, Version};
use crate::store::{Entry, FindPrincipals, Forward, Outcome, PrincipalFinder, Renewal, Store, StoreError, Touch};

impl<D: Dialect> Store for SqlStore<D> {
    fn name(&self) -> &'static str {
        D::STORE
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let call = Call { key: Some(key), now, ..Call::default() };
        let executor = &mut self.executor();
        let row = executor.fetch(&self.inner.statements.load, &call).await.map_err(Self::failed)?;
        row.map_or(Ok(None), |row| read::entry::<D>(&row))
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let executor = &mut self.executor();
        match (expected, entry) {
            (None, Entry::Live(record)) => self.create_on(executor, key, &record, now).await,
            (Some(expected), Entry::Live(record)) => {
                Ok(self.update_on(executor, key, expected, &record, now).await? == Outcome::Done)
            }
            (None, Entry::Retired(forward)) => {
                let call = Call { key: Some(key), forward: Some(&forward), now, ..Call::default() };
                self.insert(executor, &self.inner.statements.create_forward, &call).await
            }
            (expected, Entry::Retired(forward)) => {
                let call = Call { key: Some(key), expected, forward: Some(&forward), now, ..Call::default() };
                Ok(self.change(executor, &self.inner.statements.retire, &call).await? == Outcome::Done)
            }
        }
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.create_on(&mut self.executor(), key, &record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.update_on(&mut self.executor(), key, expected, &record, now).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let Touch { expected, last_seen_at, expires_at } = touch;
        let times = Call { last_seen_now: last_seen_at, expires_now: expires_at, ..Call::default() };
        let call = Call { key: Some(key), expected: Some(expected), now, ..times };
        self.change(&mut self.executor(), &self.inner.statements.touch, &call).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.renew_on(&mut self.executor(), &renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let call = Call { key: Some(key), forward: forward.as_ref(), now, ..Call::default() };
        let delete = self.inner.statements.delete.for_call(&call);
        let outcome = self.change(&mut self.executor(), delete, &call).await?;
        // The session was gone already, and another one was created under the key since.
        Ok(if let Outcome::Conflict(_) = outcome { Outcome::Gone } else { outcome })
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let batch = D::SWEEP_BATCH.min(limit - removed);
            let call = Call { now, limit: batch, ..Call::default() };
            let swept = self.sweep_batch(&call).await.map_err(Self::failed)?;
            removed += usize::try_from(swept).unwrap_or(batch);
            if swept < batch as u64 {
                break;
            }
        }
        Ok(removed)
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Some(PrincipalFinder::of(self))
    }
}

impl<D: Dialect> FindPrincipals for SqlStore<D> {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.list_sessions(principal, after, limit, now).await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.count_sessions(principal, now).await
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        self.revoke_sessions(principal, sessions, Some(&forward), now).await
    }
}

#[expect(private_bounds, reason = "only the engines of this crate implement it")]
impl<D: Dialect> SqlStore<D> {
    pub(super) async fn create_on(
        &self,
        executor: &mut Executor<'_, D>,
        key: &StoreKey,
        record: &Record,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let call = Call { key: Some(key), row, now, ..Call::default() };
        self.insert(executor, &self.inner.statements.create, &call).await
    }

    /// Inserts a row under a free key.
    async fn insert(
        &self,
        executor: &mut Executor<'_, D>,
        insert: &Statement,
        call: &Call<'_>,
    ) -> Result<bool, StoreError> {
        if Self::is_created(executor.run(insert, call).await)? {
            return Ok(true);
        }
        // The expired row is deleted, together with all that refers to it, and never reused for another session.
        Self::is_created(executor.run_all(&[&self.inner.statements.delete_expired, insert], call).await)
    }

    pub(super) async fn update_on(
        &self,
        executor: &mut Executor<'_, D>,
        key: &StoreKey,
        expected: Version,
        record: &Record,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let call = Call { key: Some(key), expected: Some(expected), row, now, ..Call::default() };
        self.change(executor, &self.inner.statements.update, &call).await
    }

    pub(super) async fn renew_on(
        &self,
        executor: &mut Executor<'_, D>,
        renewal: &Renewal,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let moved = Call { new_key: Some(new), row, forward: Some(forward), ..Call::default() };
        let call = Call { key: Some(old), expected: Some(*expected), now, ..moved };
        let Statements { renew, delete_old, insert_new, .. } = &self.inner.statements;
        match self.change(executor, renew, &call).await? {
            Outcome::Conflict(Some(found)) if found.version == *expected && found.handle != record.handle => {}
            outcome => return Ok(outcome),
        }
        if executor.run_all(&[delete_old, insert_new], &call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.why_unchanged(executor, &call).await
    }

    async fn sweep_batch(&self, call: &Call<'_>) -> Result<u64, SqlxError> {
        let (executor, sweep) = (&mut self.executor(), &self.inner.statements.sweep);
        if D::SWEEP_IN_TRANSACTION { executor.run_all(&[sweep], call).await } else { executor.run(sweep, call).await }
    }

    /// Runs a statement that changes one row, and determines the reason if it changes none.
    async fn change(
        &self,
        executor: &mut Executor<'_, D>,
        statement: &Statement,
        call: &Call<'_>,
    ) -> Result<Outcome, StoreError> {
        if D::RETURNS_ROW {
            let row = executor.fetch(statement, call).await.map_err(Self::failed)?;
            let row = row.ok_or_else(|| Self::failed(SqlxError::RowNotFound))?;
            if read::has_changed::<D>(&row)? {
                return Ok(Outcome::Done);
            }
            match read::entry::<D>(&row)? {
                // The row as it was before the statement waited for another writer.
                Some(Entry::Live(record)) if call.expected.is_none_or(|expected| expected == record.version) => {}
                entry => return Ok(outcome(entry)),
            }
        } else if executor.run(statement, call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.why_unchanged(executor, call).await
    }

    /// Returns whether an `INSERT` took place. In some engines it fails if the key is taken.
    fn is_created(inserted: Result<u64, SqlxError>) -> Result<bool, StoreError> {
        let is_taken = |error: &SqlxError| error.as_database_error().is_some_and(|error| error.is_unique_violation());
        match inserted {
            Err(error) if is_taken(&error) => Ok(false),
            inserted => Ok(inserted.map_err(Self::failed)? > 0),
        }
    }

    /// Determines why a statement changed no row.
    async fn why_unchanged(&self, executor: &mut Executor<'_, D>, call: &Call<'_>) -> Result<Outcome, StoreError> {
        let row = executor.fetch(&self.inner.statements.load, call).await.map_err(Self::failed)?;
        row.map_or(Ok(Outcome::Gone), |row| Ok(outcome(read::entry::<D>(&row)?)))
    }
}

/// Returns the outcome of a call that found this entry and changed nothing.
fn outcome(entry: Option<Entry>) -> Outcome {
    match entry {
        Some(Entry::Live(record)) => Outcome::Conflict(Some(record)),
        Some(Entry::Retired(forward)) => Outcome::Retired(forward),
        None => Outcome::Gone,
    }
}

/// Returns the values of a record as JSON text.
fn data<D: Dialect>(record: &Record) -> Result<String, StoreError> {
    record.values.to_json().ok_or_else(|| StoreError::failed(D::STORE, NotJson))
}

/// The values of a record that was made by hand are not JSON.
#[derive(Debug)]
struct NotJson;

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the record is not JSON")
    }
}

impl StdError for NotJson {}
