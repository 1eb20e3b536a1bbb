//! A store that implements the contract, except for its flaw.

mod calls;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_state::Timestamp;
use session_state::store::{Entry, Forward, Generation, Handle, Outcome, Record, StoreKey, Values, Version};

use crate::flaws::Flaw::{self, *};

/// The plainest store: one map behind one lock. Each flaw is a small deviation from it.
#[derive(Debug, Default)]
pub(crate) struct PlainStore {
    flaw: Option<Flaw>,
    entries: Mutex<BTreeMap<StoreKey, Entry>>,
    /// The records of a stale index, by key.
    stale: Mutex<Entries>,
    is_sweeping: AtomicBool,
}

type Entries = BTreeMap<StoreKey, Entry>;

impl PlainStore {
    pub(crate) fn new(flaw: Option<Flaw>) -> Self {
        Self { flaw, ..Self::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the index stale, if that is the flaw.
    fn miss(&self, flaw: Flaw, key: StoreKey, record: &Record) {
        if self.has(flaw) {
            self.stale.lock().expect("no panic").entry(key).or_insert_with(|| Entry::Live(Arc::new(record.clone())));
        }
    }

    fn key(&self, key: &StoreKey) -> StoreKey {
        let mut bytes = *key.as_bytes();
        let cut = |mut bytes: [u8; 32], length: usize| {
            bytes[length..].fill(0);
            bytes
        };
        match self.flaw {
            Some(KeysFoldCase) => bytes.make_ascii_lowercase(),
            Some(KeysEndAtZero) => bytes = cut(bytes, bytes.iter().position(|byte| *byte == 0).unwrap_or(32)),
            Some(KeysLosePadding) => {
                bytes = cut(bytes, 32 - bytes.iter().rev().take_while(|b| b" \0".contains(b)).count())
            }
            Some(KeysLoseHighBits) => bytes = bytes.map(|byte| byte & 0x7f),
            Some(KeysAreLossyText) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                // Truncates like a text column.
                bytes = std::array::from_fn(|i| text.as_bytes().get(i).copied().unwrap_or(0));
            }
            _ => {}
        }
        StoreKey::from_bytes(bytes)
    }

    /// Returns a record as it would be stored.
    fn written(&self, record: &Record) -> Record {
        let mut record = record.clone();
        let map_values = |values: &Values, map: &dyn Fn(&[u8]) -> Vec<u8>| {
            let mapped: Vec<_> = values.iter().map(|(key, value)| (key.to_owned(), map(value))).collect();
            Values::from_pairs(mapped.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
        };
        let cut = |text: &Arc<str>| text.chars().take(255).collect::<String>().into();
        match self.flaw {
            Some(PrincipalIsCut) => record.principal = record.principal.as_ref().map(cut),
            Some(PrincipalIsAscii) => {
                record.principal = record.principal.map(|p| p.replace(|c| c > '\x7f', "?").into())
            }
            Some(EmptyPrincipalIsNone) => record.principal = record.principal.filter(|principal| !principal.is_empty()),
            Some(LabelIsLost) => record.label = None,
            Some(LabelIsCut) => record.label = record.label.map(|l| l.chars().take(100).collect::<String>().into()),
            Some(EmptyLabelIsNone) => record.label = record.label.filter(|label| !label.is_empty()),
            Some(GenerationIsLost) => record.generation = Generation::default(),
            Some(GenerationIsRounded) => {
                record.generation = Generation::from_u64(record.generation.as_u64() as f64 as u64);
            }
            Some(NoValuesAreNull) if record.values.is_empty() => {
                record.values = Values::from_pairs([("", &b"null"[..])])
            }
            Some(ValuesAreCut) => record.values = map_values(&record.values, &|v| v[..v.len().min(65_535)].into()),
            Some(ValuesAreRewritten) => {
                record.values = map_values(&record.values, &|v| {
                    serde_json::from_slice::<serde_json::Value>(v).map_or_else(|_| v.into(), |v| v.to_string().into())
                });
            }
            Some(LifetimeIsThirtyDays) => {
                record.expires_at = record.expires_at.min(record.last_seen_at.after(Duration::from_secs(30 * 86_400)));
            }
            Some(DeadlineOverflows) if record.expires_at.as_millis() > i64::MAX as u64 => {
                record.expires_at = Timestamp::default();
            }
            Some(TimesAreSeconds) => {
                record.expires_at = Timestamp::from_millis(record.expires_at.as_millis() / 1000 * 1000)
            }
            _ => {}
        }
        record
    }

    fn is_theirs(&self, record: &Record, principal: &str) -> bool {
        let Some(found) = record.principal.as_deref() else { return self.has(NobodyIsEmpty) && principal.is_empty() };
        let start = |text: &str| text.chars().take(255).collect::<String>();
        match self.flaw {
            Some(PrincipalsFoldCase) => found.to_lowercase() == principal.to_lowercase(),
            Some(PrincipalsLosePadding) => found.trim_end_matches(' ') == principal.trim_end_matches(' '),
            Some(PrincipalsEndAtZero) => found.split('\0').next() == principal.split('\0').next(),
            Some(PrincipalsAreLong) => start(found) == start(principal),
            Some(PrincipalsArePatterns) => {
                principal.strip_suffix('%').map_or(found == principal, |p| found.starts_with(p))
            }
            _ => found == principal,
        }
    }

    /// Returns the live sessions of a principal as the index has them, in the order of their handles.
    fn sessions_of(&self, principal: &str, now: Timestamp) -> Vec<(StoreKey, Arc<Record>)> {
        let mut indexed = self.lock().clone();
        if !self.has(RevokeMissesRenewed) {
            indexed.extend(self.stale.lock().expect("no panic").clone());
        }
        let now = if self.has(ListShowsExpired) { Timestamp::default() } else { now };
        let records = indexed.into_iter().filter_map(|(key, entry)| match entry {
            Entry::Live(record) => Some((key, record)),
            Entry::Retired(_) => None,
        });
        let mut found: Vec<_> =
            records.filter(|(_, record)| now < record.expires_at && self.is_theirs(record, principal)).collect();
        found.sort_by_key(|(_, record)| record.handle);
        match self.flaw {
            Some(ListIsUnordered) => found.sort_by_key(|(key, _)| *key),
            Some(ListIsSigned) => found.sort_by_key(|(_, record)| record.handle.as_bytes().map(|byte| byte as i8)),
            Some(ListIsShort) => found.truncate(100),
            Some(ListDropsLabel) => found.iter_mut().for_each(|(_, record)| Arc::make_mut(record).label = None),
            Some(ListDropsGeneration) => {
                found.iter_mut().for_each(|(_, record)| Arc::make_mut(record).generation = Generation::default());
            }
            _ => {}
        }
        found
    }

    fn is_revoked(
        &self,
        key: &StoreKey,
        record: &Record,
        principal: &str,
        sessions: &[Handle],
        now: Timestamp,
    ) -> bool {
        let is_live = now < record.expires_at || self.has(RevokeEndsExpired);
        let is_asked_for = sessions.contains(&record.handle) || self.has(RevokeIgnoresHandles);
        let is_theirs = self.is_theirs(record, principal) || self.has(RevokeIgnoresPrincipal);
        let is_missed = match self.flaw {
            Some(RevokeMissesRenewed) => self.stale.lock().expect("no panic").contains_key(key),
            Some(RevokeChecksVersion) => record.version.as_u64() > (1 << 40) + 1,
            _ => false,
        };
        is_live && is_asked_for && is_theirs && !is_missed
    }

    fn judge(&self, entry: Option<&Entry>, expected: Version, now: Timestamp) -> Outcome {
        match entry.filter(|entry| now < end(entry)) {
            None => Outcome::Gone,
            Some(Entry::Retired(forward)) => Outcome::Retired(forward.clone()),
            Some(Entry::Live(record)) if record.version != expected => Outcome::Conflict(Some(Arc::clone(record))),
            Some(Entry::Live(_)) => Outcome::Done,
        }
    }

    /// Returns whether a put applies to the entry under its key, with the flaw.
    fn put_applies(&self, entry: Option<&Entry>, expected: Option<Version>, now: Timestamp) -> bool {
        let now = if self.has(PutRevivesExpired) && expected.is_some() { Timestamp::default() } else { now };
        let blocks = |entry: &&Entry| now < end(entry) || (self.has(PutIsBlockedByExpired) && expected.is_none());
        match (expected, entry.filter(blocks)) {
            (None, None) => true,
            (None, Some(Entry::Live(_))) => self.has(PutTakesTakenKey),
            (None, Some(Entry::Retired(_))) => self.has(PutReplacesForward),
            (Some(_), None) => self.has(PutUpserts),
            (Some(expected), Some(Entry::Live(record))) => record.version == expected || self.has(PutIgnoresVersion),
            (Some(_), Some(Entry::Retired(_))) => self.has(PutTakesForwardForRecord),
        }
    }

    /// Returns the outcome of an update with the flaw.
    fn judge_update(&self, entry: Option<&Entry>, expected: Version, record: &Arc<Record>, now: Timestamp) -> Outcome {
        let outcome = match self.flaw {
            Some(UpdateRevivesExpired) => self.judge(entry, expected, Timestamp::default()),
            Some(UpdateEndsEarly) => self.judge(entry, expected, now.after(Duration::from_secs(1))),
            _ => self.judge(entry, expected, now),
        };
        match (self.flaw, outcome) {
            (Some(UpdateUpserts), Outcome::Gone) => Outcome::Done,
            (Some(UpdateIgnoresVersion), Outcome::Conflict(_)) => Outcome::Done,
            (Some(UpdateAcceptsLaterVersion), Outcome::Conflict(Some(found)))
                if found.version.as_u64() < expected.as_u64() =>
            {
                Outcome::Done
            }
            (Some(UpdateReturnsWrongRecord), Outcome::Conflict(_)) => Outcome::Conflict(Some(Arc::clone(record))),
            (Some(UpdateReplacesForward), Outcome::Retired(_)) => Outcome::Done,
            (_, outcome) => outcome,
        }
    }

    /// Returns the outcome of a renewal with the flaw.
    fn judge_renewal(&self, entry: Option<&Entry>, expected: Version, now: Timestamp) -> Outcome {
        let now = if self.has(RenewRevivesExpired) { Timestamp::default() } else { now };
        match (self.flaw, self.judge(entry, expected, now)) {
            (Some(RenewUpserts), Outcome::Gone) => Outcome::Done,
            (Some(RenewIgnoresVersion), Outcome::Conflict(_)) => Outcome::Done,
            (Some(RenewReplacesForward), Outcome::Retired(_)) => Outcome::Done,
            (_, outcome) => outcome,
        }
    }

    fn touched(&self, record: &Record, seen: Timestamp, expires_at: Timestamp) -> Record {
        let mut touched = record.clone();
        touched.last_seen_at = record.last_seen_at.max(seen);
        touched.expires_at = record.expires_at.max(expires_at);
        match self.flaw {
            Some(TouchMovesBackwards) => (touched.last_seen_at, touched.expires_at) = (seen, expires_at),
            Some(TouchMovesBothOrNone) if seen < record.last_seen_at || expires_at < record.expires_at => {
                return record.clone();
            }
            Some(TouchCountsAsWrite) => touched.version = Version::from_u64(touched.version.as_u64() + 1),
            Some(TouchDoesNothing) => return record.clone(),
            _ => {}
        }
        self.written(&touched)
    }

    fn written_forward(&self, mut forward: Forward) -> Forward {
        match self.flaw {
            Some(RenewLosesSuccessor) => forward.successor = None,
            Some(RenewTakesZerosForNone) => forward.successor = forward.successor.filter(|sealed| *sealed != [0; 32]),
            Some(TimesAreSeconds) => {
                forward.expires_at = Timestamp::from_millis(forward.expires_at.as_millis() / 1000 * 1000);
            }
            _ => {}
        }
        forward
    }

    fn is_swept(&self, entry: &Entry, now: Timestamp) -> bool {
        match (self.flaw, entry) {
            (Some(SweepRemovesLive), Entry::Live(_)) => true,
            (Some(SweepHitsForwards), Entry::Retired(_)) => true,
            (Some(SweepMissesForwards), Entry::Retired(_)) => false,
            (Some(SweepIsLate), _) => end(entry) <= now.after(Duration::from_secs(60)),
            _ => end(entry) <= now,
        }
    }
}

/// Yields between two steps, so that other calls can run in between.
async fn let_others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn owned_by(record: &Record, principal: Option<Arc<str>>) -> Record {
    let mut record = record.clone();
    record.principal = principal;
    record
}

fn end(entry: &Entry) -> Timestamp {
    match entry {
        Entry::Live(record) => record.expires_at,
        Entry::Retired(forward) => forward.expires_at,
    }
}
