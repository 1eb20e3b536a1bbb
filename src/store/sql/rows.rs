//! Rows of the application's tables beside the sessions.

use std::any::Any;

use sqlx::{Connection as _, Error as SqlxError, Transaction};

use super::SqlStore;
use super::dialect::Dialect;
use super::lent::{self, Lent};
use super::place::{Place, Tries, arguments, is_undone};
use super::read;
use super::statement::{Call, Statement};
use super::table::Table;
use crate::clock::Timestamp;
use crate::record::{Handle, StoreKey};
use crate::store::{Entry, Outcome, RecordCall, StoreError};

/// Rows of one table that are to be written.
pub(crate) struct Batch<'b> {
    /// Of several, the next is run if those before it have affected fewer rows than there are.
    pub(crate) statements: Vec<&'b Statement>,
    pub(crate) rows: Option<&'b str>,
    pub(crate) count: u64,
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: Dialect> SqlStore<D> {
    /// The table of the sessions.
    pub(crate) fn table(&self) -> &Table {
        &self.shared.table
    }

    /// Whether `store` is a clone of this one.
    pub(crate) fn is_same_as(&self, store: &dyn Any) -> bool {
        store.downcast_ref::<Self>().is_some_and(|store| std::sync::Arc::ptr_eq(&self.shared, &store.shared))
    }

    /// Asks the database something that has nothing to do with a session.
    pub(crate) async fn ask(&self, question: String) -> Result<Vec<D::Row>, SqlxError> {
        self.rows(&Statement::new::<D>(&question), None).await
    }

    /// Runs a statement about a session and returns all of its rows.
    pub(crate) async fn rows(&self, statement: &Statement, session: Option<&Handle>) -> Result<Vec<D::Row>, SqlxError> {
        let call = Call { session, ..Call::default() };
        Place::<D>::Pool(&self.shared.pool).fetch_all(statement, &call).await
    }

    /// Makes a call and writes rows of its session in one transaction. When the call does not take place, no row is written.
    pub(crate) async fn write_with_rows(
        &self,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let mut tries = Tries::default();
        loop {
            let mut lent = Lent::of(&self.shared.pool).await.map_err(Self::failed)?;
            let written = self.write_on(lent.connection().map_err(Self::failed)?, call, batches, now).await;
            let error = written.as_ref().err().and_then(sqlx_error);
            let (is_undone, may_go_on) =
                error.map_or((false, false), |error| (is_undone::<D>(error), tries.may_go_on::<D>(error)));
            lent.give_back(&self.shared.pool, error);
            match written {
                Err(_) if may_go_on => {}
                Err(error) if is_undone => return Err(StoreError::contended(D::STORE, error)),
                ended => return ended,
            }
        }
    }

    async fn write_on(
        &self,
        connection: &mut D::Connection,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let mut transaction = connection.begin_with(D::BEGIN_CALL).await.map_err(Self::failed)?;
        let written = self.write_all(&mut transaction, call, batches, now).await;
        match written {
            Ok(Outcome::Done) => transaction.commit().await.map_err(Self::refused)?,
            Ok(_) => transaction.rollback().await.map_err(Self::failed)?,
            // The error that led here says more than one of the way back.
            Err(_) => drop(transaction.rollback().await),
        }
        written
    }

    /// Begins a transaction in which the row of a session is locked.
    pub(crate) async fn lock(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(Box<Transaction<'static, D>>, Option<Entry>), StoreError> {
        let (transaction, row) = self.begin_locked(key, now).await.map_err(|error| {
            Lent::note_error(&self.shared.pool, &error);
            Self::failed(error)
        })?;
        let entry = row.map_or(Ok(None), |row| read::entry::<D>(&row))?;
        Ok((Box::new(transaction), entry))
    }

    async fn begin_locked(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(Transaction<'static, D>, Option<D::Row>), SqlxError> {
        let mut transaction = lent::begin(&self.shared.pool, D::BEGIN_CALL).await?;
        let call = Call { key: Some(key), now, ..Call::default() };
        let place = &mut Place::<D>::Transaction(&mut transaction);
        let row = place.fetch(&self.shared.statements.lock, &call).await?;
        Ok((transaction, row))
    }

    /// Does on one connection what [`rows`](Self::rows) does.
    pub(crate) async fn rows_on(
        connection: &mut D::Connection,
        statement: &Statement,
        session: &Handle,
    ) -> Result<Vec<D::Row>, SqlxError> {
        let call = Call { session: Some(session), ..Call::default() };
        D::fetch_all_on(connection, statement, arguments::<D>(statement, &call)?).await
    }

    /// Makes a call and writes rows of its session in a transaction that the caller has begun and ends.
    pub(crate) async fn write_all(
        &self,
        connection: &mut D::Connection,
        call: &RecordCall<'_>,
        batches: &[Batch<'_>],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let outcome = self.call_at(&mut Place::Transaction(connection), call, now).await?;
        if outcome != Outcome::Done {
            return Ok(outcome);
        }
        for batch in batches {
            let of_rows = Call { session: Some(&call.record().handle), rows: batch.rows, ..Call::default() };
            let mut affected = 0;
            for statement in &batch.statements {
                let arguments = arguments::<D>(statement, &of_rows).map_err(Self::failed)?;
                affected += D::run_on(connection, statement, arguments).await.map_err(Self::refused)?;
                if affected >= batch.count {
                    break;
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn call_at(
        &self,
        place: &mut Place<'_, D>,
        call: &RecordCall<'_>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        match call {
            RecordCall::Create { key, record } => {
                let is_created = self.create_at(place, key, record, now).await?;
                Ok(if is_created { Outcome::Done } else { Outcome::Conflict(None) })
            }
            RecordCall::Update { key, expected, record } => self.update_at(place, key, *expected, record, now).await,
            RecordCall::Renew(renewal) => self.renew_at(place, renewal, now).await,
        }
    }

    /// Makes the error of rows that were not written, perhaps because a rule of their table forbids them.
    pub(crate) fn refused(error: SqlxError) -> StoreError {
        if is_refusal::<D>(&error) { StoreError::constraint(D::STORE, error) } else { Self::failed(error) }
    }
}

fn sqlx_error(error: &StoreError) -> Option<&SqlxError> {
    std::error::Error::source(error)?.downcast_ref()
}

fn is_refusal<D: Dialect>(error: &SqlxError) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let is_rule = error.is_unique_violation() || error.is_foreign_key_violation() || error.is_check_violation();
    is_rule || error.code().is_some_and(|code| D::is_refusal(&code))
}
