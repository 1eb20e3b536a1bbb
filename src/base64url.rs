//! Base64url without padding, in its one canonical spelling (RFC 4648 §5, §3.5).
//!
//! Long texts go to SIMD instructions. For short ones, such as IDs, nonces and small seals, tables are faster: they
//! look up two characters at once to encode, and the bits of a character in their place to decode. The look-ups depend
//! on the text alone, which the user has anyway.

use base64_simd::URL_SAFE_NO_PAD;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The two characters of each 12 bits.
static PAIRS: [[u8; 2]; 4096] = pairs();
/// The bits of each character at each of the four places of a group, in a little-endian number of three bytes.
static PLACES: [[u32; 256]; 4] = places();
/// Entry of [`PLACES`] for a byte that is no character of the alphabet: a bit that no group has.
const INVALID: u32 = 1 << 31;

/// The length from which a text is long.
const LONG_TEXT: usize = 64;

/// Returns the length of the text for `len` bytes.
pub(crate) const fn encoded_len(len: usize) -> usize {
    len / 3 * 4 + (len % 3 * 4).div_ceil(3)
}

/// Appends the text for `bytes` to `out`.
pub(crate) fn encode_onto(out: &mut Vec<u8>, bytes: &[u8]) {
    if encoded_len(bytes.len()) >= LONG_TEXT {
        return URL_SAFE_NO_PAD.encode_append(bytes, out);
    }
    out.reserve(encoded_len(bytes.len()));
    let mut eight = [0; 8];
    let (sixes, rest) = bytes.as_chunks();
    for six in sixes {
        encode_six(six, &mut eight);
        out.extend_from_slice(&eight);
    }
    if !rest.is_empty() {
        let mut six = [0; 6];
        six[..rest.len()].copy_from_slice(rest);
        encode_six(&six, &mut eight);
        out.extend_from_slice(&eight[..encoded_len(rest.len())]);
    }
}

/// Returns the bytes of a text, or nothing if it is not the canonical one.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() >= LONG_TEXT {
        return URL_SAFE_NO_PAD.decode_to_vec(text).ok();
    }
    let (groups, last) = text.as_chunks::<4>();
    let mut bytes = Vec::with_capacity(groups.len() * 3 + last.len() * 3 / 4);
    let mut seen = 0;
    for group in groups {
        let group = decode_group(*group);
        seen |= group;
        bytes.extend_from_slice(&group.to_le_bytes()[..3]);
    }
    if seen & INVALID != 0 {
        return None;
    }
    let (tail, length) = decode_tail(last)?;
    bytes.extend_from_slice(&tail[..length]);
    Some(bytes)
}

