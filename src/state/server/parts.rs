//! Parts in stores, around the write of their session's record: prepared ahead of it, withdrawn if it fails, kept for
//! as long as the session lives, and removed when it ends.

use std::sync::Arc;

use super::super::config::ConflictPolicy;
use super::super::loaded::Binding;
use super::super::part::{FoundPart, PartRecord, PartWrite, Standing};
use super::super::retry::{MAX_ATTEMPTS, is_store_failure, pause};
use super::super::work::{SharedWork, Work};
use super::commit::{Commit, Progress};
use super::preparation::Preparation;
use super::records::{Found, WriteOutcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::record::changes::Key;
use crate::record::external::{ExternalParts, PartRef, Prepared, Slot};
use crate::record::plan::Plan;
use crate::record::{Record, Version};

/// How often to wait for a rival's prepared text before the rival is shut out.
const PATIENCE: u32 = 4;

/// State of a rival request that has prepared a text.
enum Rival {
    /// It has changed the session's record or the part.
    HasWritten,
    /// It may still write.
    IsWriting,
    /// It can no longer write. The part's record has this version.
    IsOutOfTheWay(Option<Version>),
}

impl<W: SharedWork> Commit<'_, W> {
    /// Writes changed parts in stores ahead of the session's record, and extends the lifetime of unchanged ones.
    /// Returns the progress to act on first, if the session must be reloaded.
    pub(super) async fn prepare_parts(&self, plan: Plan, now: Timestamp) -> Result<Option<Progress>, Error> {
        let config = self.records.config;
        if !config.parts.iter().any(|placed| placed.in_store().is_some()) {
            return Ok(None);
        }
        let is_extended = self.extend_parts(now).await;
        if plan == Plan::Touch {
            // The record must be updated with the new lifetimes of its parts.
            return Ok(is_extended.then_some(Progress::Again));
        }
        if self.work.with(|work| work.has_expired(&config.timeouts, now)) {
            return Ok(Some(Progress::conflict(WriteOutcome::Gone)));
        }
        // Reject an oversized record before anything is written.
        self.work.with(|work| work.make_record(config, 0, now)).map(drop)?;
        if self.work.with(|work| work.is_login(plan)) {
            self.load_carried_parts().await?;
        }
        if config.conflict_policy == ConflictPolicy::Fail
            && let Some(progress) = self.check_removals().await?
        {
            return Ok(Some(progress));
        }
        for preparation in self.work.with(|work| work.preparations(plan, &config.timeouts, now))? {
            if let Some(progress) = self.prepare(preparation).await? {
                return Ok(Some(progress));
            }
        }
        Ok(None)
    }

    /// Checks that removed parts are unchanged since they were loaded.
    async fn check_removals(&self) -> Result<Option<Progress>, Error> {
        let Some(session) = self.work.with(|work| work.kept_session()) else { return Ok(None) };
        let binding = Binding::of(&session.record);
        let Some(parts) = self.work.with(|work| work.draft.external().cloned()) else { return Ok(None) };
        for part in parts.iter().filter(|part| part.is_stored() && part.is_changed() && part.value.is_none()) {
            let in_store = self.records.config.part_named(part.name).and_then(|placed| placed.in_store());
            let (Some(in_store), Some(stored)) = (in_store, part.stored) else { continue };
            let slot = PartRef::of(&session.record, part.name).map(|reference| reference.slot);
            let record = PartRecord::new(self.records.config, in_store, part.name, binding.session);
            if record.standing(slot, None, binding).await? != Standing::Alone(stored) {
                self.work.with(|work| work.note_stale(part.name));
                return Ok(Some(Progress::conflict(WriteOutcome::Conflict(None))));
            }
        }
        Ok(None)
    }

    async fn prepare(&self, preparation: Preparation) -> Result<Option<Progress>, Error> {
        let Preparation { part, session, current, expires_at } = &preparation;
        let Some(text) = &part.value else { return Ok(None) };
        if part.is_stale {
            return Ok(Some(Progress::conflict(WriteOutcome::Conflict(None))));
        }
        let known = part.prepared.as_ref().map(|prepared| prepared.version).or(part.doubted).or(part.stored);
        let version = known.unwrap_or(Version::NONE).next(self.records.server.write_id());
        let next = Slot::of(version);
        let texts: Vec<_> = current.zip(part.base.as_ref()).into_iter().chain([(next, text)]).collect();
        let write =
            |expected| PartWrite { expected, texts: &texts, session: *session, expires_at: *expires_at, version };
        if let Some(progress) = self.write_part(&preparation, known, write).await? {
            return Ok(Some(progress));
        }
        let reference = PartRef { slot: next, expires_at: *expires_at };
        let prepared = Prepared { reference, version, text: text.clone() };
        self.work.with(|work| work.note_prepared(part.name, prepared));
        Ok(None)
    }

    /// Writes a changed part in a store in place, where nothing else of the session has changed. Returns the saved
    /// parts, or the progress to act on first.
    pub(super) async fn write_in_place(
        &self,
        parts: Arc<ExternalParts>,
        now: Timestamp,
    ) -> Result<Result<Arc<ExternalParts>, Progress>, Error> {
        let timeouts = &self.records.config.timeouts;
        let Some(part) = parts.iter().find(|part| part.is_written_in_place()).cloned() else { return Ok(Ok(parts)) };
        let begun = self.work.with(|work| {
            let session = work.kept_session()?;
            let current = PartRef::of(&session.record, part.name)?.slot;
            let expires_at = timeouts.expires_at_of_part(work.draft.age(timeouts, now));
            Some((Binding::of(&session.record), current, expires_at))
        });
        let (Some((session, current, expires_at)), Some(text)) = (begun, part.value.clone()) else {
            return Ok(Err(Progress::Again));
        };
        let (name, known) = (part.name, part.stored);
        let version = match &part.unanswered {
            // A repetition of the same write.
            Some((version, written)) if written.as_bytes() == text.as_bytes() => *version,
            _ => known.unwrap_or(Version::NONE).next(self.records.server.write_id()),
        };
        let preparation = Preparation { part, session, current: Some(current), expires_at };
        let texts = [(current, &text)];
        let write = |expected| PartWrite { expected, texts: &texts, session, expires_at, version };
        let written = self.write_part(&preparation, known, write).await;
        if let Err(error) = &written
            && is_store_failure(error)
        {
            self.work.with(|work| work.note_unanswered(name, version, &text));
        }
        if let Some(progress) = written? {
            return Ok(Err(progress));
        }
        let mut saved = ExternalParts::clone(&parts);
        saved.note_stored(name, version);
        Ok(Ok(Arc::new(saved)))
    }

    /// Writes a part, waiting for rivals. Returns the progress to act on first if another request has written.
    async fn write_part<'t>(
        &self,
        preparation: &'t Preparation,
        known: Option<Version>,
        write: impl Fn(Option<Version>) -> PartWrite<'t>,
    ) -> Result<Option<Progress>, Error> {
        let (config, part) = (self.records.config, &preparation.part);
        let Some(in_store) = config.part_named(part.name).and_then(|placed| placed.in_store()) else { return Ok(None) };
        let record = PartRecord::new(config, in_store, part.name, preparation.session.session);
        let mut expected = known;
        if known.is_none() && part.is_reset() {
            // A reset overwrites any stored text.
            expected = match record.standing(preparation.current, None, preparation.session).await? {
                Standing::Alone(version) => Some(version),
                _ => None,
            };
        }
        for attempt in 0..MAX_ATTEMPTS {
            if record.write(write(expected)).await? {
                return Ok(None);
            }
            if let Some((unanswered, _)) = &part.unanswered {
                let found = record.standing(preparation.current, None, preparation.session).await?;
                let is_this_one = write(expected).version == *unanswered;
                // A third version may be based on the unanswered write: the outcome cannot be determined.
                return if is_this_one && found == Standing::Alone(*unanswered) {
                    Ok(None)
                } else {
                    Err(record.lost_reply())
                };
            }
            match self.wait_for_rival(&record, preparation, attempt).await? {
                Rival::HasWritten => return Ok(Some(Progress::conflict(WriteOutcome::Conflict(None)))),
                Rival::IsWriting => {}
                Rival::IsOutOfTheWay(version) => expected = version,
            }
        }
        Err(Error::conflict())
    }

    /// Determines the state of a rival. A silent rival is shut out: a new version of the session's record makes the
    /// rival's own write fail.
    async fn wait_for_rival(
        &self,
        part: &PartRecord<'_>,
        preparation: &Preparation,
        attempt: u32,
    ) -> Result<Rival, Error> {
        let Preparation { part: known, session: binding, current, .. } = preparation;
        let standing = || part.standing(*current, known.base.as_ref(), *binding);
        let Some(session) = self.work.with(|work| work.kept_session()) else {
            // The handle of a new session is unique: a record found there is from an earlier attempt of this request.
            return Ok(Rival::IsOutOfTheWay(version_of(standing().await?)));
        };
        pause(attempt).await?;
        let (records, now) = (self.records, self.records.config.now());
        match records.load(&session.id, now).await? {
            Some(Found::Live(found)) if found.record().version == session.record.version => {}
            _ => return Ok(Rival::HasWritten),
        }
        let found = standing().await?;
        match found {
            Standing::Ahead => return Ok(Rival::HasWritten),
            Standing::Missing => return Ok(Rival::IsOutOfTheWay(None)),
            Standing::Alone(_) | Standing::Changed if current.is_some() => {
                self.work.with(|work| work.note_stale(known.name));
                return Ok(Rival::HasWritten);
            }
            Standing::Alone(_) | Standing::Contested(_) if attempt >= PATIENCE => {}
            _ => return Ok(Rival::IsWriting),
        }
        if !self.shut_out_writes(session, now).await? {
            return Ok(Rival::HasWritten);
        }
        // A rival may have written since, so expect the version found before the session's update.
        Ok(Rival::IsOutOfTheWay(version_of(found)))
    }

    /// Extends the lifetime of the session's parts to that of the session. Returns whether a reference has changed.
    async fn extend_parts(&self, now: Timestamp) -> bool {
        let config = self.records.config;
        let mut is_extended = false;
        for (session, name, reference) in self.work.with(|work| work.extensions(&config.timeouts, now)) {
            let Some(placed) = config.part_named(&name) else { continue };
            let Some(in_store) = placed.in_store() else { continue };
            let record = PartRecord::new(config, in_store, placed.name, session.session);
            if record.keep_until(reference.expires_at).await {
                let text = Some(reference.to_text());
                self.work.with(|work| work.draft.put(&Key::new(PartRef::key(&name)), text));
                is_extended = true;
            }
        }
        is_extended
    }

    /// Loads the parts that a session keeps through a login. They are written under a new slot, so that requests from
    /// before the login see only the old text and cannot change the new one.
    async fn load_carried_parts(&self) -> Result<(), Error> {
        let Some(session) = self.work.with(|work| work.kept_session()) else { return Ok(()) };
        for placed in &self.records.config.parts {
            let is_known =
                |work: &mut Work| work.draft.external().is_some_and(|parts| parts.find(placed.name).is_some());
            let Some(in_store) = placed.in_store().filter(|_| !self.work.with(is_known)) else { continue };
            let Some(reference) = PartRef::of(&session.record, placed.name) else { continue };
            let binding = Binding::of(&session.record);
            let record = PartRecord::new(self.records.config, in_store, placed.name, binding.session);
            let (value, stored) = match record.load(reference.slot, binding).await {
                Ok(FoundPart::Text(found)) => {
                    let expected = found.expected();
                    (Some(found.text), expected)
                }
                Ok(FoundPart::Moved | FoundPart::Missing) => (None, None),
                // It stays as it is: a login must not fail because of a part that its handler may not even use.
                Err(error) if matches!(error.kind(), ErrorKind::Decode { .. }) => (None, None),
                Err(error) => return Err(error),
            };
            self.work.with(|work| work.note_part(binding, placed.name, placed.medium(), value, stored));
        }
        Ok(())
    }

    /// Withdraws texts prepared for a write that will not be made.
    pub(super) async fn withdraw_parts(&self) {
        let config = self.records.config;
        for (part, session, current) in self.work.with(Work::take_prepared) {
            let Some(in_store) = config.part_named(part.name).and_then(|placed| placed.in_store()) else { continue };
            let Some(prepared) = &part.prepared else { continue };
            // After another request has prepared a text too, no request expects the earlier version.
            let before = part.stored.unwrap_or(prepared.version);
            let current = current.zip(part.base.as_ref()).map(|(slot, text)| (before, slot, text));
            PartRecord::new(config, in_store, part.name, session.session).withdraw(prepared, current, session).await;
        }
    }

    /// Removes the records of removed parts, once the session's record no longer refers to them.
    pub(super) async fn delete_removed_parts(&self, parts: Option<&ExternalParts>) {
        let Some(parts) = parts else { return };
        let Some(session) = self.work.with(|work| work.loaded.record().map(|record| Binding::of(record))) else {
            return;
        };
        for part in parts.iter().filter(|part| part.is_changed() && part.value.is_none()) {
            let placed = self.records.config.part_named(part.name);
            if let Some(in_store) = placed.and_then(|placed| placed.in_store()) {
                let record = PartRecord::new(self.records.config, in_store, part.name, session.session);
                record.expire(part.stored, session).await;
            }
        }
    }

    /// Removes all parts in stores of an ended session, including those created since it was loaded.
    pub(super) async fn delete_parts_of(&self, session: &Record) {
        let config = self.records.config;
        for placed in &config.parts {
            if let Some(in_store) = placed.in_store() {
                PartRecord::new(config, in_store, placed.name, session.handle).delete().await;
            }
        }
    }
}

fn version_of(standing: Standing) -> Option<Version> {
    match standing {
        Standing::Alone(version) | Standing::Contested(version) => Some(version),
        Standing::Missing | Standing::Changed | Standing::Ahead => None,
    }
}
