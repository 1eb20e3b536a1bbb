//! The values of a session in a store: encrypted with a key of their own, which takes the key ring and the session's
//! ID.
//!
//! A dump of the store reveals no values, even together with the key ring: the store knows only hashes of the IDs. The
//! seal is bound to the row, and to the version, the handle, the generation and the principal of the record: rows
//! cannot be exchanged, an older state of a row cannot replace a newer one, and a session cannot be given to another
//! principal.

use std::ops::Range;
use std::time::SystemTime;

use hmac::{KeyInit as _, Mac as _};
use xaes_256_gcm::Xaes256Gcm;
use zeroize::Zeroizing;

use super::encrypted::NONCE_LEN;
use super::header::{HEADER_LEN, MAGIC, VERSION};
use super::key::{KeyId, SubKeys};
use super::{KeyRing, encrypted};
use crate::base64url;
use crate::clock::Timestamp;
use crate::error::ConfigError;

/// Next to the algorithms of cookies, so that no seal of one kind is one of the other.
const ALGORITHM: u8 = 3;

/// How the values of a store's records are encrypted, and which records are read.
#[derive(Clone, Debug)]
pub(crate) struct AtRest {
    pub(crate) keys: KeyRing,
    /// Whether values are sealed when they are written, and not only opened.
    pub(crate) seals: bool,
    /// Until when records that are not sealed are read too.
    plain_until: Timestamp,
}

impl AtRest {
    /// Seals all records, and reads no other.
    pub(crate) fn encrypting(keys: KeyRing) -> Self {
        Self { keys, seals: true, plain_until: Timestamp::from_millis(0) }
    }

    /// Opens sealed records, and seals none.
    pub(crate) fn decrypting(keys: KeyRing) -> Self {
        Self { keys, seals: false, plain_until: Timestamp::from_millis(u64::MAX) }
    }

    /// Also reads records that are not sealed, until a time.
    pub(crate) fn reading_plain(this: Option<Self>, until: SystemTime) -> Result<Option<Self>, ConfigError> {
        match this {
            Some(at_rest) if at_rest.seals => Ok(Some(Self { plain_until: until.into(), ..at_rest })),
            _ => Err(ConfigError::new(
                "plain records are read anyway where none are encrypted: call `with_encryption_at_rest` first",
            )),
        }
    }

    /// Returns `true` if records that are not sealed are read at `now`.
    pub(crate) fn reads_plain(&self, now: Timestamp) -> bool {
        now < self.plain_until
    }
}

/// The place of a seal: the row, the identity of its record, and the bytes that the session's ID adds to the key.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) version: u64,
    pub(crate) handle: &'a [u8; 16],
    pub(crate) generation: u64,
    pub(crate) principal: Option<&'a str>,
    pub(crate) id_material: &'a [u8; 32],
}

/// The values of a row. They are wiped when they are dropped.
pub(crate) struct OpenedRow {
    bytes: Zeroizing<Vec<u8>>,
    values: Range<usize>,
    /// Whether the primary key opened them.
    pub(crate) by_primary: bool,
}

impl OpenedRow {
    pub(crate) fn values(&self) -> &[u8] {
        &self.bytes[self.values.clone()]
    }
}

/// Seals values with the ring's primary key, as base64url text. `nonce` must be random and fresh.
pub(crate) fn seal_row(ring: &KeyRing, row: Row<'_>, plaintext: &[u8], nonce: &[u8; NONCE_LEN]) -> String {
    let key = ring.primary();
    let header = header(key.id);
    let put = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
    let seal = encrypted::seal(&header, &cipher(key, row), &aad(&header, row), nonce, plaintext.len(), put);
    base64url::encode(&seal)
}

