//! Random calls, compared one by one with a simple model.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::support::*;
use super::test_user::{NO_LIMIT, assert_listed, random_handle};
use crate::clock::Timestamp;
use crate::store::{Entry, Forward, Handle, Outcome, Record, Renewal, Store, StoreKey, Touch, Version};

/// A few hundred random sequential calls return the results that the rules require.
pub async fn random_calls_agree_with_a_plain_model(store: &Arc<impl Store>) {
    compare_with_model(store, u64::from_le_bytes(random_bytes()), 400).await;
}

/// Makes `steps` random calls, the same ones for the same `seed`, and compares each answer with a plain model's.
///
/// The suite uses a random seed. Repeat a failed test with its seed, or take more steps to find more. The keys are new
/// on each run.
///
/// # Panics
///
/// If an answer differs; the message contains the call and the seed.
pub async fn compare_with_model<S: Store>(store: &Arc<S>, seed: u64, steps: usize) {
    let mut random = Random::from_seed(seed);
    let mut now = now();
    let mut model = Model::default();
    // Few keys, so that calls find the entries of earlier calls.
    let mut keys: [StoreKey; 6] = std::array::from_fn(|_| random_key());
    let principals: [Arc<str>; 2] = std::array::from_fn(|_| format!("user {}", random_handle()).into());
    for step in 0..steps {
        // The time mostly stands still: otherwise every entry would expire before it is used.
        now = now.after(random.below(16).saturating_sub(12) * 20 * MINUTE);
        let call = match random.below(8) {
            0 if store.principals().is_some() => random_revocation(&mut random, &principals, &model, now),
            _ => random_call(&mut random, &mut keys, &principals, &model, now),
        };
        let described = format!("step {step} of seed {seed} at {now:?}: {call:?}");
        let expected = model.call_result(&call, now);
        let found = call_result(store, &call, now).await;
        assert!(found.agrees_with(&expected), "{described}\n   found {found:?}\nexpected {expected:?}");
        for key in &keys {
            let (found, expected) = (ok(store.load(key, now).await), model.load(key, now));
            assert!(found == expected, "after {described}\n   found {found:?}\nexpected {expected:?} under {key:?}");
        }
        for (principal, finder) in principals.iter().zip(std::iter::repeat(store.principals())) {
            let Some(finder) = finder else { break };
            let (all, theirs) = (model.list(principal, now), ok(finder.list(principal, None, NO_LIMIT, now).await));
            assert!(theirs.len() == all.len(), "after {described}\n   found {theirs:?}\nexpected {all:?}");
            assert_listed(&theirs, &all);
            assert_eq!(ok(finder.count(principal, now).await), all.len(), "the count after {described}");
        }
    }
}

#[derive(Debug)]
enum Call {
    Create(StoreKey, Arc<Record>),
    Update(StoreKey, Version, Arc<Record>),
    Touch(StoreKey, Version, Timestamp, Timestamp),
    Renew(Renewal),
    Delete(StoreKey, Option<Forward>),
    Revoke(Arc<str>, Vec<Handle>, Forward),
}

#[derive(PartialEq)]
enum CallResult {
    Created(bool),
    Ended(Outcome),
    Revoked(Vec<Handle>),
}

impl CallResult {
    /// A conflict may come without the record.
    fn agrees_with(&self, expected: &Self) -> bool {
        let no_record = |answer: &Self| matches!(answer, Self::Ended(Outcome::Conflict(None)));
        let conflict = |answer: &Self| matches!(answer, Self::Ended(Outcome::Conflict(_)));
        self == expected || (no_record(self) && conflict(expected))
    }
}

impl fmt::Debug for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(created) => write!(f, "created: {created}"),
            Self::Ended(outcome) => outcome.fmt(f),
            Self::Revoked(ended) => write!(f, "revoked: {ended:?}"),
        }
    }
}

