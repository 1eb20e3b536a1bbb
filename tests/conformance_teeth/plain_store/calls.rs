//! The calls of the contract, with their possible flaws.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use session_state::Timestamp;
use session_state::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};

use super::{Entries, PlainStore, end, let_others_run, owned_by};
use crate::flaws::Flaw::*;

impl Store for PlainStore {
    const NEVER_WAITS: bool = true;

    fn name(&self) -> &'static str {
        "plain"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let is_there = |entry: &Entry| match self.flaw {
            Some(LoadReturnsExpired) => true,
            Some(LoadIsInclusive) => now <= end(entry),
            _ => now < end(entry),
        };
        Ok(self.lock().get(&self.key(key)).filter(|entry| is_there(entry)).cloned())
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = self.key(key);
        let entry = match entry {
            Entry::Live(record) => Entry::Live(Arc::new(self.written(&record))),
            retired @ Entry::Retired(_) => retired,
        };
        let applies = self.put_applies(self.lock().get(&key), expected, now);
        if self.has(PutIsTwoSteps) {
            let_others_run().await;
        }
        let mut entries = self.lock();
        if !self.has(PutIsTwoSteps) && !self.put_applies(entries.get(&key), expected, now) || !applies {
            return Ok(false);
        }
        if let Some(Entry::Live(old)) = entries.get(&key) {
            self.miss(PutKeepsOwner, StoreKey::from_bytes(key.as_bytes().map(|byte| !byte)), old);
        }
        match entry {
            expired if self.has(PutKeepsExpired) && end(&expired) <= now => {}
            Entry::Retired(_) if self.has(PutLosesForward) => drop(entries.remove(&key)),
            entry => drop(entries.insert(key, entry)),
        }
        Ok(true)
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let (key, record) = (self.key(key), Arc::new(self.written(&record)));
        let is_free = |entry: Option<&Entry>| match (self.flaw, entry) {
            (Some(CreateUpserts), Some(Entry::Live(_))) | (Some(CreateReplacesForward), Some(Entry::Retired(_))) => {
                true
            }
            (Some(CreateIsBlockedByExpired), Some(Entry::Live(_))) => false,
            (Some(CreateIsBlockedByExpiredForward), Some(Entry::Retired(_))) => false,
            (_, entry) => entry.is_none_or(|entry| end(entry) <= now),
        };
        if self.has(CreateIsTwoSteps) {
            let free = is_free(self.lock().get(&key));
            let_others_run().await;
            if free {
                self.lock().insert(key, Entry::Live(record));
            }
            return Ok(free);
        }
        let mut entries = self.lock();
        let free = is_free(entries.get(&key));
        // An unused key.
        let beside = StoreKey::from_bytes(key.as_bytes().map(|byte| !byte));
        if free {
            if let Some(Entry::Live(replaced)) = entries.insert(key, Entry::Live(record)) {
                self.miss(IndexKeepsReplaced, beside, &replaced);
            }
        } else {
            self.miss(IndexTakesRefused, beside, &record);
        }
        Ok(free)
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let key = self.key(key);
        let mut record = self.written(&record);
        if self.has(UpdateIsTwoSteps) {
            let outcome = self.judge(self.lock().get(&key), expected, now);
            let_others_run().await;
            if outcome == Outcome::Done {
                self.lock().insert(key, Entry::Live(Arc::new(record)));
            }
            return Ok(outcome);
        }
        let mut entries = self.lock();
        let outcome = self.judge_update(entries.get(&key), expected, &Arc::new(record.clone()), now);
        if outcome != Outcome::Done {
            let hidden = self.has(UpdateHidesConflict) && matches!(outcome, Outcome::Conflict(_));
            return Ok(if hidden { Outcome::Done } else { outcome });
        }
        if let Some(Entry::Live(old)) = entries.get(&key) {
            self.miss(IndexMissesUpdate, key, old);
            match self.flaw {
                Some(UpdateKeepsDeadline) => record.expires_at = old.expires_at,
                Some(UpdateKeepsGeneration) => record.generation = old.generation,
                Some(UpdateKeepsPrincipal) => record.principal = record.principal.or(old.principal.clone()),
                _ => {}
            }
        }
        let record = Arc::new(record);
        if self.has(UpdateReachesOthers) {
            for entry in entries.values_mut() {
                if matches!(entry, Entry::Live(other) if other.created_at == record.created_at) {
                    *entry = Entry::Live(Arc::clone(&record));
                }
            }
        }
        entries.insert(key, Entry::Live(record));
        Ok(Outcome::Done)
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let Touch { expected, last_seen_at, expires_at } = touch;
        let key = self.key(key);
        let now = if self.has(TouchRevivesExpired) { Timestamp::default() } else { now };
        let found = self.lock().get(&key).cloned();
        if self.has(TouchIsTwoSteps) {
            let_others_run().await;
            let outcome = self.judge(found.as_ref(), expected, now);
            if let (Outcome::Done, Some(Entry::Live(record))) = (&outcome, found) {
                let touched = self.touched(&record, last_seen_at, expires_at);
                self.lock().insert(key, Entry::Live(Arc::new(touched)));
            }
            return Ok(outcome);
        }
        let mut entries = self.lock();
        let outcome = self.judge(entries.get(&key), expected, now);
        match (&outcome, entries.get_mut(&key)) {
            (Outcome::Done, Some(Entry::Live(record))) => {
                self.miss(IndexMissesTouch, key, record);
                *record = Arc::new(self.touched(record, last_seen_at, expires_at));
            }
            (Outcome::Conflict(_), Some(Entry::Live(record))) if self.has(TouchIgnoresVersion) => {
                *record = Arc::new(self.touched(record, last_seen_at, expires_at));
            }
            (Outcome::Retired(_), Some(Entry::Retired(forward))) if self.has(TouchMovesForward) => {
                forward.expires_at = forward.expires_at.max(expires_at);
            }
            (Outcome::Gone, _) if self.has(TouchUpserts) => {
                let handle = session_state::Handle::from_bytes([0; 16]);
                entries.insert(key, Entry::Live(Arc::new(Record::new(handle, last_seen_at, expires_at))));
            }
            _ => {}
        }
        Ok(match (self.flaw, outcome) {
            (Some(TouchAlwaysSucceeds), _) => Outcome::Done,
            (Some(TouchHidesConflict), Outcome::Conflict(_)) => Outcome::Done,
            (Some(TouchHidesForward), Outcome::Retired(_)) => Outcome::Gone,
            (_, outcome) => outcome,
        })
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let (old, new, expected) = (self.key(&renewal.old), self.key(&renewal.new), renewal.expected);
        let (mut record, forward) = (self.written(&renewal.record), self.written_forward(renewal.forward));
        if self.has(RenewIsTwoSteps) {
            let outcome = self.judge(self.lock().get(&old), expected, now);
            let_others_run().await;
            if outcome == Outcome::Done {
                self.lock().insert(new, Entry::Live(Arc::new(record)));
                self.lock().insert(old, Entry::Retired(forward));
            }
            return Ok(outcome);
        }
        {
            let mut entries = self.lock();
            let outcome = self.judge_renewal(entries.get(&old), expected, now);
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
            let found = entries.get(&old).cloned();
            if let Some(Entry::Live(found)) = &found {
                let anonymous = owned_by(&record, None);
                self.miss(ListMissesRenewed, new, &anonymous);
                self.miss(RevokeMissesRenewed, new, &anonymous);
                self.miss(IndexMissesLogin, new, &owned_by(&record, found.principal.clone()));
                match self.flaw {
                    Some(RenewKeepsDeadline) => record.expires_at = found.expires_at,
                    Some(RenewKeepsVersion) => record.version = found.version,
                    Some(RenewKeepsGeneration) => record.generation = found.generation,
                    _ => {}
                }
            }
            match self.flaw {
                Some(RenewLosesForward) => drop(entries.remove(&old)),
                Some(RenewCopies) => {}
                _ => drop(entries.insert(old, Entry::Retired(forward.clone()))),
            }
            if self.has(RenewMovesForwards) {
                // Every forward of the session is replaced by the newest.
                for entry in entries.values_mut() {
                    if matches!(entry, Entry::Retired(_)) {
                        *entry = Entry::Retired(forward.clone());
                    }
                }
            }
            if !self.has(RenewRetiresFirst) {
                entries.insert(new, Entry::Live(Arc::new(record)));
                return Ok(Outcome::Done);
            }
        }
        let_others_run().await;
        self.lock().insert(new, Entry::Live(Arc::new(record)));
        Ok(Outcome::Done)
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let key = self.key(key);
        if self.has(DeleteIsTwoSteps) {
            let is_live = matches!(self.lock().get(&key), Some(Entry::Live(record)) if !record.is_expired(now));
            let_others_run().await;
            if is_live {
                put(&mut self.lock(), key, forward);
                return Ok(Outcome::Done);
            }
        }
        let mut entries = self.lock();
        let Some(found) = entries.get(&key).cloned() else {
            if self.has(DeleteMarksNothing) {
                put(&mut entries, key, forward);
            }
            return Ok(if self.has(DeleteAlwaysSucceeds) { Outcome::Done } else { Outcome::Gone });
        };
        let is_expired = end(&found) <= now;
        match (self.flaw, &found) {
            (Some(DeleteReplacesForward), Entry::Retired(_)) if forward.is_some() => {
                put(&mut entries, key, forward);
                return Ok(Outcome::Done);
            }
            (Some(DeleteMarksExpired), Entry::Live(_)) if is_expired && forward.is_some() => {
                put(&mut entries, key, forward);
                return Ok(Outcome::Gone);
            }
            (Some(DeleteHidesForward), Entry::Retired(_)) => return Ok(Outcome::Gone),
            (Some(DeleteReturnsExpiredForward), Entry::Retired(forward)) => {
                return Ok(Outcome::Retired(forward.clone()));
            }
            (Some(DeleteRemovesForward), _) => drop(entries.remove(&key)),
            (Some(DeleteFollowsForward), Entry::Retired(_)) => {
                entries.retain(|_, other| matches!(other, Entry::Retired(_)))
            }
            (Some(DeleteCountsExpired), Entry::Live(_)) if is_expired => return Ok(Outcome::Done),
            (Some(DeleteDoesNothing), Entry::Live(_)) => return Ok(Outcome::Done),
            (Some(DeleteChecksVersion), Entry::Live(record)) if record.version != Version::FIRST => {
                return Ok(Outcome::Done);
            }
            (Some(DeleteLeavesSomething), Entry::Live(record)) if forward.is_none() => {
                let forward = Forward { successor: None, grace_until: now, expires_at: record.expires_at };
                entries.insert(key, Entry::Retired(forward));
                return Ok(Outcome::Done);
            }
            _ => {}
        }
        Ok(match found {
            _ if is_expired => Outcome::Gone,
            Entry::Retired(forward) => Outcome::Retired(forward),
            Entry::Live(record) => {
                self.miss(IndexKeepsDeleted, key, &record);
                let forward = if self.has(DeleteLosesForward) { None } else { forward };
                put(&mut entries, key, forward);
                Outcome::Done
            }
        })
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        if self.has(SweepFailsBesideAnother) {
            if self.is_sweeping.swap(true, Ordering::SeqCst) {
                return Err(StoreError::failed("plain", "another sweep is running"));
            }
            let_others_run().await;
            self.is_sweeping.store(false, Ordering::SeqCst);
        }
        if self.has(SweepDoesNothing) {
            return Ok(0);
        }
        let mut entries = self.lock();
        let limit = if self.has(SweepIgnoresLimit) { usize::MAX } else { limit };
        let expired: Vec<_> =
            entries.iter().filter(|(_, entry)| self.is_swept(entry, now)).map(|(key, _)| *key).collect();
        let removed = expired.iter().take(limit).filter(|key| entries.remove(key).is_some()).count();
        Ok(if self.has(SweepFindsSomethingAlways) { removed.max(1) } else { removed })
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Some(PrincipalFinder::of(self))
    }
}

