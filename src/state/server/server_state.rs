//! State of a layer that keeps sessions in a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::local_locks::LocalLocks;
use crate::random;
use crate::seal::AtRest;
use crate::store::{ErasedStore, Store, erase};

/// State of a layer that keeps sessions in a store.
#[derive(Clone, Debug)]
pub(crate) struct ServerState {
    pub(crate) store: Arc<dyn ErasedStore>,
    /// ID of the next write. It starts at random, so that two nodes seldom use the same.
    write_ids: Arc<AtomicU32>,
    /// Encryption at rest, if it is enabled.
    pub(crate) at_rest: Option<AtRest>,
    /// Turns of sessions, for commits that keep losing conflicts.
    pub(super) turns: LocalLocks,
}

impl ServerState {
    pub(crate) fn new(store: impl Store) -> Self {
        let write_ids = AtomicU32::new(u32::from_ne_bytes(random::nonce()));
        Self { store: erase(store), write_ids: Arc::new(write_ids), at_rest: None, turns: LocalLocks::new() }
    }

    /// Returns an ID that distinguishes concurrent writes of the same version.
    pub(in crate::state) fn write_id(&self) -> u32 {
        self.write_ids.fetch_add(1, Ordering::Relaxed)
    }
}
