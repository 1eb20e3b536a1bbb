//! Local cache of the store's answers, of bounded age and size.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cutoff::Cutoff;
use crate::clock::Timestamp;
use crate::store::StoreKey;

/// Answers per generation. There are two generations: when the younger is full, the older is dropped.
const GENERATION: usize = 1 << 15;

/// Cutoffs of sessions and principals, cached for up to the delay.
#[derive(Default)]
pub(super) struct RevocationCache {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<StoreKey, Answer>,
    old: HashMap<StoreKey, Answer>,
}

#[derive(Clone, Copy)]
struct Answer {
    cutoff: Option<Cutoff>,
    asked_at: Timestamp,
}

impl RevocationCache {
    /// Returns an answer that was requested less than `delay` ago.
    pub(super) fn recall(&self, key: &StoreKey, delay: Duration, now: Timestamp) -> Option<Option<Cutoff>> {
        let answer = self.lock().find(key)?;
        // A time in the future means that the clock was set back, so the age is unknown.
        let is_young = answer.asked_at <= now && now.since(answer.asked_at) < delay;
        is_young.then_some(answer.cutoff)
    }

    /// Notes an answer. Returns the later of it and the cached cutoff: revocations only move forward, so a slow answer
    /// must not hide a newer revocation.
    pub(super) fn note(&self, key: StoreKey, cutoff: Option<Cutoff>, asked_at: Timestamp) -> Option<Cutoff> {
        let mut generations = self.lock();
        let before = generations.find(&key).and_then(|answer| answer.cutoff);
        let cutoff = cutoff.into_iter().chain(before).max_by_key(|cutoff| cutoff.until);
        generations.put(key, Answer { cutoff, asked_at });
        cutoff
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&self, key: &StoreKey) -> Option<Answer> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn put(&mut self, key: StoreKey, answer: Answer) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn key(n: u32) -> StoreKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_ne_bytes());
        StoreKey::from_bytes(bytes)
    }

    fn cutoff(until: u64) -> Option<Cutoff> {
        Some(Cutoff { until: Timestamp::from_millis(until), ..Cutoff::of_ended(NOW) })
    }

    #[test]
    fn an_answer_is_valid_for_less_than_the_delay() {
        let cache = RevocationCache::default();
        assert_eq!(cache.recall(&key(1), SECOND, NOW), None);
        cache.note(key(1), None, NOW);
        assert_eq!(cache.recall(&key(1), SECOND, NOW), Some(None));
        assert_eq!(cache.recall(&key(1), SECOND, NOW.after(SECOND - Duration::from_millis(1))), Some(None));
        assert_eq!(cache.recall(&key(1), SECOND, NOW.after(SECOND)), None);
        assert_eq!(cache.recall(&key(2), SECOND, NOW), None);
    }

    #[test]
    fn an_answer_from_the_future_is_ignored() {
        let cache = RevocationCache::default();
        cache.note(key(1), None, NOW.after(SECOND));
        assert_eq!(cache.recall(&key(1), SECOND, NOW), None);
        cache.note(key(1), None, NOW);
        assert_eq!(cache.recall(&key(1), SECOND, NOW), Some(None));
    }

    #[test]
    fn a_late_answer_does_not_undo_a_revocation() {
        let cache = RevocationCache::default();
        cache.note(key(1), cutoff(5), NOW);
        assert_eq!(cache.note(key(1), None, NOW), cutoff(5));
        assert_eq!(cache.note(key(1), cutoff(4), NOW), cutoff(5));
        assert_eq!(cache.recall(&key(1), SECOND, NOW), Some(cutoff(5)));
        assert_eq!(cache.note(key(1), cutoff(6), NOW), cutoff(6));
        assert_eq!(cache.recall(&key(1), SECOND, NOW), Some(cutoff(6)));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_the_most_recent_answers() {
        let cache = RevocationCache::default();
        let all = 3 * GENERATION as u32 + 7;
        for n in 0..all {
            cache.note(key(n), None, NOW);
            // Refreshed on each round.
            cache.note(key(0), cutoff(9), NOW);
        }
        let generations = cache.lock();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        drop(generations);
        assert_eq!(cache.recall(&key(0), SECOND, NOW), Some(cutoff(9)));
        assert_eq!(cache.recall(&key(1), SECOND, NOW), None);
        let last = all - GENERATION as u32 / 2;
        assert!((last..all).all(|n| cache.recall(&key(n), SECOND, NOW).is_some()));
    }
}