impl FindPrincipals for PlainStore {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let mut found = self.sessions_of(principal, now);
        if found.is_empty() && self.has(NobodyIsAnError) {
            return Err(StoreError::failed("plain", "no principal has this name"));
        }
        if self.has(ListIsTwoSteps) {
            let_others_run().await;
            found.retain(|(key, _)| matches!(self.lock().get(key), Some(Entry::Live(_))));
        }
        found.retain(|(_, record)| match after {
            Some(after) if self.has(PagesAreInclusive) => record.handle >= *after,
            Some(after) => record.handle > *after,
            None => true,
        });
        let limit = match self.flaw {
            Some(PagesHaveOneMore) => limit + 1,
            Some(PagesOfNoneHaveAll) if limit == 0 => usize::MAX,
            _ => limit,
        };
        Ok(found.into_iter().take(limit).map(|(_, record)| record).collect())
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let now = if self.has(CountIsOfExpired) { Timestamp::default() } else { now };
        let is_forward = |entry: &&Entry| matches!(entry, Entry::Retired(_)) && self.has(CountIsOfForwards);
        let forwards = self.lock().values().filter(is_forward).count();
        Ok(self.sessions_of(principal, now).len() + forwards)
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let find = |entries: &Entries| -> Vec<_> {
            let records = entries.iter().filter_map(|(key, entry)| match entry {
                Entry::Live(record) => Some((*key, Arc::clone(record))),
                Entry::Retired(_) => None,
            });
            records.filter(|(key, record)| self.is_revoked(key, record, principal, sessions, now)).collect()
        };
        let early = find(&self.lock());
        if matches!(self.flaw, Some(RevokeIsTwoSteps | RevokeCountsTwice)) {
            let_others_run().await;
        }
        let mut entries = self.lock();
        let found = match self.flaw {
            Some(RevokeCountsTwice) => early,
            Some(RevokeIsTwoSteps) => {
                let is_there = |key: &StoreKey| matches!(entries.get(key), Some(Entry::Live(_)));
                early.into_iter().filter(|(key, _)| is_there(key)).collect()
            }
            _ => find(&entries),
        };
        for (key, record) in &found {
            if self.has(RevokeHides) {
                self.miss(RevokeHides, *key, &owned_by(record, None));
            } else {
                let forward = (!self.has(RevokeLosesForward)).then(|| forward.clone());
                put(&mut entries, *key, forward);
            }
        }
        Ok(if self.has(RevokeReturnsAsked) { sessions.into() } else { found.iter().map(|(_, r)| r.handle).collect() })
    }
}

/// Replaces an entry by a forward, or removes it.
fn put(entries: &mut Entries, key: StoreKey, forward: Option<Forward>) {
    match forward {
        Some(forward) => drop(entries.insert(key, Entry::Retired(forward))),
        None => drop(entries.remove(&key)),
    }
}
