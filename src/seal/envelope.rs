//! The envelope of a seal: its header, its associated data, and the algorithm that opens it.

use std::ops::Range;
use std::sync::Arc;

use super::encrypted::NONCE_LEN;
use super::header::{HEADER_LEN, MAGIC, VERSION};
use super::{KeyRing, encrypted, signed};
use crate::base64url;
use crate::seal::key::KeyId;

/// The longest text that is looked at, in bytes. A cookie holds 4096, in chunks a few times that.
const MAX_TEXT_LEN: usize = 64 * 1024;

/// How a seal protects its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// XAES-256-GCM: reading and changing the content needs the key.
    Encrypted,
    /// HMAC-SHA-256: the content is readable, and changing it needs the key.
    Signed,
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Encrypted => 1,
            Self::Signed => 2,
        }
    }
}

/// The place that a seal belongs to, encoded for its associated data. The seal opens nowhere else.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<[u8]>);

impl Place {
    /// Encodes a place: the exact name of the cookie, the purpose of the content (`session`, or `part:` and the name of
    /// the part), and the application that made it, for applications that share a key. That may be empty.
    ///
    /// Each field has its length before it, so that no two places have the same encoding.
    pub(crate) fn new(cookie_name: &str, purpose: &str, application: &str) -> Self {
        let mut encoded = Vec::new();
        for field in [cookie_name, purpose, application] {
            push_length(field.len(), |byte| encoded.push(byte));
            encoded.extend_from_slice(field.as_bytes());
        }
        Self(encoded.into())
    }
}

/// Writes a length as LEB128: seven bits a byte, the lowest first, the top bit set on all but the last. That is one
/// byte for usual lengths and has no largest length.
#[inline]
fn push_length(mut length: usize, mut push: impl FnMut(u8)) {
    while length >= 0x80 {
        push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    push(length as u8);
}

/// Everything that a seal is bound to, but for its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) place: &'a Place,
    /// The session that the content belongs to, or nothing.
    pub(crate) binding: &'a [u8],
}

/// A seal as bytes.
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    /// Returns the length of the text.
    pub(crate) fn text_len(&self) -> usize {
        base64url::encoded_len(self.0.len())
    }

    /// Appends the seal as base64url text.
    pub(crate) fn put_text(&self, out: &mut Vec<u8>) {
        base64url::encode_onto(out, &self.0);
    }
}

/// A seal that was verified.
pub(crate) struct Opened {
    pub(super) bytes: Vec<u8>,
    pub(super) content: Range<usize>,
    /// Whether the primary key opened it. If not, it is time to seal the content again.
    pub(crate) by_primary: bool,
}

impl Opened {
    pub(crate) fn content(&self) -> &[u8] {
        &self.bytes[self.content.clone()]
    }
}

/// Seals the content that `put_content` appends, about `size` bytes, with the ring's primary key.
///
/// `nonce` must be random and fresh for each seal that is encrypted; a signed seal has none and ignores it.
pub(crate) fn seal(
    algorithm: Algorithm,
    ring: &KeyRing,
    context: &Context<'_>,
    nonce: &[u8; NONCE_LEN],
    size: usize,
    put_content: impl FnOnce(&mut Vec<u8>),
) -> Sealed {
    let key = ring.primary();
    let header = header(algorithm, key.id);
    let aad = Aad::new(&header, context);
    Sealed(match algorithm {
        Algorithm::Encrypted => encrypted::seal(&header, &key.cipher, aad.as_slice(), nonce, size, put_content),
        Algorithm::Signed => signed::seal(&header, &key.mac, aad.as_slice(), size, put_content),
    })
}

/// Returns how many bytes of text `plaintext_len` bytes of content take once they are sealed.
pub(crate) const fn sealed_len(algorithm: Algorithm, plaintext_len: usize) -> usize {
    let overhead = match algorithm {
        Algorithm::Encrypted => encrypted::OVERHEAD,
        Algorithm::Signed => signed::OVERHEAD,
    };
    base64url::encoded_len(HEADER_LEN + overhead + plaintext_len)
}

/// Opens `text` if it is a seal of this algorithm, made for this context by a key of the ring.
///
/// Every failure looks the same: `None`.
pub(crate) fn open(algorithm: Algorithm, ring: &KeyRing, context: &Context<'_>, text: &[u8]) -> Option<Opened> {
    if text.len() > MAX_TEXT_LEN {
        return None;
    }
    let mut bytes = base64url::decode(text)?;
    let found = *bytes.first_chunk::<HEADER_LEN>()?;
    let [_, _, id @ ..] = found;
    let id = KeyId(id);
    if found != header(algorithm, id) {
        return None;
    }
    let (key, by_primary) = ring.find(id)?;
    let aad = Aad::new(&found, context);
    let content = match algorithm {
        Algorithm::Encrypted => encrypted::open(&key.cipher, aad.as_slice(), &mut bytes)?,
        Algorithm::Signed => signed::open(&key.mac, aad.as_slice(), &bytes)?,
    };
    Some(Opened { bytes, content, by_primary })
}

fn header(algorithm: Algorithm, id: KeyId) -> [u8; HEADER_LEN] {
    let KeyId([a, b, c, d]) = id;
    [VERSION, algorithm.byte(), a, b, c, d]
}

