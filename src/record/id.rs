//! The three names of a session: the secret ID, the key its record is stored under, and its public handle.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

use crate::base64url;

/// Label before the name of a cookie when it is hashed for an [`IdDomain`]. The domain's 20 bytes stand before an ID
/// when that is hashed, so that the input is one block of SHA-256: 20 + 32 bytes and the padding.
const LABEL_LEN: usize = 20;
const STORE_KEY_LABEL: &[u8; LABEL_LEN] = b"session-state key v1";
const SUCCESSOR_LABEL: &[u8; LABEL_LEN] = b"session-state fwd v1";
const PART_KEY_LABEL: &[u8; LABEL_LEN] = b"session-state prt v1";
const PART_HANDLE_LABEL: &[u8; LABEL_LEN] = b"session-state phd v1";
const LOGIN_LOCK_LABEL: &[u8; LABEL_LEN] = b"session-state lck v1";
const ENDED_LABEL: &[u8; LABEL_LEN] = b"session-state end v1";
const LONGER_LABEL: &[u8; LABEL_LEN] = b"session-state lng v1";
const NOT_BEFORE_LABEL: &[u8; LABEL_LEN] = b"session-state nbf v1";
const SEAL_LABEL: &[u8; LABEL_LEN] = b"session-state row v1";

/// The first hash value of SHA-256 (FIPS 180-4 §5.3.3).
const SHA_256_INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The name of a layer's cookie, to which its IDs are bound. An ID of one layer is useless in another layer over the
/// same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdDomain([u8; 20]);

impl IdDomain {
    /// Returns the domain of the layer whose cookie has this name. It is hashed once, so that the hash of an ID stays
    /// within one block.
    pub(crate) fn new(cookie_name: &str) -> Self {
        let hash = Sha256::new().chain_update(STORE_KEY_LABEL).chain_update(cookie_name).finalize();
        Self(std::array::from_fn(|i| hash[i]))
    }

    /// Makes an ID of random bytes.
    pub(crate) fn id(self, secret: [u8; 32]) -> SessionId {
        SessionId { secret, store_key: StoreKey(hash(&self.0, &secret)) }
    }

    /// Reads an ID from a cookie. There is one spelling of each: 43 characters of unpadded base64url with no stray
    /// bits; anything else is `None`.
    pub(crate) fn parse(self, text: &[u8]) -> Option<SessionId> {
        base64url::decode_array(text).map(|secret| self.id(secret))
    }
}

/// The secret that a client holds: 256 random bits. The ID alone grants access to the session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionId {
    secret: [u8; 32],
    store_key: StoreKey,
}

impl SessionId {
    /// Returns the ID as the text in a cookie.
    pub(crate) fn to_text(&self) -> String {
        base64url::encode(&self.secret)
    }

    /// Returns the key that the record is stored under: a hash, so that a dump of the store reveals no ID.
    pub(crate) fn store_key(&self) -> &StoreKey {
        &self.store_key
    }

    /// Returns the bytes that the ID adds to the key that seals its record in a store.
    pub(crate) fn seal_material(&self) -> [u8; 32] {
        hash(SEAL_LABEL, &self.secret)
    }

    /// Seals the ID that replaces this one, so that only a holder of this ID can read it.
    ///
    /// The pad depends on nothing but this ID. It is used once: a store replaces an ID by a forward at most once.
    pub(crate) fn seal_successor(&self, successor: &Self) -> [u8; 32] {
        self.pad(successor.secret)
    }

    /// Opens a successor sealed by [`seal_successor`](Self::seal_successor).
    pub(crate) fn open_successor(&self, sealed: [u8; 32], domain: IdDomain) -> Self {
        domain.id(self.pad(sealed))
    }

    fn pad(&self, mut bytes: [u8; 32]) -> [u8; 32] {
        for (byte, pad) in bytes.iter_mut().zip(hash(SUCCESSOR_LABEL, &self.secret)) {
            *byte ^= pad;
        }
        bytes
    }
}

