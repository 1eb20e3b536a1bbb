//! The sessions of a principal: found, counted and ended.

use std::sync::Arc;

use super::{MemoryStore, Slot};
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey};

/// How many places are read at a time, so that a principal with very many sessions holds nobody up.
const PAGE: usize = 128;

impl MemoryStore {
    /// Shows the live sessions of a principal in the order of their handles, as long as `show` wants another.
    pub(super) fn each_session(
        &self,
        principal: &str,
        after: Option<&Handle>,
        now: Timestamp,
        mut show: impl FnMut(Arc<Record>) -> bool,
    ) {
        let mut after = after.copied();
        loop {
            let places = self.shared.index.page(principal, after.as_ref(), PAGE);
            for (handle, key) in &places {
                let session = self.session(principal, handle, *key, now);
                if session.is_some_and(|record| !show(record)) {
                    return;
                }
            }
            match places.last() {
                Some((handle, _)) if places.len() == PAGE => after = Some(*handle),
                _ => return,
            }
        }
    }

    /// Returns a live session of a principal that was under this key, wherever it has moved to since.
    fn session(&self, principal: &str, handle: &Handle, mut key: StoreKey, now: Timestamp) -> Option<Arc<Record>> {
        loop {
            if let Some(Slot::Live(record)) = self.shard(&key).get(&key)
                && record.handle == *handle
            {
                return is_theirs(record, principal, now).then(|| Arc::clone(record));
            }
            // It has moved since. Under the same key it would have ended and another have begun.
            key = self.shared.index.find(principal, handle).filter(|moved| *moved != key)?;
        }
    }

    /// Ends a live session of a principal, and returns whether there was one.
    pub(super) fn end_session(&self, principal: &str, handle: &Handle, now: Timestamp) -> bool {
        let mut last = None;
        while let Some(key) = self.shared.index.find(principal, handle).filter(|key| last != Some(*key)) {
            let mut shard = self.shard(&key);
            match shard.get(&key) {
                Some(Slot::Live(record)) if record.handle == *handle => {
                    let ends = is_theirs(record, principal, now);
                    if ends && let Some(slot) = shard.remove(&key) {
                        self.forget(&key, &slot);
                    }
                    return ends;
                }
                // It has moved since.
                _ => last = Some(key),
            }
        }
        false
    }
}

fn is_theirs(record: &Record, principal: &str, now: Timestamp) -> bool {
    record.principal.as_deref() == Some(principal) && !record.is_expired(now)
}
