//! An entry as the bytes under a key: a head of fixed width, which the scripts read, and a body, which they do not.
//!
//! | bytes | of a session | of a forward |
//! | --- | --- | --- |
//! | 0 | `L`, or `S` if it was placed by a renewal in two steps | `F` |
//! | 1 to 8 | version | version of the successor |
//! | 9 to 16 | last seen | end of the grace |
//! | 17 to 24 | deadline | deadline |
//! | 25 on | [`Record::encode`] | the sealed successor, if there is one |
//!
//! Numbers are big-endian. What the head of a session says counts, since a touch changes nothing else. The mark of a
//! deleted session of kind `S` is a `D` without anything behind it. Another layout would have other letters.

use std::sync::Arc;

use super::super::{DecodeRecordError, Entry, Forward, Record};
use crate::clock::Timestamp;

/// The bytes before the body.
const HEAD: usize = 25;

const LIVE: u8 = b'L';
const SUCCESSOR: u8 = b'S';
const FORWARD: u8 = b'F';

/// What is left for a while where a session of kind `S` was deleted.
pub(super) const MARK: &[u8] = b"D";

/// Returns the bytes of a session.
pub(super) fn live(record: &Record) -> Vec<u8> {
    head(LIVE, [record.version, record.last_seen_at.as_millis(), record.expires_at.as_millis()], &record.encode())
}

/// Returns the bytes of a session that a renewal places before it retires the old key.
pub(super) fn successor(record: &Record) -> Vec<u8> {
    let mut bytes = live(record);
    bytes[0] = SUCCESSOR;
    bytes
}

/// Returns the bytes of a forward to a record.
pub(super) fn forward(forward: &Forward, record: &Record) -> Vec<u8> {
    let numbers = [record.version, forward.grace_until.as_millis(), forward.expires_at.as_millis()];
    head(FORWARD, numbers, forward.successor.as_ref().map_or(&[], <[u8; 32]>::as_slice))
}

fn head(kind: u8, numbers: [u64; 3], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.push(kind);
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Reads what is under a key, whether or not it has expired. The mark of a deleted session is `None`.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Entry>, DecodeRecordError> {
    if bytes == MARK {
        return Ok(None);
    }
    let (head, body) = bytes.split_first_chunk::<HEAD>().ok_or_else(DecodeRecordError::malformed)?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    let (version, middle, deadline) =
        (number(1), Timestamp::from_millis(number(9)), Timestamp::from_millis(number(17)));
    match head[0] {
        LIVE | SUCCESSOR => {
            let record = Record { version, last_seen_at: middle, expires_at: deadline, ..Record::decode(body)? };
            Ok(Some(Entry::Live(Arc::new(record))))
        }
        FORWARD => {
            let successor =
                if body.is_empty() { None } else { Some(body.try_into().map_err(|_| DecodeRecordError::malformed())?) };
            Ok(Some(Entry::Retired(Forward { successor, grace_until: middle, expires_at: deadline })))
        }
        _ => Err(DecodeRecordError::malformed()),
    }
}
