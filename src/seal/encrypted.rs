//! Encrypted content: XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>) with a random 192-bit nonce.

use xaes_256_gcm::aead::AeadInOut;
use xaes_256_gcm::{Nonce, Tag, Xaes256Gcm};

use crate::base64url;

/// The length of the nonce, in bytes.
pub(super) const NONCE_LEN: usize = 24;
const NONCE_TEXT_LEN: usize = base64url::encoded_len(NONCE_LEN);
const TAG_LEN: usize = 16;
/// The bytes that a seal has beyond its header and its content.
pub(super) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Appends nonce, ciphertext and tag as text to `out`.
pub(super) fn seal_onto(out: &mut Vec<u8>, cipher: &Xaes256Gcm, aad: &[u8], plaintext: &[u8], nonce: &[u8; NONCE_LEN]) {
    let mut body = Vec::with_capacity(plaintext.len() + TAG_LEN);
    body.extend_from_slice(plaintext);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(*nonce), aad, body.as_mut_slice().into())
        .expect("a plaintext in memory is shorter than 64 GiB");
    body.extend_from_slice(&tag);
    base64url::encode_onto(out, nonce);
    base64url::encode_onto(out, &body);
}

/// Returns the plaintext of nonce, ciphertext and tag, if the tag is right.
pub(super) fn open(cipher: &Xaes256Gcm, aad: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = text.split_at_checked(NONCE_TEXT_LEN)?;
    let nonce: [u8; NONCE_LEN] = base64url::decode_array(nonce)?;
    let mut body = base64url::decode(body)?;
    let (ciphertext, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
    let len = ciphertext.len();
    let tag = Tag::from(*tag);
    // The cipher compares the tag in constant time and leaves the buffer alone when it differs.
    cipher.decrypt_inout_detached(&Nonce::from(nonce), aad, ciphertext.into(), &tag).ok()?;
    body.truncate(len);
    Some(body)
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

    fn text(ciphertext_and_tag: &str) -> Vec<u8> {
        let mut bytes = NONCE.to_vec();
        let digits = |i| u8::from_str_radix(&ciphertext_and_tag[i..i + 2], 16).unwrap();
        bytes.extend((0..ciphertext_and_tag.len()).step_by(2).map(digits));
        let mut text = Vec::new();
        base64url::encode_onto(&mut text, &bytes);
        text
    }

    #[test]
    fn the_vectors_of_the_specification_are_sealed_and_opened() {
        for (key, aad, expected) in VECTORS {
            let cipher = Xaes256Gcm::new(&[key; 32].into());
            let mut sealed = Vec::new();
            seal_onto(&mut sealed, &cipher, aad, b"XAES-256-GCM", NONCE);
            assert_eq!(sealed, text(expected));
            assert_eq!(open(&cipher, aad, &sealed).unwrap(), b"XAES-256-GCM");
            assert!(open(&cipher, b"other", &sealed).is_none());
        }
    }

    #[test]
    fn text_too_short_for_nonce_and_tag_does_not_open() {
        let cipher = Xaes256Gcm::new(&[1; 32].into());
        let text = text(VECTORS[0].2);
        for len in 0..base64url::encoded_len(OVERHEAD) {
            assert!(open(&cipher, b"", &text[..len]).is_none());
        }
    }
}