async fn call_result(store: &Arc<impl Store>, call: &Call, now: Timestamp) -> CallResult {
    match call {
        Call::Create(key, record) => CallResult::Created(ok(store.create(key, Arc::clone(record), now).await)),
        Call::Update(key, expected, record) => {
            CallResult::Ended(ok(store.update(key, *expected, Arc::clone(record), now).await))
        }
        Call::Touch(key, expected, seen, end) => CallResult::Ended(ok(store
            .touch(key, Touch { expected: *expected, last_seen_at: *seen, expires_at: *end }, now)
            .await)),
        Call::Renew(renewal) => CallResult::Ended(ok(store.renew(renewal.clone(), now).await)),
        Call::Delete(key, left) => CallResult::Ended(ok(store.delete(key, left.clone(), now).await)),
        Call::Revoke(principal, sessions, left) => {
            let finder = store.principals().expect("only such a store is asked to revoke");
            let mut ended = ok(finder.revoke(principal, sessions, left.clone(), now).await);
            ended.sort();
            CallResult::Revoked(ended)
        }
    }
}

/// The rules in their simplest form: one map, from which each call first removes the expired entries.
#[derive(Default)]
struct Model {
    entries: BTreeMap<StoreKey, Entry>,
}

impl Model {
    fn call_result(&mut self, call: &Call, now: Timestamp) -> CallResult {
        self.entries.retain(|_, entry| match entry {
            Entry::Live(record) => now < record.expires_at,
            Entry::Retired(forward) => now < forward.expires_at,
        });
        match call {
            Call::Create(key, record) => {
                let is_free = !self.entries.contains_key(key);
                if is_free {
                    self.entries.insert(*key, Entry::Live(Arc::clone(record)));
                }
                CallResult::Created(is_free)
            }
            Call::Update(key, expected, record) => {
                let outcome = self.judge(key, *expected);
                if outcome == Outcome::Done {
                    self.entries.insert(*key, Entry::Live(Arc::clone(record)));
                }
                CallResult::Ended(outcome)
            }
            Call::Touch(key, expected, seen, end) => {
                let outcome = self.judge(key, *expected);
                if outcome == Outcome::Done
                    && let Some(Entry::Live(record)) = self.entries.get_mut(key)
                {
                    let last_seen_at = record.last_seen_at.max(*seen);
                    let expires_at = record.expires_at.max(*end);
                    *record = Arc::new(Record { last_seen_at, expires_at, ..Record::clone(record) });
                }
                CallResult::Ended(outcome)
            }
            Call::Renew(renewal) => {
                let outcome = self.judge(&renewal.old, renewal.expected);
                if outcome == Outcome::Done {
                    self.entries.insert(renewal.old, Entry::Retired(renewal.forward.clone()));
                    self.entries.insert(renewal.new, Entry::Live(Arc::clone(&renewal.record)));
                }
                CallResult::Ended(outcome)
            }
            Call::Delete(key, left) => CallResult::Ended(match self.entries.get(key) {
                Some(Entry::Retired(forward)) => Outcome::Retired(forward.clone()),
                Some(Entry::Live(_)) => {
                    self.end(*key, left.clone());
                    Outcome::Done
                }
                None => Outcome::Gone,
            }),
            Call::Revoke(principal, sessions, left) => {
                let mut ended = self.list(principal, now);
                ended.retain(|record| sessions.contains(&record.handle));
                let handles = ended.iter().map(|record| record.handle).collect();
                let is_ended = |entry: &Entry| matches!(entry, Entry::Live(record) if ended.contains(record));
                let keys: Vec<_> = self.entries.iter().filter(|(_, it)| is_ended(it)).map(|(key, _)| *key).collect();
                keys.into_iter().for_each(|key| self.end(key, Some(left.clone())));
                CallResult::Revoked(handles)
            }
        }
    }

    fn end(&mut self, key: StoreKey, left: Option<Forward>) {
        match left {
            Some(forward) => drop(self.entries.insert(key, Entry::Retired(forward))),
            None => drop(self.entries.remove(&key)),
        }
    }

    /// Returns the sessions of a principal in the order of their handles.
    fn list(&self, principal: &Arc<str>, now: Timestamp) -> Vec<Arc<Record>> {
        let is_theirs = |record: &Record| record.principal.as_ref() == Some(principal) && now < record.expires_at;
        let mut theirs: Vec<_> = self.records().filter(|record| is_theirs(record)).map(Arc::clone).collect();
        theirs.sort_by_key(|record| record.handle);
        theirs
    }

    fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Live(record) => Some(record),
            Entry::Retired(_) => None,
        })
    }

    fn judge(&self, key: &StoreKey, expected: Version) -> Outcome {
        match self.entries.get(key) {
            None => Outcome::Gone,
            Some(Entry::Retired(forward)) => Outcome::Retired(forward.clone()),
            Some(Entry::Live(record)) if record.version != expected => Outcome::Conflict(Some(Arc::clone(record))),
            Some(Entry::Live(_)) => Outcome::Done,
        }
    }

    fn load(&self, key: &StoreKey, now: Timestamp) -> Option<Entry> {
        let entry = self.entries.get(key)?;
        let expires_at = match entry {
            Entry::Live(record) => record.expires_at,
            Entry::Retired(forward) => forward.expires_at,
        };
        (now < expires_at).then(|| entry.clone())
    }
}

/// Returns a revocation of random sessions of any principal, as one of the principals.
fn random_revocation(random: &mut Random, principals: &[Arc<str>; 2], model: &Model, now: Timestamp) -> Call {
    let mut sessions: Vec<_> = model.records().map(|record| record.handle).collect();
    sessions.retain(|_| random.below(2) == 0);
    Call::Revoke(Arc::clone(&principals[random.below(2) as usize]), sessions, random_forward(random, now))
}

/// Returns the forward that an end leaves.
fn random_forward(random: &mut Random, now: Timestamp) -> Forward {
    let successor = (random.below(2) == 0).then(random_bytes);
    Forward { successor, expires_at: now.after(30 * MINUTE), ..forward(now) }
}

/// Returns the forward that a delete leaves, or none.
fn random_end(random: &mut Random, now: Timestamp) -> Option<Forward> {
    let left = random_forward(random, now);
    (random.below(2) == 0).then_some(left)
}

fn random_call(
    random: &mut Random,
    keys: &mut [StoreKey],
    principals: &[Arc<str>; 2],
    model: &Model,
    now: Timestamp,
) -> Call {
    let key = random.one_of(keys);
    let current = match model.entries.get(&key) {
        Some(Entry::Live(record)) => Record::clone(record),
        _ => plain_record(now),
    };
    // Mostly the current version, sometimes an adjacent one.
    let expected =
        version((current.version.as_u64() + [0, 0, 0, 0, 0, 0, 1, 2][random.below(8) as usize]).saturating_sub(1));
    let expected = if random.below(4) == 0 { expected } else { current.version };
    let end = |random: &mut Random| now.after(LIFE + random.below(90) * MINUTE);
    let random_principal = |random: &mut Random| principals.get(random.below(3) as usize).cloned();
    // Mostly the same principal.
    let owner = if random.below(4) == 0 { random_principal(random) } else { current.principal.clone() };
    match random.below(12) {
        0..3 => {
            let principal = random_principal(random);
            Call::Create(key, Arc::new(Record { expires_at: end(random), principal, ..plain_record(now) }))
        }
        3..6 => {
            let values = number(u64::from(random.next()));
            let next = Record { version: later(expected, 1), principal: owner, values, ..current };
            Call::Update(key, expected, Arc::new(Record { expires_at: end(random), ..next }))
        }
        6..9 => {
            let seen = now.after(random.below(20) * MINUTE);
            Call::Touch(key, expected, before(seen, 10 * MINUTE), before(end(random), LIFE / 2))
        }
        9..11 => {
            let start = random.below(keys.len() as u32) as usize;
            let mut others = (start..start + keys.len()).map(|n| n % keys.len()).filter(|n| keys[*n] != key);
            let Some(free) = others.find(|n| model.load(&keys[*n], now).is_none()) else {
                return Call::Delete(key, random_end(random, now));
            };
            // A renewal needs an unused key.
            let new = random_key();
            keys[free] = new;
            let handle = if random.below(4) == 0 { random_handle() } else { current.handle };
            let next = Record { version: later(expected, 1), renewed_at: now, principal: owner, handle, ..current };
            let record = Arc::new(Record { expires_at: end(random), ..next });
            let forward = Forward { expires_at: end(random), ..forward(now) };
            Call::Renew(Renewal { old: key, expected, new, record, forward })
        }
        _ => Call::Delete(key, random_end(random, now)),
    }
}

/// SplitMix64: random enough, and the same for the same seed everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }
}
