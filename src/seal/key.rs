//! A key, and the keys derived from it that do the work.

use std::fmt;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, engine::general_purpose};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::KeyInit;
use zeroize::Zeroizing;

use crate::error::{ConfigError, Error};
use crate::random;

/// A secret key, from which seals are made: at least 32 random bytes.
///
/// A key lives outside the program, in a secret store or an environment variable, and is the same for every node that
/// serves the application. Make one with `openssl rand -base64 32`, or with [`generate`](Self::generate) and
/// [`to_base64`](Self::to_base64), and put it into a [`KeyRing`](crate::KeyRing). The bytes are wiped from memory when
/// the key is dropped, and `Debug` does not show them.
///
/// # Security
///
/// A leaked key lets an attacker read and forge the state of every visitor. A key must come from a random generator: a
/// password or a phrase is no key, however long it is. Bytes that are plainly not random are refused, which guards
/// against a placeholder left in place, not against a badly chosen key.
///
/// Wiping covers the places where a key and what is derived from it are kept. Copies on the stack, made while a key is
/// read or derived from, are left to be written over.
///
/// # Examples
///
/// ```
/// use session_state::{Key, KeyRing};
///
/// # let text = Key::generate()?.to_base64();
/// // let text = std::env::var("SESSION_KEY")?;
/// let keys = KeyRing::new(Key::from_base64(&text)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key(Zeroizing<Box<[u8]>>);

impl Key {
    /// The least number of bytes in a key.
    const MIN_LEN: usize = 32;

    /// Makes a new key of 32 bytes from the operating system's random generator.
    ///
    /// # Errors
    ///
    /// Fails when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, Error> {
        let bytes = Zeroizing::new(random::bytes::<{ Self::MIN_LEN }>()?);
        Ok(Self::copy_of(bytes.as_slice()))
    }

    /// Makes a key of the given bytes, all of which are used.
    ///
    /// # Errors
    ///
    /// Fails when there are fewer than 32 bytes, or when they are plainly not random: a few bytes or a pattern
    /// repeated, bytes that count up or down, a text such as "change me" or the key of an example. The error does not
    /// show the key.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::Key;
    ///
    /// assert!(Key::from_bytes(b"too short").is_err());
    /// assert!(Key::from_bytes(&[0; 32]).is_err());
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() < Self::MIN_LEN {
            let len = bytes.len();
            let least = Self::MIN_LEN;
            return Err(ConfigError::new(format!("key of {len} bytes: a key has at least {least}; {HOW_TO_MAKE}")));
        }
        match weakness(bytes) {
            Some(weakness) => Err(ConfigError::new(format!(
                "key {weakness}: a key is made by a random generator, for one application; {HOW_TO_MAKE}"
            ))),
            None => Ok(Self::copy_of(bytes)),
        }
    }

    /// Makes a key of base64 text, in the standard or the URL-safe alphabet, with or without padding.
    ///
    /// White space before and after the text is ignored, so a line read from a file will do.
    ///
    /// # Errors
    ///
    /// Fails when the text is not base64, and for every reason [`from_bytes`](Self::from_bytes) has. The error does not
    /// show the key.
    ///
    /// # Examples
    ///
    /// The key of an example is not a secret any more, so this one is refused:
    ///
    /// ```
    /// use session_state::Key;
    ///
    /// let error = Key::from_base64("c2Vzc2lvbi1zdGF0ZSBkb2N1bWVudGF0aW9uIGtleSE=").unwrap_err();
    /// assert!(error.to_string().contains("random"));
    /// ```
    pub fn from_base64(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let engine = if text.contains(['-', '_']) { &LENIENT_URL_SAFE } else { &LENIENT_STANDARD };
        // Enough for every text of this length, so that the secret is never left behind in a buffer outgrown.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() + 3));
        engine
            .decode_vec(text, &mut bytes)
            .map_err(|_| ConfigError::new(format!("key text is not base64; {HOW_TO_MAKE}")))?;
        Self::from_bytes(&bytes)
    }

    /// Returns the key as text for [`from_base64`](Self::from_base64), to be stored: standard alphabet, padded.
    ///
    /// # Security
    ///
    /// The text is the secret. It is wiped from memory when it is dropped; a copy made of it is not.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(general_purpose::STANDARD.encode(self.0.as_ref()))
    }

    fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// HMAC-SHA-256 with this key.
    fn prf(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes a key of any length")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
static LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
static LENIENT_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

pub(super) const KEY_ID_LEN: usize = 4;

/// The public name of a key, which travels in each seal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) [u8; KEY_ID_LEN]);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The keys derived from a key. They are derived once, when it enters a ring, so that no request pays for it.
///
/// The derivation is HKDF-Expand (RFC 5869 §2.3) of a single block with the key itself as the pseudorandom key, which
/// a key from a random generator already is: `HMAC-SHA-256(key, label || 0x01)`. Each use has a label and so a key of
/// its own; the key ID is a truncated HMAC of another text, and tells nothing about either.
pub(super) struct SubKeys {
    pub(super) id: KeyId,
    pub(super) cipher: Xaes256Gcm,
    /// The state after the key's block; a use starts from a clone.
    pub(super) mac: Hmac<Sha256>,
    /// Makes the key of a session's values in a store, from a clone too.
    pub(super) at_rest: Hmac<Sha256>,
}

impl SubKeys {
    pub(super) fn derive(key: &Key) -> Self {
        let id = key.prf().chain_update(b"session-state key id v1").finalize().into_bytes();
        let encryption = expand(key, b"session-state encryption key v1");
        let signing = expand(key, b"session-state signing key v1");
        let at_rest = expand(key, b"session-state at-rest key v1");
        Self {
            id: KeyId([id[0], id[1], id[2], id[3]]),
            cipher: Xaes256Gcm::new((&*encryption).into()),
            mac: Hmac::new_from_slice(signing.as_slice()).expect("HMAC takes a key of any length"),
            at_rest: Hmac::new_from_slice(at_rest.as_slice()).expect("HMAC takes a key of any length"),
        }
    }
}

fn expand(key: &Key, label: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(key.prf().chain_update(label).chain_update([1]).finalize().into_bytes().into())
}

/// How to make a key, for the errors of those that are none.
const HOW_TO_MAKE: &str = "make one with `openssl rand -base64 32` or `Key::generate`";

/// Returns why a key is plainly not random, if it is not.
///
/// A random key of 32 bytes is refused by one of these rules with a probability below 2^-40.
fn weakness(bytes: &[u8]) -> Option<&'static str> {
    if distinct_values(bytes) < 8 {
        Some("has fewer than 8 different bytes")
    } else if repeats(bytes) {
        Some("is one pattern repeated")
    } else if counts(bytes) {
        Some("counts up or down")
    } else if is_sample_text(bytes) {
        Some("is a placeholder or an example")
    } else if bytes.len() < 2 * Key::MIN_LEN && bytes.iter().all(u8::is_ascii_hexdigit) {
        Some("is hexadecimal text with half a byte in each digit")
    } else {
        None
    }
}

