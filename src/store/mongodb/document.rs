//! Entries as documents.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use crate::clock::{Timestamp, whole_millis};
use crate::store::{DecodeRecordError, Entry, Forward, Generation, Handle, Record, StoreKey, Values, Version};

pub(super) const ID: &str = "_id";
pub(super) const VERSION: &str = "version";
pub(super) const GENERATION: &str = "generation";
pub(super) const HANDLE: &str = "handle";
pub(super) const PRINCIPAL: &str = "principal";
pub(super) const VALUES: &str = "values";
pub(super) const LAST_SEEN_AT: &str = "last_seen_at";
pub(super) const EXPIRES_AT: &str = "expires_at";
/// When the engine deletes the document, by its own clock.
pub(super) const PURGE_AT: &str = "purge_at";
/// The attempt of a renewal that wrote the document.
pub(super) const RENEWED_BY: &str = "renewed_by";
/// The revocation that ended the session, and is about to remove the rest of it.
pub(super) const REVOKED_BY: &str = "revoked_by";

const CREATED_AT: &str = "created_at";
const RENEWED_AT: &str = "renewed_at";
const IDLE_TIMEOUT: &str = "idle_timeout";
const ABSOLUTE_TIMEOUT: &str = "absolute_timeout";
const AUTHENTICATED_AT: &str = "authenticated_at";
const LABEL: &str = "label";
const SUCCESSOR: &str = "successor";
const GRACE_UNTIL: &str = "grace_until";

pub(super) fn of_record(key: &StoreKey, record: &Record, purge_at: DateTime) -> Document {
    let mut document = doc! {
        ID: binary(key.as_bytes()),
        VERSION: record.version.as_u64().cast_signed(),
        GENERATION: record.generation.as_u64().cast_signed(),
        HANDLE: binary(record.handle.as_bytes()),
        CREATED_AT: millis(record.created_at),
        RENEWED_AT: millis(record.renewed_at),
        LAST_SEEN_AT: millis(record.last_seen_at),
        EXPIRES_AT: millis(record.expires_at),
        PURGE_AT: purge_at,
        VALUES: binary(record.values.as_frames()),
    };
    for (name, timeout) in [(IDLE_TIMEOUT, record.idle_timeout), (ABSOLUTE_TIMEOUT, record.absolute_timeout)] {
        if let Some(timeout) = timeout {
            document.insert(name, whole(whole_millis(timeout)));
        }
    }
    for (name, text) in [(PRINCIPAL, &record.principal), (LABEL, &record.label)] {
        if let Some(text) = text {
            document.insert(name, String::from(&**text));
        }
    }
    if let Some(authenticated_at) = record.authenticated_at {
        document.insert(AUTHENTICATED_AT, millis(authenticated_at));
    }
    document
}

/// Returns the document of a forward without its key.
pub(super) fn of_forward(forward: &Forward, purge_at: DateTime) -> Document {
    let mut document = doc! {
        GRACE_UNTIL: millis(forward.grace_until),
        EXPIRES_AT: millis(forward.expires_at),
        PURGE_AT: purge_at,
    };
    if let Some(successor) = &forward.successor {
        document.insert(SUCCESSOR, binary(successor));
    }
    document
}

pub(super) fn to_entry(document: &Document) -> Result<Entry, DecodeRecordError> {
    let entry = if document.contains_key(GRACE_UNTIL) {
        to_forward(document).map(Entry::Retired)
    } else {
        to_record(document).map(|record| Entry::Live(Arc::new(record)))
    };
    entry.ok_or(DecodeRecordError::malformed())
}

/// Reads a record from a document without values.
pub(super) fn without_values(mut document: Document) -> Result<Record, DecodeRecordError> {
    document.insert(VALUES, binary(&[]));
    to_record(&document).ok_or(DecodeRecordError::malformed())
}

pub(super) fn handle(document: &Document) -> Result<Handle, DecodeRecordError> {
    handle_in(document).ok_or(DecodeRecordError::malformed())
}

fn handle_in(document: &Document) -> Option<Handle> {
    Some(Handle::from_bytes(bytes(document, HANDLE)?.try_into().ok()?))
}

