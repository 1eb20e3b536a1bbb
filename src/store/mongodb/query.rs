//! The filters, the documents and the errors that the calls share.

use std::fmt;

use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use super::document::{self, EXPIRES_AT, ID, VERSION, binary, millis};
use crate::clock::{Clock as _, SystemClock, Timestamp, whole_millis};
use crate::store::{Forward, Record, StoreError, StoreKey, Version};

pub(super) const NAME: &str = "mongodb";

/// The largest size of the values, the principal and the label: that of a document, less its other fields.
const MOST_BYTES: usize = 16 * 1024 * 1024 - 4_096;

/// The end of the year 9999, the last year of valid dates.
const LAST_DATE: i64 = 253_402_300_799_999;

/// The error code for a key that is taken.
const DUPLICATE_KEY: i32 = 11_000;

pub(super) fn by_key(key: &StoreKey) -> Document {
    doc! { ID: binary(key.as_bytes()) }
}

/// Returns the filter for live records. A forward has no version.
pub(super) fn live(now: Timestamp) -> Document {
    doc! { VERSION: { "$exists": true }, EXPIRES_AT: { "$gt": millis(now) } }
}

/// Returns the filter that both filters match.
pub(super) fn and(one: &Document, other: Document) -> Document {
    let mut both = one.clone();
    both.extend(other);
    both
}

/// Returns the filter for the live record of a version. A forward has none.
pub(super) fn by_version(key: &StoreKey, expected: Version, now: Timestamp) -> Document {
    doc! { ID: binary(key.as_bytes()), VERSION: expected.as_u64().cast_signed(), EXPIRES_AT: { "$gt": millis(now) } }
}

pub(super) fn to_document(key: &StoreKey, record: &Record, now: Timestamp) -> Result<Document, StoreError> {
    check_size(record)?;
    Ok(document::of_record(key, record, purge_at(record.expires_at, now)))
}

/// Returns the document that replaces that of a session.
pub(super) fn to_forward(forward: &Forward, now: Timestamp) -> Document {
    document::of_forward(forward, purge_at(forward.expires_at, now))
}

pub(super) fn check_size(record: &Record) -> Result<(), StoreError> {
    let texts = [&record.principal, &record.label].into_iter().flatten().map(|text| text.len()).sum::<usize>();
    let size = record.values.as_frames().len() + texts;
    if size > MOST_BYTES { Err(StoreError::too_large(NAME, size, MOST_BYTES)) } else { Ok(()) }
}

/// Returns the time, by the engine's clock, at which it may delete a document that expires at `expires_at`.
pub(super) fn purge_at(expires_at: Timestamp, now: Timestamp) -> DateTime {
    let real = SystemClock.now().as_millis().saturating_add(whole_millis(expires_at.since(now)));
    DateTime::from_millis(i64::try_from(real).unwrap_or(LAST_DATE).min(LAST_DATE))
}

pub(super) fn is_duplicate_key(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

/// Returns whether an update failed since its upsert found the key taken.
pub(super) fn is_taken(answer: &Document) -> bool {
    let first = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document());
    first.is_some_and(|error| error.get_i32("code").is_ok_and(|code| code == DUPLICATE_KEY))
}

pub(super) fn failed(error: DriverError) -> StoreError {
    StoreError::failed(NAME, error)
}

/// The server rejected a command. Its message is omitted, since it may contain values.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server rejected a write, or too few servers acknowledged it")
    }
}

impl std::error::Error for Refused {}