fn distinct_values(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|&&seen| seen).count()
}

fn repeats(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| bytes.iter().zip(&bytes[period..]).all(|(a, b)| a == b))
}

/// Whether most steps from byte to byte are like the step before, as in `0, 1, 2…` and `abc…z012…`.
fn counts(bytes: &[u8]) -> bool {
    let steady = bytes.windows(3).filter(|w| w[1].wrapping_sub(w[0]) == w[2].wrapping_sub(w[1])).count();
    steady >= bytes.len() / 2
}

/// Whether the key is text with a word that no random generator wrote.
fn is_sample_text(bytes: &[u8]) -> bool {
    /// Lower-case letters alone: what stands between letters is skipped, so `Change-Me` and `CHANGE ME` are one.
    const WORDS: [&str; 13] = [
        "changeme",
        "changeit",
        "changethis",
        "replaceme",
        "replacethis",
        "yoursecret",
        "secretkey",
        "supersecret",
        "password",
        "example",
        "placeholder",
        "sessionstate",
        "qwertyuiop",
    ];
    if !bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return false;
    }
    let letters: Zeroizing<String> = Zeroizing::new(
        bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).map(|byte| byte.to_ascii_lowercase() as char).collect(),
    );
    WORDS.iter().any(|word| letters.contains(word))
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// 32 bytes without a pattern: SHA-256 of nothing.
    const RANDOM: [u8; 32] = [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ];

    fn refusal(bytes: &[u8]) -> String {
        Key::from_bytes(bytes).expect_err("the key is weak").to_string()
    }

    #[test]
    fn random_bytes_of_32_and_more_are_a_key() {
        assert!(Key::from_bytes(&RANDOM).is_ok());
        let long: Vec<u8> = (0..8).flat_map(|i| RANDOM.map(|byte| byte.wrapping_mul(2 * i + 1))).collect();
        assert!(Key::from_bytes(&long).is_ok());
        assert!(Key::from_bytes(b"kX9vQ2mZr7LpT4wYbN8cJ5hGdF3sA6eU").is_ok(), "letters and digits hold 190 bits");
        for _ in 0..1000 {
            let key = Key::generate().unwrap();
            assert!(Key::from_bytes(&key.0).is_ok());
        }
    }

    #[test]
    fn short_keys_are_refused_with_their_length() {
        assert_eq!(
            refusal(&RANDOM[..31]),
            "key of 31 bytes: a key has at least 32; make one with `openssl rand -base64 32` or `Key::generate`"
        );
        assert!(refusal(b"").starts_with("key of 0 bytes: "));
    }

    #[test]
    fn keys_of_few_different_bytes_are_refused() {
        for byte in [0, 1, 0x5a, 0xff] {
            assert!(refusal(&[byte; 32]).contains("different bytes"));
            assert!(refusal(&[byte; 64]).contains("different bytes"));
        }
        let mut nearly_zero = [0; 32];
        nearly_zero[25..].copy_from_slice(&[1, 7, 2, 9, 4, 1, 200]);
        assert!(refusal(&nearly_zero).contains("different bytes"), "seven values");
        nearly_zero[12] = 77;
        assert!(refusal(&nearly_zero).contains("counts"), "eight values pass this rule");
    }

    #[test]
    fn repeated_patterns_are_refused() {
        assert!(refusal(&[&RANDOM[..16], &RANDOM[..16]].concat()).contains("repeated"));
        assert!(refusal(&[&RANDOM[..15], &RANDOM[..15], &RANDOM[..5]].concat()).contains("repeated"));
        assert!(refusal(b"12345678901234567890123456789012").contains("repeated"));
        assert!(Key::from_bytes(&[&RANDOM[..17], &RANDOM[..15]].concat()).is_ok(), "less than two whole periods");
    }

    #[test]
    fn keys_that_count_are_refused() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        let by_seven: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(7)).collect();
        for key in [&up, &down, &by_seven, b"abcdefghijklmnopqrstuvwxyz012345" as &[u8]] {
            assert!(refusal(key).contains("counts"));
        }
    }

    #[test]
    fn placeholders_and_sample_keys_are_refused() {
        for text in [
            "session-state documentation key!",
            "Change Me! Change me, please! OK?",
            "please-CHANGE_ME-before-production",
            "this is my password, do not tell it",
            "my-super-secret-key-for-the-website",
            "an EXAMPLE of a key of enough bytes",
        ] {
            assert!(refusal(text.as_bytes()).contains("placeholder"), "{text}");
        }
    }

    #[test]
    fn hexadecimal_text_counts_half() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(refusal(&hex.as_bytes()[..32]).contains("hexadecimal"));
        assert!(refusal(&hex.as_bytes()[..63]).contains("hexadecimal"));
        assert!(Key::from_bytes(hex.as_bytes()).is_ok());
    }

    #[test]
    fn base64_is_read_in_both_alphabets_with_or_without_padding() {
        // 0xfb 0xff… has `+` and `/` in the standard alphabet.
        let mut bytes = RANDOM;
        bytes[..3].copy_from_slice(&[0xfb, 0xff, 0xbf]);
        let standard = general_purpose::STANDARD.encode(bytes);
        assert!(standard.contains('+') && standard.contains('/') && standard.ends_with('='));
        let url_safe = standard.replace('+', "-").replace('/', "_");
        for text in [
            standard.as_str(),
            standard.trim_end_matches('='),
            url_safe.as_str(),
            url_safe.trim_end_matches('='),
            &format!(" \t{standard}\r\n"),
        ] {
            assert_eq!(&**Key::from_base64(text).unwrap().0, &bytes, "{text:?}");
        }
    }

    #[test]
    fn text_that_is_not_base64_is_refused_without_being_shown() {
        let text = "47DEQpj8HBSa-/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        for text in [text, "not base64 at all", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF", "é"] {
            let error = Key::from_base64(text).unwrap_err();
            assert_eq!(error.to_string(), format!("key text is not base64; {HOW_TO_MAKE}"));
        }
        assert!(Key::from_base64("").unwrap_err().to_string().contains("0 bytes"));
    }

    #[test]
    fn text_of_a_key_gives_the_key_back() {
        let key = Key::generate().unwrap();
        let text = key.to_base64();
        assert_eq!(text.len(), 44);
        assert_eq!(Key::from_base64(&text).unwrap().0, key.0);
        assert_ne!(Key::generate().unwrap().0, key.0);
    }

    #[test]
    fn debug_shows_no_byte_of_a_key() {
        let key = Key::from_bytes(&RANDOM).unwrap();
        assert_eq!(format!("{key:?} {key:#?}"), "Key(..) Key(..)");
    }

    #[test]
    fn every_secret_is_wiped_when_it_is_dropped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Zeroizing<Box<[u8]>>>();
        wiped::<Xaes256Gcm>();
        // The state of `Hmac<Sha256>` is two of its cores and its buffer, and each of them wipes itself.
        wiped::<Sha256>();
    }

    #[test]
    fn equal_keys_have_equal_sub_keys_and_others_do_not() {
        let tag = |sub: &SubKeys| sub.mac.clone().finalize().into_bytes();
        let one = SubKeys::derive(&Key::from_bytes(&RANDOM).unwrap());
        let same = SubKeys::derive(&Key::from_bytes(&RANDOM).unwrap());
        let other = SubKeys::derive(&Key::generate().unwrap());
        assert_eq!((one.id, tag(&one)), (same.id, tag(&same)));
        assert!(one.id != other.id && tag(&one) != tag(&other));
    }
}