fn to_record(document: &Document) -> Option<Record> {
    let mut record = Record::new(handle_in(document)?, time(document, CREATED_AT)?, time(document, EXPIRES_AT)?);
    record.renewed_at = time(document, RENEWED_AT)?;
    record.last_seen_at = time(document, LAST_SEEN_AT)?;
    record.idle_timeout = optional(document, IDLE_TIMEOUT, number)?.map(Duration::from_millis);
    record.absolute_timeout = optional(document, ABSOLUTE_TIMEOUT, number)?.map(Duration::from_millis);
    record.principal = optional(document, PRINCIPAL, text)?.map(Arc::from);
    record.authenticated_at = optional(document, AUTHENTICATED_AT, time)?;
    record.label = optional(document, LABEL, text)?.map(Arc::from);
    record.version = Version::from_u64(document.get_i64(VERSION).ok()?.cast_unsigned());
    record.generation = Generation::from_u64(document.get_i64(GENERATION).ok()?.cast_unsigned());
    record.values = Values::from_frames(bytes(document, VALUES)?)?;
    Some(record)
}

fn to_forward(document: &Document) -> Option<Forward> {
    let successor = match optional(document, SUCCESSOR, bytes)? {
        Some(successor) => Some(successor.try_into().ok()?),
        None => None,
    };
    Some(Forward { successor, grace_until: time(document, GRACE_UNTIL)?, expires_at: time(document, EXPIRES_AT)? })
}

/// Reads an optional field. Returns `None` if it is present and malformed.
fn optional<'d, T>(
    document: &'d Document,
    name: &'d str,
    read: impl Fn(&'d Document, &'d str) -> Option<T>,
) -> Option<Option<T>> {
    if document.contains_key(name) { read(document, name).map(Some) } else { Some(None) }
}

fn bytes<'d>(document: &'d Document, name: &str) -> Option<&'d [u8]> {
    document.get_binary_generic(name).ok().map(Vec::as_slice)
}

fn text<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.get_str(name).ok()
}

fn number(document: &Document, name: &str) -> Option<u64> {
    document.get_i64(name).ok()?.try_into().ok()
}

fn time(document: &Document, name: &str) -> Option<Timestamp> {
    number(document, name).map(Timestamp::from_millis)
}

pub(super) fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

/// Returns a time in milliseconds, saturating at the latest that the engine can store.
pub(super) fn millis(time: Timestamp) -> i64 {
    whole(time.as_millis())
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let at = Timestamp::from_millis;
        let mut record = Record::new(Handle::from_bytes([1; 16]), at(5), at(1_795_263_588_144));
        (record.renewed_at, record.last_seen_at) = (at(6), at(7));
        record.idle_timeout = Some(Duration::from_millis(8));
        record.absolute_timeout = Some(Duration::from_millis(9));
        record.principal = Some("Zoë".into());
        record.authenticated_at = Some(at(10));
        record.label = Some("Firefox on Zoë's desk".into());
        record.version = Version::from_u64(u64::MAX - 3);
        record.generation = Generation::from_u64(u64::MAX - 4);
        record.values = Values::from_pairs([("a", b"1".as_slice())]);
        record
    }

    fn documents() -> Vec<(Entry, Document)> {
        let (key, purge_at) = (StoreKey::from_bytes([3; 32]), DateTime::from_millis(1));
        let plain = Record::new(Handle::from_bytes([1; 16]), Timestamp::default(), Timestamp::default());
        let forward = |successor| Forward {
            successor,
            grace_until: Timestamp::from_millis(4),
            expires_at: Timestamp::from_millis(5),
        };
        let mut documents = Vec::new();
        for record in [record(), plain] {
            documents.push((Entry::Live(record.clone().into()), of_record(&key, &record, purge_at)));
        }
        for forward in [forward(None), forward(Some([2; 32]))] {
            documents.push((Entry::Retired(forward.clone()), of_forward(&forward, purge_at)));
        }
        documents
    }

    #[test]
    fn entries_survive_a_round_trip() {
        for (entry, document) in documents() {
            assert_eq!(to_entry(&document), Ok(entry));
        }
    }

    #[test]
    fn a_field_of_another_type_makes_the_document_undecodable() {
        for (entry, document) in documents() {
            for name in document.keys().filter(|name| !["_id", PURGE_AT].contains(&name.as_str())) {
                let mut changed = document.clone();
                changed.insert(name, Bson::Double(1.0));
                assert!(to_entry(&changed).is_err(), "{name} of {entry:?}");
            }
        }
    }

    #[test]
    fn a_time_beyond_the_range_saturates() {
        assert_eq!(millis(Timestamp::from_millis(u64::MAX)), i64::MAX);
    }
}
