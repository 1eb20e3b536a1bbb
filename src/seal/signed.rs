//! Signed content: readable, with a full HMAC-SHA-256 tag (RFC 2104, FIPS 198-1).

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::base64url;

const TAG_LEN: usize = 32;
/// The bytes that a seal has beyond its header and its content.
pub(super) const OVERHEAD: usize = TAG_LEN;
/// The tag, and before it the end of the payload that does not fill a group of three bytes.
const LONGEST_TAIL: usize = 2 + TAG_LEN;

/// Appends payload and tag as text to `out`.
pub(super) fn seal_onto(out: &mut Vec<u8>, mac: &Hmac<Sha256>, aad: &[u8], payload: &[u8]) {
    let tag = authenticate(mac, aad, payload).finalize().into_bytes();
    // Whole groups of three bytes are encoded in place; only the rest is copied before the tag.
    let (groups, rest) = payload.split_at(payload.len() - payload.len() % 3);
    let mut tail = [0; LONGEST_TAIL];
    let tail = &mut tail[..rest.len() + TAG_LEN];
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()..].copy_from_slice(&tag);
    base64url::encode_onto(out, groups);
    base64url::encode_onto(out, tail);
}

/// Returns the payload of payload and tag, if the tag is right.
pub(super) fn open(mac: &Hmac<Sha256>, aad: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut body = base64url::decode(text)?;
    let (payload, tag) = body.split_last_chunk::<TAG_LEN>()?;
    let len = payload.len();
    // Compares all 32 bytes in constant time.
    authenticate(mac, aad, payload).verify(&(*tag).into()).ok()?;
    body.truncate(len);
    Some(body)
}

fn authenticate(mac: &Hmac<Sha256>, aad: &[u8], payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = mac.clone();
    mac.update(aad);
    mac.update(payload);
    mac
}
