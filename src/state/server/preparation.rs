//! Preparation of parts in stores before the session's record is written.

use super::super::config::Config;
use super::super::loaded::{Binding, Loaded, StoredSession};
use super::super::work::Work;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::record::external::{ExternalPart, PartRef, Prepared, Slot};
use crate::record::json_text::JsonText;
use crate::record::lifetime::Timeouts;
use crate::record::plan::Plan;
use crate::record::{Generation, Version};

/// A part to write, and its session.
pub(super) struct Preparation {
    pub(super) part: ExternalPart,
    pub(super) session: Binding,
    /// Slot of the current text.
    pub(super) current: Option<Slot>,
    pub(super) expires_at: Timestamp,
}

impl Work {
    pub(super) fn has_expired(&self, timeouts: &Timeouts, now: Timestamp) -> bool {
        self.loaded.record().is_some_and(|record| timeouts.expiry(record, now).is_some())
    }

    /// Returns the parts in stores to write ahead of the record.
    pub(super) fn preparations(
        &mut self,
        plan: Plan,
        timeouts: &Timeouts,
        now: Timestamp,
    ) -> Result<Vec<Preparation>, Error> {
        let Some(external) = self.draft.external() else { return Ok(Vec::new()) };
        let is_due = |part: &&ExternalPart| part.is_unprepared() || self.is_to_be_carried(plan, part);
        let changed: Vec<_> = external.iter().filter(is_due).cloned().collect();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let expires_at = timeouts.expires_at_of_part(self.draft.age(timeouts, now));
        let kept = self.draft.kept_handle().and(self.loaded.record()).cloned();
        let session = match &kept {
            Some(record) => Binding::of(record),
            None => self.new_binding()?,
        };
        let current = |part: &ExternalPart| Some(PartRef::of(kept.as_deref()?, part.name)?.slot);
        let prepare = |part| Preparation { current: current(&part), part, session, expires_at };
        Ok(changed.into_iter().map(prepare).collect())
    }

    /// Returns `true` if the plan gives the record another generation.
    pub(super) fn is_login(&self, plan: Plan) -> bool {
        matches!(plan, Plan::Renew { .. }) && self.begins_generation()
    }

    /// Returns `true` if an unchanged part must be rewritten for a login.
    fn is_to_be_carried(&self, plan: Plan, part: &ExternalPart) -> bool {
        let is_login = self.is_login(plan) && self.draft.kept_handle().is_some();
        is_login && part.is_stored() && part.base.is_some() && part.value.is_some() && !part.is_prepared()
    }

    /// Returns `true` if every part in a store that the record will refer to has been written.
    pub(super) fn has_prepared_parts(&self, config: &Config, plan: Plan) -> bool {
        let is_login = self.is_login(plan) && self.draft.kept_handle().is_some();
        let external = self.draft.external();
        let is_ready = |part: &ExternalPart| !part.is_unprepared() && !self.is_to_be_carried(plan, part);
        let is_loaded = |name: &str| {
            let is_referred_to = self.loaded.record().is_some_and(|record| PartRef::of(record, name).is_some());
            !is_referred_to || external.is_some_and(|parts| parts.find(name).is_some())
        };
        let mut stored = config.parts.iter().filter(|placed| placed.in_store().is_some());
        external.is_none_or(|parts| parts.iter().all(is_ready))
            && (!is_login || stored.all(|placed| is_loaded(placed.name)))
    }

    pub(super) fn note_prepared(&mut self, name: &str, prepared: Prepared) {
        if let Some(part) = self.draft.external_mut().find_mut(name) {
            (part.prepared, part.doubted) = (Some(prepared), None);
        }
    }

    /// Notes an unanswered write of a part in place.
    pub(super) fn note_unanswered(&mut self, name: &str, version: Version, text: &JsonText) {
        if let Some(part) = self.draft.external_mut().find_mut(name) {
            part.unanswered = Some((version, text.clone()));
        }
    }

    /// Notes that the session may refer to texts that were prepared for a write with an unknown outcome.
    pub(super) fn doubt_references(&mut self) {
        if self.draft.external().is_some() {
            self.draft.external_mut().doubt_references();
        }
    }

    pub(super) fn note_stale(&mut self, name: &str) {
        if let Some(part) = self.draft.external_mut().find_mut(name) {
            part.is_stale = true;
        }
    }

    /// Adopts a new version of the same record.
    pub(super) fn note_version(&mut self, session: StoredSession) {
        self.draft.rebase(&session.record);
        self.loaded = Loaded::Stored(session);
    }

    /// Returns the parts whose records would expire before the session, with their new deadlines.
    pub(super) fn extensions(&self, timeouts: &Timeouts, now: Timestamp) -> Vec<(Binding, String, PartRef)> {
        let Some(record) = self.draft.kept_handle().and(self.loaded.record()) else { return Vec::new() };
        let age = self.draft.age(timeouts, now);
        let (needed, expires_at) = (timeouts.expires_at(age), timeouts.expires_at_of_part(age));
        let is_rewritten = |name: &str| {
            let part = self.draft.external().and_then(|external| external.find(name));
            part.is_some_and(ExternalPart::is_changed)
        };
        let references = self.draft.iter().filter_map(|(key, text)| PartRef::parse(key, text));
        let due = references.filter(|(name, reference)| reference.expires_at < needed && !is_rewritten(name));
        due.map(|(name, reference)| (Binding::of(record), name.to_owned(), PartRef { expires_at, ..reference }))
            .collect()
    }

    /// Takes the prepared parts, each with its session and the slot of its current text.
    pub(super) fn take_prepared(&mut self) -> Vec<(ExternalPart, Binding, Option<Slot>)> {
        let kept = self.draft.kept_handle().and(self.loaded.record()).cloned();
        let session = match (&kept, self.current_handle()) {
            (Some(record), _) => Binding::of(record),
            (None, Some(session)) => Binding { session, generation: Generation::default() },
            (None, None) => return Vec::new(),
        };
        if self.draft.external().is_none() {
            return Vec::new();
        }
        let current = |name: &str| Some(PartRef::of(kept.as_deref()?, name)?.slot);
        let parts = self.draft.external_mut().take_prepared();
        parts.into_iter().map(|part| (part.clone(), session, current(part.name))).collect()
    }
}
