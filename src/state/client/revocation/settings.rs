//! Settings of revocation: the store, and the cache of its answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cache::RevocationCache;
use crate::store::ErasedStore;

/// Settings of revocation: the store, and the cache of its answers.
#[derive(Clone)]
pub(crate) struct Revocation {
    pub(crate) store: Arc<dyn ErasedStore>,
    /// Largest age of a cached answer. Zero disables the cache.
    pub(super) delay: Duration,
    pub(super) cache: Arc<RevocationCache>,
}

impl Revocation {
    pub(in crate::state::client) fn new(store: Arc<dyn ErasedStore>, delay: Duration) -> Self {
        Self { store, delay, cache: Arc::default() }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("store", &self.store).field("delay", &self.delay).finish_non_exhaustive()
    }
}
