//! Encryption at rest of the values in a record.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::random;
use crate::record::id::SessionId;
use crate::record::{DecodeRecordError, Record, StoreKey, Values};
use crate::seal::{AtRest, Row, open_row, seal_row};

/// The only key of a sealed record, which is [reserved](crate::record::key). Its value, a string, holds all sealed
/// values. In a plain record it may be the reference to a part of this name, which is no string.
const SEALED: &str = "#sealed";

/// How the [frames](Values::as_frames) of a sealed record begin.
const SEALED_FRAME: &[u8] = b"\x07#sealed";

/// A record that was read, with its values opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) record: Arc<Record>,
    pub(super) form: Form,
}

/// The form in which a record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It would be written in the same form.
    Current,
    /// It was sealed with a fallback key, or would no longer be sealed. It is rewritten when it is next touched: while
    /// nodes with other settings run, each would else rewrite it in turn.
    Outdated,
    /// It is plain and must be sealed, at once.
    Unsealed,
}

/// The row that a seal is bound to.
pub(super) struct SealedRow<'r> {
    key: &'r StoreKey,
    material: Zeroizing<[u8; 32]>,
}

impl<'r> SealedRow<'r> {
    /// Returns the row of a session. Its sealing key is derived with the ID, which the store does not know.
    pub(super) fn of_session(id: &'r SessionId) -> Self {
        Self { key: id.store_key(), material: Zeroizing::new(id.seal_material()) }
    }

    /// Returns the row of a part. It uses no ID, since a part's row survives renewals of the session's ID.
    pub(super) fn of_part(key: &'r StoreKey) -> Self {
        Self { key, material: Zeroizing::new([0; 32]) }
    }

    fn of<'a>(&'a self, record: &'a Record) -> Row<'a> {
        Row {
            key: self.key.as_bytes(),
            version: record.version.as_u64(),
            handle: record.handle.as_bytes(),
            generation: record.generation.as_u64(),
            principal: record.principal.as_deref(),
            id_material: &self.material,
        }
    }
}

/// Returns the record as it is written: with its values sealed for a row, if those of the store are.
pub(super) fn seal<'r>(
    at_rest: Option<&AtRest>,
    row: impl FnOnce() -> SealedRow<'r>,
    record: &Arc<Record>,
) -> Arc<Record> {
    let Some(AtRest { keys, seals: true, .. }) = at_rest else { return Arc::clone(record) };
    let text = seal_row(keys, row().of(record), record.values.as_frames(), &random::nonce());
    // Base64url needs no escaping in a JSON string.
    let json = format!("\"{text}\"");
    Arc::new(with_values(record, Values::from_pairs([(SEALED, json.as_bytes())])))
}

/// Opens the values of a record. Fails if they are sealed for another row or with another key, if they are sealed and
/// there are no keys, and if they are plain and only sealed ones are read.
#[inline]
pub(super) fn open<'r>(
    at_rest: Option<&AtRest>,
    row: impl FnOnce() -> SealedRow<'r>,
    record: Arc<Record>,
    now: impl FnOnce() -> Timestamp,
) -> Result<Opened, DecodeRecordError> {
    let Some(text) = sealed_text(&record) else {
        let is_read = at_rest.is_none_or(|at_rest| at_rest.reads_plain(now()));
        let form = if at_rest.is_some_and(|at_rest| at_rest.seals) { Form::Unsealed } else { Form::Current };
        return is_read.then_some(Opened { record, form }).ok_or(DecodeRecordError::malformed());
    };
    let at_rest = at_rest.ok_or(DecodeRecordError::malformed())?;
    let opened = open_row(&at_rest.keys, row().of(&record), text);
    let opened = opened.ok_or(DecodeRecordError::malformed())?;
    let values = Values::from_frames(opened.values()).ok_or(DecodeRecordError::malformed())?;
    let form = if at_rest.seals && opened.by_primary { Form::Current } else { Form::Outdated };
    Ok(Opened { record: Arc::new(with_values(&record, values)), form })
}

/// Returns the sealed values of a record, unless it is plain.
#[inline]
fn sealed_text(record: &Record) -> Option<&[u8]> {
    if !record.values.as_frames().starts_with(SEALED_FRAME) {
        return None;
    }
    let (key, json) = record.values.iter().next()?;
    if key == SEALED { json.strip_prefix(b"\"")?.strip_suffix(b"\"") } else { None }
}

fn with_values(record: &Record, values: Values) -> Record {
    Record { values, principal: record.principal.clone(), label: record.label.clone(), ..*record }
}
