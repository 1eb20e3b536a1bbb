//! The calls of a store, each one statement where the engine can.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::Error as SqlxError;

use super::SqlStore;
use super::dialect::{Dialect, Statements};
use super::read;
use super::statement::{Call, Row, Statement};
use crate::clock::Timestamp;
use crate::record::{Record, StoreKey};
use crate::store::{Entry, Outcome, Renewal, Store, StoreError};

impl<D: Dialect> Store for SqlStore<D> {
    fn name(&self) -> &'static str {
        D::STORE
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let call = Call { key: Some(key), now, ..Call::default() };
        let row = self.fetch(&self.shared.statements.load, &call).await?;
        row.map_or(Ok(None), |row| read::entry::<D>(&row))
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let data = data::<D>(&record)?;
        let row = Some(Row { record: &record, data: &data });
        let call = Call { key: Some(key), row, now, ..Call::default() };
        let Statements { clear, create, .. } = &self.shared.statements;
        if Self::is_created(self.run(create, &call).await)? {
            return Ok(true);
        }
        // What has expired leaves with all that refers to it: a row is of one session, from its beginning to its end.
        Self::is_created(self.run_all(&[clear, create], &call).await)
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let data = data::<D>(&record)?;
        let row = Some(Row { record: &record, data: &data });
        let call = Call { key: Some(key), expected: Some(expected), row, now, ..Call::default() };
        self.change(&self.shared.statements.update, &call).await
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
        self.change(&self.shared.statements.touch, &call).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = &renewal;
        let data = data::<D>(record)?;
        let row = Some(Row { record, data: &data });
        let moved = Call { new_key: Some(new), row, forward: Some(forward), ..Call::default() };
        let call = Call { key: Some(old), expected: Some(*expected), now, ..moved };
        let Statements { renew, leave, arrive, .. } = &self.shared.statements;
        match self.change(renew, &call).await? {
            Outcome::Conflict(Some(found)) if found.version == *expected && found.handle != record.handle => {}
            outcome => return Ok(outcome),
        }
        if self.run_all(&[leave, arrive], &call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.find_out(&call).await
    }

    async fn delete(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let call = Call { key: Some(key), now, ..Call::default() };
        let outcome = self.change(&self.shared.statements.delete, &call).await?;
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
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: Dialect> SqlStore<D> {
    async fn run(&self, statement: &Statement, call: &Call<'_>) -> Result<u64, SqlxError> {
        let mut tries = Tries::default();
        loop {
            match D::run(&self.shared.pool, statement, arguments::<D>(statement, call)?).await {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    async fn sweep_batch(&self, call: &Call<'_>) -> Result<u64, SqlxError> {
        let sweep = &self.shared.statements.sweep;
        if D::SWEEP_IN_TRANSACTION { self.run_all(&[sweep], call).await } else { self.run(sweep, call).await }
    }

    /// Runs statements in a transaction, up to the first that affects no row. Unless the last one did, nothing has changed.
    async fn run_all(&self, statements: &[&Statement], call: &Call<'_>) -> Result<u64, SqlxError> {
        let mut tries = Tries::default();
        loop {
            let bound = statements.iter().map(|statement| Ok((*statement, arguments::<D>(statement, call)?)));
            let bound = bound.collect::<Result<_, SqlxError>>()?;
            match D::run_all(&self.shared.pool, D::BEGIN_CALL, bound).await {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    async fn fetch(&self, statement: &Statement, call: &Call<'_>) -> Result<Option<D::Row>, StoreError> {
        let mut tries = Tries::default();
        loop {
            let arguments = arguments::<D>(statement, call).map_err(Self::failed)?;
            match D::fetch(&self.shared.pool, statement, arguments).await {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended.map_err(Self::failed),
            }
        }
    }

    /// Runs a statement that changes one row, or finds out why it does not.
    async fn change(&self, statement: &Statement, call: &Call<'_>) -> Result<Outcome, StoreError> {
        if D::ANSWERS_WITH_ROW {
            let row = self.fetch(statement, call).await?;
            let row = row.ok_or_else(|| Self::failed(SqlxError::RowNotFound))?;
            if read::has_changed::<D>(&row)? {
                return Ok(Outcome::Done);
            }
            match read::entry::<D>(&row)? {
                // The row as it was before the statement waited for another writer of it.
                Some(Entry::Live(record)) if call.expected.is_none_or(|expected| expected == record.version) => {}
                entry => return Ok(outcome(entry)),
            }
        } else if self.run(statement, call).await.map_err(Self::failed)? > 0 {
            return Ok(Outcome::Done);
        }
        self.find_out(call).await
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
    async fn find_out(&self, call: &Call<'_>) -> Result<Outcome, StoreError> {
        let row = self.fetch(&self.shared.statements.load, call).await?;
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

/// How often a statement is run that the engine undoes each time.
const MOST_TRIES: usize = 10;

/// Counts how often a statement was run that the engine has undone because others were in its way.
#[derive(Default)]
struct Tries(usize);

impl Tries {
    /// Whether a statement that ended with this error is to be run again.
    fn may_go_on<D: Dialect>(&mut self, error: &SqlxError) -> bool {
        self.0 += 1;
        let code = error.as_database_error().and_then(|error| error.code());
        self.0 < MOST_TRIES && code.is_some_and(|code| D::UNDONE.contains(&&*code))
    }
}

fn arguments<D: Dialect>(statement: &Statement, call: &Call<'_>) -> Result<D::Arguments, SqlxError> {
    let mut arguments = D::Arguments::default();
    for parameter in statement.parameters() {
        D::bind(&mut arguments, call.value::<D>(*parameter))?;
    }
    Ok(arguments)
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
