//! What was last loaded, so that the write which follows need not ask again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::store::{Record, StoreKey};

/// Enough for the requests that are under way. Of two that meet in one, one asks the server again.
const SLOTS: usize = 1024;

/// Remembers the unique numbers of records that a request holds.
///
/// A number stands for one state of one entry, so a write that expects it is exact, however old it is. A record is
/// remembered for as long as somebody holds it, and no longer.
pub(super) struct Recent {
    slots: Box<[Mutex<Option<Seen>>]>,
}

struct Seen {
    key: StoreKey,
    cas: u64,
    record: Weak<Record>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn remember(&self, key: &StoreKey, cas: u64, record: &Arc<Record>) {
        *self.slot(key) = Some(Seen { key: *key, cas, record: Arc::downgrade(record) });
    }

    /// Returns what was remembered, once: whoever writes changes it.
    pub(super) fn take(&self, key: &StoreKey) -> Option<(u64, Arc<Record>)> {
        let mut slot = self.slot(key);
        let seen = slot.take_if(|seen| seen.key == *key)?;
        Some((seen.cas, seen.record.upgrade()?))
    }

    fn slot(&self, key: &StoreKey) -> MutexGuard<'_, Option<Seen>> {
        let [a, b, ..] = *key.as_bytes();
        let index = usize::from(u16::from_le_bytes([a, b])) % SLOTS;
        self.slots[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}
