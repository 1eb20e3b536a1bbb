//! The owners of sessions, and the members of an index.

use std::cmp::Ordering;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::base64url;
use crate::clock::{Timestamp, whole_millis};
use crate::store::{Handle, Record, StoreKey};

/// The label that is hashed together with a principal.
const LABEL: &[u8; 20] = b"session-state prn v1";

/// How much later than its score a session may end, and how long a set is kept after its last score. The scripts have
/// the same number.
pub(super) const SLACK: Duration = Duration::from_secs(60 * 60);

/// The bytes of an [`Owner`].
pub(super) const OWNER: usize = HASH + HANDLE;

pub(super) const HASH: usize = 32;
const HANDLE: usize = 16;
/// The text of a key without its prefix.
pub(super) const KEY: usize = base64url::encoded_len(32);

/// The owner of a session, and which of its sessions it is: the hash of the principal, and the handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner([u8; OWNER]);

impl Owner {
    pub(super) fn of(record: &Record) -> Option<Self> {
        record.principal.as_deref().map(|principal| Self::new(principal, &record.handle))
    }

    pub(super) fn new(principal: &str, handle: &Handle) -> Self {
        let hash = Sha256::new().chain_update(LABEL).chain_update(principal).finalize();
        let mut bytes = [0; OWNER];
        bytes[..HASH].copy_from_slice(&hash);
        bytes[HASH..].copy_from_slice(handle.as_bytes());
        Self(bytes)
    }

    pub(super) fn from_bytes(bytes: [u8; OWNER]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; OWNER] {
        &self.0
    }

    /// Returns the session of the same principal with this handle.
    pub(super) fn with_handle(mut self, handle: &Handle) -> Self {
        self.0[HASH..].copy_from_slice(handle.as_bytes());
        self
    }

    pub(super) fn hash(&self) -> &[u8] {
        &self.0[..HASH]
    }

    pub(super) fn handle(&self) -> &[u8] {
        &self.0[HASH..]
    }
}

/// A session in an index.
#[derive(Clone)]
pub(super) struct Member {
    bytes: [u8; HANDLE + KEY],
    score: f64,
}

impl Member {
    pub(super) fn read(bytes: &[u8], score: f64) -> Option<Self> {
        Some(Self { bytes: bytes.try_into().ok()?, score })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn handle(&self) -> Handle {
        Handle::from_bytes(std::array::from_fn(|i| self.bytes[i]))
    }

    /// Compares the handles, and then the keys.
    pub(super) fn by_handle(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }

    /// Returns the text of its key, without the prefix.
    pub(super) fn key(&self) -> [u8; KEY] {
        std::array::from_fn(|i| self.bytes[HANDLE + i])
    }

    /// Returns whether the score is in the past.
    #[expect(clippy::cast_precision_loss, reason = "scores are doubles on the server too")]
    pub(super) fn is_past(&self, now: Timestamp) -> bool {
        self.score <= now.as_millis() as f64
    }

    /// Returns whether the session cannot be live any more.
    #[expect(clippy::cast_precision_loss, reason = "scores are doubles on the server too")]
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.score + whole_millis(SLACK) as f64 <= now.as_millis() as f64
    }
}

pub(super) fn member_bytes(owner: &Owner, key: &StoreKey) -> Vec<u8> {
    let mut bytes = owner.handle().to_vec();
    base64url::encode_onto(&mut bytes, key.as_bytes());
    bytes
}