/// Opens values that were sealed for this row by a key of the ring.
pub(crate) fn open_row(ring: &KeyRing, row: Row<'_>, text: &[u8]) -> Option<OpenedRow> {
    let mut bytes = Zeroizing::new(base64url::decode(text)?);
    let found = *bytes.first_chunk::<HEADER_LEN>()?;
    let [_, _, id @ ..] = found;
    let id = KeyId(id);
    if found != header(id) {
        return None;
    }
    let (key, by_primary) = ring.find(id)?;
    let values = encrypted::open(&cipher(key, row), &aad(&found, row), &mut bytes)?;
    Some(OpenedRow { bytes, values, by_primary })
}

fn header(id: KeyId) -> [u8; HEADER_LEN] {
    let KeyId([a, b, c, d]) = id;
    [VERSION, ALGORITHM, a, b, c, d]
}

fn cipher(key: &SubKeys, row: Row<'_>) -> Xaes256Gcm {
    let key: Zeroizing<[u8; 32]> =
        Zeroizing::new(key.at_rest.clone().chain_update(row.id_material).finalize().into_bytes().into());
    Xaes256Gcm::new((&*key).into())
}

/// Every field but the last has one length, so no two rows give the same bytes.
fn aad(header: &[u8; HEADER_LEN], row: Row<'_>) -> Vec<u8> {
    let numbers = [row.version, row.generation].map(u64::to_be_bytes);
    let (has_principal, principal) = (row.principal.is_some(), row.principal.unwrap_or_default());
    [MAGIC, header, row.key, row.handle, numbers.as_flattened(), &[u8::from(has_principal)], principal.as_bytes()]
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Key;

    const NONCE: [u8; NONCE_LEN] = *b"ABCDEFGHIJKLMNOPQRSTUVWX";

    fn key(text: &[u8; 32]) -> Key {
        Key::from_bytes(text).expect("a key for tests")
    }

    fn ring() -> KeyRing {
        KeyRing::new(key(b"Qm8#x1Lr5!pZw7Tn2@vKd9$hYc4%jB6s"))
    }

    fn row<'a>(key: &'a [u8; 32], version: u64, id_material: &'a [u8; 32]) -> Row<'a> {
        Row { key, version, handle: &[4; 16], generation: 5, principal: Some("alice"), id_material }
    }

    fn open(ring: &KeyRing, row: Row<'_>, text: &str) -> Option<(Vec<u8>, bool)> {
        open_row(ring, row, text.as_bytes()).map(|opened| (opened.values().to_vec(), opened.by_primary))
    }

    #[test]
    fn a_row_opens_with_its_key_its_identity_and_its_id_alone() {
        let (here, sealed) =
            (row(&[1; 32], 7, &[2; 32]), seal_row(&ring(), row(&[1; 32], 7, &[2; 32]), b"values", &NONCE));
        assert_eq!(open(&ring(), here, &sealed), Some((b"values".to_vec(), true)));
        for other in [
            row(&[3; 32], 7, &[2; 32]),
            row(&[1; 32], 8, &[2; 32]),
            row(&[1; 32], 7, &[3; 32]),
            Row { handle: &[5; 16], ..here },
            Row { generation: 6, ..here },
            Row { principal: Some("bob"), ..here },
            Row { principal: Some(""), ..here },
            Row { principal: None, ..here },
        ] {
            assert_eq!(open(&ring(), other, &sealed), None);
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&ring(), here, str::from_utf8(&changed).unwrap()), None, "byte {index}");
            assert_eq!(open(&ring(), here, &sealed[..index]), None, "cut at {index}");
        }
    }

    #[test]
    fn a_key_that_was_rotated_still_opens_and_a_dropped_one_does_not() {
        let here = row(&[1; 32], 7, &[2; 32]);
        let sealed = seal_row(&ring(), here, b"values", &NONCE);
        let new = || key(b"Zr4&k8Vd1?mXq6Wb3=tLc7*gHf9+nJ5y");
        let rotated = ring().rotate(new()).expect("two keys");
        assert_eq!(open(&rotated, here, &sealed), Some((b"values".to_vec(), false)), "by a fallback");
        assert_eq!(open(&KeyRing::new(new()), here, &sealed), None);
    }
}