/// Returns SHA-256 of a label and a secret.
///
/// Both and the padding (FIPS 180-4 §5.1.1) are one block. Hashing it directly saves each request the buffering of a
/// hasher that takes input of any length.
fn hash(label: &[u8; LABEL_LEN], secret: &[u8; 32]) -> [u8; 32] {
    const MESSAGE_LEN: usize = LABEL_LEN + 32;
    let mut block = [0; 64];
    block[..LABEL_LEN].copy_from_slice(label);
    block[LABEL_LEN..MESSAGE_LEN].copy_from_slice(secret);
    block[MESSAGE_LEN] = 0x80;
    block[56..].copy_from_slice(&(8 * MESSAGE_LEN as u64).to_be_bytes());
    let mut state = SHA_256_INITIAL_STATE;
    compress256(&mut state, &[block]);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// Does not show the ID.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// The key of a record in a store: SHA-256 over a domain label and the session ID.
///
/// A leaked key grants no access to a session, and the duration of a look-up reveals nothing about an ID
/// (CVE-2019-16782). Stores keep keys case- and byte-exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey([u8; 32]);

impl StoreKey {
    /// Returns the key of the record of a session's part, and the handle of that record. Neither is secret.
    pub(crate) fn of_part(session: Handle, part: &str) -> (Self, Handle) {
        let hash = |label: &[u8; LABEL_LEN]| -> [u8; 32] {
            let message = Sha256::new().chain_update(label).chain_update(session.0).chain_update(part);
            message.finalize().into()
        };
        let mut handle = Handle([0; 16]);
        handle.0.copy_from_slice(&hash(PART_HANDLE_LABEL)[..16]);
        (Self(hash(PART_KEY_LABEL)), handle)
    }

    /// Returns the key of the lease for the logins of a principal.
    pub(crate) fn of_login_lock(principal: &str) -> Self {
        Self::of_text(LOGIN_LOCK_LABEL, principal.as_bytes())
    }

    /// Returns the handle of a lease's record under this key. No session has this handle under the same key.
    pub(crate) fn lease_handle(&self) -> Handle {
        Handle::from_bytes(std::array::from_fn(|i| !self.0[i]))
    }

    /// Returns the key of the mark of a session that lived in a cookie and was ended.
    pub(crate) fn of_ended(session: Handle) -> Self {
        Self::of_text(ENDED_LABEL, &session.0)
    }

    /// Returns the key of the note that copies of a session's cookie outlive the layer's absolute timeout.
    pub(crate) fn of_longer(session: Handle) -> Self {
        Self::of_text(LONGER_LABEL, &session.0)
    }

    /// Returns the key of the mark that ends the sessions of a principal that began before a time.
    pub(crate) fn of_not_before(principal: &str) -> Self {
        Self::of_text(NOT_BEFORE_LABEL, principal.as_bytes())
    }

    fn of_text(label: &[u8; LABEL_LEN], text: &[u8]) -> Self {
        Self(Sha256::new().chain_update(label).chain_update(text).finalize().into())
    }

    /// Creates a key from its bytes, for tests of stores.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shows only the first bytes: enough to distinguish two keys in a log, too few to find a record.
impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "StoreKey({a:02x}{b:02x}..)")
    }
}

/// The public name of a session: 128 random bits that stay the same when the ID is renewed.
///
/// It names a session in lists, forms, logs and events, as 22 characters of base64url. It cannot be turned into an ID
/// and grants no access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// Creates a handle from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the handle's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Writes the handle as 22 characters of base64url.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({self})")
    }
}

/// Parses the 22 characters. Each handle has exactly one spelling.
impl FromStr for Handle {
    type Err = ParseHandleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base64url::decode_array(text.as_bytes()).map(Self).ok_or(ParseHandleError)
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Handle;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the handle of a session")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Handle, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A text is not the handle of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseHandleError;

impl fmt::Display for ParseHandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handle of a session is 22 characters of base64url")
    }
}

