//! The key ring: one key that seals, and those that still open.

use std::fmt;
use std::sync::Arc;

use super::key::{Key, KeyId, SubKeys};
use crate::error::{ConfigError, Error};

/// The keys of an application: the primary seals, and every key of the ring opens.
///
/// Each seal names its key, so one key and no other is tried. What a fallback opened is sealed again with the primary
/// in the response. Cloning a ring is cheap, and one ring may serve any number of layers and cookies, encrypted and
/// signed.
///
/// # Rotation
///
/// With several nodes a new key comes in three steps, each of them on all nodes before the next begins:
///
/// 1. `KeyRing::new(old).add_fallback(new)`: every node opens what any node will seal;
/// 2. `KeyRing::new(old).rotate(new)`: the new key seals, the old one still opens;
/// 3. `KeyRing::new(new)`, once the longest absolute timeout has passed: what is still sealed under the old key no
///    longer opens.
///
/// A key that has leaked is dropped at once.
///
/// # Examples
///
/// ```
/// use session_state::{Key, KeyRing};
///
/// # let (current, former) = (Key::generate()?.to_base64(), Key::generate()?.to_base64());
/// let keys = KeyRing::new(Key::from_base64(&current)?).add_fallback(Key::from_base64(&former)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<Keys>);

/// Sub-keys are shared, never moved: a list that grows leaves no unwiped copy behind.
#[derive(Clone)]
struct Keys {
    primary: Arc<SubKeys>,
    fallbacks: Vec<Arc<SubKeys>>,
}

impl KeyRing {
    /// The most keys in a ring, the primary among them.
    const MAX_KEYS: usize = 16;

    /// Makes a ring of one key, which seals and opens.
    #[must_use]
    pub fn new(primary: Key) -> Self {
        let primary = Arc::new(SubKeys::derive(&primary));
        Self(Arc::new(Keys { primary, fallbacks: Vec::new() }))
    }

    /// Makes a ring of one random key, for tests and development.
    ///
    /// Only this process knows the key: its seals open on no other node, and not after a restart.
    ///
    /// # Errors
    ///
    /// Fails when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, Error> {
        Key::generate().map(Self::new)
    }

    /// Adds a key that opens and does not seal, after the fallbacks already there.
    ///
    /// # Errors
    ///
    /// Fails when the ring holds 16 keys, and when the key is in it already or has the key ID of one that is, which
    /// happens to two random keys once in 2^32.
    pub fn add_fallback(mut self, key: Key) -> Result<Self, ConfigError> {
        let key = self.admit(&key)?;
        Arc::make_mut(&mut self.0).fallbacks.push(key);
        Ok(self)
    }

    /// Makes a new key the primary; the former primary becomes the first fallback.
    ///
    /// # Errors
    ///
    /// Fails for the reasons [`add_fallback`](Self::add_fallback) has.
    pub fn rotate(mut self, new_primary: Key) -> Result<Self, ConfigError> {
        let key = self.admit(&new_primary)?;
        let keys = Arc::make_mut(&mut self.0);
        let former = std::mem::replace(&mut keys.primary, key);
        keys.fallbacks.insert(0, former);
        Ok(self)
    }

    /// Derives the sub-keys of a key that may enter the ring.
    fn admit(&self, key: &Key) -> Result<Arc<SubKeys>, ConfigError> {
        if self.0.fallbacks.len() + 1 == Self::MAX_KEYS {
            return Err(ConfigError::new(format!("key ring of {0} keys: a ring holds at most {0}", Self::MAX_KEYS)));
        }
        let key = SubKeys::derive(key);
        match self.find(key.id) {
            Some(_) => Err(ConfigError::new(format!(
                "key with the id {:?} is in the ring already: each key is added once, and no two share an id",
                key.id
            ))),
            None => Ok(Arc::new(key)),
        }
    }

    pub(super) fn primary(&self) -> &SubKeys {
        &self.0.primary
    }

    /// Returns the one key of this name, and whether it is the primary.
    pub(super) fn find(&self, id: KeyId) -> Option<(&SubKeys, bool)> {
        if self.0.primary.id == id {
            return Some((&self.0.primary, true));
        }
        self.0.fallbacks.iter().find(|key| key.id == id).map(|key| (&**key, false))
    }
}