/// Returns the bytes of what is left after the last whole group, and how many they are.
fn decode_tail(text: &[u8]) -> Option<([u8; 2], usize)> {
    match *text {
        [] => Some(([0; 2], 0)),
        [a, b] => match decode_group([a, b, b'A', b'A']).to_le_bytes() {
            [byte, 0, 0, 0] => Some(([byte, 0], 1)),
            _ => None,
        },
        [a, b, c] => match decode_group([a, b, c, b'A']).to_le_bytes() {
            [first, second, 0, 0] => Some(([first, second], 2)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the bytes of a text for exactly `N` bytes, or nothing if it is not the canonical one.
pub(crate) fn decode_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut bytes = [0; N];
    let (groups, last) = text.as_chunks();
    let (threes, rest) = bytes.as_chunks_mut::<3>();
    let mut seen = 0;
    for (group, three) in groups.iter().zip(threes) {
        let group = decode_group(*group);
        seen |= group;
        three.copy_from_slice(&group.to_le_bytes()[..3]);
    }
    let (tail, length) = decode_tail(last)?;
    rest.copy_from_slice(&tail[..length]);
    (seen & INVALID == 0).then_some(bytes)
}

/// Returns the text for `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    encode_onto(&mut text, bytes);
    String::from_utf8(text).expect("the alphabet is ascii")
}

#[inline]
fn encode_six(&[a, b, c, d, e, f]: &[u8; 6], text: &mut [u8; 8]) {
    let high = u32::from_be_bytes([a, b, c, d]);
    let low = u32::from(u16::from_be_bytes([e, f]));
    for (pair, bits) in text.as_chunks_mut().0.iter_mut().zip([high >> 20, high >> 8, high << 4 | low >> 12, low]) {
        *pair = PAIRS[bits as usize % PAIRS.len()];
    }
}

/// Returns the three bytes of a group as a little-endian number, or one with the bit [`INVALID`].
#[inline]
fn decode_group([a, b, c, d]: [u8; 4]) -> u32 {
    PLACES[0][usize::from(a)] | PLACES[1][usize::from(b)] | PLACES[2][usize::from(c)] | PLACES[3][usize::from(d)]
}

const fn pairs() -> [[u8; 2]; 4096] {
    let mut pairs = [[0; 2]; 4096];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [ALPHABET[bits >> 6], ALPHABET[bits & 63]];
        bits += 1;
    }
    pairs
}

const fn places() -> [[u32; 256]; 4] {
    let mut places = [[INVALID; 256]; 4];
    let mut sextet = 0;
    while sextet < ALPHABET.len() {
        let character = ALPHABET[sextet] as usize;
        let mut place = 0;
        while place < places.len() {
            let bits = (sextet as u32) << (18 - 6 * place);
            places[place][character] = bits.swap_bytes() >> 8;
            place += 1;
        }
        sextet += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn encode(bytes: &[u8]) -> String {
        let mut text = Vec::new();
        encode_onto(&mut text, bytes);
        String::from_utf8(text).unwrap()
    }

    /// Bytes in which neighbours and equal places of neighbouring groups differ.
    fn bytes(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn text_is_that_of_a_general_codec_at_every_length() {
        for len in 0..400 {
            let bytes = bytes(len);
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            assert_eq!(encode(&bytes), text);
            assert_eq!(encoded_len(len), text.len());
            let decoded = decode(text.as_bytes()).unwrap();
            assert_eq!(decoded, bytes);
            assert_eq!(decoded.capacity(), len, "nothing is allocated in vain");
        }
    }

    #[test]
    fn every_three_bytes_are_encoded_and_decoded() {
        // All values of each 12 bits, in either half of a group.
        for bits in 0..4096_u32 {
            for other in [0, 0xfff, 0xa5a] {
                for group in [bits << 12 | other, other << 12 | bits] {
                    let bytes = &group.to_be_bytes()[1..];
                    let text = URL_SAFE_NO_PAD.encode(bytes);
                    assert_eq!(encode(bytes), text);
                    assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
                    assert_eq!(decode_array::<3>(text.as_bytes()).unwrap(), bytes);
                }
            }
        }
    }

    #[test]
    fn exactly_what_a_general_codec_accepts_is_accepted_at_every_place() {
        for len in (0..12).chain([63, 64, 66, 67, 127, 128, 130, 131, 132, 256]) {
            let text = vec![b'Q'; len];
            for place in 0..len {
                let mut text = text.clone();
                for byte in 0..=255 {
                    text[place] = byte;
                    assert_eq!(decode(&text), URL_SAFE_NO_PAD.decode(&text).ok(), "{byte:#04x} at {place} of {len}");
                }
            }
        }
    }

    #[test]
    fn arrays_are_decoded_from_text_of_their_length_alone() {
        let text = encode(&bytes(24));
        assert_eq!(decode_array::<24>(text.as_bytes()).unwrap().as_slice(), bytes(24));
        for len in 0..text.len() {
            assert_eq!(decode_array::<24>(&text.as_bytes()[..len]), None);
        }
        assert_eq!(decode_array::<24>(format!("{text}AAAA").as_bytes()), None);
        for place in 0..text.len() {
            for byte in (0..=255).filter(|byte| !ALPHABET.contains(byte)) {
                let mut text = text.clone().into_bytes();
                text[place] = byte;
                assert_eq!(decode_array::<24>(&text), None);
            }
        }
    }

    #[test]
    fn encoding_appends() {
        let mut out = b"id=".to_vec();
        encode_onto(&mut out, b"foobar");
        assert_eq!(out, b"id=Zm9vYmFy");
    }
}
