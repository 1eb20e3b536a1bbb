//! Where the sessions are kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use axum::http::HeaderValue;
use base64_simd::{Out, URL_SAFE_NO_PAD};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use xaes_256_gcm::Xaes256Gcm;

use crate::scenario::Place;

pub(super) const NAME: &str = "__Host-session";
const ATTRIBUTES: &str = "; Secure; HttpOnly; SameSite=Lax; Path=/";
const IDLE: u64 = 1_800_000;
const ABSOLUTE: u64 = 86_400_000;
const TOUCH: u64 = 60_000;

/// How a record begins: its deadline, and in the bound its version, when it was last used and begun, and its handle.
pub(super) const HEAD: usize = 48;
/// How a seal of the bound begins: format, algorithm and the name of the key.
const SEAL: [u8; 6] = [1, 1, 0xaa, 0xbb, 0xcc, 0xdd];

pub(super) type Id = [u8; 32];

/// IDs are random already.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = Mutex<HashMap<Id, Arc<[u8]>, BuildHasherDefault<IdHasher>>>;

enum Kind {
    Memory(Box<[Shard; 64]>),
    Encrypted(Box<Aes256Gcm>),
    Sealed(Box<Xaes256Gcm>),
}

pub(super) struct State {
    kind: Kind,
    pub(super) is_bound: bool,
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    time.as_secs() * 1000 + u64::from(time.subsec_millis())
}

