//! The local copy of what the store has answered: of bounded age and of bounded size.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Limit;
use crate::clock::Timestamp;
use crate::store::StoreKey;

/// How many answers a generation has. There are two, and when the younger is full the older is forgotten.
const GENERATION: usize = 1 << 15;

/// What is known of sessions and principals, for as long as the delay.
#[derive(Default)]
pub(super) struct Known {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<StoreKey, Answer>,
    old: HashMap<StoreKey, Answer>,
}

#[derive(Clone, Copy)]
struct Answer {
    limit: Option<Limit>,
    asked_at: Timestamp,
}

impl Known {
    /// Returns the answer to a question that was asked less than `delay` ago.
    pub(super) fn recall(&self, key: &StoreKey, delay: Duration, now: Timestamp) -> Option<Option<Limit>> {
        let answer = self.lock().find(key)?;
        // Asked in the future is asked before the clock was set back: nobody knows when.
        let is_young = answer.asked_at <= now && now.since(answer.asked_at) < delay;
        is_young.then_some(answer.limit)
    }

    /// Notes an answer, and returns it together with what was known before: a revocation is never taken back, so an answer
    /// that was long under way does not hide one that has been made meanwhile.
    pub(super) fn note(&self, key: StoreKey, limit: Option<Limit>, asked_at: Timestamp) -> Option<Limit> {
        let mut generations = self.lock();
        let before = generations.find(&key).and_then(|answer| answer.limit);
        let limit = limit.into_iter().chain(before).max_by_key(|limit| limit.until);
        generations.put(key, Answer { limit, asked_at });
        limit
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

    fn limit(until: u64) -> Option<Limit> {
        Some(Limit { until: Timestamp::from_millis(until), except: None })
    }

    #[test]
    fn an_answer_is_good_for_less_than_the_delay() {
        let known = Known::default();
        assert_eq!(known.recall(&key(1), SECOND, NOW), None);
        known.note(key(1), None, NOW);
        assert_eq!(known.recall(&key(1), SECOND, NOW), Some(None));
        assert_eq!(known.recall(&key(1), SECOND, NOW.after(SECOND - Duration::from_millis(1))), Some(None));
        assert_eq!(known.recall(&key(1), SECOND, NOW.after(SECOND)), None);
        assert_eq!(known.recall(&key(2), SECOND, NOW), None);
    }

    #[test]
    fn an_answer_from_the_future_is_none() {
        let known = Known::default();
        known.note(key(1), None, NOW.after(SECOND));
        assert_eq!(known.recall(&key(1), SECOND, NOW), None);
        known.note(key(1), None, NOW);
        assert_eq!(known.recall(&key(1), SECOND, NOW), Some(None));
    }

    #[test]
    fn an_answer_that_comes_late_takes_no_revocation_back() {
        let known = Known::default();
        known.note(key(1), limit(5), NOW);
        assert_eq!(known.note(key(1), None, NOW), limit(5));
        assert_eq!(known.note(key(1), limit(4), NOW), limit(5));
        assert_eq!(known.recall(&key(1), SECOND, NOW), Some(limit(5)));
        assert_eq!(known.note(key(1), limit(6), NOW), limit(6));
        assert_eq!(known.recall(&key(1), SECOND, NOW), Some(limit(6)));
    }

    #[test]
    fn the_copy_is_bounded_and_keeps_what_was_asked_for_last() {
        let known = Known::default();
        let all = 3 * GENERATION as u32 + 7;
        for n in 0..all {
            known.note(key(n), None, NOW);
            // Asked for again and again.
            known.note(key(0), limit(9), NOW);
        }
        let generations = known.lock();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        drop(generations);
        assert_eq!(known.recall(&key(0), SECOND, NOW), Some(limit(9)));
        assert_eq!(known.recall(&key(1), SECOND, NOW), None);
        let last = all - GENERATION as u32 / 2;
        assert!((last..all).all(|n| known.recall(&key(n), SECOND, NOW).is_some()));
    }
}
