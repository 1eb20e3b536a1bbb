//! Records as the store gets them when their values are encrypted.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::random;
use crate::record::id::SessionId;
use crate::record::{DecodeRecordError, Record, StoreKey, Values, Version};
use crate::seal::{KeyRing, Row, open_row, seal_row};

/// The key that the sealed values stand under: the only one there is, in the place of all of them.
const SEALED: &str = "sealed";

/// The row that a seal is for.
pub(super) struct SealedRow<'r> {
    key: &'r StoreKey,
    material: Zeroizing<[u8; 32]>,
}

impl<'r> SealedRow<'r> {
    /// The row of a session. Its key takes the ID, which the store does not know.
    pub(super) fn of_session(id: &'r SessionId) -> Self {
        Self { key: id.store_key(), material: Zeroizing::new(id.seal_material()) }
    }

    /// The row of a part, which stays when the ID of its session is renewed.
    pub(super) fn of_part(key: &'r StoreKey) -> Self {
        Self { key, material: Zeroizing::new([0; 32]) }
    }

    fn of_version(&self, version: Version) -> Row<'_> {
        Row { key: self.key.as_bytes(), version: version.as_u64(), id_material: &self.material }
    }
}

/// Returns the record with its values sealed, for a row.
pub(super) fn seal(keys: &KeyRing, row: &SealedRow<'_>, record: &Record) -> Arc<Record> {
    let row = row.of_version(record.version);
    let text = seal_row(keys, row, record.values.as_frames(), &random::nonce());
    // A value is a JSON text: base64url has nothing that a string would have to escape.
    let json = [b"\"", &*text, b"\""].concat();
    let values = Values::from_pairs([(SEALED, &*json)]);
    Arc::new(Record { values, principal: record.principal.clone(), label: record.label.clone(), ..*record })
}

/// Returns the record with its values opened. One that is not sealed, or not for this row, cannot be read.
pub(super) fn open(keys: &KeyRing, row: &SealedRow<'_>, record: &Record) -> Result<Arc<Record>, DecodeRecordError> {
    let row = row.of_version(record.version);
    let text = record.values.get(SEALED).and_then(|json| json.strip_prefix(b"\"")?.strip_suffix(b"\""));
    let frames = text.and_then(|text| open_row(keys, row, text)).map(Zeroizing::new);
    let values = frames.and_then(|frames| Values::from_frames(&frames)).ok_or(DecodeRecordError::malformed())?;
    Ok(Arc::new(Record { values, principal: record.principal.clone(), label: record.label.clone(), ..*record }))
}
