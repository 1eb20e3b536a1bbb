//! The records that requests hold, so that a write needs no other load.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::store::{Record, StoreKey};

/// Enough for the concurrent requests. Two records in one slot cost one of them another load.
const SLOTS: usize = 1024;

/// Remembers the CAS numbers of records that a request holds.
///
/// A CAS number stands for one state of one entry, so a compare-and-swap with an old number is exact too. A record is
/// remembered only as long as a request holds it.
pub(super) struct Recent {
    slots: Box<[Mutex<Option<Remembered>>]>,
}

struct Remembered {
    key: StoreKey,
    cas: u64,
    record: Weak<Record>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn remember(&self, key: &StoreKey, cas: u64, record: &Arc<Record>) {
        *self.slot(key) = Some(Remembered { key: *key, cas, record: Arc::downgrade(record) });
    }

    /// Returns the record once: the write that follows changes its CAS number.
    pub(super) fn take(&self, key: &StoreKey) -> Option<(u64, Arc<Record>)> {
        let mut slot = self.slot(key);
        let remembered = slot.take_if(|remembered| remembered.key == *key)?;
        Some((remembered.cas, remembered.record.upgrade()?))
    }

    fn slot(&self, key: &StoreKey) -> MutexGuard<'_, Option<Remembered>> {
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
