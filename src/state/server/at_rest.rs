//! Records as the store gets them when their values are encrypted.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::random;
use crate::record::id::SessionId;
use crate::record::{DecodeRecordError, Record, Values};
use crate::seal::{KeyRing, Row, open_row, seal_row};

/// The key that the sealed values stand under: the only one there is, in the place of all of them.
const SEALED: &str = "sealed";

/// Returns the record with its values sealed, for the row of an ID.
pub(super) fn seal(keys: &KeyRing, id: &SessionId, record: &Record) -> Arc<Record> {
    let material = Zeroizing::new(id.seal_material());
    let row = Row { key: id.store_key().as_bytes(), version: record.version, id_material: &material };
    let text = seal_row(keys, row, record.values.as_frames(), &random::nonce());
    // A value is a JSON text: base64url has nothing that a string would have to escape.
    let json = [b"\"", &*text, b"\""].concat();
    let values = Values::from_pairs([(SEALED, &*json)]);
    Arc::new(Record { values, principal: record.principal.clone(), ..*record })
}

/// Returns the record with its values opened. One that is not sealed, or not for this row, cannot be read.
pub(super) fn open(keys: &KeyRing, id: &SessionId, record: &Record) -> Result<Arc<Record>, DecodeRecordError> {
    let material = Zeroizing::new(id.seal_material());
    let row = Row { key: id.store_key().as_bytes(), version: record.version, id_material: &material };
    let text = record.values.get(SEALED).and_then(|json| json.strip_prefix(b"\"")?.strip_suffix(b"\""));
    let frames = text.and_then(|text| open_row(keys, row, text)).map(Zeroizing::new);
    let values = frames.and_then(|frames| Values::from_frames(&frames)).ok_or(DecodeRecordError::malformed())?;
    Ok(Arc::new(Record { values, principal: record.principal.clone(), ..*record }))
}
