//! Reads entries from rows.

use std::sync::Arc;
use std::time::Duration;

use super::dialect::Dialect;
use crate::clock::Timestamp;
use crate::record::{DecodeRecordError, Generation, Handle, Record, StoreKey, Values, Version};
use crate::store::{Entry, Forward, StoreError};

/// The index of each column, in the order of [`COLUMNS`](super::columns::COLUMNS).
const HANDLE: usize = 0;
const VERSION: usize = 1;
const GENERATION: usize = 2;
const CREATED_AT: usize = 3;
const RENEWED_AT: usize = 4;
const LAST_SEEN_AT: usize = 5;
const EXPIRES_AT: usize = 6;
const IDLE_TIMEOUT: usize = 7;
const ABSOLUTE_TIMEOUT: usize = 8;
const PRINCIPAL: usize = 9;
const AUTHENTICATED_AT: usize = 10;
const LABEL: usize = 11;
const DATA: usize = 12;
const SUCCESSOR: usize = 13;
const GRACE_UNTIL: usize = 14;
const CHANGED: usize = 15;

/// Reads an entry. Returns `None` for the row of `NULL`s that stands for no entry.
pub(crate) fn entry<D: Dialect>(row: &D::Row) -> Result<Option<Entry>, StoreError> {
    let row = Reader::<D>(row);
    if row.time(EXPIRES_AT)?.is_none() {
        return Ok(None);
    }
    let entry = match row.integer(VERSION)? {
        Some(version) => Entry::Live(Arc::new(row.record(Version::from_u64(version.cast_unsigned()))?)),
        None => Entry::Retired(row.forward()?),
    };
    Ok(Some(entry))
}

/// Returns whether the statement that returned this row has changed one.
pub(crate) fn has_changed<D: Dialect>(row: &D::Row) -> Result<bool, StoreError> {
    Ok(Reader::<D>(row).integer(CHANGED)? != Some(0))
}

/// Reads a row of a list, which is always a session.
pub(crate) fn live<D: Dialect>(row: &D::Row) -> Result<Arc<Record>, StoreError> {
    match entry::<D>(row)? {
        Some(Entry::Live(record)) => Ok(record),
        _ => required::<D, _>(None),
    }
}

/// Reads the row of a `COUNT(*)`.
pub(crate) fn count<D: Dialect>(row: &D::Row) -> Result<usize, StoreError> {
    required::<D, _>(Reader::<D>(row).integer(0)?.and_then(|count| usize::try_from(count).ok()))
}

/// Reads a row that begins with a handle.
pub(crate) fn handle<D: Dialect>(row: &D::Row) -> Result<Handle, StoreError> {
    Ok(Handle::from_bytes(required::<D, _>(Reader::<D>(row).bytes(HANDLE)?)?))
}

/// Reads a row that consists of a handle and a key.
pub(crate) fn handle_and_key<D: Dialect>(row: &D::Row) -> Result<(Handle, StoreKey), StoreError> {
    let key = required::<D, _>(Reader::<D>(row).bytes(1)?)?;
    Ok((handle::<D>(row)?, StoreKey::from_bytes(key)))
}

struct Reader<'r, D: Dialect>(&'r D::Row);

impl<'r, D: Dialect> Reader<'r, D> {
    fn record(&self, version: Version) -> Result<Record, StoreError> {
        let data = D::text(self.0, DATA).map_err(failed::<D>)?;
        let values = Values::from_json(required::<D, _>(data)?);
        Ok(Record {
            handle: Handle::from_bytes(required::<D, _>(self.bytes(HANDLE)?)?),
            created_at: required::<D, _>(self.time(CREATED_AT)?)?,
            renewed_at: required::<D, _>(self.time(RENEWED_AT)?)?,
            last_seen_at: required::<D, _>(self.time(LAST_SEEN_AT)?)?,
            expires_at: required::<D, _>(self.time(EXPIRES_AT)?)?,
            idle_timeout: self.duration(IDLE_TIMEOUT)?,
            absolute_timeout: self.duration(ABSOLUTE_TIMEOUT)?,
            principal: self.name(PRINCIPAL)?,
            authenticated_at: self.time(AUTHENTICATED_AT)?,
            label: self.name(LABEL)?,
            version,
            generation: Generation::from_u64(required::<D, _>(self.integer(GENERATION)?)?.cast_unsigned()),
            values: values.map_err(|error| StoreError::undecodable(D::STORE, error))?,
        })
    }

    fn forward(&self) -> Result<Forward, StoreError> {
        Ok(Forward {
            successor: self.bytes(SUCCESSOR)?,
            grace_until: required::<D, _>(self.time(GRACE_UNTIL)?)?,
            expires_at: required::<D, _>(self.time(EXPIRES_AT)?)?,
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
        self.integer(column)?.map(|millis| required::<D, _>(u64::try_from(millis).ok())).transpose()
    }

    fn time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.millis(column)?.map(Timestamp::from_millis))
    }

    fn duration(&self, column: usize) -> Result<Option<Duration>, StoreError> {
        Ok(self.millis(column)?.map(Duration::from_millis))
    }

    fn bytes<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<&'r [u8]> = D::bytes(self.0, column).map_err(failed::<D>)?;
        bytes.map(|bytes| required::<D, _>(bytes.try_into().ok())).transpose()
    }
}

/// Returns the error for a malformed row if the value is missing.
fn required<D: Dialect, T>(value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::undecodable(D::STORE, DecodeRecordError::malformed()))
}

fn failed<D: Dialect>(error: sqlx::Error) -> StoreError {
    StoreError::failed(D::STORE, error)
}
