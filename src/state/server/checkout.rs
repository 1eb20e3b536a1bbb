//! Checkout: a transaction that takes the rows of a part together with the application's own writes.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sqlx::Database;

use super::super::config::{Config, State};
use super::super::loaded::{ClientId, Loaded, StoredSession};
use super::super::replay::replay_onto;
use super::super::retry::{MAX_ATTEMPTS, is_store_failure};
use super::super::work::SharedWork;
use super::conflict::successor;
use super::records::{Found, Records};
use super::write::next_record;
use crate::error::Error;
use crate::part::{Mapped, MappedPart as _, RowDialect};
use crate::record::Record;
use crate::record::external::Medium;
use crate::record::id::SessionId;
use crate::store::sql::PooledTransaction;
use crate::store::{Answer, Outcome, RecordCall, StoreError};

/// Transaction that holds the lock on a session's row.
pub(crate) struct Checkout<D: Database> {
    pub(crate) transaction: Box<PooledTransaction<D>>,
    mapped: Mapped<D>,
    id: SessionId,
    /// The record in the locked row.
    record: Arc<Record>,
    /// The rows of the part, as its JSON text.
    rows: Vec<u8>,
}

impl<D: RowDialect> Checkout<D> {
    /// Locks the row of a session and reads the rows of a part. Returns `None` if there are none. Follows renewals of
    /// the session. Retries once if the store fails.
    pub(crate) async fn begin(config: &Config, mapped: &Mapped<D>, id: SessionId) -> Result<Option<Self>, Error> {
        match Self::begin_once(config, mapped, id.clone()).await {
            Err(error) if is_store_failure(&error) => Self::begin_once(config, mapped, id).await,
            ended => ended,
        }
    }

    async fn begin_once(config: &Config, mapped: &Mapped<D>, mut id: SessionId) -> Result<Option<Self>, Error> {
        let State::Server(server) = &config.state else { return Ok(None) };
        for _ in 0..MAX_ATTEMPTS {
            let now = config.now();
            let (transaction, entry) = in_time(config, "lock", mapped.lock(id.store_key(), now)).await?;
            match entry.map(Found::from) {
                Some(Found::Live(record)) => {
                    let record = Records { config, server }.open(&id, record)?;
                    let is_expired = config.timeouts.expiry(&record, now).is_some();
                    return if is_expired {
                        Ok(None)
                    } else {
                        Self::read(config, mapped, transaction, id, record).await
                    };
                }
                Some(Found::Retired(forward)) => match successor(config.id_domain, &id, &forward) {
                    Some(successor) => id = successor,
                    None => return Ok(None),
                },
                None => return Ok(None),
            }
        }
        Err(Error::conflict())
    }

    async fn read(
        config: &Config,
        mapped: &Mapped<D>,
        mut transaction: Box<PooledTransaction<D>>,
        id: SessionId,
        record: Arc<Record>,
    ) -> Result<Option<Self>, Error> {
        let read = mapped.load_on(transaction.connection(), record.handle, record.generation);
        let rows = in_time(config, "load_rows", read).await?;
        Ok(rows.map(|rows| Self { transaction, mapped: mapped.clone(), id, record, rows }))
    }

    /// Returns the part as a JSON text.
    pub(crate) fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Removes the rows and commits. Returns the session's ID and new record.
    pub(crate) async fn finish(self, config: &Config) -> Result<(SessionId, Arc<Record>), Error> {
        let Self { transaction, mapped, id, record: before, rows } = self;
        let State::Server(server) = &config.state else { return Err(Error::conflict()) };
        let (records, now) = (Records { config, server }, config.now());
        let expected = before.version;
        let record = next_record(records, &before, now);
        let rows: Value = serde_json::from_slice(&rows).map_err(|error| Error::decode(mapped.name(), error.into()))?;
        let writes = [mapped.difference(Some(&rows), None)?];
        let call = RecordCall::Update { key: id.store_key(), expected, record: records.sealed(&id, &record) };
        match in_time(config, "take", mapped.finish(transaction, call, &writes, now)).await {
            Ok(Outcome::Done) => Ok((id, record)),
            // The row is locked, so no other write can have changed it.
            Ok(_) => Err(Error::conflict()),
            Err(error) => {
                let found = records.load(&id, records.config.now()).await;
                let is_written =
                    matches!(found, Ok(Some(Found::Live(found))) if found.record().version == record.version);
                if is_written { Ok((id, record)) } else { Err(error.into()) }
            }
        }
    }
}

/// Adopts the record written by a checkout that removed the rows of a part. Replays changes made meanwhile.
pub(crate) fn note_checkout(
    work: &impl SharedWork,
    part: &'static str,
    id: SessionId,
    record: Arc<Record>,
) -> Result<(), Error> {
    let begun = work.with(|work| {
        let session = work.kept_session().filter(|session| session.record.handle == record.handle)?;
        Some((session, work.draft.external().cloned().unwrap_or_default()))
    });
    let Some((session, mut external)) = begun else { return Ok(()) };
    let client = if session.id == id { session.client } else { ClientId::Older };
    let session = StoredSession::new(record, id, client);
    external.load(part, Medium::Tables, None, None);
    replay_onto(work, Loaded::Stored(session), Some(Box::new(external)))
}

async fn in_time<'a, T: Unpin>(
    config: &Config,
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> Result<T, StoreError> {
    let store = config.store_name();
    Answer::later(store, operation, call).within(config.store_timeout, store).await
}

/// Does not show the rows.
impl<D: Database> fmt::Debug for Checkout<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").field("record", &self.record).finish_non_exhaustive()
    }
}
