//! Signed content: readable, with a full HMAC-SHA-256 tag (RFC 2104, FIPS 198-1).

use std::ops::Range;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::header::HEADER_LEN;

const TAG_LEN: usize = 32;
/// The bytes of a seal besides its header and its content.
pub(super) const OVERHEAD: usize = TAG_LEN;

/// Returns header, payload and tag. `put_payload` appends the payload, up to about `size` bytes.
pub(super) fn seal(
    header: &[u8; HEADER_LEN],
    mac: &Hmac<Sha256>,
    aad: &[u8],
    size: usize,
    put_payload: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut seal = Vec::with_capacity(HEADER_LEN + OVERHEAD + size);
    seal.extend_from_slice(header);
    put_payload(&mut seal);
    let tag = authenticate(mac, aad, &seal[HEADER_LEN..]).finalize().into_bytes();
    seal.extend_from_slice(&tag);
    seal
}

/// Returns where the payload of a seal is, if the tag is right.
pub(super) fn open(mac: &Hmac<Sha256>, aad: &[u8], seal: &[u8]) -> Option<Range<usize>> {
    let (payload, tag) = seal.get(HEADER_LEN..)?.split_last_chunk::<TAG_LEN>()?;
    // Compares all 32 bytes in constant time.
    authenticate(mac, aad, payload).verify(&(*tag).into()).ok()?;
    Some(HEADER_LEN..HEADER_LEN + payload.len())
}

fn authenticate(mac: &Hmac<Sha256>, aad: &[u8], payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = mac.clone();
    mac.update(aad);
    mac.update(payload);
    mac
}
