//! Encryption at rest of the values in a record.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::random;
use crate::record::id::SessionId;
use crate::record::{DecodeRecordError, Record, StoreKey, Values, Version};
use crate::seal::{KeyRing, Row, open_row, seal_row};

/// The only key of a sealed record: its value holds all sealed values.
const SEALED: &str = "sealed";

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

    fn of_version(&self, version: Version) -> Row<'_> {
        Row { key: self.key.as_bytes(), version: version.as_u64(), id_material: &self.material }
    }
}

/// Returns the record with its values sealed for a row.
pub(super) fn seal(keys: &KeyRing, row: &SealedRow<'_>, record: &Record) -> Arc<Record> {
    let row = row.of_version(record.version);
    let text = seal_row(keys, row, record.values.as_frames(), &random::nonce());
    // Base64url needs no escaping in a JSON string.
    let json = [b"\"", &*text, b"\""].concat();
    let values = Values::from_pairs([(SEALED, &*json)]);
    Arc::new(Record { values, principal: record.principal.clone(), label: record.label.clone(), ..*record })
}

/// Returns the record with its values opened. Fails unless they are sealed for this row.
pub(super) fn open(keys: &KeyRing, row: &SealedRow<'_>, record: &Record) -> Result<Arc<Record>, DecodeRecordError> {
    let row = row.of_version(record.version);
    let text = record.values.get(SEALED).and_then(|json| json.strip_prefix(b"\"")?.strip_suffix(b"\""));
    let frames = text.and_then(|text| open_row(keys, row, text)).map(Zeroizing::new);
    let values = frames.and_then(|frames| Values::from_frames(&frames)).ok_or(DecodeRecordError::malformed())?;
    Ok(Arc::new(Record { values, principal: record.principal.clone(), label: record.label.clone(), ..*record }))
}
