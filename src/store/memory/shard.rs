//! A shard: a hash table of records that removes expired entries, a few buckets at a time.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry as Bucket, OccupiedEntry};

use crate::clock::Timestamp;
use crate::store::{Entry, Forward, Record, StoreKey, Version};

/// An [`Entry`] in less space: most entries are live, and the table allocates more buckets than it has entries.
pub(super) enum Slot {
    Live(Arc<Record>),
    Retired(Box<Forward>),
}

impl Slot {
    pub(super) fn to_entry(&self) -> Entry {
        match self {
            Self::Live(record) => Entry::Live(Arc::clone(record)),
            Self::Retired(forward) => Entry::Retired((**forward).clone()),
        }
    }

    /// Returns the version of a session.
    pub(super) fn version(&self) -> Option<Version> {
        if let Self::Live(record) = self { Some(record.version) } else { None }
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        match self {
            Self::Live(record) => record.is_expired(now),
            Self::Retired(forward) => now >= forward.expires_at,
        }
    }

    pub(super) fn forward(&self) -> Option<&Forward> {
        if let Self::Retired(forward) = self { Some(forward) } else { None }
    }
}

/// A part of the store with a lock of its own.
#[derive(Default)]
pub(super) struct Shard {
    table: HashTable<(StoreKey, Slot)>,
    /// The bucket that was searched last for expired entries.
    hand: usize,
    /// Counts the writes that add no entry.
    writes: u8,
}

/// How many buckets a search for expired entries looks at, whatever the size of the shard.
///
/// Each added entry searches so many, so expired entries fill at most a fourth of the buckets. A table doubles when
/// more than 7/16 of its buckets are in use, so at least 3/16 hold live entries then: the expired entries of a shard
/// are fewer than three times the live ones.
const SWEPT_BUCKETS: usize = 4;

/// Enough shards that two requests rarely wait for the same one, and that sweeping one takes well under a millisecond.
pub(super) const SHARDS: usize = 512;

/// Returns the shard of a key. A key is a hash already: its last bytes select the shard, its first bytes the bucket in
/// it.
pub(super) fn shard_index(key: &StoreKey) -> usize {
    let [.., a, b] = *key.as_bytes();
    usize::from(u16::from_le_bytes([a, b])) % SHARDS
}

/// Returns the hash of a key: its first eight bytes, as it is an SHA-256 hash that clients cannot choose.
fn hash(key: &StoreKey) -> u64 {
    key.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Shard {
    #[inline]
    pub(super) fn get(&self, key: &StoreKey) -> Option<&Slot> {
        self.table.find(hash(key), |(other, _)| other == key).map(|(_, slot)| slot)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: &StoreKey) -> Option<&mut Slot> {
        self.table.find_mut(hash(key), |(other, _)| other == key).map(|(_, slot)| slot)
    }

    /// Puts an entry in the place of the one that the key has.
    pub(super) fn insert(&mut self, key: StoreKey, slot: Slot) {
        match self.table.entry(hash(&key), |(other, _)| *other == key, |(other, _)| hash(other)) {
            Bucket::Occupied(mut bucket) => bucket.get_mut().1 = slot,
            Bucket::Vacant(bucket) => drop(bucket.insert((key, slot))),
        }
    }

    pub(super) fn remove(&mut self, key: &StoreKey) -> Option<Slot> {
        let bucket = self.table.find_entry(hash(key), |(other, _)| other == key).ok()?;
        Some(take(bucket))
    }

    /// Removes expired entries after a write that adds none: every eighth time.
    #[inline]
    pub(super) fn sweep_after_write(&mut self, now: Timestamp, removed: impl FnMut(&StoreKey, &Slot)) {
        self.writes = self.writes.wrapping_add(1);
        if self.writes.is_multiple_of(8) {
            self.sweep_some(now, removed);
        }
    }

    /// Removes expired entries from the next buckets, for a call that adds an entry.
    #[inline(never)]
    pub(super) fn sweep_some(&mut self, now: Timestamp, mut removed: impl FnMut(&StoreKey, &Slot)) {
        let all = self.table.num_buckets();
        for _ in 0..SWEPT_BUCKETS.min(all) {
            self.hand = (self.hand + 1) & (all - 1);
            if let Ok(bucket) = self.table.get_bucket_entry(self.hand)
                && bucket.get().1.is_expired(now)
            {
                let ((key, slot), _) = bucket.remove();
                removed(&key, &slot);
            }
        }
    }

    /// Removes all expired entries, and gives back memory that is far more than the rest needs. Returns how many.
    pub(super) fn remove_expired(&mut self, now: Timestamp, mut removed: impl FnMut(&StoreKey, &Slot)) -> usize {
        let before = self.table.len();
        self.table.retain(|(key, slot)| {
            let stays = !slot.is_expired(now);
            if !stays {
                removed(key, slot);
            }
            stays
        });
        let gone = before - self.table.len();
        if gone > 0 && self.table.capacity() > 4 * self.table.len() {
            let keep = 2 * self.table.len();
            self.table.shrink_to(keep, |(key, _)| hash(key));
        }
        gone
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.table.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(StoreKey, Slot)> {
        self.table.iter()
    }
}

fn take(bucket: OccupiedEntry<'_, (StoreKey, Slot)>) -> Slot {
    let ((_, slot), _) = bucket.remove();
    slot
}
