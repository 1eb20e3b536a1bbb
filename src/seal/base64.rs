//! Base64url without padding, in its one canonical spelling (RFC 4648 §5, §3.5).

use ::base64::Engine as _;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns the length of the text for `len` bytes.
pub(super) const fn encoded_len(len: usize) -> usize {
    len / 3 * 4 + (len % 3 * 4).div_ceil(3)
}

/// Appends the text for `bytes` to `out`.
pub(super) fn encode_onto(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + encoded_len(bytes.len()), 0);
    URL_SAFE_NO_PAD.encode_slice(bytes, &mut out[start..]).expect("the output has the length of the text");
}

/// Returns the bytes of a text, or nothing if it is not the canonical one.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Returns the bytes of a text for exactly `N` bytes, or nothing if it is not the canonical one.
pub(super) fn decode_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(N)).then_some(bytes)
}