/// Associated data: the header and the context as one unambiguous run of bytes.
///
/// It begins with the magic and the header, which have fixed lengths; the fields of the place and the binding follow,
/// each with its length before it, so that no two contexts give the same bytes. Usual contexts fit `inline`; a longer
/// one moves to the heap.
struct Aad {
    inline: [u8; Self::INLINE],
    len: usize,
    spilled: Vec<u8>,
}

impl Aad {
    const INLINE: usize = 160;

    fn new(header: &[u8; HEADER_LEN], context: &Context<'_>) -> Self {
        let mut aad = Self { inline: [0; Self::INLINE], len: MAGIC.len() + HEADER_LEN, spilled: Vec::new() };
        aad.inline[..MAGIC.len()].copy_from_slice(MAGIC);
        aad.inline[MAGIC.len()..MAGIC.len() + HEADER_LEN].copy_from_slice(header);
        aad.push(&context.place.0);
        push_length(context.binding.len(), |byte| aad.push(&[byte]));
        if !context.binding.is_empty() {
            aad.push(context.binding);
        }
        aad
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    fn as_slice(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.len] } else { &self.spilled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aad(cookie_name: &str, purpose: &str) -> Vec<u8> {
        let context = Context { place: &Place::new(cookie_name, purpose, "app"), binding: b"" };
        Aad::new(&[1, 1, 0xaa, 0xbb, 0xcc, 0xdd], &context).as_slice().to_vec()
    }

    #[test]
    fn associated_data_is_magic_header_and_fields_with_their_lengths() {
        assert_eq!(aad("id", "session"), b"session-state\x01\x01\xaa\xbb\xcc\xdd\x02id\x07session\x03app\x00");
    }

    #[test]
    fn usual_associated_data_stays_off_the_heap() {
        let header = [1, 1, 0xaa, 0xbb, 0xcc, 0xdd];
        let spills = |cookie_name: &str| {
            let place = Place::new(cookie_name, "session", "shop");
            !Aad::new(&header, &Context { place: &place, binding: &[7; 24] }).spilled.is_empty()
        };
        assert!(!spills("__Host-Http-id"));
        assert!(spills(&"n".repeat(160)));
    }

    #[test]
    fn a_length_takes_seven_bits_a_byte() {
        for (length, written) in [(127, &[0x7f][..]), (128, &[0x80, 1]), (200, &[0xc8, 1]), (16_384, &[0x80, 0x80, 1])]
        {
            let expected = [b"session-state\x01\x01\xaa\xbb\xcc\xdd".as_slice(), written, b"nn"].concat();
            assert!(aad(&"n".repeat(length), "session").starts_with(&expected), "{length}");
        }
    }

    #[test]
    fn fields_that_share_a_concatenation_give_different_associated_data() {
        assert_ne!(aad("ab", "c"), aad("a", "bc"));
        assert_ne!(aad("ab", ""), aad("", "ab"));
        assert_ne!(aad("a\x01", ""), aad("a", "\x01"));
    }

    #[test]
    fn a_header_of_another_version_or_algorithm_is_refused_though_the_tag_is_right() {
        let ring = KeyRing::generate().unwrap();
        let place = Place::new("id", "session", "");
        let context = Context { place: &place, binding: b"" };
        let KeyId([a, b, c, d]) = ring.primary().id;
        for (version, algorithm) in [(1, 1), (1, 2), (2, 1), (2, 2), (0, 1), (1, 0), (1, 3)] {
            let header = [version, algorithm, a, b, c, d];
            let aad = Aad::new(&header, &context);
            let (key, put) = (ring.primary(), |out: &mut Vec<u8>| out.extend_from_slice(b"content"));
            let encrypted = encrypted::seal(&header, &key.cipher, aad.as_slice(), &[7; NONCE_LEN], 7, put);
            let signed = signed::seal(&header, &key.mac, aad.as_slice(), 7, put);
            let [encrypted, signed] = [encrypted, signed].map(|seal| base64url::encode(&seal).into_bytes());
            let opens = |algorithm, text: &[u8]| open(algorithm, &ring, &context, text).is_some();
            assert_eq!(opens(Algorithm::Encrypted, &encrypted), (version, algorithm) == (1, 1));
            assert_eq!(opens(Algorithm::Signed, &signed), (version, algorithm) == (1, 2));
        }
    }

    #[test]
    fn long_fields_spill_and_keep_every_byte() {
        for len in [0, 1, 100, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 160, 300, 16_383, 16_384, 70_000] {
            let name: String = (0..len).map(|i| char::from(i as u8 & 0x7f)).collect();
            let mut length = vec![len as u8];
            if len >= 0x80 {
                length = vec![len as u8 | 0x80, (len >> 7) as u8];
            }
            if len >= 0x4000 {
                length = vec![len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8];
            }
            let expected =
                [b"session-state\x01\x01\xaa\xbb\xcc\xdd", &length[..], name.as_bytes(), b"\x07session\x03app\x00"]
                    .concat();
            assert_eq!(aad(&name, "session"), expected, "a name of {len} bytes");
        }
    }
}