impl StdError for ParseHandleError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> IdDomain {
        IdDomain::new("__Host-Http-id")
    }

    #[test]
    fn an_id_survives_a_round_trip_through_its_text() {
        let id = domain().id([0xa5; 32]);
        assert_eq!(id.to_text().len(), 43);
        assert_eq!(domain().parse(id.to_text().as_bytes()), Some(id));
    }

    #[test]
    fn an_id_has_one_spelling() {
        let text = domain().id([0xff; 32]).to_text();
        let (last, rest) = text.as_bytes().split_last().expect("an ID is not empty");
        let accepted = (0..=u8::MAX).filter(|byte| domain().parse(&[rest, &[*byte]].concat()).is_some());
        // Of the 64 characters only those with two low zero bits can end 256 bits.
        assert_eq!(accepted.count(), 16);
        assert!(domain().parse(&[rest, &[*last]].concat()).is_some());
        for wrong in [&text[..42], &format!("{text}A"), &format!("{text}="), "", &"+".repeat(43), &"é".repeat(21)] {
            assert_eq!(domain().parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_has_another_key_with_another_cookie_name() {
        let [one, other] = ["id", "admin"].map(|name| IdDomain::new(name).id([7; 32]));
        assert_ne!(one.store_key(), other.store_key());
    }

    #[test]
    fn a_successor_opens_with_the_id_it_replaced_and_no_other() {
        let (old, new, other) = ([1; 32], [2; 32], [3; 32]);
        let [old, new, other] = [old, new, other].map(|secret| domain().id(secret));
        let sealed = old.seal_successor(&new);
        assert_eq!(old.open_successor(sealed, domain()), new);
        assert_ne!(other.open_successor(sealed, domain()), new);
        assert_ne!(sealed, new.secret);
    }

    #[test]
    fn the_hash_of_one_block_is_sha_256() {
        for byte in 0..=u8::MAX {
            let (label, secret) = ([byte; LABEL_LEN], std::array::from_fn(|i| byte.wrapping_mul(i as u8)));
            let expected = Sha256::new().chain_update(label).chain_update(secret).finalize();
            assert_eq!(hash(&label, &secret)[..], expected[..]);
        }
    }

    #[test]
    fn names_derived_from_an_id_are_frozen() {
        let id = domain().id(std::array::from_fn(|i| i as u8));
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        // Computed with Python: `hashlib.sha256(label + cookie_name).digest()[:20]` is the label of `sha256(label +
        // bytes(range(32)))`.
        assert_eq!(hex(id.store_key().as_bytes()), FROZEN_STORE_KEY);
        assert_eq!(hex(&id.seal_successor(&domain().id([0; 32]))), FROZEN_PAD);
    }

    const FROZEN_STORE_KEY: &str = "83cf7f59df619a626af4b2dc27a790668fbf4e94915afe65fc27db6912db55a2";
    const FROZEN_PAD: &str = "e5acaa9586b91d8f795fc80767bbc79fce996f69e7798991d3e05b5c862c9cbe";

    #[test]
    fn a_handle_survives_a_round_trip_and_has_one_spelling() {
        let handle = Handle::from_bytes([0xfb; 16]);
        let text = handle.to_string();
        assert_eq!((text.len(), text.parse()), (22, Ok(handle)));
        let json = serde_json::to_string(&handle).expect("a handle is a text");
        assert_eq!(serde_json::from_str::<Handle>(&json).expect("the same text"), handle);
        for wrong in ["", &text[..21], &format!("{text}A"), &text.replace('_', "/"), &format!("{}x", &text[..21])] {
            assert_eq!(wrong.parse::<Handle>(), Err(ParseHandleError), "{wrong}");
            assert!(serde_json::from_value::<Handle>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let id = domain().id([7; 32]);
        assert_eq!(format!("{id:?}"), "SessionId(..)");
        assert!(format!("{:?}", id.store_key()).len() < 20);
    }
}