/// A number in the head of a record.
fn number(record: &[u8], at: usize) -> u64 {
    record[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn put_number(record: &mut [u8], at: usize, number: u64) {
    record[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// The associated data of the bound's seals.
fn aad() -> [u8; 19 + NAME.len()] {
    let mut aad = [0; 19 + NAME.len()];
    aad[..13].copy_from_slice(b"session-state");
    aad[13..19].copy_from_slice(&SEAL);
    aad[19..].copy_from_slice(NAME.as_bytes());
    aad
}

impl State {
    pub(super) fn new(place: Place, is_bound: bool) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).unwrap();
        let kind = match (place, is_bound) {
            (Place::Memory, _) => Kind::Memory(Box::new(std::array::from_fn(|_| Mutex::default()))),
            (Place::Encrypted, false) => Kind::Encrypted(Box::new(Aes256Gcm::new(&key.into()))),
            (Place::Encrypted, true) => Kind::Sealed(Box::new(Xaes256Gcm::new(&key.into()))),
        };
        Self { kind, is_bound }
    }

    /// Whether the use of a session has to be recorded.
    pub(super) fn is_touch_due(&self, record: &[u8]) -> bool {
        self.is_bound && number(record, 16) + TOUCH <= now()
    }

    fn shard<'a>(shards: &'a [Shard; 64], id: &Id) -> &'a Shard {
        &shards[usize::from(id[31] & 63)]
    }

    /// The name of a session in the store.
    fn key(&self, id: Id) -> Id {
        if self.is_bound { Sha256::new().chain_update(NAME).chain_update(id).finalize().into() } else { id }
    }

    /// The record of a cookie.
    pub(super) fn load(&self, cookie: &[u8]) -> Option<(Id, Arc<[u8]>)> {
        let mut id = Id::default();
        let record: Arc<[u8]> = match &self.kind {
            Kind::Memory(shards) => {
                let id_length = URL_SAFE_NO_PAD.decode(cookie, Out::from_slice(&mut id[..])).ok()?.len();
                (cookie.len() == 43 && id_length == 32).then_some(())?;
                id = self.key(id);
                Self::shard(shards, &id).lock().unwrap().get(&id)?.clone()
            }
            Kind::Encrypted(cipher) => {
                let mut sealed = URL_SAFE_NO_PAD.decode_to_vec(cookie).ok()?;
                let nonce: [u8; 12] = *sealed.first_chunk()?;
                let (tag_at, sealed_end) = (sealed.len().checked_sub(16)?, sealed.len());
                let tag: [u8; 16] = sealed.get(tag_at..sealed_end)?.try_into().ok()?;
                let plain = sealed.get_mut(12..tag_at)?;
                cipher
                    .decrypt_inout_detached(&nonce.into(), NAME.as_bytes(), (&mut *plain).into(), &tag.into())
                    .ok()?;
                Arc::from(&*plain)
            }
            Kind::Sealed(cipher) => {
                let mut sealed = URL_SAFE_NO_PAD.decode_to_vec(cookie).ok()?;
                let (header, body) = sealed.split_first_chunk_mut::<6>()?;
                (*header == SEAL).then_some(())?;
                let (nonce, body) = body.split_first_chunk_mut::<24>()?;
                let (plain, tag) = body.split_last_chunk_mut::<16>()?;
                cipher.decrypt_inout_detached(&(*nonce).into(), &aad(), (&mut *plain).into(), &(*tag).into()).ok()?;
                Arc::from(&*plain)
            }
        };
        let now = now();
        let is_live = number(&record, 0) > now && (!self.is_bound || number(&record, 24) + ABSOLUTE > now);
        is_live.then_some((id, record))
    }

    /// Writes a record back and gives the cookie to set, if there is one.
    pub(super) fn save(&self, id: Option<Id>, mut record: Vec<u8>) -> Option<HeaderValue> {
        let (now, version) = (now(), number(&record, 8));
        put_number(&mut record, 0, now + IDLE);
        if self.is_bound {
            put_number(&mut record, 8, version + 1);
            put_number(&mut record, 16, now);
        }
        let mut cookie = String::with_capacity(NAME.len() + 1 + (record.len() + 46) * 4 / 3 + 4 + ATTRIBUTES.len());
        cookie.push_str(NAME);
        cookie.push('=');
        match &self.kind {
            Kind::Memory(shards) => {
                if let Some(id) = id {
                    let mut shard = Self::shard(shards, &id).lock().unwrap();
                    let current = shard.get_mut(&id)?;
                    if self.is_bound && number(current, 8) != version {
                        return None;
                    }
                    *current = record.into();
                    return None;
                }
                let mut id = Id::default();
                getrandom::fill(&mut id).unwrap();
                let key = self.key(id);
                Self::shard(shards, &key).lock().unwrap().insert(key, record.into());
                URL_SAFE_NO_PAD.encode_append(id, &mut cookie);
            }
            Kind::Encrypted(cipher) => {
                let mut sealed = Vec::with_capacity(record.len() + 28);
                sealed.resize(12, 0);
                getrandom::fill(&mut sealed).unwrap();
                let nonce: [u8; 12] = *sealed.first_chunk()?;
                sealed.extend_from_slice(&record);
                let tag =
                    cipher.encrypt_inout_detached(&nonce.into(), NAME.as_bytes(), (&mut sealed[12..]).into()).ok()?;
                sealed.extend_from_slice(&tag);
                URL_SAFE_NO_PAD.encode_append(&sealed, &mut cookie);
            }
            Kind::Sealed(cipher) => {
                let mut nonce = [0; 24];
                rand::rng().fill_bytes(&mut nonce);
                let mut sealed = Vec::with_capacity(record.len() + 46);
                sealed.extend_from_slice(&SEAL);
                sealed.extend_from_slice(&nonce);
                sealed.extend_from_slice(&record);
                let tag = cipher.encrypt_inout_detached(&nonce.into(), &aad(), (&mut sealed[30..]).into()).ok()?;
                sealed.extend_from_slice(&tag);
                URL_SAFE_NO_PAD.encode_append(&sealed, &mut cookie);
            }
        }
        cookie.push_str(ATTRIBUTES);
        let mut cookie = HeaderValue::try_from(cookie).ok()?;
        cookie.set_sensitive(self.is_bound);
        Some(cookie)
    }

    /// A record with the head of a session that begins.
    pub(super) fn begin(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        if self.is_bound {
            put_number(&mut head, 24, now());
            getrandom::fill(&mut head[32..]).unwrap();
        }
        head
    }
}
