//! Rows as entries.

use std::sync::Arc;
use std::time::Duration;

use super::dialect::Dialect;
use crate::clock::Timestamp;
use crate::record::{DecodeRecordError, Handle, Record, StoreKey, Values};
use crate::store::{Entry, Forward, StoreError};

/// Where each column is, in the order of [`COLUMNS`](super::dialect::COLUMNS).
const HANDLE: usize = 0;
const VERSION: usize = 1;
const CREATED_AT: usize = 2;
const RENEWED_AT: usize = 3;
const LAST_SEEN_AT: usize = 4;
const EXPIRES_AT: usize = 5;
const IDLE_TIMEOUT: usize = 6;
const ABSOLUTE_TIMEOUT: usize = 7;
const PRINCIPAL: usize = 8;
const AUTHENTICATED_AT: usize = 9;
const LABEL: usize = 10;
const DATA: usize = 11;
const SUCCESSOR: usize = 12;
const GRACE_UNTIL: usize = 13;
const CHANGED: usize = 14;

/// Reads what is in a row: `None` where the row stands for nothing.
pub(crate) fn entry<D: Dialect>(row: &D::Row) -> Result<Option<Entry>, StoreError> {
    let row = Reader::<D>(row);
    if row.time(EXPIRES_AT)?.is_none() {
        return Ok(None);
    }
    let entry = match row.integer(VERSION)? {
        Some(version) => Entry::Live(Arc::new(row.record(version.cast_unsigned())?)),
        None => Entry::Retired(row.forward()?),
    };
    Ok(Some(entry))
}

/// Whether the statement that answers with this row has changed something.
pub(crate) fn has_changed<D: Dialect>(row: &D::Row) -> Result<bool, StoreError> {
    Ok(Reader::<D>(row).integer(CHANGED)? != Some(0))
}

/// Reads a row of a list, which is always of a session.
pub(crate) fn live<D: Dialect>(row: &D::Row) -> Result<Arc<Record>, StoreError> {
    match entry::<D>(row)? {
        Some(Entry::Live(record)) => Ok(record),
        _ => there::<D, _>(None),
    }
}

/// Reads a row that is a number of rows.
pub(crate) fn count<D: Dialect>(row: &D::Row) -> Result<usize, StoreError> {
    there::<D, _>(Reader::<D>(row).integer(0)?.and_then(|count| usize::try_from(count).ok()))
}

/// Reads a row that begins with a handle.
pub(crate) fn handle<D: Dialect>(row: &D::Row) -> Result<Handle, StoreError> {
    Ok(Handle::from_bytes(there::<D, _>(Reader::<D>(row).bytes(HANDLE)?)?))
}

/// Reads a row of a handle and a key.
pub(crate) fn found<D: Dialect>(row: &D::Row) -> Result<(Handle, StoreKey), StoreError> {
    let key = there::<D, _>(Reader::<D>(row).bytes(1)?)?;
    Ok((handle::<D>(row)?, StoreKey::from_bytes(key)))
}

struct Reader<'r, D: Dialect>(&'r D::Row);

impl<'r, D: Dialect> Reader<'r, D> {
    fn record(&self, version: u64) -> Result<Record, StoreError> {
        let data = D::text(self.0, DATA).map_err(failed::<D>)?;
        let values = Values::from_json(there::<D, _>(data)?);
        Ok(Record {
            handle: Handle::from_bytes(there::<D, _>(self.bytes(HANDLE)?)?),
            created_at: there::<D, _>(self.time(CREATED_AT)?)?,
            renewed_at: there::<D, _>(self.time(RENEWED_AT)?)?,
            last_seen_at: there::<D, _>(self.time(LAST_SEEN_AT)?)?,
            expires_at: there::<D, _>(self.time(EXPIRES_AT)?)?,
            idle_timeout: self.duration(IDLE_TIMEOUT)?,
            absolute_timeout: self.duration(ABSOLUTE_TIMEOUT)?,
            principal: self.name(PRINCIPAL)?,
            authenticated_at: self.time(AUTHENTICATED_AT)?,
            label: self.name(LABEL)?,
            version,
            values: values.map_err(|error| StoreError::undecodable(D::STORE, error))?,
        })
    }

    fn forward(&self) -> Result<Forward, StoreError> {
        Ok(Forward {
            successor: self.bytes(SUCCESSOR)?,
            grace_until: there::<D, _>(self.time(GRACE_UNTIL)?)?,
            expires_at: there::<D, _>(self.time(EXPIRES_AT)?)?,
        })
    }

    fn name(&self, column: usize) -> Result<Option<Arc<str>>, StoreError> {
        Ok(D::text(self.0, column).map_err(failed::<D>)?.map(|name| D::name_from_sql(name).into()))
    }

    fn integer(&self, column: usize) -> Result<Option<i64>, StoreError> {
        D::integer(self.0, column).map_err(failed::<D>)
    }

    /// Reads a number of milliseconds.
    fn millis(&self, column: usize) -> Result<Option<u64>, StoreError> {
        self.integer(column)?.map(|millis| there::<D, _>(u64::try_from(millis).ok())).transpose()
    }

    fn time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.millis(column)?.map(Timestamp::from_millis))
    }

    fn duration(&self, column: usize) -> Result<Option<Duration>, StoreError> {
        Ok(self.millis(column)?.map(Duration::from_millis))
    }

    fn bytes<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<&'r [u8]> = D::bytes(self.0, column).map_err(failed::<D>)?;
        bytes.map(|bytes| there::<D, _>(bytes.try_into().ok())).transpose()
    }
}

/// A row that has nothing there, or something else, is none of ours.
fn there<D: Dialect, T>(value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::undecodable(D::STORE, DecodeRecordError::malformed()))
}

fn failed<D: Dialect>(error: sqlx::Error) -> StoreError {
    StoreError::failed(D::STORE, error)
}
