//! The calls of a store, each one statement where the engine can.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::Error as SqlxError;

use super::SqlStore;
use super::dialect::{Dialect, Statements};
use super::place::Place;
use super::read;
use super::statement::{Call, Row, Statement};
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey};
use crate::store::{Entry, Outcome, Renewal, Store, StoreError};

impl<D: Dialect> Store for SqlStore<D> {
    const FINDS_PRINCIPALS: bool = true;

    fn name(&self) -> &'static str {
        D::STORE
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let call = Call { key: Some(key), now, ..Call::default() };
        let place = &mut Place::<D>::Pool(&self.shared.pool);
        let row = place.fetch(&self.shared.statements.load, &call).await.map_err(Self::failed)?;
        row.map_or(Ok(None), |row| read::entry::<D>(&row))
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.create_at(&mut Place::Pool(&self.shared.pool), key, &record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.update_at(&mut Place::Pool(&self.shared.pool), key, expected, &record, now).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let times = Call { last_seen_now: last_seen_at, expires_now: expires_at, ..Call::default() };
        let call = Call { key: Some(key), expected: Some(expected), now, ..times };
        self.change(&mut Place::Pool(&self.shared.pool), &self.shared.statements.touch, &call).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.renew_at(&mut Place::Pool(&self.shared.pool), &renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let call = Call { key: Some(key), now, ..Call::default() };
        let place = &mut Place::Pool(&self.shared.pool);
        let outcome = self.change(place, &self.shared.statements.delete, &call).await?;
        // The session that was to be deleted had gone before another came in its place.
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

    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.list_of(principal, after, limit, now).await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.count_of(principal, now).await
    }

    async fn revoke(&self, principal: &str, sessions: &[Handle], now: Timestamp) -> Result<Vec<Handle>, StoreError> {
        self.revoke_of(principal, sessions, now).await
    }
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: Dialect> SqlStore<D> {
    pub(super) async fn create_at(
        &self,
        place: &mut Place<'_, D>,
        key: &StoreKey,
        record: &Record,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let call = Call { key: Some(key), row, now, ..Call::default() };
        let Statements { clear, create, .. } = &self.shared.statements;
        if Self::is_created(place.run(create, &call).await)? {
            return Ok(true);
        }
        // What has expired leaves with all that refers to it: a row is of one session, from its beginning to its end.
        Self::is_created(place.run_all(&[clear, create], &call).await)
    }

    pub(super) async fn update_at(
        &self,
        place: &mut Place<'_, D>,
        key: &StoreKey,
        expected: u64,
        record: &Record,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let call = Call { key: Some(key), expected: Some(expected), row, now, ..Call::default() };
        self.change(place, &self.shared.statements.update, &call).await
    }

    pub(super) async fn renew_at(
        &self,
        place: &mut Place<'_, D>,
        renewal: &Renewal,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let moved = Call { new_key: Some(new), row, forward: Some(forward), ..Call::default() };
        let call = Call { key: Some(old), expected: Some(*expected), now, ..moved };
        let Statements { renew, leave, arrive, .. } = &self.shared.statements;
        match self.change(place, renew, &call).await? {
            Outcome::Conflict(Some(found)) if found.version == *expected && found.handle != record.handle => {}
            outcome => return Ok(outcome),
        }
        if place.run_all(&[leave, arrive], &call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.find_out(place, &call).await
    }

    async fn sweep_batch(&self, call: &Call<'_>) -> Result<u64, SqlxError> {
        let (place, sweep) = (&mut Place::<D>::Pool(&self.shared.pool), &self.shared.statements.sweep);
        if D::SWEEP_IN_TRANSACTION { place.run_all(&[sweep], call).await } else { place.run(sweep, call).await }
    }

    /// Runs a statement that changes one row, or finds out why it does not.
    async fn change(
        &self,
        place: &mut Place<'_, D>,
        statement: &Statement,
        call: &Call<'_>,
    ) -> Result<Outcome, StoreError> {
        if D::ANSWERS_WITH_ROW {
            let row = place.fetch(statement, call).await.map_err(Self::failed)?;
            let row = row.ok_or_else(|| Self::failed(SqlxError::RowNotFound))?;
            if read::has_changed::<D>(&row)? {
                return Ok(Outcome::Done);
            }
            match read::entry::<D>(&row)? {
                // The row as it was before the statement waited for another writer of it.
                Some(Entry::Live(record)) if call.expected.is_none_or(|expected| expected == record.version) => {}
                entry => return Ok(outcome(entry)),
            }
        } else if place.run(statement, call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.find_out(place, call).await
    }

    /// Whether an `INSERT` took place. An engine may let it fail because its key is there.
    fn is_created(inserted: Result<u64, SqlxError>) -> Result<bool, StoreError> {
        let is_taken = |error: &SqlxError| error.as_database_error().is_some_and(|error| error.is_unique_violation());
        match inserted {
            Err(error) if is_taken(&error) => Ok(false),
            inserted => Ok(inserted.map_err(Self::failed)? > 0),
        }
    }

    /// Finds out why a call has changed nothing.
    async fn find_out(&self, place: &mut Place<'_, D>, call: &Call<'_>) -> Result<Outcome, StoreError> {
        let row = place.fetch(&self.shared.statements.load, call).await.map_err(Self::failed)?;
        row.map_or(Ok(Outcome::Gone), |row| Ok(outcome(read::entry::<D>(&row)?)))
    }
}

/// How a call ends that has found this and changed nothing.
fn outcome(entry: Option<Entry>) -> Outcome {
    match entry {
        Some(Entry::Live(record)) => Outcome::Conflict(Some(record)),
        Some(Entry::Retired(forward)) => Outcome::Retired(forward),
        None => Outcome::Gone,
    }
}

/// Returns the values of a record as the text that is stored.
fn data<D: Dialect>(record: &Record) -> Result<String, StoreError> {
    record.values.to_json().ok_or_else(|| StoreError::failed(D::STORE, NotJson))
}

/// A record was made by hand.
#[derive(Debug)]
struct NotJson;

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the record is not JSON")
    }
}

impl StdError for NotJson {}
