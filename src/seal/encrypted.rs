//! Encrypted content: XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>) with a random 192-bit nonce.

use std::ops::Range;

use xaes_256_gcm::aead::AeadInOut;
use xaes_256_gcm::{Nonce, Tag, Xaes256Gcm};

use super::header::HEADER_LEN;

/// The length of the nonce, in bytes.
pub(super) const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
/// The bytes of a seal besides its header and its content.
pub(super) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;
/// Where the content begins.
const CONTENT: usize = HEADER_LEN + NONCE_LEN;

/// Returns header, nonce, ciphertext and tag. `put_content` appends up to about `size` bytes of content, which are
/// encrypted in place.
pub(super) fn seal(
    header: &[u8; HEADER_LEN],
    cipher: &Xaes256Gcm,
    aad: &[u8],
    nonce: &[u8; NONCE_LEN],
    size: usize,
    put_content: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut seal = Vec::with_capacity(HEADER_LEN + OVERHEAD + size);
    seal.extend_from_slice(header);
    seal.extend_from_slice(nonce);
    put_content(&mut seal);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(*nonce), aad, (&mut seal[CONTENT..]).into())
        .expect("a plaintext in memory is shorter than 64 GiB");
    seal.extend_from_slice(&tag);
    seal
}

/// Decrypts a seal in place, if its tag is right, and returns where its content is.
pub(super) fn open(cipher: &Xaes256Gcm, aad: &[u8], seal: &mut [u8]) -> Option<Range<usize>> {
    let (nonce, body) = seal.get_mut(HEADER_LEN..)?.split_first_chunk_mut::<NONCE_LEN>()?;
    let (ciphertext, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
    let (end, tag) = (CONTENT + ciphertext.len(), Tag::from(*tag));
    // The cipher compares the tag in constant time and leaves the buffer alone when it differs.
    cipher.decrypt_inout_detached(&Nonce::from(*nonce), aad, ciphertext.into(), &tag).ok()?;
    Some(CONTENT..end)
}

#[cfg(test)]
mod tests {
    use xaes_256_gcm::aead::KeyInit;

    use super::*;

    /// A test vector of the specification: key byte, associated data, ciphertext and tag in hexadecimal.
    type Vector = (u8, &'static [u8], &'static str);

    /// One for each branch of the key derivation: the top bit of L is zero, and one.
    const VECTORS: [Vector; 2] = [
        (0x01, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (0x03, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ];
    const NONCE: &[u8; NONCE_LEN] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

    const HEADER: &[u8; HEADER_LEN] = b"header";

    fn bytes(ciphertext_and_tag: &str) -> Vec<u8> {
        let digits = |i| u8::from_str_radix(&ciphertext_and_tag[i..i + 2], 16).unwrap();
        let rest: Vec<u8> = (0..ciphertext_and_tag.len()).step_by(2).map(digits).collect();
        [&HEADER[..], NONCE, &rest].concat()
    }

    #[test]
    fn the_vectors_of_the_specification_are_sealed_and_opened() {
        for (key, aad, expected) in VECTORS {
            let cipher = Xaes256Gcm::new(&[key; 32].into());
            let mut sealed = seal(HEADER, &cipher, aad, NONCE, 12, |out| out.extend_from_slice(b"XAES-256-GCM"));
            assert_eq!(sealed, bytes(expected));
            assert!(open(&cipher, b"other", &mut sealed).is_none());
            let content = open(&cipher, aad, &mut sealed).unwrap();
            assert_eq!(&sealed[content], b"XAES-256-GCM");
        }
    }

    #[test]
    fn a_seal_too_short_for_nonce_and_tag_does_not_open() {
        let cipher = Xaes256Gcm::new(&[1; 32].into());
        let mut sealed = bytes(VECTORS[0].2);
        for len in 0..HEADER_LEN + OVERHEAD {
            assert!(open(&cipher, b"", &mut sealed[..len]).is_none());
        }
    }
}