impl From<Key> for KeyRing {
    fn from(primary: Key) -> Self {
        Self::new(primary)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fallbacks: Vec<KeyId> = self.0.fallbacks.iter().map(|key| key.id).collect();
        f.debug_struct("KeyRing").field("primary", &self.0.primary.id).field("fallbacks", &fallbacks).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> Key {
        let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(i).wrapping_mul(7) ^ i.wrapping_add(seed)).collect();
        Key::from_bytes(&bytes).unwrap()
    }

    fn id(key: &Key) -> KeyId {
        SubKeys::derive(key).id
    }

    fn ids(ring: &KeyRing) -> Vec<KeyId> {
        [ring.0.primary.id].into_iter().chain(ring.0.fallbacks.iter().map(|key| key.id)).collect()
    }

    #[test]
    fn fallbacks_keep_the_order_in_which_they_were_added() {
        let ring = KeyRing::new(key(1)).add_fallback(key(2)).unwrap().add_fallback(key(3)).unwrap();
        assert_eq!(ids(&ring), [id(&key(1)), id(&key(2)), id(&key(3))]);
        assert_eq!(ring.primary().id, id(&key(1)));
    }

    #[test]
    fn rotation_puts_the_former_primary_before_the_other_fallbacks() {
        let ring = KeyRing::from(key(1)).add_fallback(key(2)).unwrap().rotate(key(3)).unwrap();
        assert_eq!(ids(&ring), [id(&key(3)), id(&key(1)), id(&key(2))]);
    }

    #[test]
    fn a_clone_does_not_see_later_keys() {
        let before = KeyRing::new(key(1));
        let after = before.clone().rotate(key(2)).unwrap();
        assert_eq!(ids(&before), [id(&key(1))]);
        assert_eq!(ids(&after), [id(&key(2)), id(&key(1))]);
    }

    #[test]
    fn a_key_is_found_by_its_id_and_by_nothing_else() {
        let ring = KeyRing::new(key(1)).add_fallback(key(2)).unwrap();
        let found = |id| ring.find(id).map(|(key, primary)| (key.id, primary));
        assert_eq!(found(id(&key(1))), Some((id(&key(1)), true)));
        assert_eq!(found(id(&key(2))), Some((id(&key(2)), false)));
        assert_eq!(found(id(&key(3))), None);
        assert_eq!(found(KeyId([0; 4])), None);
    }

    #[test]
    fn a_key_enters_a_ring_once() {
        let ring = KeyRing::new(key(1)).add_fallback(key(2)).unwrap();
        for known in [1, 2] {
            let message = format!(
                "key with the id {:?} is in the ring already: each key is added once, and no two share an id",
                id(&key(known))
            );
            assert_eq!(ring.clone().add_fallback(key(known)).unwrap_err().to_string(), message);
            assert_eq!(ring.clone().rotate(key(known)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_ring_holds_sixteen_keys() {
        let mut ring = KeyRing::new(key(0));
        for seed in 1..16 {
            ring = ring.add_fallback(key(seed)).unwrap();
        }
        assert_eq!(ids(&ring).len(), 16);
        let error = ring.clone().add_fallback(key(16)).unwrap_err();
        assert_eq!(error.to_string(), "key ring of 16 keys: a ring holds at most 16");
        assert_eq!(ring.rotate(key(16)).unwrap_err(), error);
    }

    #[test]
    fn debug_shows_key_ids_alone() {
        let ring = KeyRing::new(key(1)).add_fallback(key(2)).unwrap();
        let expected = format!("KeyRing {{ primary: {:?}, fallbacks: [{:?}] }}", id(&key(1)), id(&key(2)));
        assert_eq!(format!("{ring:?}"), expected);
        assert_eq!(format!("{:?}", KeyId([0x00, 0x0a, 0xbc, 0xde])), "000abcde");
    }

    #[test]
    fn generated_rings_differ() {
        assert_ne!(ids(&KeyRing::generate().unwrap()), ids(&KeyRing::generate().unwrap()));
    }
}
